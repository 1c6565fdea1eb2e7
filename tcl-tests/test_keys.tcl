# SPDX-License-Identifier: MIT
# Keys, expiry and databases.

test "DEL, UNLINK, EXISTS, TOUCH, TYPE" {
    is {mset a 1 b 2 c 3} +OK
    is {exists a b nosuch a} :3
    is {touch a b nosuch} :2
    is {type a} +string
    is {type nosuch} +none
    is {del a nosuch a} :1
    is {unlink b c c} :2
    is {dbsize} :0
    is {del} "-ERR wrong number of arguments for 'del' command"
}

test "KEYS with patterns" {
    is {mset hello 1 hallo 1 hxllo 1 heello 1 {h*llo} 1 foo 1} +OK
    is_sorted {keys h?llo} {hello hallo hxllo h*llo}
    is_sorted {keys {h[ae]llo}} {hello hallo}
    is_sorted {keys {h[^e]llo}} {hallo hxllo h*llo}
    is_sorted {keys {h[a-b]llo}} {hallo}
    is_sorted {keys {h\*llo}} {h*llo}
    is_sorted {keys *} {hello hallo hxllo heello h*llo foo}
    is_sorted {keys nosuch*} {}
}

test "SCAN comes to every key once it ends" {
    for {set i 0} {$i < 1000} {incr i} {
        lappend pairs key:$i $i
    }
    is [list mset {*}$pairs] +OK
    foreach options {{} {count 1} {count 5} {count 10000} {match key:*} {match *:99* count 100} {type string}} {
        set cursor 0
        set found {}
        while 1 {
            lassign [r scan $cursor {*}$options] cursor keys
            lappend found {*}$keys
            if {$cursor == 0} {
                break
            }
        }
        set wanted [expr {[string match *99* $options] ? 11 : 1000}]
        expect [llength [lsort -unique $found]] $wanted
    }
    is {scan 0 type list count 10000} {* $0 *}
}

test "SCAN: wrong options" {
    is {scan x} {-ERR invalid cursor}
    is {scan 0 foo} {-ERR syntax error}
    is {scan 0 count} {-ERR syntax error}
    is {scan 0 count 0} {-ERR syntax error}
    is {scan 0 count x} {-ERR value is not an integer or out of range}
}

test "keys that are there throughout are found by a SCAN while others come and go" {
    for {set i 0} {$i < 200} {incr i} {
        lappend pairs stay:$i 1
    }
    is [list mset {*}$pairs] +OK
    set cursor 0
    set n 0
    set found {}
    while 1 {
        lassign [r scan $cursor count 5] cursor keys
        lappend found {*}$keys
        for {set i 0} {$i < 20} {incr i} {
            r set come:[incr n] 1
            r del come:[expr {$n - 30}]
        }
        if {$cursor == 0} {
            break
        }
    }
    expect [llength [lsort -unique [lsearch -all -inline $found stay:*]]] 200
}

test "RANDOMKEY and DBSIZE" {
    is {randomkey} nil
    is {mset a 1 b 2} +OK
    for {set i 0} {$i < 200} {incr i} {
        incr seen([r randomkey])
    }
    expect [lsort [array names seen]] {a b}
    is {dbsize} :2
}

test "RENAME and RENAMENX" {
    is {rename nosuch b} {-ERR no such key}
    is {set a 1 ex 100} +OK
    is {set b 2} +OK
    is {renamenx a b} :0
    is {rename a b} +OK
    is {get b} {$1}
    expect_true {[r ttl b] in {99 100}}
    is {exists a} :0
    is {renamenx b c} :1
    is {rename c c} +OK
    is {renamenx c c} :0
    is {get c} {$1}
    is {renamenx nosuch x} {-ERR no such key}
}

