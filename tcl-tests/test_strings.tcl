# SPDX-License-Identifier: MIT
# Strings.

test "SET and GET of all bytes" {
    set bytes {}
    for {set i 0} {$i < 256} {incr i} {
        append bytes [format %c $i]
    }
    is [list set $bytes $bytes] +OK
    is [list get $bytes] \$$bytes
    is {get nosuch} nil
    is {set "" ""} +OK
    is {get ""} {$}
}

test "values of many sizes come back whole" {
    foreach n {1 255 256 4095 65535 65536 70001 1048576 3000000} {
        set value [string repeat x $n]
        is [list set big $value] +OK
        is [list get big] \$$value
        is {strlen big} :$n
    }
}

test "SET with NX, XX and GET" {
    is {set a 1 nx} +OK
    is {set a 2 nx} nil
    is {set a 2 xx} +OK
    is {set b 2 xx} nil
    is {set a 3 get} {$2}
    is {set c 3 get} nil
    is {set a 4 nx get} {$3}
    is {get a} {$3}
    is {set d 4 nx get} nil
    is {get d} {$4}
    is {set e 4 xx get} nil
    is {exists e} :0
}

test "SET with expiry options" {
    is {set a 1 ex 100} +OK
    expect_true {[r ttl a] in {99 100}}
    is {set a 2 keepttl} +OK
    expect_true {[r ttl a] in {99 100}}
    is {set a 2} +OK
    is {ttl a} :-1
    is {set a 1 px 100000} +OK
    expect_true {[r pttl a] > 99000 && [r pttl a] <= 100000}
    set at [expr {[clock seconds] + 1000}]
    is [list set a 1 exat $at] +OK
    is {expiretime a} :$at
    is [list set a 1 PXAT ${at}123] +OK
    is {pexpiretime a} :${at}123
    is {set a 1 exat 1} +OK
    is {get a} nil
}

test "SET: wrong options" {
    is {set a} "-ERR wrong number of arguments for 'set' command"
    is {set a 1 foo} {-ERR syntax error}
    is {set a 1 nx xx} {-ERR syntax error}
    is {set a 1 ex} {-ERR syntax error}
    is {set a 1 ex 1 px 1} {-ERR syntax error}
    is {set a 1 ex 1 keepttl} {-ERR syntax error}
    is {set a 1 ex x} {-ERR value is not an integer or out of range}
    is {set a 1 ex 0} "-ERR invalid expire time in 'set' command"
    is {set a 1 px -1} "-ERR invalid expire time in 'set' command"
    is {set a 1 ex 9223372036854775807} "-ERR invalid expire time in 'set' command"
    is {exists a} :0
}

test "SETNX, SETEX, PSETEX, GETSET, GETDEL" {
    is {setnx a 1} :1
    is {setnx a 2} :0
    is {getset a 3} {$1}
    is {getset b 1} nil
    is {getdel a} {$3}
    is {getdel a} nil
    is {setex a 100 v} +OK
    expect_true {[r ttl a] in {99 100}}
    is {psetex a 100000 v} +OK
    expect_true {[r ttl a] in {99 100}}
    is {setex a 0 v} "-ERR invalid expire time in 'setex' command"
    is {psetex a -5 v} "-ERR invalid expire time in 'psetex' command"
    is {setex a x v} {-ERR value is not an integer or out of range}
}

test "GETEX" {
    is {getex nosuch} nil
    is {set a 1} +OK
    is {getex a} {$1}
    is {ttl a} :-1
    is {getex a ex 50} {$1}
    expect_true {[r ttl a] in {49 50}}
    is {getex a persist} {$1}
    is {ttl a} :-1
    is {getex a persist ex 3} {-ERR syntax error}
    is {getex a ex 0} "-ERR invalid expire time in 'getex' command"
    is {getex a exat 1} {$1}
    is {exists a} :0
}

test "MGET, MSET, MSETNX" {
    is {mset a 1 b 2 a 3} +OK
    is {mget a b nosuch a} {* $3 $2 nil $3}
    is {mset a 1 b} "-ERR wrong number of arguments for 'mset' command"
    is {msetnx c 1 d 2} :1
    is {msetnx e 1 d 3} :0
    is {mget c d e} {* $1 $2 nil}
    is {msetnx a} "-ERR wrong number of arguments for 'msetnx' command"
    is {msetnx a 1 b} "-ERR wrong number of arguments for 'msetnx' command"
    is {msetnx f 1 f 2} :1
    is {get f} {$2}
}

test "MSET takes away expiry, APPEND and INCR keep it" {
    is {set a 1 ex 100} +OK
    is {append a 2} :2
    is {incr a} :13
    is {setrange a 0 9} :2
    expect_true {[r ttl a] in {99 100}}
    is {mset a 1} +OK
    is {ttl a} :-1
}

test "APPEND and STRLEN" {
    is {append a foo} :3
    is {append a ""} :3
    is {append a bar} :6
    is {get a} {$foobar}
    is {strlen a} :6
    is {strlen nosuch} :0
}

test "GETRANGE and SUBSTR" {
    is {set a "Hello World"} +OK
    foreach command {getrange substr} {
        is [list $command a 0 3] {$Hell}
        is [list $command a 0 -1] {$Hello World}
        is [list $command a -4 -1] {$orld}
        is [list $command a 5 3] {$}
        is [list $command a 5 5000] {$ World}
        is [list $command a -5000 10000] {$Hello World}
        is [list $command a -1 -5] {$}
        is [list $command nosuch 0 -1] {$}
        is [list $command a x 1] {-ERR value is not an integer or out of range}
    }
}

test "SETRANGE" {
    is {setrange a 0 foo} :3
    is {setrange a 5 bar} :8
    is {get a} "\$foo\x00\x00bar"
    is {setrange a 1 X} :8
    is {get a} "\$fXo\x00\x00bar"
    is {setrange nosuch 0 ""} :0
    is {exists nosuch} :0
    is {setrange a 3 ""} :8
    is {setrange a -1 x} {-ERR offset is out of range}
    is {setrange a x y} {-ERR value is not an integer or out of range}
    is {setrange a 536870912 x} {-ERR string exceeds maximum allowed size (proto-max-bulk-len)}
}

test "INCR, DECR and their limits" {
    is {incr n} :1
    is {incrby n 41} :42
    is {decr n} :41
    is {decrby n 50} :-9
    is {get n} {$-9}
    is {set n 9223372036854775807} +OK
    is {incr n} {-ERR increment or decrement would overflow}
    is {set n -9223372036854775808} +OK
    is {decr n} {-ERR increment or decrement would overflow}
    is {decrby n -9223372036854775808} {-ERR decrement would overflow}
    is {incrby n x} {-ERR value is not an integer or out of range}
    foreach value {"" " 1" "1 " 1x 0x1 1.5 01 +1} {
        is [list set n $value] +OK
        is {incr n} {-ERR value is not an integer or out of range}
    }
}

test "INCRBYFLOAT" {
    is {incrbyfloat f 1} {$1}
    is {incrbyfloat f 0.25} {$1.25}
    is {incrbyfloat f -1.25} {$0}
    is {set f 3} +OK
    is {incrbyfloat f 1.1} {$4.1}
    is {set f 5.0e3} +OK
    is {incrbyfloat f 2.0e2} {$5200}
    is {incrbyfloat f x} {-ERR value is not a valid float}
    is {set f "1 1"} +OK
    is {incrbyfloat f 1} {-ERR value is not a valid float}
    is {set f 1} +OK
    is {incrbyfloat f inf} {-ERR increment would produce NaN or Infinity}
    is {get f} {$1}
}
