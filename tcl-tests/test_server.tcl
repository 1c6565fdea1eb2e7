# SPDX-License-Identifier: MIT
# CONFIG, INFO, TIME, DEBUG, FUNCTION FLUSH, SHUTDOWN, and what a restart keeps.

test "CONFIG GET with names and patterns" {
    is {config get port} [list * \$port \$[dict get $::main port]]
    is {config get nosuch} *
    expect [dict keys [r config get maxclients maxclients MAXCLIENTS]] maxclients
    expect [lsort [dict keys [r config get hash-max-listpack-* timeout]]] \
        {hash-max-listpack-entries hash-max-listpack-value timeout}
    expect_true {[dict size [r config get *]] > 180}
    expect [dict get [r config get {tcp-[kb]*}] tcp-backlog] 511
    r hello 3
    expect [lindex [resp::typed $::client config get timeout] 0] %
}

test "CONFIG SET of one and of several, all or none" {
    is {config set timeout 10} +OK
    is {config get timeout} {* $timeout $10}
    is {config set timeout 0 maxclients 5000} +OK
    is {config get maxclients} {* $maxclients $5000}
    is {config set maxclients 10000} +OK
    is {config set TIMEOUT 7 nosuch 1} "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"
    is {config set timeout 7 maxclients x} "-ERR CONFIG SET failed (possibly related to argument 'maxclients') -\
 argument couldn't be parsed into an integer"
    is {config get timeout} {* $timeout $0}
    is {config set timeout 1 timeout 2} "-ERR CONFIG SET failed (possibly related to argument 'timeout') -\
 duplicate parameter"
    is {config set timeout} "-ERR wrong number of arguments for 'config|set' command"
    is {config set timeout 1 maxclients} {-ERR syntax error}
    is {config set port 99999} "-ERR CONFIG SET failed (possibly related to argument 'port') -\
 argument must be between 0 and 65535 inclusive"
    is {config set protected-mode maybe} "-ERR CONFIG SET failed (possibly related to argument 'protected-mode') -\
 argument must be 'yes' or 'no'"
    is {config set daemonize yes} "-ERR CONFIG SET failed (possibly related to argument 'daemonize') -\
 can't set immutable config"
}

test "CONFIG SET with units" {
    is {config set proto-max-bulk-len 1gb} +OK
    is {config get proto-max-bulk-len} {* $proto-max-bulk-len $1073741824}
    is {config set proto-max-bulk-len 512Mb} +OK
    is {config get proto-max-bulk-len} {* $proto-max-bulk-len $536870912}
}

test "CONFIG RESETSTAT, REWRITE and HELP" {
    r set a 1
    is {config resetstat} +OK
    is {config rewrite} {-ERR The server is running without a config file}
    is {config resetstat x} "-ERR wrong number of arguments for 'config|resetstat' command"
    expect [lindex [r config help] 0] {CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:}
}

proc info_field {section name} {
    return [expr {[regexp -line "^$name:(.*)\r\$" [r info $section] - value] ? $value : "no $name"}]
}

test "INFO: sections and fields that tools read" {
    foreach {section names} {
        server {redis_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds uptime_in_days hz
            executable config_file}
        clients {connected_clients maxclients blocked_clients}
        memory {used_memory used_memory_human used_memory_rss used_memory_peak maxmemory maxmemory_policy mem_allocator}
        persistence {loading rdb_bgsave_in_progress rdb_last_save_time aof_enabled}
        stats {total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes
            rejected_connections expired_keys evicted_keys keyspace_hits keyspace_misses}
        replication {role connected_slaves}
        cpu {used_cpu_sys used_cpu_user}
        cluster {cluster_enabled}
    } {
        expect_match [r info $section] "# [expr {$section eq "cpu" ? "CPU" : [string totitle $section]}]\r\n*"
        foreach name $names {
            if {[info_field $section $name] eq "no $name"} {
                error "INFO $section has no $name"
            }
        }
    }
    expect [info_field server tcp_port] [dict get $::main port]
    expect_match [info_field server redis_version] 7.0.*
    expect [r info nosuch] ""
    expect_match [r info] "*# Server*# Clients*# Keyspace*"
    expect_match [r info server keyspace] "# Server*"
    expect_match [r info everything] "*cmdstat_info:calls=*,usec=*,usec_per_call=*,rejected_calls=*,failed_calls=*"
    r hello 3
    expect [lindex [resp::typed $::client info server] 0] =
}

test "INFO keyspace counts keys and those that expire" {
    is {set a 1} +OK
    is {set b 1 ex 100} +OK
    is {select 3} +OK
    is {set c 1} +OK
    expect_match [info_field keyspace db0] keys=2,expires=1,avg_ttl=*
    expect_match [info_field keyspace db3] keys=1,expires=0,avg_ttl=0*
}

