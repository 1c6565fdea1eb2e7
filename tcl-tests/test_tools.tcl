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

# What a mode of redis-cli that never ends by itself has written when a second is over.
proc cli_second {args} {
    catch {exec timeout 1 stdbuf -o0 redis-cli -p [dict get $::main port] {*}$args} out
    return $out
}

test "redis-cli: --stat, --bigkeys, --memkeys, --latency-dist" {
    r set small x
    r set large [string repeat x 1000]
    r set other xy
    expect_match [cli_second --stat -i 0.1] "*keys*mem*clients*blocked*requests*connections*\n3 *\n3 *"
    expect_match [cli --bigkeys] "*Sampled 3 keys in the keyspace!*Biggest string found '\"large\"' has 1000 bytes*"
    expect_match [cli --bigkeys] "*3 strings with 1003 bytes (100.00% of keys*"
    expect_match [cli --memkeys] "*Sampled 3 keys in the keyspace!*Biggest string found '\"*\"' has * bytes*"
    expect_match [cli_second --latency-dist -i 0.2] "*milliseconds*From 0 to 100%*"
}

test "redis-cli: --hotkeys says which policy it needs, as with Redis" {
    r set a b
    expect_true {[catch {cli --hotkeys} out]}
    expect_match $out "*Error: ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that\
        when switching between policies at runtime LRU and LFU data will take some time to adjust.*"
}

test "redis-cli: --eval names the command that is not there" {
    set fd [file tempfile script]
    puts $fd {return redis.call("get", KEYS[1])}
    close $fd
    set said [cli --eval $script a , b]
    file delete $script
    own {
        expect_match $said "ERR unknown command 'EVAL', with args beginning with: 'return redis.call*KEYS*'1' 'a' 'b'*"
    }
}

# The exporter's page; "" as long as nobody listens there.
proc scrape {port} {
    set page ""
    catch {
        set fd [socket 127.0.0.1 $port]
        fconfigure $fd -translation binary
        puts -nonewline $fd "GET /metrics HTTP/1.0\r\n\r\n"
        flush $fd
        set page [read $fd]
        close $fd
    }
    return $page
}

# Only where somebody has installed it: the package starts a service, so make test does not.
test "prometheus-redis-exporter scrapes without an error" {
    if {[auto_execok prometheus-redis-exporter] eq ""} {
        puts "skipped: prometheus-redis-exporter is not installed"
        return
    }
    r config resetstat
    set port [server::free_port]
    set address redis://127.0.0.1:[dict get $::main port]
    r set a b ex 100
    r nosuch
    r debug sleep 0
    r config set slowlog-log-slower-than 0
    set exporter [exec prometheus-redis-exporter -web.listen-address 127.0.0.1:$port -redis.addr $address\
        -redis-only-metrics -export-client-list -include-system-metrics -log-format txt >/dev/null 2>/dev/null &]
    try {
        wait_until {[set page [scrape $port]] ne ""}
    } finally {
        exec kill $exporter
        r config set slowlog-log-slower-than 10000
    }
    expect_match $page "*\nredis_up 1\n*"
    expect_match $page "*\nredis_exporter_last_scrape_error{err=\"\"} 0\n*"
    set names [lsort -unique [regexp -all -inline -line {^redis_[a-z0-9_]+} $page]]
    expect_true {[llength $names] >= 100}
    foreach {name value} {db_keys{db="db0"} 1 db_keys_expiring{db="db0"} 1 blocked_clients 0 commands_total{cmd="set"} 1
        commands_failed_calls_total{cmd="set"} 0 slowlog_length * connected_clients * uptime_in_seconds * memory_used_bytes *
        latency_percentiles_usec{cmd="debug",quantile="99.9"} * errors_total{err="ERR"} *} {
        expect_match $page "*\nredis_$name $value\n*"
    }
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