test "EXPIRE and its family" {
    is {set a 1} +OK
    is {ttl a} :-1
    is {pttl a} :-1
    is {ttl nosuch} :-2
    is {expiretime nosuch} :-2
    is {pexpiretime a} :-1
    is {expire nosuch 10} :0
    is {expire a 100} :1
    expect_true {[r ttl a] in {99 100}}
    is {pexpire a 200000} :1
    expect_true {[r ttl a] in {199 200}}
    set at [expr {[clock seconds] + 500}]
    is [list expireat a $at] :1
    is {expiretime a} :$at
    is [list pexpireat a ${at}456] :1
    is {pexpiretime a} :${at}456
    is {persist a} :1
    is {persist a} :0
    is {persist nosuch} :0
    is {expire a -1} :1
    is {exists a} :0
}

test "EXPIRE with NX, XX, GT, LT" {
    is {set a 1} +OK
    is {expire a 100 xx} :0
    is {expire a 100 gt} :0
    is {expire a 100 nx} :1
    is {expire a 100 nx} :0
    is {expire a 200 xx} :1
    is {expire a 100 gt} :0
    is {expire a 300 gt} :1
    is {expire a 400 lt} :0
    is {expire a 100 lt} :1
    is {persist a} :1
    is {expire a 100 lt} :1
    is {expire a 1 nx xx} {-ERR NX and XX, GT or LT options at the same time are not compatible}
    is {expire a 1 gt lt} {-ERR GT and LT options at the same time are not compatible}
    is {expire a 1 foo} {-ERR Unsupported option foo}
    is {expire a x} {-ERR value is not an integer or out of range}
    is {expire a 9223372036854775807} "-ERR invalid expire time in 'expire' command"
}

test "a key is gone when its time is over" {
    is {set a 1 px 30} +OK
    is {set b 1 px 100000} +OK
    wait_until {[r get a] eq ""}
    is {exists a b} :1
    is {ttl a} :-2
    is {set a 2 nx} +OK
    is {ttl a} :-1
}

test "expired keys leave DBSIZE without a touch" {
    for {set i 0} {$i < 100} {incr i} {
        r set k$i v px 20
    }
    wait_until {[r dbsize] == 0}
}

test "SELECT: databases are apart" {
    is {set a 0} +OK
    is {select 1} +OK
    is {get a} nil
    is {set a 1} +OK
    is {select 15} +OK
    is {dbsize} :0
    is {select 0} +OK
    is {get a} {$0}
    is {select 16} {-ERR DB index is out of range}
    is {select -1} {-ERR DB index is out of range}
    is {select x} {-ERR value is not an integer or out of range}
    is {get a} {$0}
}

test "FLUSHDB and FLUSHALL" {
    is {set a 0} +OK
    is {select 1} +OK
    is {set a 1} +OK
    is {flushdb} +OK
    is {dbsize} :0
    is {select 0} +OK
    is {get a} {$0}
    is {select 1} +OK
    is {flushall async} +OK
    is {select 0} +OK
    is {get a} nil
    is {flushdb sync} +OK
    is {flushdb foo} {-ERR syntax error}
    is {flushall sync async} {-ERR syntax error}
}

test "COPY: REPLACE, DB, the expiry goes with it" {
    is {set a 1 px 100000} +OK
    is {copy a b} :1
    expect_true {[r pttl b] > 90000 && [r pttl b] <= 100000}
    is {set a 2} +OK
    is {copy a b} :0
    is {get b} {$1}
    is {copy a b replace} :1
    is {get b} {$2}
    is {ttl b} :-1
    is {copy a a} {-ERR source and destination objects are the same}
    is {copy a a db 1} :1
    is {copy a a db 1} :0
    is {copy a c db 1 replace} :1
    is {copy nosuch c replace} :0
    is {copy a b db 16} {-ERR DB index is out of range}
    is {copy a b db x} {-ERR value is not an integer or out of range}
    is {copy a b db 99999999999} {-ERR value is out of range, value must between -2147483648 and 2147483647}
    is {copy a b db} {-ERR syntax error}
    is {select 1} +OK
    is {mget a c} {* $2 $2}
    is {dbsize} :2
}

