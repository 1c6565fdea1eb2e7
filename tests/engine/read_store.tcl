# SPDX-License-Identifier: MIT
#
# read_store.tcl DIR [NOW_MS] - an independent reader of a store's directory, written from src/engine/FORMAT.md alone.
#
# Prints every field of the manifest and of each data file, every checksum tested, then the keys that the store holds.
# Keys whose time has run out at NOW_MS are left out; without it none is. Damage ends it with an error: this reader
# is the witness of the format, not a way to save data.

# ---- CRC32C by table ----

proc make_table {} {
    global table
    for {set i 0} {$i < 256} {incr i} {
        set c $i
        for {set k 0} {$k < 8} {incr k} {
            set c [expr {$c & 1 ? 0x82f63b78 ^ ($c >> 1) : $c >> 1}]
        }
        lappend table $c
    }
}

proc crc32c {crc bytes} {
    global table
    set c [expr {$crc ^ 0xffffffff}]
    binary scan $bytes cu* values
    foreach b $values {
        set c [expr {[lindex $table [expr {($c ^ $b) & 0xff}]] ^ ($c >> 8)}]
    }
    return [expr {$c ^ 0xffffffff}]
}

# ---- Bytes ----

proc die {message} {
    puts stderr $message
    exit 1
}

proc check {fact what} {
    if {!$fact} {
        die "does not check: $what"
    }
}

proc slurp {path} {
    set f [open $path rb]
    set bytes [read $f]
    close $f
    return $bytes
}

proc cut {bytes at len} {
    return [string range $bytes $at [expr {$at + $len - 1}]]
}

proc number {bytes at format} {
    binary scan [cut $bytes $at 8] $format v
    return $v
}
proc u8 {bytes at} { return [number $bytes $at cu] }
proc u16 {bytes at} { return [number $bytes $at su] }
proc u32 {bytes at} { return [number $bytes $at iu] }
proc u64 {bytes at} { return [number $bytes $at wu] }
proc i64 {bytes at} { return [number $bytes $at w] }
proc u48 {bytes at} { return [expr {[u32 $bytes $at] + ([u16 $bytes [expr {$at + 4}]] << 32)}] }

proc hex {bytes} {
    binary scan $bytes H* text
    return $text
}

# Long byte strings by their first bytes, length and CRC.
proc show {bytes} {
    set n [string length $bytes]
    return [expr {$n <= 40 ? "[hex $bytes]/$n" : "[hex [cut $bytes 0 16]]../$n/[format %08x [crc32c 0 $bytes]]"}]
}

proc zeros {bytes} {
    return [expr {[string trimleft $bytes "\0"] eq ""}]
}

# ---- Spaces ----

proc space_of {num} {
    global space
    return [expr {[info exists space($num)] ? $space($num) : $num + 1}]
}

# Drops what belongs to a space that no number stands for any more.
proc drop_dead {} {
    global space keys
    array set stands {}
    foreach num [array names space] {
        set stands($space($num)) 1
    }
    foreach s [array names keys] {
        set own [expr {$s - 1}]
        if {![info exists stands($s)] && ($s > 65535 || [info exists space($own)])} {
            unset keys($s)
        }
    }
}

proc apply_pairs {pairs} {
    global space
    set text {}
    for {set at 0} {$at < [string length $pairs]} {incr at 8} {
        set space([u32 $pairs $at]) [u32 $pairs [expr {$at + 4}]]
        lappend text "[u32 $pairs $at]=[u32 $pairs [expr {$at + 4}]]"
    }
    drop_dead
    return $text
}

# ---- Manifest ----

proc read_item {type bytes} {
    global files
    switch $type {
        1 {
            set id [u64 $bytes 0]
            set files($id) [list [u64 $bytes 16] [u64 $bytes 8] -1]
            puts "  add id $id uid [format %016lx [u64 $bytes 8]] rank [u64 $bytes 16]"
        }
        2 {
            set id [u64 $bytes 0]
            lset files($id) 2 [u64 $bytes 8]
            puts "  seal id $id end [u64 $bytes 8]"
        }
        3 {
            unset files([u64 $bytes 0])
            puts "  drop id [u64 $bytes 0]"
        }
        4 {
            puts "  boot [hex $bytes]"
        }
        5 {
            set text {}
            for {set at 8} {$at < [string length $bytes]} {incr at 8} {
                lappend text "[u32 $bytes $at]=[u32 $bytes [expr {$at + 4}]]"
            }
            puts "  map next [u32 $bytes 0] $text"
        }
        6 {
            puts "  counters id [u64 $bytes 0] rank [u64 $bytes 8] seq [u64 $bytes 16]"
        }
        default {
            die "unknown manifest item $type"
        }
    }
}

