# SPDX-License-Identifier: MIT
# judge.tcl - what a program of this folder has said, held against the list in README.md.

namespace eval clients {}

# The list's names, in its order.
proc clients::names {readme} {
    set list {}
    foreach line [split $readme \n] {
        if {[regexp {^\| (\d+) \| ([^|]+?) \|} $line - number name] && $number == [llength $list] + 1} {
            lappend list $name
        }
    }
    return $list
}

# how: "ended", or what was wrong with the program's end. Returns a dictionary: how many things passed and were skipped,
# complaints, and what else the program said. Only the last thing may be skipped.
proc clients::judge {names output how} {
    set said [dict create passed 0 skipped 0 bad {} notes {}]
    set next 1
    foreach line $output {
        if {![regexp {^(ok|not ok) (\d+) (.*?)( # SKIP .*)?$} $line - status number name skip]} {
            dict lappend said notes $line
            continue
        }
        if {$number != $next || $name ne [lindex $names [expr {$number - 1}]]} {
            dict lappend said bad "out of the list: $line"
        } elseif {$status ne "ok"} {
            dict lappend said bad $line
        } elseif {$skip eq ""} {
            dict incr said passed
        } elseif {$number == [llength $names]} {
            dict incr said skipped
        } else {
            dict lappend said bad "may not be skipped: $line"
        }
        set next [expr {$number + 1}]
    }
    for {set n $next} {$n <= [llength $names]} {incr n} {
        dict lappend said bad "missing: $n [lindex $names [expr {$n - 1}]]"
    }
    if {[llength [lsearch -all -exact $output restart]] != 1} {
        dict lappend said bad "it did not ask for one restart"
    }
    if {$how ne "ended"} {
        dict lappend said bad $how
    }
    return $said
}
