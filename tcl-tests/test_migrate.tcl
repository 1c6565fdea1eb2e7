# SPDX-License-Identifier: MIT
# MIGRATE: to a Redis, to another bitkv, and to targets that misbehave.

# A target that answers each command with the next of these lines; "close" ends the connection, "hold" answers nothing
# any more. What it was sent is in ::fake_got.
proc fake_target {lines} {
    set ::fake_lines $lines
    set ::fake_got {}
    set listener [socket -server fake_accept -myaddr 127.0.0.1 0]
    return [list $listener [lindex [fconfigure $listener -sockname] 2]]
}

proc fake_accept {fd host port} {
    fconfigure $fd -blocking 0 -translation binary -buffering none
    fileevent $fd readable [list fake_read $fd]
    set ::fake_fd $fd
}

proc fake_read {fd} {
    append ::fake_got [read $fd]
    if {[eof $fd]} {
        close $fd
        return
    }
    foreach line $::fake_lines {
        if {$line eq "close"} {
            close $fd
            break
        }
        if {$line eq "hold"} {
            break
        }
        puts -nonewline $fd "$line\r\n"
    }
    set ::fake_lines {}
}

# Sends a command and serves the fake target until the reply is there.
proc r_serving {args} {
    set fd $::client
    resp::send $fd {*}$args
    flush $fd
    fconfigure $fd -blocking 0
    fileevent $fd readable {set ::replied 1}
    vwait ::replied
    fileevent $fd readable {}
    fconfigure $fd -blocking 1
    return [show [resp::receive $fd]]
}

test "MIGRATE moves keys with their expiry to a Redis and to a bitkv, and back" {
    foreach start {server::start_redis server::start} {
        set target [$start]
        set fd [server::connect $target]
        set port [dict get $target port]
        r mset a 1 b [string repeat abc 10000] c {}
        r pexpire b 100000
        is [list migrate 127.0.0.1 $port a 3 5000] +OK
        is {exists a} :0
        is [list migrate localhost $port {} 3 5000 keys b nosuch c] +OK
        is {dbsize} :0
        resp::call $fd SELECT 3
        expect [resp::call $fd MGET a c] {1 {}}
        expect [resp::call $fd STRLEN b] 30000
        expect_true {[resp::call $fd PTTL b] > 90000 && [resp::call $fd PTTL b] <= 100000}
        expect [resp::call $fd MIGRATE 127.0.0.1 [dict get $::main port] "" 0 5000 KEYS a b c] OK
        expect [resp::call $fd DBSIZE] 0
        is {mget a c} {* $1 $}
        is {strlen b} :30000
        expect_true {[r pttl b] > 80000 && [r pttl b] <= 100000}
        r flushall
        close $fd
        server::stop $target
    }
}

test "MIGRATE: COPY, REPLACE, NOKEY, errors of the target" {
    set target [server::start]
    set fd [server::connect $target]
    set port [dict get $target port]
    is {set a 1} +OK
    is [list migrate 127.0.0.1 $port nosuch 0 1000] +NOKEY
    is [list migrate 127.0.0.1 $port {} 0 1000 keys] +NOKEY
    is [list migrate 127.0.0.1 $port a 0 1000 copy] +OK
    is {get a} {$1}
    expect [resp::call $fd GET a] 1
    is {mset a 2 b 2} +OK
    is [list migrate 127.0.0.1 $port {} 0 1000 keys a b] \
        {-ERR Target instance replied with error: BUSYKEY Target key name already exists.}
    # What the target has taken is gone here, and nothing else.
    is {mget a b} {* $2 nil}
    is [list migrate 127.0.0.1 $port a 0 1000 replace] +OK
    expect [resp::call $fd MGET a b] {2 2}
    is {set a 3} +OK
    is [list migrate 127.0.0.1 $port a 99 1000] {-ERR Target instance replied with error: ERR DB index is out of range}
    is [list migrate 127.0.0.1 $port a 0 1000 replace auth foo] \
        {-ERR Target instance replied with error: ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?}
    resp::call $fd CONFIG SET requirepass secret
    own { # Redis still has its connection of before.
        is [list migrate 127.0.0.1 $port a 0 1000 replace] \
            {-ERR Target instance replied with error: NOAUTH Authentication required.}
    }
    is [list migrate 127.0.0.1 $port a 0 1000 replace auth2 default wrong] \
        {-ERR Target instance replied with error: WRONGPASS invalid username-password pair or user is disabled.}
    is {get a} {$3}
    is [list migrate 127.0.0.1 $port a 0 1000 replace auth2 default secret] +OK
    is {exists a} :0
    expect [resp::call $fd GET a] 3
    close $fd
    server::stop $target
}