test "INFO commandstats counts calls, rejections and failures" {
    is {config resetstat} +OK
    r set a x
    r get a
    r get a
    r get
    r incr a
    expect_match [info_field commandstats cmdstat_get] calls=2,usec=*,usec_per_call=*,rejected_calls=1,failed_calls=0
    expect_match [info_field commandstats cmdstat_incr] calls=1,*,rejected_calls=0,failed_calls=1
    expect_match [info_field commandstats "cmdstat_config\\|resetstat"] calls=1,*
    expect [info_field stats keyspace_hits] 2
    r get nosuch
    expect [info_field stats keyspace_misses] 1
}

test "INFO bitkv" {
    own {
        expect_match [r info bitkv] "# Bitkv\r\n*files:*live_bytes:*dead_bytes:*keydir_bytes:*syncs:*disk_reads:*"
        expect_true {[info_field server bitkv_version] ne ""}
    }
}

test "INFO bitkv: the longest tick, and without waits for a processor" {
    own {
        is {config resetstat} +OK
        is {debug sleep 0.05} +OK
        set all [info_field bitkv tick_us_max]
        set ran [info_field bitkv tick_ran_us_max]
        expect_true {$ran >= 45000 && $ran <= $all}
    }
}

test "TIME" {
    lassign [r time] seconds micros
    expect_true {abs($seconds - [clock seconds]) <= 2 && $micros >= 0 && $micros < 1000000}
    is {time x} "-ERR wrong number of arguments for 'time' command"
}

test "DEBUG" {
    is {debug sleep 0.01} +OK
    is {debug set-active-expire 1} +OK
    is {debug error "FOO bar"} {-FOO bar}
    is {debug log hello} +OK
    is {debug nosuch} "-ERR unknown subcommand or wrong number of arguments for 'nosuch'. Try DEBUG HELP."
    is {debug sleep} "-ERR unknown subcommand or wrong number of arguments for 'sleep'. Try DEBUG HELP."
    expect [lindex [r debug help] 0] {DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:}
}

test "DEBUG is refused unless allowed" {
    set s [server::start --enable-debug-command no]
    set fd [server::connect $s]
    set text {-ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from}
    append text { a local connection, otherwise you need to set this option in the configuration file, and then}
    append text { restart the server.}
    is_on $fd {debug sleep 0} $text
    is_on $fd {debug} "-ERR wrong number of arguments for 'debug' command"
    is_on $fd {config set enable-debug-command yes} "-ERR CONFIG SET failed (possibly related to argument\
 'enable-debug-command') - can't set immutable config"
    close $fd
    expect [server::stop $s] 0
}

test "FUNCTION FLUSH" {
    is {function flush} +OK
    is {function flush async} +OK
    is {function flush sync} +OK
    is {function flush foo} {-ERR FUNCTION FLUSH only supports SYNC|ASYNC option}
    is {function flush a b} "-ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP."
    is {function} "-ERR wrong number of arguments for 'function' command"
}

test "SHUTDOWN: wrong options, and nothing to abort" {
    is {shutdown foo} {-ERR syntax error}
    is {shutdown save nosave} {-ERR syntax error}
    is {shutdown abort now} {-ERR syntax error}
    is {shutdown abort} {-ERR No shutdown in progress.}
}

test "SHUTDOWN ends with status 0 and without a reply" {
    foreach options {{} nosave {now force} save} {
        set s [server::start]
        set fd [server::connect $s]
        is_on $fd {set a 1} +OK
        expect_match [catch {resp::call $fd shutdown {*}$options} text]$text {1the server closed the connection}
        close $fd
        expect [server::reap $s] 0
    }
}

test "a restart keeps keys, values, expiry and databases" {
    own {
        set dir [exec mktemp -d /tmp/bitkv-tcl.XXXXXX]
        set at [expr {[clock seconds] + 1000}]
        set s [server::start --dir $dir]
        set fd [server::connect $s]
        is_on $fd {mset a 1 b 2 gone 3} +OK
        is_on $fd [list set c 3 exat $at] +OK
        is_on $fd {del gone} :1
        is_on $fd {select 7} +OK
        is_on $fd [list set big [string repeat x 200000]] +OK
        close $fd
        expect [server::stop $s] 0
        set s [server::start --dir $dir]
        set fd [server::connect $s]
        is_on $fd {mget a b gone c} {* $1 $2 nil $3}
        is_on $fd {expiretime c} :$at
        is_on $fd {dbsize} :3
        is_on $fd {select 7} +OK
        is_on $fd {strlen big} :200000
        close $fd
        expect [server::stop $s] 0
        file delete -force $dir
    }
}

proc merge_info {fd} {
    return [resp::call $fd info merge]
}