test "MOVE takes value and expiry to another database" {
    is {set a 1 px 100000} +OK
    is {set b 1} +OK
    is {move a 0} {-ERR source and destination objects are the same}
    is {move a 16} {-ERR DB index is out of range}
    is {move a x} {-ERR value is not an integer or out of range}
    is {move nosuch 1} :0
    is {move a 1} :1
    is {exists a} :0
    is {set a new} +OK
    is {move a 1} :0
    is {get a} {$new}
    is {select 1} +OK
    is {get a} {$1}
    expect_true {[r pttl a] > 90000 && [r pttl a] <= 100000}
    is {dbsize} :1
}

test "SWAPDB" {
    is {mset a 1 b 2} +OK
    is {swapdb 0 1} +OK
    is {dbsize} :0
    is {set c 3} +OK
    is {select 1} +OK
    is {mget a b c} {* $1 $2 nil}
    is {swapdb 1 0} +OK
    is {mget a b c} {* nil nil $3}
    is {swapdb 1 1} +OK
    is {swapdb x 0} {-ERR invalid first DB index}
    is {swapdb 0 99999999999} {-ERR invalid second DB index}
    is {swapdb 0 16} {-ERR DB index is out of range}
    is {swapdb -1 0} {-ERR DB index is out of range}
}

test "OBJECT ENCODING and REFCOUNT" {
    foreach {value encoding} [list 12 int -9223372036854775808 int 9223372036854775808 embstr 012 embstr {} embstr \
        [string repeat x 44] embstr [string repeat x 45] raw] {
        is [list set k $value] +OK
        is {object encoding k} $$encoding
    }
    is {object encoding nosuch} nil
    is {object refcount k} :1
    is {object refcount nosuch} nil
    is {object} "-ERR wrong number of arguments for 'object' command"
    is {object nosuch k} "-ERR unknown subcommand 'nosuch'. Try OBJECT HELP."
}

test "OBJECT ENCODING after edits in place" {
    foreach {commands encoding} {
        {{append k 12}} int {{append k 12} {append k 3}} raw {{append k ab} {append k {}}} raw
        {{setrange k 0 12}} raw {{set k 12} {setrange k 0 3}} raw {{set k 12} {setrange k 0 {}}} int
        {{setbit k 7 1}} raw {{set k 12} {setbit k 1 1}} raw {{set k 12} {getbit k 1}} int
        {{bitfield k set u8 0 65}} raw {{set k 1} {bitop not k k}} raw {{pfadd k a}} raw {{pfmerge k k}} raw
        {{incrbyfloat k 3}} embstr {{set k 10} {incrbyfloat k 1}} embstr {{incrbyfloat k 3} {incr k}} int
        {{append k 1} {append k 2} {incr k}} int {{append k 1} {append k 2} {set k 12}} int
        {{setrange k 0 12} {expire k 1000}} raw {{setrange k 0 12} {expire k 1000} {persist k}} raw
        {{setrange k 0 12} {getex k ex 1000}} raw {{setrange x 0 12} {rename x k}} raw
        {{setrange x 0 12} {copy x k}} raw {{incrbyfloat x 12} {copy x k}} embstr
        {{setrange k 0 12} {move k 1} {swapdb 0 1}} raw {{multi} {setrange k 0 12} {expire k 1000} {exec}} raw
        {{setrange k 0 12} {setrange k 50 x} {set k 1 keepttl}} int
    } {
        r flushall
        foreach command $commands {
            r {*}$command
        }
        expect [r object encoding k] $encoding
    }
    # A payload does not tell.
    is {setrange k 0 12} :2
    is [list restore k 0 [r dump k] replace] +OK
    is {object encoding k} {$int}
}

