# SPDX-License-Identifier: MIT
# resp.tcl - a small RESP2/RESP3 client, Tcl alone.
#
# A reply is a pair {type value}: the type is RESP's own first byte, but "nil" stands for $-1 and "nilarray" for *-1.
# The value of an array, set or push is a list of replies, of a map a flat list of keys and values. Bytes are never
# translated.

namespace eval resp {}

proc resp::open_tcp {port {host 127.0.0.1}} {
    set fd [socket $host $port]
    fconfigure $fd -translation binary -buffering full -blocking 1
    return $fd
}

# One command as an array of bulk strings, buffered until the next read.
proc resp::send {fd args} {
    set out "*[llength $args]\r\n"
    foreach arg $args {
        append out "\$[string length $arg]\r\n$arg\r\n"
    }
    puts -nonewline $fd $out
}

proc resp::line {fd} {
    if {[gets $fd text] < 0} {
        error "the server closed the connection"
    }
    return [string range $text 0 end-1]
}

proc resp::bytes {fd n} {
    set data [read $fd [expr {$n + 2}]]
    if {[string length $data] != $n + 2} {
        error "the server closed the connection inside a reply"
    }
    return [string range $data 0 end-2]
}

proc resp::elements {fd n} {
    set out {}
    for {set i 0} {$i < $n} {incr i} {
        lappend out [receive $fd]
    }
    return $out
}

# The next reply as {type value}.
proc resp::receive {fd} {
    flush $fd
    set text [line $fd]
    set type [string index $text 0]
    set rest [string range $text 1 end]
    switch -exact -- $type {
        + - - - : - , - \# - ( {
            return [list $type $rest]
        }
        _ {
            return [list _ {}]
        }
        \$ {
            return [expr {$rest == -1 ? [list nil {}] : [list \$ [bytes $fd $rest]]}]
        }
        = - ! {
            return [list $type [bytes $fd $rest]]
        }
        * {
            return [expr {$rest == -1 ? [list nilarray {}] : [list * [elements $fd $rest]]}]
        }
        ~ - > {
            return [list $type [elements $fd $rest]]
        }
        % - | {
            return [list $type [elements $fd [expr {2 * $rest}]]]
        }
    }
    error "no RESP reply: $text"
}

# Sends one command and returns its typed reply.
proc resp::typed {fd args} {
    send $fd {*}$args
    return [receive $fd]
}

# A typed reply without its types: errors as "ERR ...", nulls as "".
proc resp::plain {reply} {
    lassign $reply type value
    switch -exact -- $type {
        * - ~ - > - % - | {
            set out {}
            foreach element $value {
                lappend out [plain $element]
            }
            return $out
        }
        = {
            return [string range $value 4 end]
        }
    }
    return $value
}

# Sends one command and returns its reply without types.
proc resp::call {fd args} {
    return [plain [typed $fd {*}$args]]
}
