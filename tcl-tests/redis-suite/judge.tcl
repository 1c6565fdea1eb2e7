# SPDX-License-Identifier: MIT
# judge.tcl - what the results of Redis's tests mean for bitkv: which failure is one, and what the run as a whole says.
#
# A failed test is one of three:
#   needs    the server said that it does not know a command which redis-compat.md lists as not there for a reason of its
#            own (collections, scripts, streams, cluster ...), which "planned" alone is not
#   listed   the file "skip" names it, with a reason and the row of redis-compat.md that it belongs to
#   failed   all others

namespace eval judge {
    variable units {}           ;# unit -> {redis passed}
    variable patience {}        ;# unit -> seconds that it may say nothing; "": as others
    variable listed             ;# "unit|test" -> 1 while nothing was heard of it
    variable rows               ;# command or option -> {state reason}, from redis-compat.md
    variable count              ;# of the unit that runs: passed failed needs listed ignored
    variable total
    variable needed             ;# reason -> tests of the unit that runs
    variable complaints {}      ;# what makes the run fail
    variable failures {}        ;# {unit test text}
    variable needing {}
    array set listed {}
    array set rows {}
    array set total {redis 0 passed 0 failed 0 needs 0 listed 0 lost 0 ignored 0}
}

# ---- The files ----

proc judge::lines {file} {
    return [lmap line [split [read_file $file] \n] {
        if {[string match "#*" $line] || [string trim $line] eq ""} continue
        set line
    }]
}

proc judge::load {folder compat} {
    variable units
    variable patience
    load_rows $compat
    foreach line [lines [file join $folder units]] {
        lassign $line unit redis passed silence
        dict set units $unit [list $redis $passed]
        dict set patience $unit $silence
    }
    load_skips [file join $folder skip]
}

proc judge::load_rows {compat} {
    variable rows
    foreach line [split [read_file $compat] \n] {
        if {[regexp {^\| ([^|]+) \| (works|differs|not there|no effect|own) \| *(.*?) *\|$} $line - name state why]} {
            set rows($name) [list $state $why]
        }
    }
}

proc judge::load_skips {file} {
    variable listed
    variable units
    variable rows
    foreach line [lines $file] {
        lassign [lmap part [split $line |] {string trim $part}] unit test row reason
        if {$reason eq "" || ![dict exists $units $unit]} {
            complain "skip: not \"unit | test | row | reason\": $line"
            continue
        }
        if {![info exists rows($row)] || [lindex $rows($row) 0] eq "works"} {
            complain "skip: redis-compat.md has no row \"$row\" that tells of a difference"
        }
        set listed($unit|$test) 1
    }
}

# They are of bitkv: Redis passes what they name.
proc judge::forget_skips {} {
    variable listed
    array unset listed
}

proc judge::complain {text} {
    variable complaints
    lappend complaints $text
}

# The units in the order of their file; only those named, if any are.
proc judge::chosen {names} {
    variable units
    foreach name $names {
        if {![dict exists $units $name]} {
            error "no unit $name in the file \"units\""
        }
    }
    return [lmap unit [dict keys $units] {
        if {[llength $names] > 0 && $unit ni $names} continue
        set unit
    }]
}

# ---- The tests of a unit ----

proc judge::begin {} {
    variable count
    variable needed {}
    array set count {passed 0 failed 0 needs 0 listed 0 ignored 0}
}

proc judge::passed {unit test} {
    variable count
    variable listed
    incr count(passed)
    if {[info exists listed($unit|$test)]} {
        complain "skip: $unit: \"$test\" passes"
        set listed($unit|$test) 0
    }
}

proc judge::failed {unit test unknown text} {
    variable count
    variable listed
    variable failures
    variable needed
    variable needing
    if {[info exists listed($unit|$test)]} {
        set listed($unit|$test) 0
        incr count(listed)
        return
    }
    set reasons [reasons $unknown]
    if {[llength $reasons] > 0} {
        incr count(needs)
        lappend needing $unit $test $reasons
        foreach reason $reasons {
            dict incr needed $reason
        }
        return
    }
    incr count(failed)
    lappend failures $unit $test $text
}

proc judge::ignored {} {
    variable count
    incr count(ignored)
}

# Why commands that the server did not know are not there. "planned" alone is no excuse.
proc judge::reasons {unknown} {
    variable rows
    set reasons {}
    foreach command [lsort -unique $unknown] {
        if {[info exists rows($command)]} {
            lassign $rows($command) state why
            if {$state eq "not there" && $why ni {"" planned}} {
                lappend reasons [regsub {^planned: } $why ""]
            }
        }
    }
    return [lsort -unique $reasons]
}

# ---- The table ----

proc judge::header {} {
    row unit redis passed failed needs listed "not run" denied ""
}

proc judge::row {unit args} {
    puts [string trimright [format "%-21s %6s %7s %7s %6s %7s %8s %7s  %s" $unit {*}$args]]
    flush stdout
}

proc judge::end {unit is_redis slow} {
    variable units
    variable count
    variable total
    variable needed
    lassign [dict get $units $unit] redis least
    set lost [expr {$redis - $count(passed) - $count(failed) - $count(needs) - $count(listed)}]
    set lost [expr {max($lost, 0)}]
    set note [join [lmap {reason n} $needed {string cat "$reason $n"}] ", "]
    row $unit $redis $count(passed) $count(failed) $count(needs) $count(listed) $lost $count(ignored) $note
    foreach key {passed failed needs listed ignored} {
        incr total($key) $count($key)
    }
    incr total(redis) $redis
    incr total(lost) $lost
    if {$is_redis && !$slow && $count(passed) != $redis} {
        complain "$unit: Redis passes $count(passed), \"units\" says $redis"
    } elseif {!$is_redis && $count(passed) < $least} {
        complain "$unit: $count(passed) tests pass, $least did before"
    } elseif {!$is_redis && !$slow && $count(passed) > $least} {
        puts "    $unit: $count(passed) pass now: raise it in tcl-tests/redis-suite/units (it says $least)"
    }
    if {!$is_redis} {
        end_skips $unit
    }
}

proc judge::end_skips {unit} {
    variable listed
    foreach key [array names listed "$unit|*"] {
        if {$listed($key)} {
            complain "skip: no such test ran: $key"
        }
    }
}

# The last words; the exit status.
proc judge::finish {is_redis verbose} {
    variable total
    variable complaints
    variable failures
    variable needing
    row total $total(redis) $total(passed) $total(failed) $total(needs) $total(listed) $total(lost) $total(ignored) ""
    foreach {unit test text} $failures {
        puts "  failed  $unit: $test"
        if {$verbose} {
            puts "          [join [lrange [split $text \n] 0 12] "\n          "]"
        }
    }
    if {$verbose} {
        foreach {unit test reasons} $needing {
            puts "  needs   $unit: $test: [join $reasons {, }]"
        }
    }
    foreach text $complaints {
        puts "FAILED $text"
    }
    puts "$total(passed) passed, [llength $complaints] failed"
    return [expr {[llength $complaints] > 0 || $total(passed) == 0}]
}
