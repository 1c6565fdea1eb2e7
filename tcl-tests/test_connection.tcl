# SPDX-License-Identifier: MIT
# PING, ECHO, QUIT, RESET, HELLO, AUTH, CLIENT.

test "PING and ECHO" {
    is {ping} +PONG
    is {ping hello} {$hello}
    is {ping a b} "-ERR wrong number of arguments for 'ping' command"
    is {echo hello} {$hello}
    is {echo} "-ERR wrong number of arguments for 'echo' command"
}

test "unknown commands and subcommands" {
    is {nosuch} {-ERR unknown command 'nosuch', with args beginning with: }
    is {nosuch a b} "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' "
    is {client nosuch} "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP."
    is {config nosuch a} "-ERR unknown subcommand 'nosuch'. Try CONFIG HELP."
    is {client} "-ERR wrong number of arguments for 'client' command"
    is {config get} "-ERR wrong number of arguments for 'config|get' command"
    is {"get a"} {-ERR unknown command 'get a', with args beginning with: }
}

test "QUIT answers and closes" {
    set fd [server::connect $::main]
    is_on $fd {quit} +OK
    expect_true {[catch {resp::call $fd ping}]}
    close $fd
}

test "HELLO" {
    expect_match [show [resp::typed $::client hello 3]] \
        {% {$server} {$redis} {$version} {$7.0.*} {$proto} :3 {$id} :* {$mode} {$standalone} {$role} {$master} *}
    is {get nosuch} _
    expect [lrange [r hello] 4 5] {proto 3}
    expect [lindex [resp::typed $::client hello 2] 0] *
    is {get nosuch} nil
    is {hello 1} {-NOPROTO unsupported protocol version}
    is {hello x} {-ERR Protocol version is not an integer or out of range}
    is {hello 3 foo} "-ERR Syntax error in HELLO option 'foo'"
    is {hello 3 setname} "-ERR Syntax error in HELLO option 'setname'"
    is {hello 3 auth default} "-ERR Syntax error in HELLO option 'auth'"
    is {hello 3 auth nobody x} {-WRONGPASS invalid username-password pair or user is disabled.}
    is {get nosuch} nil
    expect [lrange [r hello 3 auth default anything setname me] 4 5] {proto 3}
    is {client getname} {$me}
}

test "RESET" {
    r hello 3
    is {select 3} +OK
    is {client setname me} +OK
    is {client reply on} +OK
    is {reset} +RESET
    is {get nosuch} nil
    is {client getname} nil
    expect_match [r client info] {* db=0 *}
}

test "CLIENT ID, SETNAME, GETNAME" {
    set id [r client id]
    is {client id} :$id
    set fd [server::connect $::main]
    expect_true {[resp::call $fd client id] > $id}
    close $fd
    is {client getname} nil
    is {client setname me} +OK
    is {client getname} {$me}
    is {client setname {a b}} {-ERR Client names cannot contain spaces, newlines or special characters.}
    is {client getname} {$me}
    is {client setname ""} +OK
    is {client getname} nil
}

test "CLIENT SETINFO" {
    own {
        is {client setinfo lib-name redis-py} +OK
        is {client setinfo LIB-VER 1.2.3} +OK
        expect_match [r client info] {* lib-name=redis-py lib-ver=1.2.3*}
        is {client setinfo lib-name "a b"} {-ERR lib-name cannot contain spaces, newlines or special characters.}
        is {client setinfo foo bar} "-ERR Unrecognized option 'foo'"
    }
}

test "CLIENT INFO and LIST" {
    is {client setname me} +OK
    is {select 2} +OK
    set fields {id=* addr=127.0.0.1:* laddr=127.0.0.1:* fd=* name=me age=* idle=* flags=N db=2 sub=0 psub=0 ssub=0}
    append fields { multi=-1 qbuf=* qbuf-free=* argv-mem=* multi-mem=* rbs=* rbp=* obl=* oll=* omem=* tot-mem=*}
    append fields { events=* cmd=client|* user=default redir=-1 resp=2*}
    expect_match [r client info] "$fields\n"
    expect_match [r client list id [r client id]] "$fields\n"
    expect_match [r client list type normal] "*name=me*"
    is {client list type pubsub} {$}
    is {client list id 0} {$}
    set fd [server::connect $::main]
    set me [r client id]
    set other [resp::call $fd client id]
    set ids [list $other 0 $me 9000000000 $me]
    for {set i 0} {$i < 2000} {incr i} {
        lappend ids [expr {9000001000 - $i}]
    }
    expect [lmap {- id} [regexp -all -inline {id=(\d+) addr} [r client list id {*}$ids $other]] {set id}] \
        [list $other $me $me $other]
    close $fd
    is {client list type foo} "-ERR Unknown client type 'foo'"
    is {client list id x} {-ERR Invalid client ID}
    is {client list foo} {-ERR syntax error}
    r hello 3
    expect [lindex [resp::typed $::client client list] 0] =
}

