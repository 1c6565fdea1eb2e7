# SPDX-License-Identifier: MIT
# HyperLogLogs. The bytes are Redis's: what is expected of GET was taken from Redis itself, which runs these tests too.

set wrong_value {-WRONGTYPE Key is not a valid HyperLogLog string value.}
set corrupt {-INVALIDOBJ Corrupted HLL object detected}

test "PFADD: the bytes of a sparse value" {
    is {pfadd h} :1
    is {get h} "\$HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff"
    is {pfcount h} :0
    is {get h} "\$HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff"
    is {pfadd h} :0
    is {pfadd h a b c} :1
    is {pfadd h a b c} :0
    is {pfadd h ""} :1
    is {get h} "\$HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80W1\x84I\xc0\x80P\xb1\x84K\xfb\x80BZ"
}

test "PFADD and PFCOUNT keep the expiry" {
    is {pfadd h a} :1
    is {expire h 100} :1
    is {pfadd h b} :1
    is {pfcount h} :2
    expect_true {[r ttl h] in {99 100}}
}

test "PFCOUNT keeps its count in the value until it is out of date" {
    r pfadd h a b c
    is {getrange h 15 15} "\$\x80"
    is {pfcount h} :3
    is {getrange h 8 15} "\$\x03\x00\x00\x00\x00\x00\x00\x00"
    is {setrange h 8 "\x09"} :[r strlen h]
    is {pfcount h} :9
    is {pfadd h a} :0
    is {pfcount h} :9
    is {pfadd h new} :1
    is {pfcount h} :4
}

test "hll-sparse-max-bytes: from when on a value is dense" {
    is {config get hll-sparse-max-bytes} {* $hll-sparse-max-bytes $3000}
    is {config set hll-sparse-max-bytes 24} +OK
    is {pfadd h a} :1
    is {pfdebug encoding h} +sparse
    is {strlen h} :21
    is {pfadd h b} :1
    is {pfdebug encoding h} +sparse
    is {strlen h} :24
    is {pfadd h c} :1
    is {pfdebug encoding h} +dense
    is {strlen h} :12304
    is {pfcount h} :3
    is {config set hll-sparse-max-bytes 3000} +OK
}

test "PFCOUNT of several keys, PFMERGE" {
    r pfadd a 1 2 3
    r pfadd b 3 4 5
    is {pfcount a b nosuch} :5
    is {pfcount nosuch} :0
    is {pfmerge m a b nosuch} +OK
    is {pfcount m} :5
    is {pfdebug encoding m} +sparse
    is {pfdebug todense b} :1
    is {pfdebug todense b} :0
    is {pfmerge m a b} +OK
    is {pfdebug encoding m} +dense
    is {pfcount m} :5
    is {expire a 100} :1
    is {pfmerge a} +OK
    expect_true {[r ttl a] in {99 100}}
    is {getrange a 15 15} "\$\x80"
    is {pfmerge empty} +OK
    is {pfcount empty} :0
}

test "PFDEBUG" {
    r pfadd h a
    expect [r pfdebug decode h] "Z:12711 v:2,1 Z:3672"
    expect [llength [r pfdebug getreg h]] 16384
    is {pfdebug encoding h} +dense
    is {pfdebug decode h} {-ERR HLL encoding is not sparse}
    is {pfdebug foo h} "-ERR Unknown PFDEBUG subcommand 'foo'"
    is {pfdebug foo nosuch} {-ERR The specified key does not exist}
    is {pfdebug encoding} "-ERR wrong number of arguments for 'pfdebug' command"
}

test "PFSELFTEST" {
    is {pfselftest} +OK
    is {pfselftest x} "-ERR wrong number of arguments for 'pfselftest' command"
}

test "strings that are no HyperLogLog" {
    is {set s foo} +OK
    is {pfadd s a} $::wrong_value
    is {pfcount s} $::wrong_value
    is {pfcount nosuch s} $::wrong_value
    is {pfmerge d s} $::wrong_value
    is {pfmerge s} $::wrong_value
    is {pfdebug encoding s} $::wrong_value
    is {set s 1234567890123456} +OK
    is {pfadd s a} $::wrong_value
    r pfadd h a b c
    is {setrange h 4 x} :[r strlen h]
    is {pfcount h} $::wrong_value
    is {setrange h 4 "\x00"} :[r strlen h]
    is {pfcount h} $::wrong_value
    is {exists d} :0
}

test "corrupt sparse values" {
    r pfadd h a b c
    r append h hello
    is {pfcount h} $::corrupt
    is {pfcount h h} $::corrupt
    is {pfmerge d h} $::corrupt
    is {pfdebug todense h} $::corrupt
    is {pfdebug getreg h} $::corrupt
    is {pfadd h a} :0
    is [list set h "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01"] +OK
    is {pfadd h a} $::corrupt
    is {pfadd h} :0
    is {exists d} :0
}
