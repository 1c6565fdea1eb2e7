# SPDX-License-Identifier: MIT
# DUMP and RESTORE.

test "a value goes from DUMP to RESTORE, between bitkv and Redis in both directions" {
    set redis [server::start_redis]
    set fd [server::connect $redis]
    set values [list {} a 0 -1 127 128 -32769 2147483647 2147483648 9223372036854775807 -0 007 \
        [string repeat a 20] [string repeat a 21] [string repeat abc 1000] [string repeat \x00\xff\r\n 40000]]
    set bytes {}
    for {set i 0} {$i < 70000} {incr i} {
        append bytes [format %c [expr {($i * $i / 7 + $i * 31) % 256}]]
    }
    lappend values $bytes [string repeat $bytes 20]
    foreach value $values {
        r set k $value
        set ours [r dump k]
        resp::call $fd SET k $value
        set theirs [resp::call $fd DUMP k]
        expect [resp::call $fd RESTORE k 0 $ours REPLACE] OK
        expect [expr {[resp::call $fd GET k] eq $value}] 1
        is [list restore k 0 $theirs replace] +OK
        expect [expr {[r get k] eq $value}] 1
        if {[string length $value] <= 20} {
            expect $ours $theirs
        }
    }
    close $fd
    server::stop $redis
}

test "RESTORE: time to live, REPLACE" {
    is {dump nosuch} nil
    is {set k v} +OK
    set payload [r dump k]
    is [list restore k 0 $payload] {-BUSYKEY Target key name already exists.}
    is [list restore k 0 $payload replace] +OK
    is {ttl k} :-1
    is [list restore k 100000 $payload replace] +OK
    expect_true {[r pttl k] > 90000 && [r pttl k] <= 100000}
    set at [expr {[clock milliseconds] + 50000}]
    is [list restore k $at $payload replace absttl] +OK
    is {pexpiretime k} :$at
    is [list restore k 1000000000000 $payload replace absttl] +OK
    is {exists k} :0
    is [list restore new 1 $payload absttl] +OK
    is {exists new} :0
    is [list restore k 9223372036854775807 $payload] +OK
    is {exists k} :0
    is [list restore k 0 $payload idletime 1000] +OK
    is [list restore k 0 $payload freq 255 replace] +OK
    is {get k} {$v}
}

test "RESTORE: errors, in Redis's order" {
    is {set k v} +OK
    set payload [r dump k]
    is [list restore k x $payload foo] {-ERR syntax error}
    is [list restore k x $payload] {-BUSYKEY Target key name already exists.}
    is [list restore l x $payload] {-ERR value is not an integer or out of range}
    is [list restore l -1 $payload] {-ERR Invalid TTL value, must be >= 0}
    is [list restore l 0 $payload idletime -1] {-ERR Invalid IDLETIME value, must be >= 0}
    is [list restore l 0 $payload idletime] {-ERR syntax error}
    is [list restore l 0 $payload freq 256] {-ERR Invalid FREQ value, must be >= 0 and <= 255}
    is [list restore l 0 $payload freq 1 idletime 1] {-ERR syntax error}
    is {restore l 0 {}} {-ERR DUMP payload version or checksum are wrong}
    is [list restore l 0 [string range $payload 0 end-1]] {-ERR DUMP payload version or checksum are wrong}
    is [list restore l 0 "${payload}x"] {-ERR DUMP payload version or checksum are wrong}
    is {exists l} :0
    is {restore l 0} "-ERR wrong number of arguments for 'restore' command"
}

test "RESTORE: a payload whose checksum is right and whose data is not" {
    # Five bytes that say they expand to 4 GiB; a string of 2^63 bytes; a type that there is not.
    foreach hex {
        00c30580ffffffff016162e0010a0039ca9dbe8a2f14e1
        00817fffffffffffffff0a00b59692a7510ba258
        c801610a00d3a527978041e7c7
    } {
        set body [binary decode hex $hex]
        is [list restore l 0 $body] {-ERR Bad data format}
    }
    is {exists l} :0
}