test "SORT of what is not there and of a string" {
    is {sort nosuch} {*}
    is {sort nosuch by x* get # get y* limit 0 10 desc alpha} {*}
    is {set d 1} +OK
    is {sort nosuch store d} :0
    is {exists d} :0
    is {sort nosuch store d} :0
    is {set s 1} +OK
    is {sort s} {-WRONGTYPE Operation against a key holding the wrong kind of value}
    is {sort s store d} {-WRONGTYPE Operation against a key holding the wrong kind of value}
    is {sort s limit 0} {-ERR syntax error}
    is {sort s limit 0 x} {-ERR value is not an integer or out of range}
    is {sort s foo} {-ERR syntax error}
    is {sort_ro nosuch} {*}
    is {sort_ro s} {-WRONGTYPE Operation against a key holding the wrong kind of value}
    is {sort_ro nosuch store d} {-ERR syntax error}
    is {command getkeys sort a limit 0 store store d} {* $a $d}
    is {command getkeys sort a by store store x get store} {* $a $x}
}

test "notifications of COPY, MOVE, RESTORE, SORT and MIGRATE" {
    is {config set notify-keyspace-events EAnm} +OK
    set target [server::start]
    set events [server::connect $::main]
    resp::call $events PSUBSCRIBE __keyevent@*
    is {set a 1} +OK
    set payload [r dump a]
    foreach command [list {copy a b} {copy a b replace} {copy a a db 1} {copy nosuch c} {move b 2} {object encoding nosuch} \
        [list restore c 0 $payload] [list restore c 0 $payload replace] [list restore c 1 $payload replace absttl] \
        {sort nosuch store a} {memory usage nosuch} {dump nosuch} {set a 1} \
        [list migrate 127.0.0.1 [dict get $target port] {} 0 1000 keys a] {set end 1}] {
        r {*}$command
    }
    set seen {}
    while {[lindex $seen end] ne "0:set:end"} {
        lassign [lindex [resp::receive $events] 1] - - channel key
        regexp {@(\d+)__:(.*)} [lindex $channel 1] - db event
        lappend seen $db:$event:[lindex $key 1]
    }
    expect $seen [list 0:new:a 0:set:a 0:new:b 0:copy_to:b 0:new:b 0:copy_to:b 1:new:a 1:copy_to:a 0:keymiss:nosuch \
        2:new:b 0:move_from:b 2:move_to:b 0:new:c 0:restore:c 0:new:c 0:restore:c 0:del:c 0:keymiss:nosuch 0:del:a \
        0:keymiss:nosuch 0:new:a 0:set:a 0:del:a 0:new:end 0:set:end]
    is {config set notify-keyspace-events {}} +OK
    close $events
    server::stop $target
}

test "RESTORE sets the idle time, as near as it is known" {
    is {set k v} +OK
    set payload [r dump k]
    # Steps for so many times at once may not be free: then it is about so.
    foreach idle {1000 30 900000 8388607} {
        wait_until {
            [r restore k 0 $payload replace idletime $idle] eq "OK" && [r object idletime k] >= $idle
            && [r object idletime k] <= $idle * 1.01 + 5
        }
    }
    # Inside MULTI too; a write that follows is a use.
    is {multi} +OK
    is [list restore k 0 $payload replace idletime 1000] +QUEUED
    is {object idletime k} +QUEUED
    is {set k w} +QUEUED
    is {object idletime k} +QUEUED
    lassign [r exec] - idle - used
    expect_true {$idle >= 300 && $idle <= 3000}
    expect $used 0
    is [list restore k 0 $payload replace idletime 0] +OK
    is {object idletime k} :0
    # No policy counts uses.
    is [list restore k 0 $payload replace freq 100] +OK
    is {object idletime k} :0
    expect_match [r object freq k] {ERR An LFU maxmemory policy is not selected*}
}

test "OBJECT IDLETIME and FREQ" {
    is {set k v} +OK
    is {object idletime k} :0
    is {object idletime nosuch} nil
    is {object freq nosuch} nil
    expect_match [r object freq k] {ERR An LFU maxmemory policy is not selected, access frequency not tracked.*}
    # To ask for it, or for the key's type, is not to use the key.
    wait_until {[r object idletime k] >= 2 && [r type k] eq "string"}
    is {multi} +OK
    is {get other} +QUEUED
    is {object idletime k} +QUEUED
    expect_true {[lindex [r exec] 1] >= 2}
    is {get k} {$v}
    is {object idletime k} :0
}
