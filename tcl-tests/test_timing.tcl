# SPDX-License-Identifier: MIT
# How long commands take: INFO errorstats and latencystats, SLOWLOG, LATENCY.

proc restore {options} {
    r config set {*}$options
}

test "INFO errorstats counts error replies by their first word" {
    is {config resetstat} +OK
    r nosuch
    r incr
    r auth one two
    r auth one three
    r set s x
    r incr s
    expect [string map {\r {}} [r info errorstats]] "# Errorstats\nerrorstat_ERR:count=3\nerrorstat_WRONGPASS:count=2\n"
    expect [info_field stats total_error_replies] 5
    is {config resetstat} +OK
    expect [string map {\r {}} [r info errorstats]] "# Errorstats\n"
}

test "INFO commandstats: what is refused and what fails, subcommands apart" {
    is {config resetstat} +OK
    r client id
    r client kill
    r client kill 1.2.3.4:5
    expect_match [info_field commandstats "cmdstat_client\\|id"] calls=1,*,rejected_calls=0,failed_calls=0
    expect_match [info_field commandstats "cmdstat_client\\|kill"] calls=1,*,rejected_calls=1,failed_calls=1
    expect [info_field commandstats cmdstat_client] "no cmdstat_client"
}

test "INFO commandstats: EXEC has failed when its own reply is an error" {
    is {set s x} +OK
    is {config resetstat} +OK
    is {multi} +OK
    is {incr s} +QUEUED
    is {get s} +QUEUED
    is {exec} {* {-ERR value is not an integer or out of range} $x}
    expect_match [info_field commandstats cmdstat_exec] calls=1,*,rejected_calls=0,failed_calls=0
    expect_match [info_field commandstats cmdstat_incr] calls=1,*,rejected_calls=0,failed_calls=1
    is {multi} +OK
    r nosuch
    is {exec} {-EXECABORT Transaction discarded because of previous errors.}
    is {exec} {-ERR EXEC without MULTI}
    expect_match [info_field commandstats cmdstat_exec] calls=3,*,rejected_calls=0,failed_calls=2
}

test "INFO latencystats: percentiles by command" {
    set percentiles [lindex [r config get latency-tracking-info-percentiles] 1]
    is {config resetstat} +OK
    r set a 1
    expect_match [info_field latencystats latency_percentiles_usec_set] p50=*.*,p99=*.*,p99.9=*.*
    expect_match [info_field latencystats "latency_percentiles_usec_config\\|resetstat"] p50=*
    is {config set latency-tracking-info-percentiles "0.0 33.333 100"} +OK
    expect_match [info_field latencystats latency_percentiles_usec_set] p0=*,p33.333=*,p100=*
    is {config set latency-tracking-info-percentiles ""} +OK
    expect [info_field latencystats latency_percentiles_usec_set] ""
    is {config set latency-tracking no} +OK
    expect [string map {\r {}} [r info latencystats]] "# Latencystats\n"
    is {config resetstat} +OK
    r set a 1
    is {config set latency-tracking yes} +OK
    expect [info_field latencystats latency_percentiles_usec_set] "no latency_percentiles_usec_set"
    is [list config set latency-tracking-info-percentiles $percentiles] +OK
}

test "LATENCY HISTOGRAM of all, of some, of subcommands" {
    is {config resetstat} +OK
    r set a b
    r set a c
    r client id
    set all [r latency histogram]
    expect [lsort [dict keys $all]] {client|id config|resetstat set}
    expect_match [dict get $all set] {calls 2 histogram_usec *}
    expect [dict keys [r latency histogram client nosuch get]] client|id
    expect [dict keys [r latency histogram client|id SET]] {client|id set}
    is {latency histogram nosuch} *
    r debug sleep 0.03
    set steps [dict get [r latency histogram debug] debug histogram_usec]
    expect_true {[lindex $steps end-1] >= 33 && [lindex $steps end] == 1}
    r hello 3
    expect [lindex [resp::typed $::client latency histogram set] 0] %
}

