# SPDX-License-Identifier: MIT
# lib.tcl - the server under test, and the words in which the tests are written.
#
#   test NAME BODY            runs BODY on an empty server; an error in it is a failure
#   is COMMAND EXPECTED       sends COMMAND, compares its reply with type and all (see same)
#   r ARGS...                 sends a command, gives its reply without types
#   expect VALUE EXPECTED     compares two strings
#   own BODY                  skipped when the server is Redis itself
#
# An expected reply is written as on the wire: +OK :1 $text nil nilarray {-ERR text} ,1.5 #t _ ; an aggregate is a list
# whose first word is its type: {* $a :1 {* $b}} {% $key $value} {~ $member}.

source [file join [file dirname [info script]] resp.tcl]

set passed 0
set failed 0

namespace eval server {
    variable program
    variable list {}
}

# ---- The server ----

if {[info exists env(BITKV_SERVER)] && $env(BITKV_SERVER) ne ""} {
    set server::program $env(BITKV_SERVER)
} else {
    set server::program [file join [file dirname [info script]] .. build bitkv-server]
}

proc server::free_port {} {
    set fd [socket -server {} -myaddr 127.0.0.1 0]
    set port [lindex [fconfigure $fd -sockname] 2]
    close $fd
    return $port
}

# Starts a server in a directory of its own, waits until it answers; returns a handle for the procs below.
proc server::start {args} {
    variable program
    return [start_program $program {*}$args]
}

# Redis itself: the server on the path, or Debian's redis-tools, whose redis-check-rdb is the same program.
proc server::start_redis {args} {
    set program [auto_execok redis-server]
    set link {}
    if {$program eq ""} {
        set link [exec mktemp -d /tmp/bitkv-tcl.XXXXXX]
        set program [file join $link redis-server]
        file link -symbolic $program [lindex [auto_execok redis-check-rdb] 0]
    }
    set s [start_program [lindex $program 0] {*}$args]
    if {$link ne ""} {
        file delete -force $link
    }
    return $s
}

# The kernel kills what is started behind these words when this process ends, however it does.
proc server::guard {} {
    return [expr {[auto_execok setpriv] eq "" ? {} : {setpriv --pdeathsig KILL}}]
}

proc server::start_program {program args} {
    set dir [exec mktemp -d /tmp/bitkv-tcl.XXXXXX]
    return [launch [dict create program $program arguments $args dir $dir port [free_port]]]
}

# The same server again, on the same port with the data that it left.
proc server::restart {s} {
    catch {exec kill [dict get $s pid]}
    close_channel $s
    return [launch $s]
}

proc server::launch {s} {
    variable list
    dict with s {
        set command [concat [list {*}[guard] $program --port $port --bind 127.0.0.1 --dir $dir --save {}] \
            [list --enable-debug-command yes] $arguments]
        if {[catch {open "|$command >> $dir.log 2>@1" w} channel]} {
            file delete -force $dir $dir.log
            error $channel
        }
    }
    dict set s channel $channel
    dict set s pid [pid $channel]
    lappend list $s
    set deadline [expr {[clock milliseconds] + 20000}]
    while {![answers $port]} {
        if {[clock milliseconds] > $deadline || ![alive $s]} {
            set log [read_file $dir.log]
            stop $s
            error "the server does not answer; its output:\n$log"
        }
        after 20
    }
    return $s
}

proc server::answers {port} {
    set ok 0
    if {![catch {resp::open_tcp $port} fd]} {
        set ok [expr {![catch {resp::call $fd PING} reply] && ([regexp {^(PONG|NOAUTH|MISCONF)} $reply])}]
        close $fd
    }
    return $ok
}

proc server::alive {s} {
    return [expr {![catch {exec kill -0 [dict get $s pid]}]}]
}

# Waits for its end; returns its exit status, -1 when a signal ended it.
proc server::close_channel {s} {
    variable list
    set status 0
    if {[catch {close [dict get $s channel]} text options]} {
        lassign [dict get $options -errorcode] kind - status
        if {$kind ne "CHILDSTATUS"} {
            set status -1
        }
    }
    set at [lsearch -exact $list $s]
    set list [lreplace $list $at $at]
    return $status
}

# As close_channel, and removes what it left.
proc server::reap {s} {
    set status [close_channel $s]
    file delete -force [dict get $s dir] [dict get $s dir].log
    return $status
}

proc server::stop {s} {
    catch {exec kill [dict get $s pid]}
    return [reap $s]
}

proc server::connect {s} {
    return [resp::open_tcp [dict get $s port]]
}

proc read_file {path} {
    set fd [open $path r]
    set text [read $fd]
    close $fd
    return $text
}

# ---- Comparing ----

# A typed reply in the form in which tests expect it.
proc show {reply} {
    lassign $reply type value
    switch -exact -- $type {
        nil - nilarray - _ {
            return $type
        }
        * - ~ - > - % - | {
            return [list $type {*}[lmap e $value {show $e}]]
        }
    }
    return $type$value
}

proc same {expected reply} {
    lassign $reply type value
    if {$type ni {* ~ > % |}} {
        return [expr {[show $reply] eq $expected}]
    }
    if {[catch {llength $expected} n] || $n != [llength $value] + 1 || [lindex $expected 0] ne $type} {
        return 0
    }
    foreach e [lrange $expected 1 end] r $value {
        if {![same $e $r]} {
            return 0
        }
    }
    return 1
}

proc r {args} {
    return [resp::call $::client {*}$args]
}

proc is {command expected} {
    is_on $::client $command $expected
}

proc is_on {fd command expected} {
    set reply [resp::typed $fd {*}$command]
    if {![same $expected $reply]} {
        error "$command: expected $expected, got [show $reply]"
    }
}

# The reply's elements in any order.
proc is_sorted {command expected} {
    set reply [lsort [r {*}$command]]
    if {$reply ne [lsort $expected]} {
        error "$command: expected $expected in any order, got $reply"
    }
}

proc expect {value expected} {
    if {$value ne $expected} {
        error "expected $expected, got $value"
    }
}

proc expect_match {value pattern} {
    if {![string match $pattern $value]} {
        error "expected something like $pattern, got $value"
    }
}

proc expect_true {expression} {
    if {![uplevel 1 [list expr $expression]]} {
        error "not true: $expression"
    }
}

# Waits at most 10 seconds for an expression to become true.
proc wait_until {expression} {
    set deadline [expr {[clock milliseconds] + 10000}]
    while {![uplevel 1 [list expr $expression]]} {
        if {[clock milliseconds] > $deadline} {
            error "has not become true: $expression"
        }
        after 10
    }
}

# ---- Running ----

proc is_redis {} {
    return $::against_redis
}

proc own {body} {
    if {![is_redis]} {
        uplevel 1 $body
    }
}

proc test {name body} {
    if {[llength $::only] && ![string match *[lindex $::only 0]* "$::current $name"]} {
        return
    }
    if {[catch {
        r RESET
        r FLUSHALL
        apply [list {} $body ::]
    } text options]} {
        incr ::failed
        puts "FAILED $::current: $name: [string range $text 0 2000]"
        if {[dict exists $options -errorinfo] && [info exists ::env(TRACE)]} {
            puts [dict get $options -errorinfo]
        }
        reconnect
    } else {
        incr ::passed
    }
}

# After a failure replies may still be on their way: a fresh connection knows of none.
proc reconnect {} {
    catch {close $::client}
    if {![server::alive $::main]} {
        set ::main [server::start]
    }
    set ::client [server::connect $::main]
}
