# SPDX-License-Identifier: MIT
# test_redis_suite.tcl - what the runner of Redis's suite makes of results. No server takes part.

# judge UNITS SKIPS BODY: runs the body in an interpreter with judge.tcl and these files loaded; its complaints.
proc judge_run {units skips body} {
    set dir [exec mktemp -d /tmp/bitkv-tcl.XXXXXX]
    foreach {name text} [list units $units skip $skips compat {
| command | state | why |
|---|---|---|
| GET | works | |
| LPUSH | not there | planned: lists |
| MULTI | not there | planned |
| SCAN | differs | order |
}] {
        set fd [open [file join $dir $name] w]
        puts $fd $text
        close $fd
    }
    set child [interp create]
    $child eval [list proc read_file [info args read_file] [info body read_file]]
    $child eval [list source [file join [file dirname [info script]] redis-suite judge.tcl]]
    $child eval {proc puts {args} {}}
    set code [catch {
        $child eval [list judge::load $dir [file join $dir compat]]
        $child eval $body
        $child eval {set judge::complaints}
    } result]
    interp delete $child
    file delete -force $dir
    return -code $code $result
}

test test_redis_suite__fewer_passes_than_before__fails_the_run {
    expect [judge_run "u 3 2" "" {judge::begin; judge::passed u a; judge::end u 0 0}] {{u: 1 tests pass, 2 did before}}
    expect [judge_run "u 3 1" "" {judge::begin; judge::passed u a; judge::end u 0 0}] {}
}

test test_redis_suite__redis_passes_another_number__fails_the_run {
    expect [judge_run "u 1 0" "" {judge::begin; judge::passed u a; judge::end u 1 0}] {}
    expect [judge_run "u 2 0" "" {judge::begin; judge::passed u a; judge::end u 1 0}] {{u: Redis passes 1, "units" says 2}}
}

test test_redis_suite__failure_for_want_of_a_command__counts_as_needs_unless_only_planned {
    expect [judge_run "u 3 0" "" {
        judge::begin
        judge::failed u a LPUSH text
        judge::failed u b {MULTI LPUSH} text
        judge::failed u c MULTI text
        judge::failed u d {} text
        judge::failed u e NOSUCH text
        judge::complain "$judge::count(needs) $judge::count(failed) $judge::needed"
    }] {{2 3 lists 2}}
}

test test_redis_suite__skip_that_passes_or_is_not_there__fails_the_run {
    set skips "u | a - b | SCAN | order"
    expect [judge_run "u 1 0" $skips {judge::begin; judge::failed u "a - b" {} text; judge::end u 0 0}] {}
    expect [judge_run "u 1 0" $skips {judge::begin; judge::passed u "a - b"; judge::end u 0 0}] {{skip: u: "a - b" passes}}
    expect [judge_run "u 1 0" $skips {judge::begin; judge::end u 0 0}] {{skip: no such test ran: u|a - b}}
}

test test_redis_suite__skip_without_a_row_that_tells_of_a_difference__fails_the_run {
    expect [llength [judge_run "u 1 0" "u | a | GET | why" {}]] 1
    expect [llength [judge_run "u 1 0" "u | a | NOSUCH | why" {}]] 1
    expect [llength [judge_run "u 1 0" "u | a | SCAN |" {}]] 1
    expect [llength [judge_run "u 1 0" "x | a | SCAN | why" {}]] 1
    expect [llength [judge_run "u 1 0" "u | a | SCAN | why" {}]] 0
}
