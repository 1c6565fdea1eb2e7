# SPDX-License-Identifier: MIT
# Bitmaps.

set offset_error {-ERR bit offset is not an integer or out of range}
set type_error "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."

test "SETBIT and GETBIT" {
    is {setbit b 1 1} :0
    is {get b} {$@}
    is {setbit b 1 0} :1
    is [list get b] "\$\x00"
    is {setbit b 20 0} :0
    is {strlen b} :3
    is {setbit b 23 1} :0
    is {getbit b 23} :1
    is {getbit b 24} :0
    is {getbit b 4294967295} :0
    is {getbit nosuch 0} :0
    is {set n 12} +OK
    is {setbit n 6 1} :0
    is {get n} {$32}
}

test "SETBIT keeps the expiry" {
    is {set b x ex 100} +OK
    is {setbit b 100 1} :0
    expect_true {[r ttl b] in {99 100}}
}

test "SETBIT and GETBIT: wrong arguments" {
    is {setbit b -1 1} $::offset_error
    is {setbit b 4294967296 1} $::offset_error
    is {setbit b x 1} $::offset_error
    is {setbit b "#1" 1} $::offset_error
    is {setbit b 0 2} {-ERR bit is not an integer or out of range}
    is {setbit b 0 x} {-ERR bit is not an integer or out of range}
    is {setbit b x 2} $::offset_error
    is {getbit b 4294967296} $::offset_error
    is {getbit b -1} $::offset_error
    is {exists b} :0
}

test "the highest offset follows proto-max-bulk-len" {
    is {config set proto-max-bulk-len 1mb} +OK
    is {getbit b 8388607} :0
    is {getbit b 8388608} $::offset_error
    is {setbit b 8388608 1} $::offset_error
    is {bitfield b set u8 8388607 255} {* :0}
    is {strlen b} :1048577
    is {bitfield b get u8 8388608} $::offset_error
    is {config set proto-max-bulk-len 512mb} +OK
}

test "BITCOUNT" {
    is {set s foobar} +OK
    is {bitcount s} :26
    is {bitcount s 0 0} :4
    is {bitcount s 1 1} :6
    is {bitcount s 0 -5} :10
    is {bitcount s -2 -1 byte} :7
    is {bitcount s 5 30 BIT} :17
    is {bitcount s -10 -3 bit} :4
    is {bitcount s 0 0 bit} :0
    is {bitcount s 3 1} :0
    is {bitcount s 100 200} :0
    is {bitcount nosuch} :0
    is {set e ""} +OK
    is {bitcount e 0 -1 bit} :0
}

test "BITCOUNT: wrong arguments" {
    is {set s foobar} +OK
    is {bitcount s 0} {-ERR syntax error}
    is {bitcount s 0 1 foo} {-ERR syntax error}
    is {bitcount s 0 1 bit 2} {-ERR syntax error}
    is {bitcount s a 1 foo} {-ERR value is not an integer or out of range}
    is {bitcount s 0 b} {-ERR value is not an integer or out of range}
    is {bitcount s -1 -2 foo} :0
    is {bitcount nosuch 0 x y z} :0
}

test "BITPOS" {
    is {set s "\xff\xf0\x00"} +OK
    is {bitpos s 0} :12
    is {bitpos s 0 2} :16
    is {bitpos s 1 2} :-1
    is {bitpos s 0 0 0} :-1
    is {bitpos s 1 1 -1} :8
    is {bitpos s 1 9 -1 bit} :9
    is {bitpos s 0 9 11 bit} :-1
    is {bitpos s 0 5 13 bit} :12
    is {bitpos s 1 12 -1 bit} :-1
    is {set f "\xff\xff"} +OK
    is {bitpos f 0} :16
    is {bitpos f 0 1} :16
    is {bitpos f 0 0 -1} :-1
    is {bitpos f 0 2} :-1
    is {bitpos nosuch 0} :0
    is {bitpos nosuch 1 5 3 x} :-1
    is {set e ""} +OK
    is {bitpos e 0} :-1
}