proc line_of {id} {
    return [string trim [r client list id $id]]
}

test "CLIENT KILL by id, by address, in the old form" {
    set killed 0
    foreach how {id addr old laddr} {
        set fd [server::connect $::main]
        set id [resp::call $fd client id]
        regexp { addr=(\S+) laddr=(\S+) } [line_of $id] - addr laddr
        switch $how {
            id {is [list client kill id $id] :1}
            addr {is [list client kill addr $addr] :1}
            old {is [list client kill $addr] +OK}
            laddr {is [list client kill laddr $laddr id $id skipme yes] :1}
        }
        expect_true {[catch {resp::call $fd ping}]}
        close $fd
        wait_until {[line_of $id] eq ""}
    }
    is {client kill id 999999999} :0
    is {client kill 1.2.3.4:5} {-ERR No such client}
    is {client kill id x} {-ERR client-id should be greater than 0}
    is {client kill type foo} "-ERR Unknown client type 'foo'"
    is {client kill user nobody} "-ERR No such user 'nobody'"
    is {client kill addr a skipme maybe} {-ERR syntax error}
    is {client kill foo bar} {-ERR syntax error}
    is {client kill id 1 foo} {-ERR syntax error}
}

test "CLIENT KILL of oneself answers first" {
    set fd [server::connect $::main]
    is_on $fd [list client kill id [resp::call $fd client id] skipme no] :1
    expect_true {[catch {resp::call $fd ping}]}
    close $fd
}

test "CLIENT REPLY" {
    set fd [server::connect $::main]
    foreach command {{client reply off} {set a 1} {ping} {client reply on}} {
        resp::send $fd {*}$command
    }
    expect [show [resp::receive $fd]] +OK
    foreach command {{client reply skip} {set a 2} {get a}} {
        resp::send $fd {*}$command
    }
    expect [show [resp::receive $fd]] {$2}
    is_on $fd {client reply foo} {-ERR syntax error}
    is_on $fd {ping} +PONG
    close $fd
}

test "CLIENT NO-EVICT and HELP" {
    is {client no-evict on} +OK
    is {client no-evict off} +OK
    is {client no-evict foo} {-ERR syntax error}
    set help [r client help]
    expect [lindex $help 0] {CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:}
    expect [lrange $help end-1 end] {HELP {    Prints this help.}}
}

test "AUTH without a password" {
    is {auth x} "-ERR AUTH <password> called without any password configured for the default user. Are you\
 sure your configuration is correct?"
    is {auth default x} +OK
    is {auth nobody x} {-WRONGPASS invalid username-password pair or user is disabled.}
    is {auth a b c} {-ERR syntax error}
}

test "AUTH with a password" {
    set s [server::start --requirepass secret]
    set fd [server::connect $s]
    set noauth {-NOAUTH Authentication required.}
    is_on $fd {get a} $noauth
    is_on $fd {nosuch} {-ERR unknown command 'nosuch', with args beginning with: }
    is_on $fd {get} "-ERR wrong number of arguments for 'get' command"
    is_on $fd {hello 3} "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO\
 AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
    is_on $fd {auth wrong} {-WRONGPASS invalid username-password pair or user is disabled.}
    is_on $fd {auth default wrong} {-WRONGPASS invalid username-password pair or user is disabled.}
    is_on $fd {get a} $noauth
    is_on $fd {auth secret} +OK
    wait_until {[resp::call $fd ping] eq "PONG"} ;# it may still be loading, which NOAUTH did not tell
    is_on $fd {get a} nil
    is_on $fd {reset} +RESET
    is_on $fd {get a} $noauth
    expect [lrange [resp::call $fd hello 3 auth default secret] 4 5] {proto 3}
    is_on $fd {config set requirepass other} +OK
    is_on $fd {get a} _
    set second [server::connect $s]
    is_on $second {auth secret} {-WRONGPASS invalid username-password pair or user is disabled.}
    is_on $second {auth other} +OK
    is_on $second {config set requirepass ""} +OK
    is_on $second {reset} +RESET
    is_on $second {ping} +PONG
    close $fd
    close $second
    expect [server::stop $s] 0
}