proc read_manifest {path} {
    global store
    set m [slurp $path]
    check [expr {[cut $m 0 8] eq "bitkvman"}] "manifest magic"
    check [expr {[u16 $m 8] == 1}] "manifest major version"
    check [expr {[u32 $m 12] == 40 && [u32 $m 32] == 0}] "manifest header length"
    check [expr {[crc32c 0 [cut $m 0 36]] == [u32 $m 36]}] "manifest header CRC"
    set store [u64 $m 16]
    puts "manifest version [u16 $m 8].[u16 $m 10] store [format %016lx $store] hash [format %016lx [u64 $m 24]]"
    set seed [crc32c 0 [cut $m 16 8]]
    set edits 0
    for {set at 40} {$at < [string length $m]} {incr at [expr {16 + $len}]} {
        set len [u32 $m [expr {$at + 4}]]
        check [expr {[crc32c $seed [cut $m [expr {$at + 4}] [expr {12 + $len}]]] == [u32 $m $at]}] "edit at $at"
        check [expr {[u64 $m [expr {$at + 8}]] == [incr edits]}] "number of the edit at $at"
        puts " edit $edits"
        for {set i [expr {$at + 16}]} {$i < $at + 16 + $len} {incr i [expr {8 + $n}]} {
            set n [u32 $m [expr {$i + 4}]]
            check [zeros [cut $m [expr {$i + 1}] 3]] "zeros in the item at $i"
            read_item [u8 $m $i] [cut $m [expr {$i + 8}] $n]
        }
    }
    check [expr {$at == [string length $m]}] "the manifest's end"
}

# ---- Records ----

proc padded {raw} {
    if {$raw <= 512 || $raw > 1048576} {
        set step 8
    } else {
        set power 512
        while {$power * 2 < $raw} {
            set power [expr {$power * 2}]
        }
        set step [expr {$power / 16}]
    }
    return [expr {($raw + $step - 1) / $step * $step}]
}

# Checks the table's CRCs; the CRC of a value without a table is checked by the caller.
proc check_blocks {value table} {
    for {set i 0} {$i * 4 < [string length $table]} {incr i} {
        set block [cut $value [expr {$i * 65536}] 65536]
        check [expr {[crc32c 0 $block] == [u32 $table [expr {$i * 4}]]}] "block $i of a value"
    }
}

# A dict of the record at `at`, or "" when its header does not check.
proc read_record {d at end seed} {
    if {$at + 28 > $end || ([u8 $d [expr {$at + 8}]] & 0x3f) == 0} {
        return ""
    }
    set k [u8 $d [expr {$at + 8}]]
    set klen [u32 $d [expr {$at + 20}]]
    set vlen [u32 $d [expr {$at + 24}]]
    set key_at [expr {$at + 28 + ($k & 0x80 ? 8 : 0)}]
    set tlen [expr {$vlen > 65536 ? 4 * (($vlen + 65535) / 65536) : 0}]
    set raw [expr {$key_at - $at + $klen + $tlen + $vlen}]
    set size [padded $raw]
    if {$at + $size > $end} {
        return ""
    }
    if {[crc32c $seed [cut $d [expr {$at + 4}] [expr {$key_at - $at - 4 + $klen}]]] != [u32 $d $at]} {
        return ""
    }
    check [expr {($k & 0x40) == 0}] "compressed bit at $at"
    check [zeros [cut $d [expr {$at + $raw}] [expr {$size - $raw}]]] "padding at $at"
    set value [cut $d [expr {$key_at + $klen + $tlen}] $vlen]
    set table [cut $d [expr {$key_at + $klen}] $tlen]
    check [expr {[crc32c 0 [expr {$tlen > 0 ? $table : $value}]] == [u32 $d [expr {$at + 4}]]}] "value CRC at $at"
    check_blocks $value $table
    return [dict create at $at kind [expr {$k & 0x3f}] flags [u8 $d [expr {$at + 9}]] seq [u48 $d [expr {$at + 10}]] \
        space [u32 $d [expr {$at + 16}]] expire [expr {$k & 0x80 ? [i64 $d [expr {$at + 28}]] : 0}] \
        key [cut $d $key_at $klen] value $value size $size crc [cut $d $at 4]]
}

proc stands {s} {
    global space
    foreach num [array names space] {
        if {$space($num) == $s} {
            return 1
        }
    }
    return [expr {$s <= 65535 && ![info exists space([expr {$s - 1}])]}]
}

proc apply_record {r} {
    global keys now
    set s [dict get $r space]
    set key [hex [dict get $r key]]
    if {![stands $s]} {
        return
    }
    set expire [dict get $r expire]
    if {[dict get $r kind] == 2 || ($expire != 0 && $expire <= $now)} {
        if {[info exists keys($s)]} {
            dict unset keys($s) $key
        }
    } else {
        dict set keys($s) $key [list [dict get $r flags] $expire [dict get $r value]]
    }
}

