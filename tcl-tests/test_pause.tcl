# SPDX-License-Identifier: MIT
# CLIENT PAUSE and UNPAUSE, with clients on all of a server's threads; UNBLOCK, GETREDIR, NO-TOUCH.

# A pause stops the client that the other tests share, so these have a server of their own.
proc with_server {body} {
    set threads [expr {[is_redis] ? {} : {--io-threads 4}}]
    set ::pause_server [server::start {*}$threads]
    set ::ctl [server::connect $::pause_server]
    try {
        uplevel 1 $body
    } finally {
        catch {close $::ctl}
        server::stop $::pause_server
    }
}

proc blocked {} {
    regexp {blocked_clients:(\d+)} [resp::call $::ctl info clients] - n
    return $n
}

# n connections, each of which has sent the command and not yet read.
proc ask {n args} {
    set fds {}
    for {set i 0} {$i < $n} {incr i} {
        set fd [server::connect $::pause_server]
        resp::send $fd {*}$args
        flush $fd
        lappend fds $fd
    }
    return $fds
}

test "CLIENT PAUSE WRITE: writes wait for UNPAUSE, reads do not" {
    with_server {
        is_on $::ctl {set k 1} +OK
        is_on $::ctl {client pause 100000 write} +OK
        set writers [ask 12 incr k]
        wait_until {[blocked] == 12}
        foreach fd [ask 4 get k] {
            expect [resp::plain [resp::receive $fd]] 1
            close $fd
        }
        is_on $::ctl {get k} {$1}
        expect [regexp -all {flags=b } [resp::call $::ctl client list]] 12
        is_on $::ctl {client unpause} +OK
        expect [lsort -integer [lmap fd $writers {resp::plain [resp::receive $fd]}]] {2 3 4 5 6 7 8 9 10 11 12 13}
        expect [blocked] 0
        foreach fd $writers {
            close $fd
        }
    }
}

test "CLIENT PAUSE: everything waits, in order, and goes on when the time is over" {
    with_server {
        set fd [server::connect $::pause_server]
        is_on $::ctl {client pause 300} +OK
        set began [clock milliseconds]
        foreach command {{set k 1} {incr k} {incrby k 40} {get k}} {
            resp::send $fd {*}$command
        }
        foreach reply {OK 2 42 42} {
            expect [resp::plain [resp::receive $fd]] $reply
        }
        expect_true {[clock milliseconds] - $began >= 250}
        is_on $::ctl ping +PONG
        close $fd
    }
}

test "CLIENT PAUSE: the longer and the stricter of two holds" {
    with_server {
        is_on $::ctl {client pause 100000 write} +OK
        is_on $::ctl {client pause 10 write} +OK
        after 50
        set fd [ask 1 set k v]
        wait_until {[blocked] == 1}
        is_on $::ctl {client unpause} +OK
        expect [resp::plain [resp::receive $fd]] OK
        is_on $::ctl {client pause 0} +OK
        is_on $::ctl {set k w} +OK
        close $fd
    }
}

test "CLIENT PAUSE: errors come at once, and nothing turns in circles" {
    with_server {
        is_on $::ctl {client pause 100000 write} +OK
        is_on $::ctl {set k} "-ERR wrong number of arguments for 'set' command"
        set fds [ask 20 set k v]
        wait_until {[blocked] == 20}
        own {
            regexp {\nticks:(\d+)} [resp::call $::ctl info bitkv] - before
            after 500
            regexp {\nticks:(\d+)} [resp::call $::ctl info bitkv] - after
            expect_true {$after - $before < 200}
        }
        is_on $::ctl {client unpause} +OK
        foreach fd $fds {
            expect [resp::plain [resp::receive $fd]] OK
            close $fd
        }
    }
}

test "CLIENT PAUSE WRITE: an EXEC that writes waits, one that reads does not" {
    with_server {
        set writer [server::connect $::pause_server]
        set publisher [server::connect $::pause_server]
        is_on $writer multi +OK
        is_on $writer {set k 1} +QUEUED
        is_on $publisher multi +OK
        is_on $publisher {publish c m} +QUEUED
        is_on $::ctl {client pause 100000 write} +OK
        is_on $::ctl multi +OK
        is_on $::ctl {get k} +QUEUED
        is_on $::ctl exec {* nil}
        foreach fd [list $writer $publisher] {
            resp::send $fd exec
            flush $fd
        }
        wait_until {[blocked] == 2}
        is_on $::ctl {client unpause} +OK
        expect [resp::plain [resp::receive $writer]] OK
        expect [resp::plain [resp::receive $publisher]] 0
        close $writer
        close $publisher
    }
}

test "CLIENT PAUSE: a paused client can be killed, and a server with some stops" {
    with_server {
        is_on $::ctl {client pause 100000 write} +OK
        set fds [ask 3 set k v]
        wait_until {[blocked] == 3}
        regexp {id=(\d+) addr=\S+ [^\n]*flags=b } [resp::call $::ctl client list] - id
        expect [resp::call $::ctl client kill id $id] 1
        wait_until {[blocked] == 2}
        is_on $::ctl {exists k} :0
    }
}

test "CLIENT PAUSE: keys run out, and none leaves" {
    with_server {
        is_on $::ctl {psetex k 50 v} +OK
        is_on $::ctl {client pause 100000 write} +OK
        after 300
        is_on $::ctl {get k} nil
        expect_match [resp::call $::ctl info stats] *expired_keys:0*
        is_on $::ctl {client unpause} +OK
        wait_until {[string match *expired_keys:1* [resp::call $::ctl info stats]]}
    }
}

test "CLIENT PAUSE, UNBLOCK, GETREDIR: words and errors" {
    is {client pause x} {-ERR timeout is not an integer or out of range}
    is {client pause -1} {-ERR timeout is negative}
    is {client pause 0 foo} {-ERR CLIENT PAUSE mode must be WRITE or ALL}
    is {client pause 0 all x} "-ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP."
    is {client pause} "-ERR wrong number of arguments for 'client|pause' command"
    is {client unpause} +OK
    is {client unblock 4000000000} :0
    is {client unblock 4000000000 error} :0
    is {client unblock x} {-ERR value is not an integer or out of range}
    is {client unblock 1 foo} {-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR}
    is {client unblock 1 error x} "-ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP."
    is {client getredir} :-1
}

test "CLIENT NO-TOUCH" {
    own {
        is {set k v} +OK
        set payload [r dump k]
        is [list restore k 0 $payload replace idletime 1000] +OK
        is {client no-touch on} +OK
        expect_match [r client info] "* flags=T *"
        is {get k} {$v}
        is {strlen k} :1
        expect_true {[r object idletime k] >= 1000}
        is {touch k} :1
        expect_true {[r object idletime k] < 1000}
        is {del k} :1
        is {client no-touch off} +OK
        expect_match [r client info] "* flags=N *"
        is {client no-touch x} {-ERR syntax error}
    }
}
