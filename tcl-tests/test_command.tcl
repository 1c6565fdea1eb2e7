# SPDX-License-Identifier: MIT
# COMMAND: what it answers, and that it says of each command exactly what Redis says.

proc names_of {options} {
    return [lsort [r command list {*}$options]]
}

test "COMMAND COUNT, LIST and the whole table agree" {
    set top [lsearch -all -inline -not [names_of {}] *|*]
    is {command count} :[llength $top]
    expect [lsort [lmap row [r command] {lindex $row 0}]] $top
    expect [lsort [lmap row [r command info] {lindex $row 0}]] $top
    expect [lsort [dict keys [r command docs]]] $top
}

test "COMMAND LIST FILTERBY" {
    expect [names_of {filterby pattern getr*}] getrange
    expect_true {"client|list" in [names_of {filterby pattern CLIENT|*}]}
    expect_true {"get" in [names_of {filterby aclcat STRING}] && "ping" ni [names_of {filterby aclcat string}]}
    is {command list filterby aclcat nosuch} *
    is {command list filterby module x} *
    is {command list filterby foo x} {-ERR syntax error}
    is {command list foo} {-ERR syntax error}
}

test "COMMAND INFO of one, of a subcommand, of none" {
    is {command info get} {* {* $get :2 {* +readonly +fast} :1 :1 :1 {* +@read +@string +@fast} *\
        {* {* $flags {* +RO +access} $begin_search {* $type $index $spec {* $index :1}} $find_keys\
        {* $type $range $spec {* $lastkey :0 $keystep :1 $limit :0}}}} *}}
    is {command info nosuch} {* nil}
    is {command info get|x client|nosuch} {* nil nil}
    expect [lindex [r command info CONFIG|GET] 0 0] config|get
    r hello 3
    expect [lindex [resp::typed $::client command info get] 1 0 1 2 0] ~
    is {command info nosuch} {* _}
}

test "COMMAND DOCS" {
    set doc [dict get [r command docs set] set]
    expect [dict get $doc summary] {Set the string value of a key}
    expect [dict get $doc since] 1.0.0
    expect [lmap a [dict get $doc arguments] {dict get $a name}] {key value condition get expiration}
    is {command docs nosuch} *
    expect [dict get [r command docs client|list] client|list since] 2.4.0
    own {
        expect [dict get [r command docs client|setinfo] client|setinfo since] 7.2.0
    }
}

test "COMMAND GETKEYS and GETKEYSANDFLAGS" {
    is {command getkeys get a} {* $a}
    is {command getkeys mset a 1 b 2} {* $a $b}
    is {command getkeys del a b c} {* $a $b $c}
    is {command getkeysandflags rename a b} {* {* $a {* +RW +access +delete}} {* $b {* +OW +update}}}
    is {command getkeysandflags set a 1} {* {* $a {* +OW +update}}}
    is {command getkeysandflags set a 1 px 1 GET} {* {* $a {* +RW +access +update}}}
    foreach {words flags} {
        {} {+RO +access}
        {get u8 0} {+RO +access}
        {OVERFLOW sat GET u8 0 get u8 8} {+RO +access}
        {overflow fail set u8 0 1} {+RW +access +update}
        {get u8 0 INCRBY u8 0 1} {+RW +access +update}
        {set u8 0} {+RW +access +update}
        {get set} {+RW +access +update}
        {nosuch} {+RW +access +update}
    } {
        is [list command getkeysandflags bitfield a {*}$words] [list * [list * \$a [list * {*}$flags]]]
    }
    is {command getkeysandflags bitfield_ro a get u8 0} {* {* $a {* +RO +access}}}
    is {command getkeys ping x} {-ERR The command has no key arguments}
    is {command getkeys client id} {-ERR The command has no key arguments}
    is {command getkeys nosuch x} {-ERR Invalid command specified}
    is {command getkeys client nosuch} {-ERR Invalid command specified}
    is {command getkeys get a b} {-ERR Invalid number of arguments specified for command}
    is {command getkeys get} "-ERR wrong number of arguments for 'command|getkeys' command"
}

# Redis answers sets and containers in an order of its own.
proc ordered {reply} {
    lassign $reply type value
    switch -exact -- $type {
        ~ {
            return [list $type [lsort [lmap e $value {ordered $e}]]]
        }
        * {
            return [list $type [lmap e $value {ordered $e}]]
        }
        % {
            set pairs {}
            foreach {k v} $value {
                lappend pairs [list $k [ordered $v]]
            }
            return [list $type [lsort $pairs]]
        }
    }
    return $reply
}

# Without the subcommands, which are asked for one by one: their list is as long as what is there.
proc info_of {fd name} {
    lassign [lindex [resp::typed $fd command info $name] 1 0] type fields
    return [ordered [list $type [lrange $fields 0 8]]]
}

proc docs_of {fd name} {
    lassign [resp::typed $fd command docs $name] type pair
    set fields {}
    foreach {k v} [lindex $pair 1 1] {
        if {[lindex $k 1] ne "subcommands"} {
            lappend fields $k $v
        }
    }
    return [ordered [list % $fields]]
}

test "each command's INFO and DOCS are Redis's" {
    own {
        set s [server::start_redis]
        set redis [server::connect $s]
        r hello 3
        resp::call $redis hello 3
        set n 0
        foreach name [r command list] {
            if {$name in {client|setinfo client|no-touch} || [string match "bitkv*" $name]} {
                continue
            }
            foreach ask {info_of docs_of} {
                set ours [$ask $::client $name]
                set theirs [$ask $redis $name]
                if {$ours ne $theirs} {
                    error "$ask $name: $ours, Redis: $theirs"
                }
            }
            incr n
        }
        expect_true {$n > 80}
        close $redis
        server::stop $s
    }
}

test "COMMAND GETKEYS of a command without the keys that it may have" {
    is {command getkeys pfmerge d} {-ERR Invalid arguments specified for command}
    is {command getkeys pfmerge d s} {* $d $s}
    is {command getkeys migrate h 1 {} 0 1 keys} {-ERR Invalid arguments specified for command}
}