test "SLOWLOG keeps what took long, with who sent it" {
    set was [r config get slowlog-*]
    is {config set slowlog-log-slower-than 100000} +OK
    is {slowlog reset} +OK
    r ping
    is {slowlog len} :0
    is {client setname foobar} +OK
    is {debug sleep 0.15} +OK
    is {slowlog len} :1
    lassign [lindex [r slowlog get] 0] id at took words addr name
    expect_true {abs($at - [clock seconds]) <= 5 && $took >= 150000}
    expect $words {debug sleep 0.15}
    expect $name foobar
    expect_match [r client info] "*addr=$addr *"
    is {slowlog reset} +OK
    restore $was
}

test "SLOWLOG: a threshold of 0 lets all in, the newest stay, secrets do not show" {
    set was [r config get slowlog-*]
    is {config set slowlog-log-slower-than 0 slowlog-max-len 10} +OK
    for {set i 0} {$i < 50} {incr i} {
        r ping
    }
    is {slowlog len} :10
    expect [llength [r slowlog get]] 10
    expect [llength [r slowlog get 3]] 3
    is {slowlog get 0} *
    r auth user secret
    r config set masterauth ""
    r set k [string repeat A 129]
    r mset {*}[lrepeat 40 x]
    set words [lmap entry [r slowlog get 4] {lindex $entry 3}]
    expect [lindex $words 3] {auth (redacted) (redacted)}
    expect [lindex $words 2] {config set masterauth (redacted)}
    expect [lindex $words 1] [list set k "[string repeat A 128]... (1 more bytes)"]
    expect [lindex $words 0] [list mset {*}[lrepeat 30 x] {... (10 more arguments)}]
    is {config set slowlog-log-slower-than -1} +OK
    is {slowlog reset} +OK
    is {slowlog len} :0
    restore $was
}

test "SLOWLOG and LATENCY: words, counts and errors" {
    is {slowlog get -2} {-ERR count should be greater than or equal to -1}
    is {slowlog get x} {-ERR count should be greater than or equal to -1}
    is {slowlog get 1 2} "-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."
    is {slowlog len x} "-ERR wrong number of arguments for 'slowlog|len' command"
    is {slowlog nosuch} "-ERR unknown subcommand 'nosuch'. Try SLOWLOG HELP."
    is {latency history nosuch} *
    is {latency reset nosuch} :0
    is {latency graph nosuch} "-ERR No samples available for event 'nosuch'"
    is {latency help x} "-ERR wrong number of arguments for 'latency|help' command"
    expect [llength [r slowlog help]] 12
    expect [llength [r latency help]] 17
}

test "LATENCY: events from the threshold on, the worst of each second" {
    set was [r config get latency-monitor-threshold]
    is {latency reset} :0
    is {config set latency-monitor-threshold 20} +OK
    r debug sleep 0.03
    after 1100
    r debug sleep 0.05
    lassign [lindex [r latency latest] 0] event at ms worst
    expect $event command
    expect_true {$ms >= 50 && $worst == $ms && abs($at - [clock seconds]) <= 5}
    set history [r latency history command]
    expect_true {[llength $history] == 2 && [lindex $history 0 1] >= 30}
    expect_match [r latency graph command] "command - high $worst ms, low [lindex $history 0 1] ms\
 (all time high $worst ms)\n[string repeat - 80]\n*#*"
    expect_match [r latency doctor] "*command: 2 latency spikes (average *ms, mean deviation *ms, period *sec). Worst all\
 time event ${worst}ms.*"
    is {latency reset command fast-command} :1
    is {latency latest} *
    restore $was
}

# As much as 128 MB takes more than a millisecond on its way into the kernel. (Redis has no append only file here.)
test "LATENCY: writes of the log are events" {
    own {
        set was [r config get latency-monitor-threshold]
        r latency reset
        is {config set latency-monitor-threshold 1} +OK
        is [list set big [string repeat x 134217728]] +OK
        is {config set latency-monitor-threshold 0} +OK
        expect_true {[lindex [r latency history aof-write] end 1] >= 1}
        expect_match [r latency doctor] "*aof-write: * latency spikes *"
        is {del big} :1
        r latency reset
        restore $was
    }
}
