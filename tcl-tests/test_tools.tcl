# SPDX-License-Identifier: MIT
# redis-cli and redis-benchmark, as people use them.

proc cli {args} {
    return [exec redis-cli -p [dict get $::main port] {*}$args]
}

test "redis-cli: set, get, scan, info, pipe" {
    expect [cli set a 1] OK
    expect [cli get a] 1
    expect [cli --scan] a
    expect_match [cli info server] "*redis_version:7.0*"
    expect_match [cli -3 hello 3] "server redis*proto 3*"
    expect_match [exec printf "SET b 2\r\nGET b\r\n" | redis-cli -p [dict get $::main port] --pipe] \
        "*errors: 0, replies: 2"
    expect [cli --raw echo "a b"] "a b"
    expect_match [cli --latency -i 1 --raw] {* * *}
}

test "redis-cli: hints come from COMMAND DOCS without an error" {
    expect_match [exec printf "get a\nexit\n" | redis-cli -p [dict get $::main port]] "*"
    expect_match [cli command docs get] "*Get the value of a key*"
}

test "redis-benchmark runs without an error" {
    set port [dict get $::main port]
    set out [exec redis-benchmark -p $port -t ping,set,get,incr,mset -n 5000 -r 10000 -P 16 -q 2>@1]
    expect_true {![regexp -nocase {error} $out]}
    foreach name {PING_INLINE PING_MBULK SET GET INCR MSET} {
        expect_match $out "*$name*requests per second*"
    }
    expect_true {[r dbsize] > 1000}
}
