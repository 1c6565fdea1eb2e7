# SPDX-License-Identifier: MIT
# run.tcl - runs the compatibility tests and prints "N passed, N failed".
#
#   tclsh tcl-tests/run.tcl [PART OF A TEST'S NAME]
#
# BITKV_SERVER: the program under test (default build/bitkv-server). It may be Redis 7.0 itself, which must pass too,
# but for the tests marked "own": so the expectations are held against their source. TRACE=1 adds where a test failed.

source [file join [file dirname [info script]] lib.tcl]

set only $argv
set current start
set status 1
if {[catch {
    set main [server::start]
    set client [server::connect $main]
    set against_redis [expr {![string match *bitkv_version* [r INFO everything]]}]
    foreach file [lsort [glob -directory [file dirname [info script]] test_*.tcl]] {
        set current [string range [file rootname [file tail $file]] 5 end]
        source $file
    }
} text options]} {
    incr failed
    puts "FAILED $current: [dict get $options -errorinfo]"
}
catch {close $client}
foreach s $server::list {
    if {[server::stop $s] != 0 && $s eq $main} {
        incr failed
        puts "FAILED stop: the server did not exit with status 0"
    }
}
puts "$passed passed, $failed failed"
exit [expr {$failed > 0 || $passed == 0}]
