# SPDX-License-Identifier: MIT
# client.tcl - the process of Redis's own test suite that runs units, with two additions and nothing taken away.
#
#   tclsh client.tcl --host 127.0.0.1 --port P --durable --tags "-slow" --client PORT     in the folder of Redis's source
#
#   1. Each command that the server does not know is reported to the runner as a packet "unknown", also where the test
#      itself swallows the error or compares it with another, or only asks COMMAND about it.
#   2. The suite begins each group of tests with FUNCTION FLUSH. A server without functions has none to flush: that
#      error alone is let pass, else no test at all would run.

rename source suite_source
proc source {file} {
    set value [uplevel 1 [list suite_source $file]]
    if {$file eq "tests/support/redis.tcl"} {
        watch_replies
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
        set code [catch {::redis::suite_dispatch $id $method $argv} value options]
        if {$code == 1 && "$method $argv" eq "function flush" && [string match "ERR unknown command*" $value]} {
            return OK
        }
        report_asked [string tolower $method] $argv $value
        return -options $options $value
    }
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
