/* SPDX-License-Identifier: MIT */
/*
 * eqgen.c - commands from templates, a part of them spoilt on purpose.
 *
 * A template is words with blanks between; a word with $ stands for a random argument (the table of
 * eqgen_words.c), any other is sent as it is in random case. Times are never near: a relative one
 * is far in the future or not valid, an absolute one far in the future or the past (tame()).
 */
#include "lib/eqgen_words.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SPOIL 1u /* arguments may be dropped, doubled, replaced */
#define FIXED 0u

struct template
{
    const char *text;
    unsigned weight;
    enum eq_rule rule;
    unsigned flags;
};

static const struct template templates[] = {
    /* Strings. */
    {"GET $k", 60, EQ_BYTES, SPOIL},
    {"SET $k $v", 60, EQ_BYTES, SPOIL},
    {"SET $k $v $setopts", 90, EQ_BYTES, SPOIL},
    {"SETNX $k $v", 15, EQ_BYTES, SPOIL},
    {"SETEX $k $s $v", 15, EQ_BYTES, SPOIL},
    {"PSETEX $k $m $v", 15, EQ_BYTES, SPOIL},
    {"GETSET $k $v", 15, EQ_BYTES, SPOIL},
    {"GETDEL $k", 15, EQ_BYTES, SPOIL},
    {"GETEX $k", 10, EQ_BYTES, SPOIL},
    {"GETEX $k $getexopts", 30, EQ_BYTES, SPOIL},
    {"MGET $k $k $k", 20, EQ_BYTES, SPOIL},
    {"MGET $k", 5, EQ_BYTES, SPOIL},
    {"MSET $k $v", 5, EQ_BYTES, SPOIL},
    {"MSET $k $v $k $v $k $v", 15, EQ_BYTES, SPOIL},
    {"MSETNX $k $v $k $v", 15, EQ_BYTES, SPOIL},
    {"APPEND $k $v", 25, EQ_BYTES, SPOIL},
    {"STRLEN $k", 20, EQ_BYTES, SPOIL},
    {"GETRANGE $k $r $r", 30, EQ_BYTES, SPOIL},
    {"SUBSTR $k $r $r", 10, EQ_BYTES, SPOIL},
    {"SETRANGE $k $o $v", 30, EQ_BYTES, SPOIL},
    {"INCR $k", 20, EQ_BYTES, SPOIL},
    {"DECR $k", 15, EQ_BYTES, SPOIL},
    {"INCRBY $k $i", 25, EQ_BYTES, SPOIL},
    {"DECRBY $k $i", 25, EQ_BYTES, SPOIL},
    {"INCRBYFLOAT $k $f", 40, EQ_BYTES, SPOIL},
    {"LCS $k $k", 15, EQ_BYTES, SPOIL},
    {"LCS $k $k LEN", 10, EQ_BYTES, SPOIL},
    {"LCS $k $k IDX", 15, EQ_BYTES, SPOIL},
    {"LCS $k $k IDX MINMATCHLEN $i WITHMATCHLEN", 15, EQ_BYTES, SPOIL},
    {"LCS $k $k $lcs $lcs", 15, EQ_BYTES, SPOIL},
    {"SET $k $i", 20, EQ_BYTES, FIXED},
    {"SET $k $f", 20, EQ_BYTES, FIXED},
    /* Bitmaps. */
    {"SETBIT $k $bo $bit", 40, EQ_BYTES, SPOIL},
    {"GETBIT $k $bo", 20, EQ_BYTES, SPOIL},
    {"BITCOUNT $k", 10, EQ_BYTES, SPOIL},
    {"BITCOUNT $k $r $r", 15, EQ_BYTES, SPOIL},
    {"BITCOUNT $k $r $r $unit", 25, EQ_BYTES, SPOIL},
    {"BITPOS $k $bit", 10, EQ_BYTES, SPOIL},
    {"BITPOS $k $bit $r", 15, EQ_BYTES, SPOIL},
    {"BITPOS $k $bit $r $r", 15, EQ_BYTES, SPOIL},
    {"BITPOS $k $bit $r $r $unit", 25, EQ_BYTES, SPOIL},
    {"BITOP $bop $k $k", 15, EQ_BYTES, SPOIL},
    {"BITOP $bop $k $k $k $k", 15, EQ_BYTES, SPOIL},
    {"BITFIELD $k $fields", 50, EQ_BYTES, SPOIL},
    {"BITFIELD_RO $k $fields", 10, EQ_BYTES, SPOIL},
    {"BITFIELD_RO $k GET $ft $fo GET $ft $fo", 10, EQ_BYTES, SPOIL},
    /* HyperLogLogs. */
    {"PFADD $h $elements", 50, EQ_BYTES, SPOIL},
    {"PFCOUNT $h", 30, EQ_BYTES, SPOIL},
    {"PFCOUNT $h $h $h", 15, EQ_BYTES, SPOIL},
    {"PFMERGE $h $h $h", 20, EQ_BYTES, SPOIL},
    {"GET $h", 20, EQ_BYTES, FIXED},
    {"DEL $h", 5, EQ_BYTES, FIXED},
    {"SET $h $hll", 15, EQ_BYTES, FIXED},
    {"SETRANGE $h $bit $hll", 3, EQ_BYTES, FIXED},
    {"SETRANGE $h $n $v", 2, EQ_BYTES, FIXED},
    {"SETBIT $h $bo 1", 5, EQ_BYTES, FIXED},
    {"PFADD $k $elements", 5, EQ_BYTES, SPOIL},
    {"PFMERGE $k $k", 5, EQ_BYTES, SPOIL},
    {"PFDEBUG ENCODING $h", 10, EQ_BYTES, SPOIL},
    {"PFDEBUG DECODE $h", 15, EQ_BYTES, SPOIL},
    {"PFDEBUG GETREG $h", 2, EQ_BYTES, SPOIL},
    {"PFDEBUG TODENSE $h", 3, EQ_BYTES, SPOIL},
    {"PFDEBUG $w $h", 2, EQ_BYTES, FIXED},
    {"CONFIG SET hll-sparse-max-bytes $sparse", 5, EQ_BYTES, FIXED},
    /* Keys. */
    {"DEL $k", 20, EQ_BYTES, SPOIL},
    {"DEL $k $k $k", 10, EQ_BYTES, SPOIL},
    {"UNLINK $k $k", 10, EQ_BYTES, SPOIL},
    {"EXISTS $k", 10, EQ_BYTES, SPOIL},
    {"EXISTS $k $k $k", 10, EQ_BYTES, SPOIL},
    {"TOUCH $k $k", 10, EQ_BYTES, SPOIL},
    {"TYPE $k", 10, EQ_BYTES, SPOIL},
    {"RENAME $k $k", 20, EQ_BYTES, SPOIL},
    {"RENAMENX $k $k", 20, EQ_BYTES, SPOIL},
    {"KEYS $p", 15, EQ_SET, SPOIL},
    {"SCAN 0", 10, EQ_SCAN_ALL, FIXED},
    {"SCAN 0 COUNT $n", 5, EQ_SCAN_ALL, FIXED},
    {"SCAN 0 MATCH $p", 5, EQ_SCAN_ALL, FIXED},
    {"SCAN 0 TYPE string COUNT $n MATCH $p", 5, EQ_SCAN_ALL, FIXED},
    {"SCAN 0 TYPE hash", 3, EQ_SCAN_ALL, FIXED},
    {"SCAN 0 TYPE nosuchtype", 3, EQ_SCAN_ALL, FIXED},
    {"SCAN $i COUNT $i MATCH $p TYPE $w", 10, EQ_SHAPE, SPOIL},
    {"SCAN $w", 3, EQ_SHAPE, SPOIL},
    {"SCAN 0 $w $n", 5, EQ_SHAPE, SPOIL},
    {"RANDOMKEY", 8, EQ_RANDOMKEY, FIXED},
    {"RANDOMKEY $w", 2, EQ_BYTES, FIXED},
    {"DBSIZE", 10, EQ_BYTES, SPOIL},
    /* Expiry. */
    {"EXPIRE $k $s $expopt", 25, EQ_BYTES, SPOIL},
    {"PEXPIRE $k $m $expopt", 25, EQ_BYTES, SPOIL},
    {"EXPIREAT $k $t $expopt", 25, EQ_BYTES, SPOIL},
    {"PEXPIREAT $k $u $expopt", 25, EQ_BYTES, SPOIL},
    {"TTL $k", 25, EQ_NEAR_S, SPOIL},
    {"PTTL $k", 25, EQ_NEAR_MS, SPOIL},
    {"EXPIRETIME $k", 25, EQ_NEAR_S, SPOIL},
    {"PEXPIRETIME $k", 25, EQ_NEAR_MS, SPOIL},
    {"PERSIST $k", 20, EQ_BYTES, SPOIL},
    /* Values in and out. */
    {"DUMP $k", 40, EQ_DUMP, SPOIL},
    {"RESTORE $k $m $dump", 20, EQ_BYTES, SPOIL},
    {"RESTORE $k 0 $dump REPLACE", 30, EQ_BYTES, SPOIL},
    {"RESTORE $k $u $dump ABSTTL REPLACE", 15, EQ_BYTES, SPOIL},
    {"RESTORE $k $m $dump REPLACE IDLETIME $i", 8, EQ_BYTES, SPOIL},
    {"RESTORE $k 0 $dump REPLACE FREQ $i", 8, EQ_BYTES, SPOIL},
    {"RESTORE $k 0 $dump IDLETIME $n FREQ $n", 4, EQ_BYTES, SPOIL},
    {"RESTORE $k $i $v REPLACE $w", 6, EQ_BYTES, SPOIL},
    {"OBJECT ENCODING $k", 25, EQ_ENCODING, SPOIL},
    {"OBJECT REFCOUNT $k", 8, EQ_SHAPE, SPOIL},
    {"OBJECT IDLETIME $k", 8, EQ_SHAPE, SPOIL},
    {"OBJECT FREQ $k", 8, EQ_SHAPE, SPOIL},
    {"OBJECT HELP", 1, EQ_BYTES, FIXED},
    {"OBJECT ENCODING", 2, EQ_BYTES, FIXED},
    {"OBJECT", 2, EQ_BYTES, FIXED},
    {"OBJECT $w $k", 3, EQ_BYTES, FIXED},
    {"SORT $k", 10, EQ_BYTES, SPOIL},
    {"SORT $k BY $p LIMIT $i $i GET $p ASC ALPHA", 10, EQ_BYTES, SPOIL},
    {"SORT $k STORE $k", 10, EQ_BYTES, SPOIL},
    {"SORT nosuchkey LIMIT $n $n STORE $k DESC", 4, EQ_BYTES, SPOIL},
    {"SORT $k $w $w", 5, EQ_BYTES, SPOIL},
    {"SORT_RO $k", 5, EQ_BYTES, SPOIL},
    {"SORT_RO $k STORE $k", 3, EQ_BYTES, SPOIL},
    /* Nobody listens there. EQ_SHAPE, which looks at errors byte by byte and keeps it out of MULTI.
     */
    {"MIGRATE 127.0.0.1 1 $k $d 1000", 4, EQ_SHAPE, FIXED},
    {"MIGRATE 127.0.0.1 1 $k 0 $i $w $w", 4, EQ_SHAPE, FIXED},
    {"MIGRATE 127.0.0.1 1 $x 0 1000 COPY REPLACE AUTH $w", 2, EQ_SHAPE, FIXED},
    {"MIGRATE 127.0.0.1 1 $x 0 1000 AUTH2 $w $w KEYS $k $k", 3, EQ_SHAPE, FIXED},
    {"MIGRATE 127.0.0.1 1 $u1 0 1000 KEYS $k $k", 3, EQ_SHAPE, FIXED},
    /* Databases. */
    {"COPY $k $k", 20, EQ_BYTES, SPOIL},
    {"COPY $k $k REPLACE", 15, EQ_BYTES, SPOIL},
    {"COPY $k $k DB $d", 15, EQ_BYTES, SPOIL},
    {"COPY $k $k DB $d REPLACE", 15, EQ_BYTES, SPOIL},
    {"COPY $k $k $w $d $w", 5, EQ_BYTES, SPOIL},
    {"MOVE $k $d", 25, EQ_BYTES, SPOIL},
    {"SWAPDB $d $d", 8, EQ_BYTES, SPOIL},
    {"SELECT $d", 15, EQ_BYTES, SPOIL},
    {"SELECT 0", 15, EQ_BYTES, FIXED},
    {"FLUSHDB", 2, EQ_BYTES, FIXED},
    {"FLUSHDB ASYNC", 1, EQ_BYTES, FIXED},
    {"FLUSHALL", 1, EQ_BYTES, FIXED},
    {"FLUSHALL SYNC", 1, EQ_BYTES, FIXED},
    {"FLUSHALL $w", 1, EQ_BYTES, FIXED},
    {"FLUSHDB SYNC $w", 1, EQ_BYTES, FIXED},
    /* Transactions; MULTI comes with its queue, from eq_generate. */
    {"WATCH $k", 10, EQ_BYTES, SPOIL},
    {"WATCH $k $k $k", 5, EQ_BYTES, SPOIL},
    {"UNWATCH", 3, EQ_BYTES, SPOIL},
    {"EXEC", 2, EQ_BYTES, SPOIL},
    {"DISCARD", 2, EQ_BYTES, SPOIL},
    {"MULTI $w", 1, EQ_BYTES, FIXED},
    /* Connection. */
    {"PING", 5, EQ_BYTES, FIXED},
    {"PING $v", 5, EQ_BYTES, SPOIL},
    {"ECHO $v", 8, EQ_BYTES, SPOIL},
    {"QUIT", 1, EQ_CLOSES, FIXED},
    {"QUIT $w", 1, EQ_CLOSES, FIXED},
    {"RESET", 5, EQ_BYTES, FIXED},
    {"RESET $w", 1, EQ_BYTES, FIXED},
    {"HELLO", 5, EQ_HELLO, FIXED},
    {"HELLO 2", 12, EQ_HELLO, FIXED},
    {"HELLO 3", 12, EQ_HELLO, FIXED},
    {"HELLO $i", 5, EQ_HELLO, FIXED},
    {"HELLO 3 SETNAME $w", 5, EQ_HELLO, FIXED},
    {"HELLO 2 AUTH default $v", 3, EQ_HELLO, FIXED},
    {"HELLO 3 AUTH $w $v SETNAME $w", 3, EQ_HELLO, FIXED},
    {"HELLO 3 $w", 3, EQ_HELLO, FIXED},
    {"HELLO 3 AUTH $w", 3, EQ_HELLO, FIXED},
    {"AUTH $w", 3, EQ_BYTES, FIXED},
    {"AUTH default $w", 3, EQ_BYTES, FIXED},
    {"AUTH $w $w", 3, EQ_BYTES, FIXED},
    {"AUTH", 2, EQ_BYTES, FIXED},
    {"AUTH $w $w $w", 2, EQ_BYTES, FIXED},
    {"TIME", 3, EQ_SHAPE, SPOIL},
    /* CLIENT. */
    {"CLIENT ID", 3, EQ_SHAPE, FIXED},
    {"CLIENT ID $w", 2, EQ_BYTES, FIXED},
    {"CLIENT GETNAME", 5, EQ_BYTES, FIXED},
    {"CLIENT SETNAME $w", 6, EQ_BYTES, FIXED},
    {"CLIENT SETNAME $v", 4, EQ_BYTES, FIXED},
    {"CLIENT INFO", 3, EQ_FIELDS, FIXED},
    {"CLIENT LIST", 3, EQ_FIELDS, FIXED},
    {"CLIENT LIST TYPE normal", 2, EQ_FIELDS, FIXED},
    {"CLIENT LIST TYPE $w", 3, EQ_FIELDS, FIXED},
    {"CLIENT LIST TYPE pubsub", 2, EQ_BYTES, FIXED},
    {"CLIENT LIST ID 4000000000", 2, EQ_BYTES, FIXED},
    {"CLIENT LIST ID $w", 2, EQ_BYTES, FIXED},
    {"CLIENT LIST ID", 2, EQ_BYTES, FIXED},
    {"CLIENT LIST $w", 2, EQ_BYTES, FIXED},
    {"CLIENT NO-EVICT on", 2, EQ_BYTES, FIXED},
    {"CLIENT NO-EVICT off", 2, EQ_BYTES, FIXED},
    {"CLIENT NO-EVICT $w", 2, EQ_BYTES, FIXED},
    {"CLIENT REPLY ON", 3, EQ_BYTES, FIXED},
    {"CLIENT REPLY $i", 3, EQ_BYTES, FIXED},
    {"CLIENT PAUSE 0", 1, EQ_BYTES, FIXED},
    {"CLIENT PAUSE 0 $w", 2, EQ_BYTES, FIXED},
    {"CLIENT PAUSE 0 WRITE", 1, EQ_BYTES, FIXED},
    {"CLIENT PAUSE -5 ALL", 1, EQ_BYTES, FIXED},
    {"CLIENT PAUSE abc", 1, EQ_BYTES, FIXED},
    {"CLIENT UNPAUSE", 1, EQ_BYTES, FIXED},
    {"CLIENT UNPAUSE $w", 1, EQ_BYTES, FIXED},
    {"CLIENT UNBLOCK 4000000000", 1, EQ_BYTES, FIXED},
    {"CLIENT UNBLOCK 4000000000 $w", 1, EQ_BYTES, FIXED},
    {"CLIENT UNBLOCK 4000000000 ERROR", 1, EQ_BYTES, FIXED},
    {"CLIENT UNBLOCK $f", 1, EQ_BYTES, FIXED},
    {"CLIENT GETREDIR", 1, EQ_BYTES, FIXED},
    {"CLIENT KILL 1.2.3.4:5", 3, EQ_BYTES, FIXED},
    {"CLIENT KILL $w", 3, EQ_BYTES, FIXED},
    {"CLIENT KILL ID 4000000000", 3, EQ_BYTES, FIXED},
    {"CLIENT KILL ID $w", 3, EQ_BYTES, FIXED},
    {"CLIENT KILL ID 0", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL TYPE normal", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL TYPE $w", 3, EQ_BYTES, FIXED},
    {"CLIENT KILL TYPE pubsub SKIPME no", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL ADDR 1.2.3.4:5 SKIPME yes", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL LADDR 1.2.3.4:5 SKIPME $w", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL USER default SKIPME yes", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL USER $w SKIPME yes", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL $w $w", 2, EQ_BYTES, FIXED},
    {"CLIENT KILL", 2, EQ_BYTES, FIXED},
    {"CLIENT", 2, EQ_BYTES, FIXED},
    {"CLIENT $w", 3, EQ_BYTES, FIXED},
    {"CLIENT $w $w $w", 3, EQ_BYTES, FIXED},
    /* COMMAND. */
    {"COMMAND COUNT", 2, EQ_SHAPE, FIXED},
    {"COMMAND COUNT $w", 2, EQ_BYTES, FIXED},
    {"COMMAND INFO $c", 15, EQ_COMMAND, FIXED},
    {"COMMAND INFO $c $u1 $c", 5, EQ_COMMAND, FIXED},
    {"COMMAND INFO $sub", 5, EQ_COMMAND, FIXED},
    {"COMMAND DOCS $c", 15, EQ_COMMAND, FIXED},
    {"COMMAND DOCS $sub", 5, EQ_COMMAND, FIXED},
    {"COMMAND DOCS $u1", 2, EQ_BYTES, FIXED},
    {"COMMAND LIST", 1, EQ_SHAPE, FIXED},
    {"COMMAND LIST FILTERBY MODULE $w", 2, EQ_BYTES, FIXED},
    {"COMMAND LIST FILTERBY PATTERN get*", 1, EQ_SHAPE, FIXED},
    {"COMMAND LIST FILTERBY PATTERN expire*", 2, EQ_SET, FIXED},
    {"COMMAND LIST FILTERBY ACLCAT $w", 2, EQ_SHAPE, FIXED},
    {"COMMAND LIST $w $w $w", 2, EQ_BYTES, FIXED},
    {"COMMAND LIST FILTERBY $w $w", 2, EQ_BYTES, FIXED},
    {"COMMAND GETKEYS GET $k", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS MSET $k $v $k $v", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS MGET $k $k", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS SET $k $v $setopts", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS RENAME $k $k", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS BITOP $bop $k $k $k", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS BITFIELD $k $fields", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS SORT $k $x $x STORE $k", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS SORT $k GET $p LIMIT $n $n", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYSANDFLAGS SORT $k BY $p STORE $k", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS MIGRATE h 1 $k 0 1 $x $x $x", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYSANDFLAGS MIGRATE h 1 $u1 0 1 AUTH $w KEYS $k $k", 3, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS OBJECT ENCODING $k", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYSANDFLAGS COPY $k $k", 2, EQ_BYTES, SPOIL},
    {"COMMAND GETKEYS PING", 2, EQ_BYTES, FIXED},
    {"COMMAND GETKEYS $c", 3, EQ_BYTES, FIXED},
    {"COMMAND GETKEYS $c $k", 3, EQ_BYTES, FIXED},
    {"COMMAND GETKEYS $u1", 2, EQ_BYTES, FIXED},
    {"COMMAND $w", 3, EQ_BYTES, FIXED},
    {"COMMAND HELP", 1, EQ_BYTES, FIXED},
    /* CONFIG, INFO and the rest of the server. */
    {"CONFIG GET $opt", 25, EQ_PAIRS, FIXED},
    {"CONFIG GET $opt $opt", 5, EQ_PAIRS, FIXED},
    {"CONFIG GET $w", 3, EQ_PAIRS, FIXED},
    {"CONFIG GET *", 1, EQ_NAMES, FIXED},
    {"CONFIG GET *list*", 1, EQ_NAMES, FIXED},
    {"CONFIG GET", 2, EQ_BYTES, FIXED},
    {"CONFIG SET $setopt $setval", 40, EQ_BYTES, FIXED},
    {"CONFIG SET $setopt $setval $setopt $setval", 10, EQ_BYTES, FIXED},
    {"CONFIG GET $setopt", 20, EQ_PAIRS, FIXED},
    {"CONFIG SET client-output-buffer-limit $cobl", 4, EQ_BYTES, FIXED},
    {"CONFIG GET client-output-buffer-limit", 2, EQ_PAIRS, FIXED},
    {"CONFIG SET $opt", 2, EQ_BYTES, FIXED},
    {"CONFIG SET $w $v", 3, EQ_BYTES, FIXED},
    {"CONFIG SET maxclients $w", 2, EQ_BYTES, FIXED},
    {"CONFIG SET timeout -1", 2, EQ_BYTES, FIXED},
    {"CONFIG SET timeout $w", 2, EQ_BYTES, FIXED},
    {"CONFIG SET appendfsync $w", 2, EQ_BYTES, FIXED},
    {"CONFIG SET timeout 100000 timeout 5", 2, EQ_BYTES, FIXED},
    {"CONFIG SET databases 16", 2, EQ_BYTES, FIXED},
    {"CONFIG SET maxmemory 12xb", 2, EQ_BYTES, FIXED},
    {"CONFIG SET maxmemory-policy volatile-ttl", 2, EQ_BYTES, FIXED},
    {"CONFIG SET maxmemory-policy ALLKEYS-LRU maxmemory-samples $n", 2, EQ_BYTES, FIXED},
    {"CONFIG SET proto-max-bulk-len 1", 2, EQ_BYTES, FIXED},
    {"CONFIG SET client-output-buffer-limit $w", 2, EQ_BYTES, FIXED},
    {"CONFIG SET timeout 0", 2, EQ_BYTES, FIXED},
    {"CONFIG SET tcp-keepalive 300 loglevel notice", 2, EQ_BYTES, FIXED},
    {"CONFIG RESETSTAT", 2, EQ_BYTES, FIXED},
    {"CONFIG RESETSTAT $w", 2, EQ_BYTES, FIXED},
    {"CONFIG REWRITE", 2, EQ_BYTES, FIXED},
    {"CONFIG HELP", 1, EQ_BYTES, FIXED},
    {"CONFIG", 2, EQ_BYTES, FIXED},
    {"CONFIG $w", 3, EQ_BYTES, FIXED},
    {"INFO", 2, EQ_INFO, FIXED},
    {"INFO keyspace", 5, EQ_INFO, FIXED},
    {"INFO server clients", 2, EQ_INFO, FIXED},
    {"INFO stats", 2, EQ_INFO, FIXED},
    {"INFO replication", 2, EQ_INFO, FIXED},
    {"INFO cpu", 2, EQ_INFO, FIXED},
    {"INFO nosuchsection", 2, EQ_INFO, FIXED},
    {"INFO default", 1, EQ_INFO, FIXED},
    {"WAIT 0 $s", 4, EQ_BYTES, FIXED},
    {"WAIT -1 $m", 2, EQ_BYTES, FIXED},
    {"WAIT 1 1", 2, EQ_BYTES, FIXED},
    {"WAIT nosuch $w", 3, EQ_BYTES, FIXED},
    {"WAIT 0 $i", 4, EQ_BYTES, FIXED},
    {"MEMORY USAGE $k", 8, EQ_SHAPE, SPOIL},
    {"MEMORY USAGE $k SAMPLES $i", 5, EQ_SHAPE, SPOIL},
    {"MEMORY STATS", 5, EQ_NAMES, FIXED},
    {"MEMORY STATS $w", 2, EQ_BYTES, FIXED},
    {"MEMORY DOCTOR", 2, EQ_SHAPE, FIXED},
    {"MEMORY MALLOC-STATS", 1, EQ_SHAPE, FIXED},
    {"MEMORY PURGE", 1, EQ_BYTES, FIXED},
    {"MEMORY HELP", 1, EQ_BYTES, FIXED},
    {"MEMORY $w $k", 2, EQ_BYTES, FIXED},
    {"MEMORY", 2, EQ_BYTES, FIXED},
    {"SHUTDOWN $w", 2, EQ_BYTES, FIXED},
    {"SHUTDOWN NOSAVE SAVE", 2, EQ_BYTES, FIXED},
    {"SHUTDOWN ABORT NOW", 2, EQ_BYTES, FIXED},
    {"SHUTDOWN ABORT", 2, EQ_BYTES, FIXED},
    {"ACL WHOAMI", 1, EQ_BYTES, FIXED},
    {"ACL USERS", 1, EQ_BYTES, FIXED},
    {"ACL LIST", 2, EQ_BYTES, FIXED},
    {"ACL GETUSER default", 2, EQ_BYTES, FIXED},
    {"ACL GETUSER $w", 2, EQ_BYTES, FIXED},
    {"ACL CAT", 1, EQ_BYTES, FIXED},
    {"ACL CAT nosuch", 1, EQ_BYTES, FIXED},
    {"ACL CAT $v", 1, EQ_SHAPE, FIXED},
    {"ACL GENPASS", 1, EQ_SHAPE, FIXED},
    {"ACL GENPASS $i", 3, EQ_SHAPE, FIXED},
    {"ACL GENPASS $w $w", 1, EQ_BYTES, FIXED},
    {"ACL LOG RESET", 1, EQ_BYTES, FIXED},
    {"ACL LOG $w $w", 1, EQ_BYTES, FIXED},
    {"ACL DRYRUN default $any $x", 4, EQ_BYTES, FIXED},
    {"ACL DRYRUN default $c", 2, EQ_BYTES, FIXED},
    {"ACL DRYRUN $w $c", 1, EQ_BYTES, FIXED},
    {"ACL DELUSER $w", 1, EQ_BYTES, FIXED},
    {"ACL DELUSER nosuch default", 1, EQ_BYTES, FIXED},
    {"ACL SAVE", 1, EQ_BYTES, FIXED},
    {"ACL LOAD", 1, EQ_BYTES, FIXED},
    {"ACL HELP", 1, EQ_BYTES, FIXED},
    {"ACL $w", 2, EQ_BYTES, FIXED},
    {"MODULE LIST", 1, EQ_BYTES, FIXED},
    {"MODULE LOAD $w", 1, EQ_BYTES, FIXED},
    {"MODULE LOADEX $w $w", 1, EQ_BYTES, FIXED},
    {"MODULE UNLOAD $w", 1, EQ_BYTES, FIXED},
    {"MODULE HELP", 1, EQ_BYTES, FIXED},
    {"MODULE $w", 2, EQ_BYTES, FIXED},
    {"SLOWLOG HELP", 1, EQ_BYTES, FIXED},
    {"SLOWLOG GET -2", 2, EQ_BYTES, FIXED},
    {"SLOWLOG GET $w $w", 2, EQ_BYTES, FIXED},
    {"SLOWLOG GET 0", 1, EQ_BYTES, FIXED},
    {"SLOWLOG LEN", 1, EQ_SHAPE, FIXED},
    {"SLOWLOG LEN $w", 1, EQ_BYTES, FIXED},
    {"SLOWLOG RESET", 1, EQ_BYTES, FIXED},
    {"SLOWLOG $w", 2, EQ_BYTES, FIXED},
    {"LATENCY HELP", 1, EQ_BYTES, FIXED},
    {"LATENCY HISTORY nosuch", 1, EQ_BYTES, FIXED},
    {"LATENCY GRAPH nosuch", 1, EQ_BYTES, FIXED},
    {"LATENCY GRAPH $u1", 2, EQ_BYTES, FIXED},
    {"LATENCY RESET nosuch", 1, EQ_BYTES, FIXED},
    {"LATENCY LATEST $w", 1, EQ_BYTES, FIXED},
    {"LATENCY HISTOGRAM nosuch", 1, EQ_BYTES, FIXED},
    {"LATENCY $w", 2, EQ_BYTES, FIXED},
    {"DEBUG", 2, EQ_BYTES, FIXED},
    {"DEBUG SLEEP 0", 2, EQ_BYTES, FIXED},
    {"DEBUG $w", 2, EQ_BYTES, FIXED},
    {"FUNCTION FLUSH", 2, EQ_BYTES, FIXED},
    {"FUNCTION FLUSH ASYNC", 2, EQ_BYTES, FIXED},
    {"FUNCTION FLUSH $w", 2, EQ_BYTES, FIXED},
    /* Nothing that exists, and every command with any arguments. */
    {"$u1", 6, EQ_BYTES, FIXED},
    {"$u1 $v $v", 6, EQ_BYTES, FIXED},
    {"$u1 $w $w $w $w $w $w $w $w", 4, EQ_BYTES, FIXED},
    {"$any", 60, EQ_BYTES, FIXED},
    {"$any $x", 60, EQ_BYTES, FIXED},
    {"$any $x $x", 60, EQ_BYTES, FIXED},
    {"$any $x $x $x", 60, EQ_BYTES, FIXED},
    {"$any $x $x $x $x", 40, EQ_BYTES, FIXED},
    {"$any $x $x $x $x $x $x $x", 20, EQ_BYTES, FIXED},
    {"$raw", 8, EQ_RAW, FIXED},
};

/* ---- whole commands ---- */

static const struct template *pick_template(struct rng *r)
{
    static unsigned total; /* of all weights; the same in every call */
    unsigned at;

    if (total == 0) {
        for (size_t i = 0; i < COUNT(templates); i++) {
            total += templates[i].weight;
        }
    }
    at = (unsigned)rng_below(r, total);
    for (size_t i = 0;; i++) {
        if (at < templates[i].weight) {
            return &templates[i];
        }
        at -= templates[i].weight;
    }
}

static void replace_arg(struct eq_cmd *cmd, size_t at, struct eq_cmd *from)
{
    free(cmd->argv[at].data);
    cmd->argv[at] = from->argv[0];
    from->argc = 0;
}

static void spoil(struct rng *r, struct eq_cmd *cmd)
{
    struct eq_cmd other = {.argc = 0};
    size_t at = cmd->argc > 1 ? 1 + (size_t)rng_below(r, cmd->argc - 1) : 0;

    switch (rng_below(r, 4)) {
    case 0:
        if (at > 0) {
            free(cmd->argv[at].data);
            memmove(&cmd->argv[at], &cmd->argv[at + 1],
                    (cmd->argc - at - 1) * sizeof(cmd->argv[0]));
            cmd->argc--;
        }
        break;
    case 1:
        eq_cmd_add(cmd, cmd->argv[at].data, cmd->argv[at].len);
        break;
    case 2:
        if (at > 0) {
            eq_add_anything(r, &other);
            replace_arg(cmd, at, &other);
        }
        break;
    default:
        eq_add_anything(r, cmd);
        break;
    }
}

static bool is_any_of(const char *name, const char *const *list, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n && !found; i++) {
        found = strcasecmp(list[i], name) == 0;
    }
    return found;
}

static bool has_word(const struct eq_cmd *cmd, const char *word)
{
    bool found = false;

    for (size_t i = 1; i < cmd->argc && !found; i++) {
        found = strcasecmp(cmd->argv[i].data, word) == 0;
    }
    return found;
}

/* Is this argument a time counted from now? */
static bool is_relative_time(const struct eq_cmd *cmd, size_t at)
{
    static const char *const by_option[] = {"set", "getex"};
    static const char *const by_place[] = {"setex", "psetex", "expire", "pexpire"};
    static const char *const option[] = {"ex", "px"};

    if (strcasecmp(cmd->argv[0].data, "restore") == 0) {
        return at == 2 && !has_word(cmd, "absttl");
    }
    return (is_any_of(cmd->argv[0].data, by_option, COUNT(by_option)) &&
            is_any_of(cmd->argv[at - 1].data, option, COUNT(option))) ||
           (at == 2 && is_any_of(cmd->argv[0].data, by_place, COUNT(by_place)));
}

static bool whole_number(const struct eq_arg *a, long long *value)
{
    char *end;

    errno = 0;
    *value = strtoll(a->data, &end, 10);
    return a->len > 0 && !isspace((unsigned char)a->data[0]) && a->data[0] != '+' &&
           end == a->data + a->len && errno == 0;
}

static void replace_number(struct eq_cmd *cmd, size_t at, long long value)
{
    struct eq_cmd other = {.argc = 0};
    char text[32];

    snprintf(text, sizeof(text), "%lld", value);
    eq_add_text(&other, text);
    replace_arg(cmd, at, &other);
}

/* SET with an absolute time: 0 no, else the unit in ms. */
static long long set_until(const struct eq_cmd *cmd, size_t at)
{
    if (strcasecmp(cmd->argv[0].data, "set") != 0) {
        return 0;
    }
    return strcasecmp(cmd->argv[at - 1].data, "exat") == 0   ? 1000
           : strcasecmp(cmd->argv[at - 1].data, "pxat") == 0 ? 1
                                                             : 0;
}

/* A number from limit on that is still valid, so that it would make a huge string; "#n" too. */
static void tame_place(struct eq_cmd *cmd, size_t at, long long limit, long long valid)
{
    struct eq_arg *a = &cmd->argv[at];
    struct eq_arg number = {a->data + 1, a->len - 1};
    bool fields = a->len > 1 && a->data[0] == '#';
    long long v;

    if (fields && whole_number(&number, &v) && v > limit / 64 && v < valid) {
        replace_number(cmd, at, v % limit);
    } else if (!fields && whole_number(a, &v) && v > limit && v < valid) {
        replace_number(cmd, at, v % limit);
    }
}

/*
 * Valid times from now become 10^11 to 10^12 (115 days as milliseconds): none runs out during the
 * test, and no two are so close that GT and LT would depend on the millisecond of arrival. SET
 * makes no key whose time has passed: DBSIZE counts it until somebody has looked. SETRANGE and the
 * bitmaps make no string of half a gigabyte.
 */
static void tame(struct rng *r, struct eq_cmd *cmd)
{
    long long v;

    for (size_t i = 1; i < cmd->argc; i++) {
        if (is_relative_time(cmd, i) && whole_number(&cmd->argv[i], &v) && v > 0) {
            if (v < 10000000000000) {
                replace_number(cmd, i, 100000000000 + (long long)rng_below(r, 900000) * 1000000);
            } else if (v > 9000000000000000000 && v < 9223370000000000001) {
                replace_number(cmd, i, v - (long long)rng_below(r, 900000) * 1000000000);
            }
        } else if (set_until(cmd, i) > 0 && whole_number(&cmd->argv[i], &v) && v > 0 &&
                   v < 4000000000000 / set_until(cmd, i)) {
            replace_number(cmd, i, v + 4000000000000 / set_until(cmd, i));
        }
    }
    if (strcasecmp(cmd->argv[0].data, "setrange") == 0 && cmd->argc > 2) {
        tame_place(cmd, 2, 5000, 536870912);
    } else if (strcasecmp(cmd->argv[0].data, "setbit") == 0 && cmd->argc > 2) {
        tame_place(cmd, 2, 40000, 4294967296);
    } else if (strcasecmp(cmd->argv[0].data, "bitfield") == 0) {
        for (size_t i = 2; i < cmd->argc; i++) {
            tame_place(cmd, i, 40000, 4294967296);
        }
    }
}

static void name_command(struct eq_cmd *cmd)
{
    static const char *const parents[] = {"client",   "config", "command", "debug",
                                          "function", "object", "memory",  "slowlog",
                                          "latency",  "acl",    "module"};
    size_t at = (size_t)snprintf(cmd->name, sizeof(cmd->name), "%.30s", cmd->argv[0].data);

    for (size_t i = 0; i < COUNT(parents) && cmd->argc > 1; i++) {
        if (strcasecmp(parents[i], cmd->argv[0].data) == 0) {
            snprintf(cmd->name + at, sizeof(cmd->name) - at, " %.30s", cmd->argv[1].data);
        }
    }
    for (char *p = cmd->name; *p != '\0'; p++) {
        *p = (char)(isprint((unsigned char)*p) ? tolower((unsigned char)*p) : '?');
    }
}

/* Templates that may become any command leave the rule to its name. */
static void choose_rule(struct eq_cmd *cmd)
{
    static const struct {
        const char *name;
        enum eq_rule rule;
    } rows[] = {{"keys", EQ_SET},
                {"scan", EQ_SHAPE},
                {"ttl", EQ_NEAR_S},
                {"pttl", EQ_NEAR_MS},
                {"expiretime", EQ_NEAR_S},
                {"pexpiretime", EQ_NEAR_MS},
                {"randomkey", EQ_RANDOMKEY},
                {"dump", EQ_DUMP},
                {"memory usage", EQ_SHAPE},
                {"object encoding", EQ_ENCODING},
                {"object refcount", EQ_SHAPE},
                {"object idletime", EQ_SHAPE},
                {"command count", EQ_SHAPE},
                {"client id", EQ_SHAPE},
                {"time", EQ_SHAPE}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, cmd->name) == 0) {
            cmd->rule = rows[i].rule;
        }
    }
    /* What "*" finds includes paths and ports, which are not the same on both sides. */
    for (size_t i = 2; i < cmd->argc && cmd->rule == EQ_PAIRS; i++) {
        if (strcmp(cmd->argv[i].data, "*") == 0) {
            cmd->rule = EQ_NAMES;
        }
    }
}

