# SPDX-License-Identifier: MIT
# What subscribers hear of bitmap and HyperLogLog commands.

# The events of what BODY does in database 0, each as "event key", in their order.
proc events_of {body} {
    set listener [server::connect $::main]
    resp::call $listener psubscribe __keyevent@0__:*
    r config set notify-keyspace-events KEAmn
    uplevel 1 $body
    r config set notify-keyspace-events ""
    r publish __keyevent@0__:end ""
    set heard {}
    while {1} {
        lassign [resp::plain [resp::receive $listener]] - - channel key
        set event [string range $channel 15 end]
        if {$event eq "end"} {
            break
        }
        lappend heard "$event $key"
    }
    close $listener
    return $heard
}

test "SETBIT: an event where something changes" {
    expect [events_of {
        r setbit b 1 1
        r setbit b 1 1
        r setbit b 9 0
        r setbit b 1 0
        r getbit b 1
        r getbit nosuch 1
        r bitcount nosuch
        r bitpos nosuch 1
    }] {{new b} {setbit b} {setbit b} {setbit b} {keymiss nosuch} {keymiss nosuch} {keymiss nosuch}}
}

test "BITFIELD: one event, none where every field fails" {
    expect [events_of {
        r bitfield f set u8 0 1 incrby u8 0 1
        r bitfield f set u8 0 2 get u8 0
        r bitfield g overflow fail set u1 0 2
        r bitfield g overflow fail set u1 40 2
        r bitfield g set u8 48 0
        r bitfield g get u8 0
        r bitfield nosuch get u8 0
        r bitfield_ro nosuch get u8 0
    }] {{new f} {setbit f} {new g} {setbit g} {keymiss nosuch} {keymiss nosuch}}
}

test "BITOP: set and del" {
    expect [events_of {
        r set a x
        r bitop or d a nosuch
        r bitop or d a
        r bitop and d nosuch
        r bitop and d nosuch
    }] {{new a} {set a} {keymiss nosuch} {new d} {set d} {set d} {keymiss nosuch} {del d} {keymiss nosuch}}
}

test "HyperLogLogs: pfadd for PFADD and PFMERGE" {
    expect [events_of {
        r pfadd h
        r pfadd h a
        r pfadd h a
        r pfcount h
        r pfcount nosuch
        r pfmerge m h
        r pfmerge m h nosuch
        r pfcount m h
        r lcs nosuch nosuch2 len
    }] {{new h} {pfadd h} {pfadd h} {keymiss nosuch} {keymiss m} {new m} {pfadd m} {keymiss nosuch} {pfadd m} {keymiss nosuch} {keymiss nosuch2}}
}

# As Redis: the count that PFCOUNT keeps is a change, a command that changes no byte is none.
test "WATCH sees what these commands change" {
    set other [server::connect $::main]
    r pfadd h a
    r setbit b 1 1
    foreach {command reply} {
        {pfcount h} nilarray {pfcount h} {*} {pfadd h a} {*} {pfadd h b} nilarray
        {setbit b 1 1} {*} {setbit b 1 0} nilarray {bitfield b set u8 0 0} {*} {bitfield b set u8 0 1} nilarray
    } {
        is {watch h b} +OK
        resp::call $other {*}$command
        is multi +OK
        is exec $reply
    }
    close $other
}
