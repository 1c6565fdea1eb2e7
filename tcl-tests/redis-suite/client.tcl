# SPDX-License-Identifier: MIT
# client.tcl - the process of Redis's own test suite that runs units, with three additions and nothing taken away.
#
#   tclsh client.tcl --host 127.0.0.1 --port P --durable --tags "-slow" --client PORT     in the folder of Redis's source
#
#   1. Each command that the server does not know is reported to the runner as a packet "unknown", also where the test
#      itself never reads the error, swallows it or compares it with another, or only asks COMMAND about it.
#   2. The suite begins each group of tests with FUNCTION FLUSH. A server without functions has none to flush: that
#      error alone is let pass, else no test at all would run.
#   3. A test that fails inside MULTI leaves its connection there, and the next ones would get QUEUED for an answer:
#      behind a failed test, DISCARD is sent where that is so.

array set in_multi {}       ;# client -> 1 while its last MULTI has not been followed by EXEC, DISCARD or RESET
array set known {}          ;# command -> 1, from the server itself

rename source suite_source
proc source {file} {
    set value [uplevel 1 [list suite_source $file]]
    if {$file eq "tests/support/redis.tcl"} {
        watch_replies
    } elseif {$file eq "tests/support/test.tcl"} {
        watch_tests
    }
    return $value
}

proc watch_replies {} {
    rename ::redis::redis_read_reply ::redis::suite_read_reply
    proc ::redis::redis_read_reply {id fd} {
        set code [catch {::redis::suite_read_reply $id $fd} value options]
        # Raw replies come with their first byte, and an error is none to Tcl.
        if {$code == 1 || [string match "-ERR*" $value]} {
            report_unknown [string trimleft $value -]
        }
        return -options $options $value
    }
    rename ::redis::__dispatch__raw__ ::redis::suite_dispatch
    proc ::redis::__dispatch__raw__ {id method argv} {
        note_sent $id [string tolower $method]
        set code [catch {::redis::suite_dispatch $id $method $argv} value options]
        if {$code == 1 && "$method $argv" eq "function flush" && [string match "ERR unknown command*" $value]} {
            return OK
        }
        report_asked [string tolower $method] $argv $value
        return -options $options $value
    }
}

proc watch_tests {} {
    rename test suite_test
    proc test {args} {
        set before $::num_failed
        uplevel 1 [list suite_test {*}$args]
        if {$::num_failed > $before} {
            leave_transactions
        }
    }
}

proc leave_transactions {} {
    foreach id [array names ::in_multi] {
        if {[info exists ::redis::fd($id)]} {
            catch {::redis::suite_dispatch $id discard {}}
        }
    }
    array unset ::in_multi
}

proc note_sent {id method} {
    if {[info commands ::redis::__method__$method] ne ""} {
        return
    }
    if {$method eq "multi" && !$::redis::deferred($id) && $::redis::blocking($id)} {
        set ::in_multi($id) 1
    } elseif {$method in {exec discard reset}} {
        unset -nocomplain ::in_multi($id)
    }
    if {[array size ::known] == 0} {
        load_known
    }
    if {![info exists ::known($method)]} {
        send_data_packet $::test_server_fd unknown [string toupper $method]
    }
}

# Over a connection of its own, before the first command of the suite. The arrays are filled first: this comes back here.
proc load_known {} {
    set ::known(command) 1
    set c [redis $::host $::port]
    foreach name [$c command list] {
        set ::known($name) 1
    }
    $c close
}

proc report_unknown {error} {
    if {[regexp {^ERR unknown command '([^']*)'} $error - name]} {
        send_data_packet $::test_server_fd unknown [string toupper $name]
    } elseif {[regexp {^ERR unknown subcommand '([^']*)'\. Try ([^ ]*) HELP} $error - name container]} {
        send_data_packet $::test_server_fd unknown [string toupper "$container $name"]
    }
}

proc report_asked {method argv reply} {
    if {$method ne "command"} {
        return
    }
    set what [string tolower [lindex $argv 0]]
    if {($what in {getkeys getkeysandflags} && $reply eq "ERR Invalid command specified") ||
        ($what eq "info" && [llength $argv] == 2 && $reply eq "{}")} {
        send_data_packet $::test_server_fd unknown [string toupper [lindex $argv 1]]
    }
}

suite_source tests/test_helper.tcl