proc print_record {r} {
    set names {- put delete map batch mark lost}
    set value [dict get $r value]
    set text [show $value]
    switch [dict get $r kind] {
        3 { set text [apply_pairs $value] }
        4 { set text "members [u32 $value 0] crc [format %08x [u32 $value 4]] length [u64 $value 8]" }
        5 { set text "uid [format %016lx [u64 $value 0]] offset [u64 $value 8]" }
    }
    puts "  [dict get $r at] [lindex $names [dict get $r kind]] seq [dict get $r seq] flags [dict get $r flags]\
        space [dict get $r space] expire [dict get $r expire] key [show [dict get $r key]] value $text\
        size [dict get $r size]"
}

# A batch: all its members must be there, with the CRC over theirs.
proc read_batch {d r end seed} {
    set at [expr {[dict get $r at] + [dict get $r size]}]
    set stop [expr {$at + [u64 [dict get $r value] 8]}]
    set crcs ""
    set n 0
    while {$at < $stop} {
        set m [read_record $d $at $stop $seed]
        check [expr {$m ne ""}] "member of a batch at $at"
        append crcs [dict get $m crc]
        incr n
        incr at [dict get $m size]
    }
    check [expr {$n == [u32 [dict get $r value] 0]}] "count of the batch at [dict get $r at]"
    check [expr {[crc32c 0 $crcs] == [u32 [dict get $r value] 4]}] "CRC of the batch at [dict get $r at]"
}

proc read_records {d at end seed} {
    set last 0
    while {$at < $end && [set r [read_record $d $at $end $seed]] ne ""} {
        print_record $r
        check [expr {[dict get $r seq] > $last}] "sequence number at $at"
        set last [dict get $r seq]
        switch [dict get $r kind] {
            1 - 2 { apply_record $r }
            3 - 5 { }
            4 { read_batch $d $r $end $seed }
            default { die "unknown kind at $at" }
        }
        incr at [dict get $r size]
    }
    return $at
}

proc read_datafile {path id rank uid end} {
    global store
    set d [slurp $path]
    set n [u32 $d 56]
    set header [u32 $d 12]
    check [expr {[cut $d 0 8] eq "bitkvdat" && [u16 $d 8] == 1}] "header of $path"
    check [expr {$header == 64 + 8 * $n}] "header length of $path"
    set crc [crc32c [crc32c 0 [cut $d 0 60]] [cut $d 64 [expr {$header - 64}]]]
    check [expr {$crc == [u32 $d 60]}] "header CRC of $path"
    check [expr {[u64 $d 16] == $uid && [u64 $d 24] == $id && [u64 $d 32] == $rank}] "uid, id and rank of $path"
    check [expr {[u64 $d 40] == $store}] "store id of $path"
    set state [expr {$end < 0 ? "open" : "sealed at $end"}]
    puts "file [file tail $path] version [u16 $d 8].[u16 $d 10] rank $rank made [i64 $d 48] replaces $n $state"
    set limit [expr {$end < 0 ? [string length $d] : $end}]
    set at [read_records $d $header $limit [crc32c 0 [cut $d 16 8]]]
    if {$end >= 0} {
        check [expr {$at == $end}] "end of $path"
    }
    check [zeros [cut $d $at [expr {[string length $d] - $at}]]] "zeros behind the end of $path"
    puts "  end $at"
}

# ---- All of it ----

proc by_rank {a b} {
    global files
    return [expr {[lindex $files($a) 0] - [lindex $files($b) 0]}]
}

proc print_keys {} {
    global keys space
    set nums [array names space]
    foreach s [array names keys] {
        if {$s <= 65535 && ![info exists space([expr {$s - 1}])]} {
            lappend nums [expr {$s - 1}]
        }
    }
    foreach num [lsort -integer -unique $nums] {
        if {![info exists keys([space_of $num])]} {
            continue
        }
        foreach {key v} [lsort -stride 2 $keys([space_of $num])] {
            lassign $v flags expire value
            puts "key $num $key flags $flags expire $expire value [string length $value] [format %08x [crc32c 0 $value]]"
        }
    }
}

proc main {dir} {
    global files
    make_table
    check [expr {[crc32c 0 123456789] == 0xe3069283}] "CRC32C itself"
    read_manifest [file join $dir MANIFEST]
    foreach id [lsort -command by_rank [array names files]] {
        lassign $files($id) rank uid end
        read_datafile [file join $dir [format %010ld.data $id]] $id $rank $uid $end
    }
    print_keys
}

array set files {}
array set space {}
array set keys {}
set now [expr {[llength $argv] > 1 ? [lindex $argv 1] : 0}]
fconfigure stdout -translation lf
main [lindex $argv 0]