test "BITKV MERGE gives the space of overwritten values back" {
    own {
        set s [server::start --max-file-size 64kb --merge-policy never]
        set fd [server::connect $s]
        for {set i 0} {$i < 40} {incr i} {
            is_on $fd [list mset a [string repeat x$i 2000] b [string repeat y$i 2500]] +OK
        }
        expect_true {[regexp -all -line {^id=} [resp::call $fd bitkv files]] > 4}
        is_on $fd {bitkv merge pause} +OK
        wait_until {[string match *merge_paused:1* [resp::call $fd bitkv merge status]]}
        is_on $fd {bitkv merge resume} +OK
        is_on $fd {bgrewriteaof} "+Background append only file rewriting started"
        wait_until {[regexp {merge_bytes_reclaimed:[1-9]} [merge_info $fd]] &&
                    [string match *merge_state:idle* [merge_info $fd]]}
        expect [resp::call $fd get b] [string repeat y39 2500]
        is_on $fd {bitkv merge sideways} "-ERR syntax error"
        close $fd
        expect [server::stop $s] 0
    }
}

# Names and sizes of what lies in a directory.
proc listing {dir} {
    return [lsort [lmap f [glob -directory $dir *] {list [file tail $f] [file size $f] [file mtime $f]}]]
}

test "read-only: two servers read a snapshot and change nothing in it" {
    own {
        set s [server::start]
        set fd [server::connect $s]
        is_on $fd {set k v} +OK
        is_on $fd {set gone v px 1} +OK
        is_on $fd save +OK
        set dir [lindex [glob -directory [dict get $s dir]/snapshots *] 0]
        set before [listing $dir]
        set one [server::start --dir $dir --read-only yes]
        set two [server::start --dir $dir --read-only yes]
        foreach reader [list $one $two] {
            set r [server::connect $reader]
            expect [resp::call $r get k] v
            expect [resp::call $r get gone] {}
            is_on $r {set k w} "-READONLY You can't write against a read only replica."
            is_on $r flushall "-READONLY You can't write against a read only replica."
            is_on $r save "-READONLY The store was opened to be read."
            expect_match [resp::call $r config set read-only no] "*immutable*"
            expect [resp::call $r get k] v
            close $r
        }
        expect [server::stop $one] 0
        expect [server::stop $two] 0
        expect [listing $dir] $before
        close $fd
        expect [server::stop $s] 0
    }
}

test "merge options are checked" {
    own {
        is {config set merge-window 22:00-06:00} +OK
        expect [r config get merge-window] {merge-window 22:00-06:00}
        expect_match [r config set merge-window 25:00-06:00] "*CONFIG SET failed*merge-window*"
        expect_match [r config set merge-dead-ratio 0] "*CONFIG SET failed*"
        is {config set merge-window 00:00-24:00} +OK
    }
}

test "WAIT: no replica ever acknowledges" {
    is {wait 0 100000} :0
    is {wait -1 0} :0
    set begin [clock milliseconds]
    is {wait 1 100} :0
    expect_true {[clock milliseconds] - $begin >= 99}
    is {wait x 0} {-ERR value is not an integer or out of range}
    is {wait 0 x} {-ERR timeout is not an integer or out of range}
    is {wait 1 -1} {-ERR timeout is negative}
    is {wait 1} "-ERR wrong number of arguments for 'wait' command"
}

test "WAIT: other clients go on meanwhile, and so does what the client has sent behind it" {
    set fd [server::connect $::main]
    resp::send $fd WAIT 1 0
    resp::send $fd PING
    flush $fd
    for {set i 0} {$i < 20} {incr i} {
        set other [server::connect $::main]
        expect [resp::call $other PING] PONG
        close $other
    }
    wait_until {[string match "*blocked_clients:1\r*" [r info clients]]}
    expect_match [r client list] "* flags=b *cmd=wait *"
    close $fd
    wait_until {[string match "*blocked_clients:0\r*" [r info clients]]}
    set fd [server::connect $::main]
    resp::send $fd WAIT 3 50
    resp::send $fd PING
    expect [lindex [resp::receive $fd] 1] 0
    expect [lindex [resp::receive $fd] 1] PONG
    close $fd
}

test "CLIENT UNBLOCK ends a WAIT, once, and nothing else" {
    set fd [server::connect $::main]
    set id [lindex [resp::call $fd CLIENT ID] 0]
    foreach {reason reply} {{} 0 TIMEOUT 0 ERROR {-UNBLOCKED client unblocked via CLIENT UNBLOCK}} {
        is [list client unblock $id {*}$reason] :0
        resp::send $fd WAIT 1 0
        resp::send $fd PING
        flush $fd
        wait_until {[string match "*blocked_clients:1\r*" [r info clients]]}
        is [list client unblock $id {*}$reason] :1
        expect_match [lindex [resp::receive $fd] 1] [string trimleft $reply -]
        expect [lindex [resp::receive $fd] 1] PONG
        is [list client unblock $id {*}$reason] :0
    }
    wait_until {[string match "*blocked_clients:0\r*" [r info clients]]}
    close $fd
}