static void generate_one(struct rng *r, struct eq_cmd *cmd)
{
    const struct template *t = pick_template(r);
    const char *at = t->text;
    char word[64];
    int used = 0;

    memset(cmd, 0, sizeof(*cmd));
    cmd->rule = t->rule;
    while (sscanf(at, "%63s%n", word, &used) == 1) {
        eq_add_word(r, cmd, word);
        at += used;
    }
    while ((t->flags & SPOIL) != 0 && rng_percent(r, 8)) {
        spoil(r, cmd);
    }
    if (cmd->rule == EQ_RAW) {
        snprintf(cmd->name, sizeof(cmd->name), "(raw bytes)");
        return;
    }
    tame(r, cmd);
    name_command(cmd);
    if (cmd->rule == EQ_BYTES || cmd->rule == EQ_PAIRS) {
        choose_rule(cmd);
    }
}

/* A MULTI is followed by commands whose replies can be compared inside EXEC's, and by its end. */
void eq_generate(struct rng *r, unsigned *multi, struct eq_cmd *cmd)
{
    if (*multi == 0 && rng_percent(r, 1)) {
        *multi = 2 + (unsigned)rng_below(r, 9);
        eq_cmd_words(cmd, "MULTI", NULL);
        return;
    }
    if (*multi > 0 && --*multi == 0) {
        eq_cmd_words(cmd, rng_percent(r, 85) ? "EXEC" : "DISCARD", NULL);
        return;
    }
    generate_one(r, cmd);
    while (*multi > 0 && cmd->rule != EQ_BYTES) {
        eq_cmd_fini(cmd);
        generate_one(r, cmd);
    }
}

void eq_cmd_words(struct eq_cmd *cmd, const char *word, ...)
{
    va_list args;

    memset(cmd, 0, sizeof(*cmd));
    va_start(args, word);
    for (const char *w = word; w != NULL; w = va_arg(args, const char *)) {
        eq_add_text(cmd, w);
    }
    va_end(args);
    name_command(cmd);
}

void eq_cmd_fini(struct eq_cmd *cmd)
{
    for (size_t i = 0; i < cmd->argc; i++) {
        free(cmd->argv[i].data);
    }
    cmd->argc = 0;
}
