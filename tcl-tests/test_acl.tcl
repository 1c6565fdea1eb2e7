# SPDX-License-Identifier: MIT
# ACL, the half that reads, and MODULE.

test "ACL: one user who may do everything" {
    is {acl whoami} {$default}
    is {acl users} {* $default}
    is {acl list} [list * {$user default on nopass ~* &* +@all}]
    is {acl getuser default} [list * {$flags} {* $on $nopass} {$passwords} * {$commands} {$+@all} {$keys} {$~*} {$channels}\
        {$&*} {$selectors} *]
    is {acl getuser nosuch} nil
    r hello 3
    expect [lindex [resp::typed $::client acl getuser default] 0] %
}

test "ACL shows a password as its SHA-256" {
    set hash 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    is {config set requirepass foo} +OK
    is {auth foo} +OK
    is {acl list} [list * "\$user default on #$hash ~* &* +@all"]
    is {acl getuser default} [list * {$flags} {* $on} {$passwords} [list * \$$hash] {$commands} {$+@all} {$keys} {$~*}\
        {$channels} {$&*} {$selectors} *]
    is {config set requirepass ""} +OK
    is {acl list} [list * {$user default on nopass ~* &* +@all}]
}

test "ACL CAT" {
    expect [r acl cat] {keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast\
        slow blocking dangerous connection transaction scripting}
    set names [r acl cat DANGEROUS]
    foreach name {flushall keys config|set client|kill info} {
        expect_true {$name in $names}
    }
    expect_true {"get" ni $names && "config" ni $names}
    is {acl cat nosuch} {-ERR Unknown category 'nosuch'}
    is {acl cat a b} "-ERR unknown subcommand or wrong number of arguments for 'cat'. Try ACL HELP."
}

test "ACL GENPASS" {
    foreach {bits digits} {"" 64 1 1 4 1 5 2 12 3 4096 1024} {
        set pass [r acl genpass {*}$bits]
        expect_true {[string length $pass] == $digits && [regexp {^[0-9a-f]+$} $pass]}
    }
    expect_true {[r acl genpass] ne [r acl genpass]}
    foreach bits {0 -1 4097} {
        is "acl genpass $bits" "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive\
 number up to 4096"
    }
    is {acl genpass x} {-ERR value is not an integer or out of range}
}

test "ACL DRYRUN and LOG" {
    is {acl dryrun default get a} +OK
    is {acl dryrun default config get x} +OK
    is {acl dryrun nosuch get a} {-ERR User 'nosuch' not found}
    is {acl dryrun default nosuch} {-ERR Command 'nosuch' not found}
    is {acl dryrun default client nosuch} {-ERR Command 'client' not found}
    is {acl dryrun default get} {-ERR wrong number of arguments for 'get' command}
    is {acl log reset} +OK
    is {acl log} *
    is {acl log 5} *
    is {acl log x} {-ERR value is not an integer or out of range}
}

test "ACL: what would change users" {
    is {acl deluser nosuch other} :0
    is {acl deluser nosuch default} {-ERR The 'default' user cannot be removed}
    expect_match [r acl save] "ERR This Redis instance is not configured to use an ACL file.*"
    expect_match [r acl load] "ERR This Redis instance is not configured to use an ACL file.*"
    is {acl setuser "a b"} {-ERR Usernames can't contain spaces or null characters}
    own {
        expect_match [r acl setuser alice on >secret] "ERR ACL SETUSER is not supported*"
        set was [r config get slowlog-log-slower-than]
        is {config set slowlog-log-slower-than 0} +OK
        r acl setuser alice >secret
        expect [lindex [r slowlog get 1] 0 3] {acl setuser (redacted) (redacted)}
        r config set {*}$was
    }
    expect [llength [r acl help]] 29
}

test "MODULE" {
    is {module list} *
    expect_match [r module load /tmp/x.so] "ERR MODULE command not allowed.*"
    expect_match [r module loadex /tmp/x.so] "ERR MODULE command not allowed.*"
    expect_match [r module unload x] "ERR MODULE command not allowed.*"
    is multi +OK
    expect_match [r module load /tmp/x.so] "ERR MODULE command not allowed.*"
    is exec {-EXECABORT Transaction discarded because of previous errors.}
    is {module nosuch} "-ERR unknown subcommand 'nosuch'. Try MODULE HELP."
    expect [llength [r module help]] 11
}
