# SPDX-License-Identifier: MIT
# test_clients.tcl - how the programs of tests/clients are judged. No server takes part.

source [file join [file dirname [info script]] .. tests clients judge.tcl]

proc complaints {output {how ended}} {
    return [dict get [clients::judge {one two three} $output $how] bad]
}

test test_clients__readme__gives_the_names_in_their_order {
    expect [clients::names "| number | name |\n|---|---|\n| 1 | one | x |\n| 2 | a b | |\n| 4 | no | |"] {one {a b}}
}

test test_clients__all_things_done__passes {
    set said [clients::judge {one two three} {"ok 1 one" "# words" restart "ok 2 two" "ok 3 three # SKIP why"} ended]
    expect [dict get $said bad] {}
    expect [list [dict get $said passed] [dict get $said skipped]] {2 1}
}

test test_clients__thing_that_fails_is_skipped_missing_doubled_or_renamed__is_a_complaint {
    expect [complaints {"ok 1 one" restart "not ok 2 two" "ok 3 three"}] {{not ok 2 two}}
    expect [complaints {"ok 1 one # SKIP why" restart "ok 2 two" "ok 3 three"}] {{may not be skipped: ok 1 one # SKIP why}}
    expect [complaints {"ok 1 one" restart "ok 2 two"}] {{missing: 3 three}}
    expect [llength [complaints {"ok 1 one" restart "ok 1 one" "ok 2 two" "ok 3 three"}]] 1
    expect [llength [complaints {"ok 1 one" restart "ok 2 other" "ok 3 three"}]] 1
    expect [llength [complaints {"ok 1 one" restart "ok 3 three"}]] 1
}

test test_clients__no_restart_or_a_bad_end__is_a_complaint {
    set all {"ok 1 one" "ok 2 two" "ok 3 three"}
    expect [llength [complaints $all]] 1
    expect [llength [complaints [concat $all restart restart]]] 1
    expect [complaints [concat $all restart] "did not end"] {{did not end}}
}
