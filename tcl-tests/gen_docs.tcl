# SPDX-License-Identifier: MIT
# gen_docs.tcl - writes src/command/docs_<group>.c from what a Redis 7.0 server says of the commands that bitkv has.
#
#   tclsh tcl-tests/gen_docs.tcl PORT DIRECTORY     asks 127.0.0.1:PORT (COMMAND DOCS, COMMAND INFO), writes the files
#
# Run it again when a command joins the list below; the files are kept in the repository, so no build needs Redis.

source [file join [file dirname [info script]] resp.tcl]

set names {
    get set setnx setex psetex getset getdel getex mget mset msetnx append strlen getrange substr setrange incr incrby
    incrbyfloat decr decrby lcs
    pfadd pfcount pfmerge pfdebug pfselftest
    setbit getbit bitcount bitpos bitop bitfield bitfield_ro
    del unlink exists touch type keys scan randomkey rename renamenx expire pexpire expireat pexpireat ttl pttl
    expiretime pexpiretime persist multi exec discard watch unwatch dump restore object object|encoding object|freq object|idletime object|refcount object|help copy move swapdb sort sort_ro wait migrate
    ping echo quit reset hello auth select client client|id client|getname client|setname client|info client|list
    client|kill client|no-evict client|reply client|help client|getredir client|caching client|tracking client|trackinginfo client|pause client|unpause client|unblock
    command command|count command|info command|list command|docs command|getkeys command|getkeysandflags command|help
    config config|get config|set config|resetstat config|rewrite config|help
    dbsize flushdb flushall info shutdown time debug bgrewriteaof bgsave save lastsave memory memory|doctor memory|help memory|malloc-stats memory|purge memory|stats memory|usage
    acl acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users
    acl|whoami acl|help module module|list module|load module|loadex module|unload module|help
    slowlog slowlog|get slowlog|len slowlog|reset slowlog|help
    latency latency|doctor latency|graph latency|history latency|latest latency|reset latency|histogram latency|help
    function function|flush function|help
    publish spublish subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe
    pubsub pubsub|channels pubsub|numsub pubsub|numpat pubsub|shardchannels pubsub|shardnumsub pubsub|help monitor
}

# A C string literal, cut into pieces that fit the column limit.
proc c_string {text indent} {
    set text [string map {\\ \\\\ \" \\\" \n \\n} $text]
    set room [expr {96 - $indent}]
    set out {}
    while {[string length $text] > $room} {
        set cut [string last " " $text [expr {$room - 1}]]
        if {$cut <= 0} {
            set cut [expr {$room - 1}]
        }
        lappend out "\"[string range $text 0 $cut]\""
        set text [string range $text $cut+1 end]
    }
    lappend out "\"$text\""
    return [join $out "\n[string repeat { } $indent]"]
}

proc field {name value} {
    return ".$name = [c_string $value [expr {12 + [string length $name] + 5}]]"
}

proc args_block {args_list depth} {
    set pad [string repeat "    " $depth]
    set rows {}
    foreach arg $args_list {
        set arg [dict create {*}$arg]
        set fields {}
        foreach key {name type token summary since deprecated_since} {
            if {[dict exists $arg $key]} {
                lappend fields ".$key = \"[string map {\\ \\\\ \" \\\"} [dict get $arg $key]]\""
            }
        }
        if {[dict exists $arg key_spec_index]} {
            lappend fields ".key_spec = [expr {1 + [dict get $arg key_spec_index]}]"
        }
        if {[dict exists $arg flags]} {
            lappend fields ".flags = [join [lmap f [dict get $arg flags] {string toupper DOC_$f}] { | }]"
        }
        set text ""
        set line "$pad\{"
        foreach f $fields {
            if {[string length $line] + [string length $f] > 92} {
                append text [string trimright $line] "\n"
                set line "$pad "
            }
            append line $f ", "
        }
        if {[dict exists $arg arguments]} {
            append text [string trimright $line] "\n$pad .args = DOC_LIST(doc_arg,\n"
            append text [args_block [dict get $arg arguments] [expr {$depth + 1}]] ")\}"
        } else {
            append text [string range $line 0 end-2] "\}"
        }
        lappend rows $text
    }
    return [join $rows ",\n"]
}

proc keys_block {specs} {
    set rows {}
    foreach spec $specs {
        set spec [dict create {*}$spec]
        set begin [dict create {*}[dict get $spec begin_search]]
        set find [dict create {*}[dict get $spec find_keys]]
        set row "        \{.flags = \"[dict get $spec flags]\", "
        switch -- [dict get $begin type] {
            index {
                append row ".index = [dict get [dict get $begin spec] index],"
            }
            keyword {
                append row ".keyword = \"[dict get [dict get $begin spec] keyword]\","
                append row " .from = [dict get [dict get $begin spec] startfrom],"
            }
            unknown {
                append row ".unknown = true"
            }
            default {
                error "a key specification of a kind that docs.h does not know: $spec"
            }
        }
        switch -- [dict get $find type] {
            range {
                set find [dict create {*}[dict get $find spec]]
                append row " .last = [dict get $find lastkey], .step = [dict get $find keystep]"
                append row ", .limit = [dict get $find limit]"
            }
            unknown {
            }
            default {
                error "a key specification of a kind that docs.h does not know: $spec"
            }
        }
        if {[dict exists $spec notes]} {
            append row ",\n         .notes = [c_string [dict get $spec notes] 18]"
        }
        lappend rows "$row\}"
    }
    return [join $rows ",\n"]
}

# One struct command_doc.
proc doc_row {name doc info} {
    set fields [list [field name $name]]
    foreach key {summary since group complexity doc_flags deprecated_since replaced_by} {
        if {[dict exists $doc $key]} {
            lappend fields [field $key [dict get $doc $key]]
        }
    }
    lassign $info - - - - - - - tips specs
    if {[llength $tips]} {
        lappend fields [field tips $tips]
    }
    if {[dict exists $doc history]} {
        set rows [lmap h [dict get $doc history] {
            format "        {\"%s\", %s}" [lindex $h 0] [c_string [lindex $h 1] 20]
        }]
        lappend fields ".history = DOC_LIST(doc_change,\n[join $rows ",\n"])"
    }
    if {[llength $specs]} {
        lappend fields ".keys = DOC_LIST(doc_key,\n[keys_block $specs])"
    }
    if {[dict exists $doc arguments]} {
        lappend fields ".args = DOC_LIST(doc_arg,\n[args_block [dict get $doc arguments] 2])"
    }
    return "    \{[join $fields ",\n     "]\},\n"
}

lassign $argv port dir
set fd [resp::open_tcp $port]
set out [dict create]
foreach name $names {
    lassign [resp::call $fd COMMAND DOCS $name] back doc
    if {$back ne $name} {
        error "the server does not know $name"
    }
    set doc [dict create {*}$doc]
    dict append out [dict get $doc group] [doc_row $name $doc [lindex [resp::call $fd COMMAND INFO $name] 0]]
}
dict for {group rows} $out {
    set file [open [file join $dir docs_$group.c] w]
    puts $file "/* SPDX-License-Identifier: MIT */"
    puts $file "/* docs_$group.c - what COMMAND DOCS says of Redis's group \"$group\"."
    puts $file " * Written by tcl-tests/gen_docs.tcl: change the list there. */"
    puts $file "#include \"command/docs.h\"\n"
    puts $file "/* clang-format off */"
    puts -nonewline $file "const struct command_doc command_docs_$group\[\] = \{\n$rows    \{0\}\};\n"
    close $file
}
