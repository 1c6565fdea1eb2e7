# SPDX-License-Identifier: MIT
# LCS.

test "LCS: text, length, ranges" {
    is {mset a ohmytext b mynewtext} +OK
    is {lcs a b} {$mytext}
    is {lcs a b LEN} :6
    is {lcs a b idx} {* $matches {* {* {* :4 :7} {* :5 :8}} {* {* :2 :3} {* :0 :1}}} $len :6}
    is {lcs a b idx minmatchlen 4} {* $matches {* {* {* :4 :7} {* :5 :8}}} $len :6}
    is {lcs a b idx withmatchlen minmatchlen 3} {* $matches {* {* {* :4 :7} {* :5 :8} :4}} $len :6}
    is {lcs a b idx minmatchlen -5 withmatchlen} \
        {* $matches {* {* {* :4 :7} {* :5 :8} :4} {* {* :2 :3} {* :0 :1} :2}} $len :6}
    is {lcs a nosuch} {$}
    is {lcs nosuch nosuch2 idx} {* $matches {*} $len :0}
    is {lcs a nosuch len withmatchlen} :0
}

test "LCS in RESP3: a map" {
    is {mset a ab b b} +OK
    r hello 3
    is {lcs a b idx} {% $matches {* {* {* :1 :1} {* :0 :0}}} $len :1}
    r hello 2
}

test "LCS: wrong arguments" {
    is {lcs a} "-ERR wrong number of arguments for 'lcs' command"
    is {lcs a b foo} {-ERR syntax error}
    is {lcs a b minmatchlen} {-ERR syntax error}
    is {lcs a b minmatchlen x} {-ERR value is not an integer or out of range}
    is {lcs a b len idx} {-ERR If you want both the length and indexes, please just use IDX.}
}

test "LCS: too much memory" {
    r set big [string repeat x 12000]
    is {lcs big big len} \
        {-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len}
    is {lcs big nosuch len} :0
    is {config set proto-max-bulk-len 1mb} +OK
    r set a [string repeat x 511]
    is {lcs a a len} :511
    r set a [string repeat x 512]
    is {lcs a a len} \
        {-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len}
    is {config set proto-max-bulk-len 512mb} +OK
}
