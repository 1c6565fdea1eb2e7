# SPDX-License-Identifier: MIT
# run.tcl - runs the units of Redis's own test suite against bitkv, prints a table and "N passed, N failed".
#
#   tclsh tcl-tests/redis-suite/run.tcl REDIS_SOURCE [UNIT...]
#
# REDIS_SUITE_SERVER: the program under test (default build/release/bitkv-server); where it is Redis itself, each unit
# must pass as many tests as the file "units" says that Redis passes. VERBOSE=1 shows how each test failed.
# REDIS_SUITE_SLOW=1 runs the tests with the tag "slow" too, which "units" does not count. A unit that
# says nothing for UNIT_SILENCE seconds (default 60; some units have their own) is ended, and what it had not done by then counts as not run.
#
# This process takes the place of the suite's own "test server": it hands one unit at a time to a process of the suite
# (client.tcl) and receives its packets, so that results come as data, with the names of tests as they are. Both that
# process and the server under test are killed by the kernel when this one ends, however it does.

set here [file dirname [file normalize [info script]]]
source [file join $here .. lib.tcl]
source [file join $here judge.tcl]

set slow [info exists env(REDIS_SUITE_SLOW)]
# It needs EVAL, and leaves a client tracking whose messages the tests behind it would take for its replies.
set spoils {Invalid keys should not be tracked for scripts in NOLOOP mode}
set deny "[expr {$slow ? {} : {-slow }}]-needs:debug -needs:repl -large-memory"
set silence [expr {[info exists env(UNIT_SILENCE)] ? $env(UNIT_SILENCE) : 60}]
set verbose [info exists env(VERBOSE)]
set channels {}
set server::program [file normalize [file join $here .. .. build release bitkv-server]]
if {[info exists env(REDIS_SUITE_SERVER)] && $env(REDIS_SUITE_SERVER) ne ""} {
    set server::program $env(REDIS_SUITE_SERVER)
}

# ---- One unit ----

# Reads the packets of the suite's process: a line with a length, then a list {status data elapsed}.
proc on_packet {channel} {
    if {[gets $channel length] < 0} {
        if {[eof $channel]} {
            unit_over "its process ended"
        }
        return
    }
    lassign [read $channel $length] status data
    if {$status ne "exception"} {
        rearm
    }
    on_status $channel $status $data
}

proc on_status {channel status data} {
    global unit current unknown
    switch -exact -- $status {
        ready {
            send_packet $channel run $unit
        }
        testing {
            set current $data
            set unknown {}
        }
        unknown {
            lappend unknown $data
        }
        ok {
            judge::passed $unit $data
            set current ""
        }
        err {
            judge::failed $unit [name_of_failure $data] $unknown $data
            set current ""
            set unknown {}
        }
        ignore {
            judge::ignored
        }
        exception {
            judge::failed $unit "(outside of tests)" $unknown $data
        }
        done {
            unit_over ""
        }
    }
}

# The text begins with the name where a test failed; else the code around the tests did, and the rest of it never ran.
proc name_of_failure {data} {
    global current
    if {$current ne "" && [string first $current $data] == 0} {
        return $current
    }
    return "(outside of tests)"
}

proc send_packet {channel args} {
    puts $channel [string length $args]
    puts -nonewline $channel $args
    flush $channel
}

proc accept {channel host port} {
    lappend ::channels $channel
    fconfigure $channel -encoding binary
    fileevent $channel readable [list on_packet $channel]
}

proc rearm {} {
    global watch silence unit
    catch {after cancel $watch}
    set seconds [dict get $judge::patience $unit]
    set seconds [expr {$seconds eq "" ? $silence : $seconds}]
    set watch [after [expr {$seconds * 1000}] [list unit_over "silent for $seconds s"]]
}

proc unit_over {why} {
    global over
    set over [list $why]
}

proc run_unit {name redis_source} {
    global unit over current unknown here deny spoils listening
    lassign [list $name "" {}] unit current unknown
    set s [server::start]
    set command [list {*}[server::guard] [info nameofexecutable] [file join $here client.tcl] \
        --host 127.0.0.1 --port [dict get $s port] --durable --tags $deny --skiptest $spoils --client $listening]
    set before [pwd]
    cd $redis_source
    set child [exec {*}$command </dev/null >[file join [dict get $s dir].suite] 2>@1 &]
    cd $before
    rearm
    vwait over
    catch {after cancel $::watch}
    catch {exec kill -KILL $child}
    foreach channel $::channels {
        close $channel
    }
    set ::channels {}
    set alive [server::alive $s]
    set why [lindex $over 0]
    if {$why ne ""} {
        judge::failed $unit "[expr {$current eq {} ? {(outside of tests)} : $current}]" $unknown "unit ended: $why\n[
            read_file [dict get $s dir].suite]"
    }
    file delete [dict get $s dir].suite
    if {!$alive} {
        judge::failed $unit "(the server ended)" {} [read_file [dict get $s dir].log]
    }
    server::stop $s
}

# ---- All of them ----

if {[llength $argv] < 1} {
    puts stderr "usage: run.tcl REDIS_SOURCE \[UNIT...\]"
    exit 2
}
set redis_source [file normalize [lindex $argv 0]]
set status 1
if {[catch {
    judge::load $here [file join $here .. .. redis-compat.md]
    set probe [server::start]
    set client [server::connect $probe]
    set is_redis [expr {![string match *bitkv_version* [r INFO everything]]}]
    close $client
    server::stop $probe
    if {$is_redis} {
        judge::forget_skips
        set spoils {}
    }
    set socket [socket -server accept -myaddr 127.0.0.1 0]
    set listening [lindex [fconfigure $socket -sockname] 2]
    judge::header
    foreach name [judge::chosen [lrange $argv 1 end]] {
        judge::begin
        run_unit $name $redis_source
        judge::end $name $is_redis $slow
    }
    set status [judge::finish $is_redis $verbose]
} text options]} {
    puts "FAILED: [dict get $options -errorinfo]"
    puts "0 passed, 1 failed"
}
foreach s $server::list {
    server::stop $s
}
exit $status
