# SPDX-License-Identifier: MIT
# MEMORY.

test "MEMORY USAGE: options and errors" {
    is {set k v} +OK
    is {memory usage nosuch} nil
    expect_true {[r memory usage k] > 0}
    expect_true {[r memory usage k samples 0] > 0}
    is {memory usage k samples -1} {-ERR syntax error}
    is {memory usage k samples x} {-ERR value is not an integer or out of range}
    is {memory usage k samples} {-ERR syntax error}
    is {memory usage k foo 1} {-ERR syntax error}
    is {memory nosuch} "-ERR unknown subcommand 'nosuch'. Try MEMORY HELP."
    is {memory} "-ERR wrong number of arguments for 'memory' command"
}

test "MEMORY USAGE of all keys is no more than MEMORY STATS says of the index" {
    own {
        set sum 0
        for {set i 0} {$i < 2000} {incr i} {
            set key [string repeat k [expr {$i % 300}]]:$i
            r set $key x {*}[expr {$i % 3 == 0 ? {ex 1000} : {}}]
            incr sum [r memory usage $key]
        }
        set db [dict get [r memory stats] db.0]
        set index [expr {[dict get $db overhead.hashtable.main] + [dict get $db overhead.hashtable.expires]}]
        expect_true {$sum > 2000 * 16 && $sum <= $index}
        # A key of 16 bytes takes 8 more, an expiry 16.
        is {set 0123456789abcdef v} +OK
        is {memory usage 0123456789abcdef} :24
        is {expire 0123456789abcdef 1000} :1
        is {memory usage 0123456789abcdef} :40
    }
}

test "MEMORY STATS adds up" {
    own {
        is {mset a 1 b 2} +OK
        set stats [r memory stats]
        expect [dict get $stats keys.count] 2
        expect [expr {[dict get $stats overhead.total] + [dict get $stats dataset.bytes]}] \
            [dict get $stats total.allocated]
        expect_true {[dict get $stats peak.allocated] >= [dict get $stats total.allocated]}
        expect_true {[dict get $stats startup.allocated] > 0}
        expect [dict get $stats allocator.allocated] [dict get $stats total.allocated]
    }
}

test "MEMORY DOCTOR, PURGE, MALLOC-STATS" {
    is {memory purge} +OK
    expect_true {[string length [r memory doctor]] > 20}
    expect_match [r memory malloc-stats] *[expr {[is_redis] ? "" : "jemalloc statistics"}]*
}