test "BITPOS: wrong arguments" {
    is {set s foobar} +OK
    is {bitpos s 2} {-ERR The bit argument must be 1 or 0.}
    is {bitpos s x} {-ERR value is not an integer or out of range}
    is {bitpos s 0 0 1 bit 1} {-ERR syntax error}
    is {bitpos s 0 0 x foo} {-ERR syntax error}
    is {bitpos s 0 0 x bit} {-ERR value is not an integer or out of range}
    is {bitpos s 0 x 0 foo} {-ERR value is not an integer or out of range}
}

test "BITOP" {
    is {mset a abcdef b abc e ""} +OK
    is {bitop and d a b} :6
    is {get d} "\$abc\x00\x00\x00"
    is {bitop or d a b nosuch} :6
    is {get d} {$abcdef}
    is {bitop xor d a b} :6
    is {get d} "\$\x00\x00\x00def"
    is {bitop NOT d b} :3
    is {get d} "\$\x9e\x9d\x9c"
    is {bitop and d a nosuch} :6
    is {get d} "\$\x00\x00\x00\x00\x00\x00"
    is {bitop or a a b} :6
    is {get a} {$abcdef}
    is {set d 1 ex 100} +OK
    is {bitop or d a} :6
    is {ttl d} :-1
    is {bitop or d e nosuch} :0
    is {exists d} :0
    is {bitop xor d e} :0
}

test "BITOP: wrong arguments" {
    is {bitop foo d a} {-ERR syntax error}
    is {bitop not d a b} {-ERR BITOP NOT must be called with a single source key.}
    is {bitop and d} "-ERR wrong number of arguments for 'bitop' command"
}

test "BITFIELD" {
    is {bitfield f incrby i5 100 1 get u4 0} {* :1 :0}
    is {strlen f} :14
    is {bitfield f set u8 0 255 get u8 0 get i8 0} {* :0 :255 :-1}
    is {bitfield f set u8 #1 66 get u8 8} {* :0 :66}
    is {bitfield f overflow sat incrby u8 0 10 overflow fail incrby u8 0 10 overflow wrap incrby u8 0 10} {* :255 nil :9}
    is {bitfield f set i64 0 -9223372036854775808 get u63 1} {* :667095694804254720 :0}
    is {bitfield f overflow sat set i8 0 -9223372036854775808 get i8 0} {* :-128 :127}
    is {bitfield nosuch get u8 0} {* :0}
    is {bitfield nosuch} {*}
    is {exists nosuch} :0
    is {bitfield g overflow fail set u1 40 2} {* nil}
    is {strlen g} :6
}

test "BITFIELD: wrong arguments" {
    is {bitfield f get u64 0} $::type_error
    is {bitfield f get i65 0} $::type_error
    is {bitfield f get u0 0} $::type_error
    is {bitfield f get "" 0} $::type_error
    is {bitfield f get x8 0} $::type_error
    is {bitfield f get u8 -1} $::offset_error
    is {bitfield f get u8 #-1} $::offset_error
    is {bitfield f get u8 #} $::offset_error
    is {bitfield f get u8} {-ERR syntax error}
    is {bitfield f set u8 0} {-ERR syntax error}
    is {bitfield f set u8 0 x} {-ERR value is not an integer or out of range}
    is {bitfield f set u8 0 1 foo} {-ERR syntax error}
    is {bitfield f overflow foo} {-ERR Invalid OVERFLOW type specified}
    is {bitfield f overflow} {-ERR syntax error}
    is {exists f} :0
}

test "BITFIELD_RO" {
    is {set s abc} +OK
    is {bitfield_ro s get u8 8 get u8 100} {* :98 :0}
    is {bitfield_ro s set u8 0 1} {-ERR BITFIELD_RO only supports the GET subcommand}
    is {bitfield_ro s set u8 0 x} {-ERR value is not an integer or out of range}
    is {bitfield_ro s overflow sat} {*}
}

own {
    test "BITFIELD refuses a place whose number of bits overflows" {
        is {bitfield f set u8 #2305843009213693952 1} $::offset_error
        is {exists f} :0
    }
}
