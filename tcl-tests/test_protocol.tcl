# SPDX-License-Identifier: MIT
# The protocol: types of RESP2 and RESP3, inline commands, pipelines, malformed input.

test "RESP2 has a form for every type" {
    is {debug protocol string} {$Hello World}
    is {debug protocol integer} :12345
    is {debug protocol double} {$3.141}
    is {debug protocol null} nil
    is {debug protocol array} {* :0 :1 :2}
    is {debug protocol set} {* :0 :1 :2}
    is {debug protocol map} {* :0 :0 :1 :1 :2 :0}
    is {debug protocol attrib} {$Some real reply following the attribute}
    is {debug protocol push} {-ERR RESP2 is not supported by this command}
    is {debug protocol verbatim} "\$This is a verbatim\nstring"
    is {debug protocol true} :1
    is {debug protocol false} :0
    is {debug protocol bignum} {$1234567999999999999999999999999999999}
    is {debug protocol foo} "-ERR Wrong protocol type name. Please use one of the following:\
 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
}

test "RESP3 types" {
    r hello 3
    is {debug protocol string} {$Hello World}
    is {debug protocol double} ,3.141
    is {debug protocol null} _
    is {debug protocol array} {* :0 :1 :2}
    is {debug protocol set} {~ :0 :1 :2}
    is {debug protocol map} {% :0 #f :1 #t :2 #f}
    is {debug protocol attrib} {| {$key-popularity} {* $key:123 :90}}
    expect [show [resp::receive $::client]] {$Some real reply following the attribute}
    is {debug protocol push} {> $server-cpu-usage :42}
    expect [show [resp::receive $::client]] {$Some real reply following the push reply}
    is {debug protocol verbatim} "=txt:This is a verbatim\nstring"
    is {debug protocol true} #t
    is {debug protocol false} #f
    is {debug protocol bignum} (1234567999999999999999999999999999999
    is {get nosuch} _
    is {mget nosuch} {* _}
}

# Sends bytes as they are, then the end of our side; returns all that comes until the server closes. It may have closed
# before it has read everything: then our end cannot be sent, and what it said can be read all the same.
proc raw {bytes} {
    set fd [server::connect $::main]
    puts -nonewline $fd $bytes
    flush $fd
    catch {close $fd write}
    set got [read $fd]
    close $fd
    return $got
}

test "inline commands" {
    expect [raw "PING\r\n"] "+PONG\r\n"
    expect [raw "PING\n"] "+PONG\r\n"
    expect [raw "\r\n\r\nPING\r\n"] "+PONG\r\n"
    expect [raw "  set  k   \"a b\\x41\\n\"  \r\nget k\r\n"] "+OK\r\n\$5\r\na bA\n\r\n"
    expect [raw "set k 'it''s'\r\n"] "-ERR Protocol error: unbalanced quotes in request\r\n"
    expect [raw "set k 'it\\'s'\r\nget k\r\n"] "+OK\r\n\$4\r\nit's\r\n"
    expect [raw "get \"k\r\n"] "-ERR Protocol error: unbalanced quotes in request\r\n"
}

test "malformed input gets Redis's text and a closed connection" {
    expect [raw "*3\r\n\$3\r\nSET\r\n\$1\r\na\r\n\$x\r\nPING\r\n"] "-ERR Protocol error: invalid bulk length\r\n"
    expect [raw "*x\r\nPING\r\n"] "-ERR Protocol error: invalid multibulk length\r\n"
    expect [raw "*3000000000\r\n"] "-ERR Protocol error: invalid multibulk length\r\n"
    expect [raw "*1\r\n:4\r\nPING\r\n"] "-ERR Protocol error: expected '\$', got ':'\r\n"
    expect [raw "*1\r\n\$-1\r\nPING\r\n"] "-ERR Protocol error: invalid bulk length\r\n"
    expect [raw "*1\r\n\$536870913\r\n"] "-ERR Protocol error: invalid bulk length\r\n"
    expect [raw [string repeat x 70000]] "-ERR Protocol error: too big inline request\r\n"
    expect [raw "*1[string repeat 0 70000]"] "-ERR Protocol error: too big mbulk count string\r\n"
    expect [raw "*0\r\n*-1\r\nPING\r\n"] "+PONG\r\n"
}

test "more than a million arguments" {
    set n 1100000
    expect [raw "*[expr {$n + 1}]\r\n\$3\r\ndel\r\n[string repeat "\$1\r\nk\r\n" $n]"] ":0\r\n"
}

test "a long pipeline is answered in order" {
    set n 20000
    for {set i 0} {$i < $n} {incr i} {
        resp::send $::client set k$i v$i
        resp::send $::client get k$i
    }
    for {set i 0} {$i < $n} {incr i} {
        set pair [show [resp::receive $::client]][show [resp::receive $::client]]
        if {$pair ne "+OK\$v$i"} {
            error "reply $i: $pair"
        }
    }
    is {dbsize} :$n
}

test "a command that arrives byte by byte" {
    set fd [server::connect $::main]
    fconfigure $fd -buffering none
    foreach byte [split "*3\r\n\$3\r\nset\r\n\$1\r\nk\r\n\$4\r\n\r\n\r\n\r\n*2\r\n\$3\r\nget\r\n\$1\r\nk\r\n" {}] {
        puts -nonewline $fd $byte
    }
    expect [show [resp::receive $fd]] +OK
    expect [show [resp::receive $fd]] "\$\r\n\r\n"
    close $fd
}

test "several clients at once" {
    for {set i 0} {$i < 50} {incr i} {
        lappend clients [server::connect $::main]
    }
    for {set round 0} {$round < 20} {incr round} {
        foreach fd $clients {
            resp::send $fd incr counter
            flush $fd
        }
        foreach fd $clients {
            resp::receive $fd
        }
    }
    is {get counter} {$1000}
    foreach fd $clients {
        close $fd
    }
}

test "maxclients" {
    set s [server::start --maxclients 3]
    set first [server::connect $s]
    wait_until {[llength [split [string trim [resp::call $first client list]] "\n"]] == 1}
    set fds [list $first [server::connect $s] [server::connect $s]]
    foreach fd $fds {
        is_on $fd ping +PONG
    }
    set fd [server::connect $s]
    expect [show [resp::receive $fd]] {-ERR max number of clients reached}
    close $fd
    close [lindex $fds 0]
    wait_until {![catch {
        set fd [server::connect $s]
        resp::call $fd ping
    } text] && $text eq "PONG"}
    expect [server::stop $s] 0
}
