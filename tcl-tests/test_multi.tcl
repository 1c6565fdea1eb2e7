# SPDX-License-Identifier: MIT
# MULTI, EXEC, DISCARD, WATCH, UNWATCH.

test "EXEC answers for each command" {
    is {multi} +OK
    is {set a 1} +QUEUED
    is {incr a} +QUEUED
    is {nosuch a x} "-ERR unknown command 'nosuch', with args beginning with: 'a' 'x' "
    is {exec} {-EXECABORT Transaction discarded because of previous errors.}
    is {get a} nil
    is {multi} +OK
    is {set a x} +QUEUED
    is {incr a} +QUEUED
    is {get a} +QUEUED
    is {exec} {* +OK {-ERR value is not an integer or out of range} $x}
    is {multi} +OK
    is {exec} {*}
}

test "what is not queued" {
    is {exec} {-ERR EXEC without MULTI}
    is {discard} {-ERR DISCARD without MULTI}
    is {multi} +OK
    is {multi} {-ERR MULTI calls can not be nested}
    is {watch a} {-ERR WATCH inside MULTI is not allowed}
    is {save} {-ERR Command not allowed inside a transaction}
    is {discard} +OK
    is {exec now} {-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command}
    is {multi} +OK
    is {set a 1} +QUEUED
    is {reset} +RESET
    is {exec} {-ERR EXEC without MULTI}
}

test "whole databases inside EXEC show its own writes" {
    is {mset a 1 b 2} +OK
    is {multi} +OK
    is {set c 3} +QUEUED
    is {del a} +QUEUED
    is {dbsize} +QUEUED
    is {keys *} +QUEUED
    is {select 1} +QUEUED
    is {dbsize} +QUEUED
    is {randomkey} +QUEUED
    is {set other 1} +QUEUED
    is {randomkey} +QUEUED
    is {select 0} +QUEUED
    is {flushdb} +QUEUED
    is {get b} +QUEUED
    is {set d 4} +QUEUED
    is {scan 0} +QUEUED
    is {exec} {* +OK :1 :2 {* $c $b} +OK :0 nil +OK $other +OK +OK nil +OK {* $0 {* $d}}}
    is {keys *} {* $d}
}

test "WATCH: written, deleted, flushed, run out" {
    foreach change {{set k 2} {del k} {expire k 100} {flushdb} {flushall} {append k x} {append k {}} {pexpireat k 1}} {
        is {set k 1} +OK
        is {watch k} +OK
        r {*}$change
        is {multi} +OK
        is {ping} +QUEUED
        is {exec} nilarray
    }
    foreach change {{expireat k 9000000000} {getex k exat 9000000000}} {
        is {set k 1 exat 9000000000} +OK
        is {watch k} +OK
        r {*}$change
        is {multi} +OK
        is {ping} +QUEUED
        is {exec} nilarray
    }
    is {set k 1 px 20} +OK
    is {watch k} +OK
    while {[r exists k]} {}
    is {multi} +OK
    is {ping} +QUEUED
    is {exec} nilarray
}

test "WATCH: what does not concern it" {
    foreach change {{get k} {set other 1} {setnx k 2} {del nosuch} {unwatch} {select 0} {setrange k 0 {}} {setbit k 7 1} {getex k} {getex k persist}} {
        is {set k 1} +OK
        is {watch k k nosuch} +OK
        r {*}$change
        is {multi} +OK
        is {ping} +QUEUED
        is {exec} {* +PONG}
    }
    is {watch k} +OK
    is {set k 2} +OK
    is {unwatch} +OK
    is {multi} +OK
    is {unwatch} +QUEUED
    is {exec} {* +OK}
}

test "CLIENT LIST tells of MULTI" {
    expect [string match "*multi=-1*multi-mem=0*" [r client info]] 1
    is {multi} +OK
    is {client info} +QUEUED
    expect [string match "*flags=x*multi=1*" [lindex [r exec] 0]] 1
}

test "EXEC: COPY, MOVE and SWAPDB in the database that SELECT has chosen before them" {
    is {mset a 0a b 0b} +OK
    is {select 1} +OK
    is {mset a 1a b 1b} +OK
    is {select 0} +OK
    is {multi} +OK
    foreach command {
        {select 1} {copy a c} {copy a a db 2} {move b 3} {swapdb 1 2} {copy a d} {get a} {exists c} {swapdb 0 5}
        {select 5} {get b} {copy b a replace} {memory usage a} {wait 1 100} {object encoding b} {select 2} {get c}
    } {
        is $command +QUEUED
    }
    set reply [r exec]
    expect_true {[lindex $reply 12] > 0}
    expect [lreplace $reply 12 12] {OK 1 1 1 OK 1 1a 0 OK OK 0b 1 0 embstr OK 1a}
    is {dbsize} :2
    is {select 1} +OK
    is {mget a d} {* $1a $1a}
    is {select 3} +OK
    is {get b} {$1b}
    is {select 5} +OK
    is {mget a b} {* $0b $0b}
    is {select 0} +OK
    is {dbsize} :0
}

# Whatever locks a command takes for itself, it takes them behind those of the keys that EXEC holds.
test "commands about the server inside EXEC" {
    own {
        set commands {
            {set a 1} {info everything} {client list} {client no-evict off} {client kill id 4000000000}
            {client pause 0} {client unpause} {bitkv files} {bitkv merge status} {bitkv merge now} {bitkv damage}
            {bgrewriteaof} {lastsave} {config set cache-size 1mb} {config get *} {config resetstat} {memory stats}
            {memory purge} {memory usage a} {latency doctor} {latency reset} {slowlog get} {slowlog reset}
            {command docs get} {acl list} {publish channel message} {pubsub channels} {pubsub numpat} {copy a b}
            {move a 3} {swapdb 0 1} {wait 1 100} {flushall} {randomkey} {unwatch} {dbsize}
        }
        set size [lindex [r config get cache-size] 1]
        is {watch w} +OK
        is {multi} +OK
        foreach command $commands {
            is $command +QUEUED
        }
        set replies [r exec]
        expect [llength $replies] [llength $commands]
        expect [lindex $replies 0] OK
        expect [lrange $replies end-3 end] {OK {} OK 0}
        is [list config set cache-size $size] +OK
    }
}