test "MIGRATE: passwords are neither in SLOWLOG nor shown by MONITOR" {
    set was [r config get slowlog-log-slower-than]
    is {config set slowlog-log-slower-than 0} +OK
    is {set a 1} +OK
    set watches [server::connect $::main]
    resp::call $watches MONITOR
    set port [server::free_port]
    foreach {words shown} {
        {replace auth secret} {replace auth (redacted)}
        {auth secret auth2 name secret copy} {auth (redacted) auth2 (redacted) (redacted) copy}
        {auth secret nosuch} {auth (redacted) nosuch}
    } {
        r migrate 127.0.0.1 $port a 0 1000 {*}$words
        set want [list migrate 127.0.0.1 $port a 0 1000 {*}$shown]
        expect [lindex [r slowlog get 1] 0 3] $want
        expect_match [lindex [resp::receive $watches] 1] "*\] \"[join $want {" "}]\""
    }
    # A transfer ends in another run of the command than the one that reads its words.
    own {
        lassign [fake_target {-ERR no}] listener port
        r_serving migrate 127.0.0.1 $port a 0 200 auth secret
        expect [lindex [r slowlog get 1] 0 3] "migrate 127.0.0.1 $port a 0 200 auth (redacted)"
        close $listener
    }
    close $watches
    r config set {*}$was
}

test "MIGRATE: syntax" {
    is {set a 1} +OK
    is {migrate 127.0.0.1 1 a 0 1000 foo} {-ERR syntax error}
    is {migrate 127.0.0.1 1 a 0 1000 auth} {-ERR syntax error}
    is {migrate 127.0.0.1 1 a 0 1000 auth2 x} {-ERR syntax error}
    is {migrate 127.0.0.1 1 a 0 1000 keys a} \
        {-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string}
    is {migrate 127.0.0.1 1 a 0 x} {-ERR value is not an integer or out of range}
    is {migrate 127.0.0.1 1 a x 1000} {-ERR value is not an integer or out of range}
    is {migrate 127.0.0.1 1 a 0} "-ERR wrong number of arguments for 'migrate' command"
    is {command getkeys migrate h 1 {} 0 1 copy auth keys keys a b} {* $a $b}
    is {command getkeys migrate h 1 k 0 1 copy} {* $k}
}

test "MIGRATE: a target that is not there, hangs up, or never answers" {
    is {set a 1} +OK
    is [list migrate 127.0.0.1 [server::free_port] a 0 1000] {-IOERR error or timeout writing to target instance}
    is {migrate 1.2.3.4.5 1 a 0 1000} {-IOERR error or timeout connecting to the client}
    foreach lines {{+OK close} {close} {+OK hold}} {
        lassign [fake_target $lines] listener port
        expect [r_serving migrate 127.0.0.1 $port a 0 200] {-IOERR error or timeout reading to target instance}
        is {get a} {$1}
        close $listener
    }
    # It has taken the first key only.
    is {set b 2} +OK
    lassign [fake_target {+OK +OK hold}] listener port
    expect [r_serving migrate 127.0.0.1 $port {} 0 200 keys a b] {-IOERR error or timeout reading to target instance}
    is {mget a b} {* nil $2}
    close $listener
}

test "MIGRATE: thousands of keys, and an error in the last answer" {
    set keys {}
    set pairs {}
    for {set i 0} {$i < 3000} {incr i} {
        lappend keys k$i
        lappend pairs k$i v
    }
    is [list mset {*}$pairs] +OK
    lassign [fake_target [concat +OK [lrepeat 2999 +OK] {{-ERR no more}}]] listener port
    expect [r_serving migrate 127.0.0.1 $port {} 0 5000 keys {*}$keys] \
        {-ERR Target instance replied with error: ERR no more}
    is {keys *} {* $k2999}
    close $listener
}

test "MIGRATE: a key that is changed during the transfer is kept" {
    own {
        foreach change {{set a new} {del a} {append a x} {expire a 1000} {persist b}} {
            r flushall
            is {mset a 1 c 3} +OK
            is {set b 2 px 100000} +OK
            lassign [fake_target hold] listener port
            resp::send $::client migrate 127.0.0.1 $port {} 0 5000 keys a b c
            flush $::client
            while {![string match "*\r\nc\r\n*" $::fake_got]} {
                vwait ::fake_got
            }
            # Others are served meanwhile.
            set fd [server::connect $::main]
            expect_match [resp::call $fd info clients] "*blocked_clients:1\r*"
            resp::call $fd {*}$change
            set before [resp::call $fd MGET a b]
            puts -nonewline $::fake_fd "+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
            set reply [show [resp::receive $::client]]
            expect $reply {-ERR 1 of the keys were changed during the transfer and are kept here, the target instance has older values of them}
            lassign $before a b
            set changed [lindex $change 1]
            expect [resp::call $fd MGET a b c] [list [expr {$changed eq "a" ? $a : ""}] [expr {$changed eq "b" ? $b : ""}] {}]
            close $fd
            close $listener
        }
    }
}
