/* SPDX-License-Identifier: MIT */
/* eqgen_words.c - the arguments that the templates of eqgen.c draw from. */
#include "lib/eqgen_words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* clang-format off */
static const char *const commands[] = {
    "get", "set", "setnx", "setex", "psetex", "getset", "getdel", "getex", "mget", "mset", "msetnx",
    "append", "strlen", "getrange", "substr", "setrange", "incr", "incrby", "incrbyfloat", "decr",
    "decrby", "lcs", "del", "unlink", "exists", "touch", "type", "keys", "scan", "randomkey", "dbsize",
    "setbit", "getbit", "bitcount", "bitpos", "bitop", "bitfield", "bitfield_ro",
    "pfadd", "pfcount", "pfmerge", "pfdebug",
    "rename", "renamenx", "expire", "pexpire", "expireat", "pexpireat", "ttl", "pttl", "expiretime",
    "pexpiretime", "persist", "select", "flushdb", "flushall", "ping", "echo", "dump", "restore",
    "copy", "move", "swapdb", "sort", "sort_ro",
    /* From here on not with arguments at random: they would end the server or the connection. */
    "multi", "exec", "discard", "watch", "unwatch", "quit", "reset", "hello", "auth", "client", "command", "config", "info", "shutdown", "time", "debug", "object", "memory", "wait",
    "slowlog", "latency", "acl", "module",
    "migrate"};

static const char *const subcommands[] = {
    "client|id", "client|kill", "client|setname", "client|getname", "client|list", "client|info",
    "client|reply", "client|no-evict", "slowlog|get", "latency|histogram", "acl|cat", "module|load", "config|get", "config|set", "config|resetstat",
    "config|rewrite", "command|count", "command|info", "command|list", "command|docs",
    "command|getkeys", "CLIENT|KILL", "client|nosuch", "get|nosuch", "config|", "object|encoding",
    "object|refcount", "object|idletime", "memory|stats", "memory|usage"};

static const char *const options[] = {
    "timeout", "databases", "maxclients", "appendfsync", "tcp-keepalive", "tcp-backlog", "hz",
    "proto-max-bulk-len", "client-query-buffer-limit", "client-output-buffer-limit", "maxmemory",
    "maxmemory-policy", "requirepass", "protected-mode", "loglevel", "syslog-enabled",
    "supervised", "enable-debug-command", "shutdown-timeout", "daemonize", "lfu-log-factor",
    "list-max-listpack-size", "list-max-ziplist-size", "hash-max-listpack-entries",
    "hash-max-ziplist-value", "notify-keyspace-events", "slowlog-log-slower-than", "MAXCLIENTS",
    "time?ut", "maxmemory-*", "slave-read-only", "replica-read-only", "lua-time-limit",
    "activedefrag", "lazyfree-lazy-*", "unixsocketperm", "nosuch", "set-max-intset-entries",
    "zset-max-*", "stream-node-max-bytes", "acllog-max-len", "[t]imeout"};

/* Options that may be set to anything without an end to the comparison: none that closes connections,
 * moves the listeners or the files, or refuses writes. Nor maxmemory-policy, which has two values
 * less here. */
static const char *const set_options[] = {
    "appendfsync", "tcp-keepalive", "tcp-backlog", "hz", "dynamic-hz",
    "maxmemory-samples", "maxmemory-eviction-tenacity", "loglevel", "syslog-enabled", "supervised",
    "daemonize", "databases", "enable-debug-command", "enable-protected-configs", "shutdown-timeout",
    "notify-keyspace-events", "slowlog-log-slower-than", "slowlog-max-len", "latency-tracking",
    "latency-monitor-threshold", "list-max-listpack-size", "list-compress-depth",
    "hash-max-listpack-entries", "hash-max-ziplist-value", "set-max-intset-entries",
    "zset-max-listpack-entries", "zset-max-ziplist-value", "hll-sparse-max-bytes",
    "stream-node-max-bytes", "stream-node-max-entries", "activerehashing", "lazyfree-lazy-eviction",
    "lazyfree-lazy-user-del", "lazyfree-lazy-user-flush", "lfu-log-factor", "lfu-decay-time",
    "replica-read-only", "slave-serve-stale-data", "repl-backlog-ttl", "repl-timeout",
    "repl-ping-replica-period", "min-replicas-max-lag", "lua-time-limit", "busy-reply-threshold",
    "acllog-max-len", "tracking-table-max-keys", "aof-rewrite-incremental-fsync",
    "auto-aof-rewrite-percentage", "auto-aof-rewrite-min-size", "no-appendfsync-on-rewrite",
    "rdbcompression", "rdbchecksum", "stop-writes-on-bgsave-error", "sanitize-dump-payload",
    "protected-mode", "io-threads-do-reads", "cluster-node-timeout", "cluster-enabled",
    "always-show-logo", "set-proc-title", "crash-log-enabled", "unixsocketperm", "appendfilename",
    "active-expire-effort", "active-defrag-threshold-lower", "active-defrag-cycle-max",
    "replica-priority", "repl-disable-tcp-nodelay", "propagation-error-behavior", "nosuch", ""};
static const char *const set_values[] = {
    "yes", "no", "YES", "on", "0", "1", "-1", "10", "64", "100", "1000", "65536", "2147483647",
    "2147483648", "4294967296", "9223372036854775807", "99999999999999999999", "1mb", "1KB", "2g",
    "1.5", "abc", "", " 1", "1 ", "0x10", "010", "notice", "NOTICE", "verbose", "always", "everysec",
    "volatile-lru", "allkeys-lfu", "noeviction", "KEA", "K$", "Elg", "A", "Q", "local", "clear",
    "auto", "systemd", "5000", "-5", "700", "777", "128"};
static const char *const buffer_limits[] = {
    "normal 0 0 0", "normal 1gb 512mb 60 slave 0 0 0", "pubsub 32mb 8mb 60", "pubsub 32mb 8mb",
    "foo 1 1 1", "pubsub -1 0 0", "", "pubsub 1 2 abc", "replica 256mb 64mb 60", "NORMAL 0 0 0",
    "master 1 1 1", "pubsub 1xb 0 0"};

static const char *const keys[] = {
    "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11", "n1", "n2", "f1",
    "f2", "user:{1}:x", "K1"};
static const char *const words[] = {
    "foo", "NX", "XX", "GET", "EX", "PX", "KEEPTTL", "on", "off", "normal", "pubsub", "master",
    "replica", "slave", "yes", "no", "ON", "0", "1", "-1", "two words", "", "*", "MATCH",
    "COUNT", "TYPE", "ASYNC", "SYNC", "help1", "default", "GT", "LT", "PERSIST", "EXAT", "PXAT",
    "abc", "SKIPME", "ID", "3", "with\nnewline", "string", "99999999999999999999", "nosuch",
    "AUTH", "SETNAME", "TYPE2"};
static const char *const ints[] = {
    "0", "1", "-1", "2", "5", "10", "100", "-100", "12345", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
    "99999999999999999999", "007", "+5", " 5", "5 ", "", "5.0", "1e3", "abc", "0x10", "-0",
    "4294967296", "2147483648", "-", "1\n", "9223372036854775806", "-9223372036854775807",
    "18446744073709551616"};
static const char *const floats[] = {
    "0", "1", "-1", "1.5", "-0.25", "3.0e3", "5.0e-5", "1e400", "-1e400", "inf", "-inf", "+inf",
    "nan", "abc", "", " 1", "1 ", "0.1", "0.1000000000000000055511151231257827",
    "123456789012345678", "1e17", "1e-17", "99999999999999999999.5", "0x1p3", "1e", ".5", "5.",
    "-.5", "1e308", "-1e308", "1e4000", "1.7976931348623157e308",
    "3.14159265358979323846264338327950288", "10.00", "200", "-0.0", "1e300",
    "0.000000000000000001", "1.1897314953572317650e+4932", "INF", "NaN", "1_0", "1,5"};
static const char *const rel_seconds[] = {
    "100000", "200000", "1000000", "300000000", "0", "-1", "-100000", "9223372036854775807",
    "-9223372036854775808", "9223372036854775", "9223372036854776", "abc", "", "1.5", "1e6",
    "99999999999999999999", " 100000", "-9223372036854776"};
static const char *const rel_ms[] = {
    "100000000", "200000000", "3000000000", "0", "-1", "-100000000", "9223372036854775807",
    "-9223372036854775808", "abc", "", "1.5", "99999999999999999999", "9223370000000000000"};
static const char *const abs_seconds[] = {
    "4000000000", "4100000000", "5000000000", "1", "0", "-1", "1000000000",
    "9223372036854775807", "9223372036854775", "9223372036854776", "-9223372036854775808", "abc",
    "", "1.5"};
static const char *const abs_ms[] = {
    "4000000000000", "4100000000000", "5000000000001", "1", "0", "-1", "1000000000000",
    "9223372036854775807", "-9223372036854775808", "abc", "", "1.5"};
static const char *const offsets[] = {
    "0", "1", "5", "20", "1000", "-1", "536870912", "536870911", "9223372036854775807",
    "-9223372036854775808", "abc", "", "4294967296", "1.0"};
static const char *const ranges[] = {
    "0", "1", "-1", "-2", "3", "5", "10", "-5", "-100", "100", "100000", "9223372036854775807",
    "-9223372036854775808", "abc", "1.5", "", "2147483647", "-2147483648", "4294967295",
    "9223372036854775808"};
static const char *const bit_offsets[] = {
    "0", "1", "7", "8", "15", "63", "64", "100", "1000", "30000", "-1", "4294967295", "4294967296",
    "4294967297", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "abc", "",
    "1.0", "#1", "#0", "07", " 1"};
static const char *const bits[] = {"0", "1", "0", "1", "0", "1", "2", "-1", "abc", "", "01", "1.0"};
static const char *const units[] = {"BIT", "BYTE", "bit", "byte", "BIT", "BYTE", "bits", "", "0"};
static const char *const bit_operations[] = {
    "AND", "OR", "XOR", "NOT", "and", "or", "xor", "not", "nand", ""};
static const char *const field_types[] = {
    "u8", "i8", "u1", "i1", "u2", "i5", "u16", "i16", "u31", "i32", "u63", "i63", "i64", "u7", "i33",
    "u0", "i0", "u64", "i65", "u", "i", "", "8", "U8", "u08", "u-1", "u8x", "i99999999999999999999"};
static const char *const field_offsets[] = {
    "0", "1", "3", "7", "8", "13", "64", "100", "999", "#0", "#1", "#2", "#7", "#100", "-1", "#-1",
    "#", "##1", "#a", "a", "", "4294967295", "4294967296", "#4294967296", "9223372036854775807",
    "#9223372036854775807", "20000"};
static const char *const field_numbers[] = {
    "0", "1", "-1", "2", "100", "127", "128", "-128", "-129", "255", "256", "1000", "-1000", "65535",
    "2147483647", "-2147483648", "4611686018427387904", "-4611686018427387905",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "abc", "", "1.5"};
static const char *const lcs_words[] = {
    "LEN", "IDX", "len", "idx", "WITHMATCHLEN", "MINMATCHLEN", "2", "", "foo"};
static const char *const hll_keys[] = {"h1", "h2", "h3", "h4"};
static const char *const sparse_sizes[] = {
    "0", "20", "40", "100", "500", "3000", "3000", "12304", "1mb", "-1", "x"};
static const char *const patterns[] = {
    "*", "k*", "k?", "k1?", "k[0-3]", "[^k]*", "k[^1]", "k\\*", "k[1", "k[a-", "*1*", "", "**",
    "\\", "[]", "k[9-0]", "?", "??", "*[0-9]", "K*", "user:{*}:?", "[[:x]*", "k[1-", "[",
    "k[\\1]", "*\\", "a*b*c*d*e", "k[-1]", "[k-]1"};
static const char *const dbs[] = {
    "0", "0", "0", "1", "2", "15", "16", "-1", "abc", "", "1.5", "9223372036854775807",
    "99999999999999999999", "4294967296", "03"};
static const char *const counts[] = {
    "1", "2", "3", "7", "10", "1000"};
static const char *const unknown[] = {
    "foo", "nosuchcommand", "", "GETT", "get ", "set\n", "a'b", "x\r\ny", "\"quoted\"", "se",
    "averylongcommandnamethatgoesonandonandonandonandonandonandon"
    "andonandonandonandonandonandonandonandon" "andonandonandonandonandonandonandonandon",
    "get|nosuch", "client|list"};

static const char *const raws[] = {
    "PING\r\n", "ping\n", "SET a b\r\nGET a\r\n", "SET a \"b c\\x41\\n\"\r\nGET a\r\nDEL a\r\n",
    "SET a 'b c\\'d'\r\nGET a\r\nDEL a\r\n", "\r\n\r\nPING\r\n", "   \r\nPING\r\n",
    "SET a \"b\r\n", "SET a 'b\r\nPING\r\n", "GET \"a\"b\r\n", "ECHO \"\"\r\n",
    "  ECHO   x  \r\n", "ECHO \"\\xff\\x0\"\r\n", "*0\r\nPING\r\n", "*-1\r\nPING\r\n",
    "*-5\r\nPING\r\n", "*abc\r\nPING\r\n", "*1\r\n", "*1\r\nPING\r\n", "*1048577\r\n",
    "*2147483648\r\n", "*1\r\n$-1\r\n", "*1\r\n$abc\r\n", "*1\r\n$536870913\r\n",
    "*1\r\n$9999999999\r\n", "*1\r\n:5\r\n", "*2\r\n$4\r\nECHO\r\n+x\r\n",
    "*1\r\n$4\r\nPING\r\nPING\r\n", "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    "*1\r\n$0\r\n\r\nPING\r\n", "*1 \r\n$4\r\nPING\r\n", "*+1\r\n$4\r\nPING\r\n",
    "*01\r\n$4\r\nPING\r\n", "*1\r\n$04\r\nPING\r\n", "*1\r\n$4 \r\nPING\r\n", "*1\n$4\nPING\n",
    "GET\r\n", "foo bar\r\n", "QUIT\r\nPING\r\n", "CLIENT REPLY OFF\r\nPING\r\nPING\r\n",
    "CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\n",
    "CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nECHO a\r\n",
    "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO b\r\n",
    "CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nECHO c\r\n",
    "CLIENT REPLY SKIP\r\nfoo\r\nECHO b\r\n", "CLIENT REPLY OFF\r\nRESET\r\nECHO d\r\n",
    "HELLO 3\r\nRESET\r\nGET nosuchkey\r\n", "HELLO 3 SETNAME x\r\nCLIENT GETNAME\r\n",
    "SELECT 5\r\nRESET\r\nSET reset:a 1\r\nSELECT 0\r\nDEL reset:a\r\n",
    "POST / HTTP/1.0\r\nPING\r\n", "Host: example\r\nPING\r\n", "\xff\xfe\x00\r\n", "+PING\r\n",
    "$4\r\nPING\r\n", "PING", "*2\r\n$4\r\nECHO\r\n$3\r\nab",
    ("CLIENT TRACKING on OPTIN\r\nCLIENT CACHING yes\r\nCLIENT TRACKINGINFO\r\nPING\r\n"
     "CLIENT TRACKINGINFO\r\nCLIENT CACHING no\r\nCLIENT TRACKING on OPTOUT\r\nRESET\r\n"
     "CLIENT TRACKINGINFO\r\n"),
    ("CLIENT TRACKING on BCAST PREFIX foo PREFIX bar NOLOOP\r\nCLIENT TRACKINGINFO\r\n"
     "CLIENT TRACKING on BCAST PREFIX fo\r\nCLIENT TRACKING on\r\nCLIENT GETREDIR\r\n"),
    "HELLO 3\r\nCLIENT TRACKING on\r\nGET track:a\r\nSET track:a 1\r\nDEL track:a\r\n",
    "CLIENT SETNAME a\r\nRESET\r\nCLIENT GETNAME\r\n", "PING a b\r\nPING\r\n", "\"PING\"\r\n",
    "'pi'ng\r\n"};
/* clang-format on */

/* ---- arguments ---- */

void eq_cmd_add(struct eq_cmd *cmd, const void *data, size_t len)
{
    struct eq_arg *a = &cmd->argv[cmd->argc];

    if (cmd->argc == EQ_ARGS_MAX) {
        return;
    }
    a->data = malloc(len + 1);
    if (a->data == NULL) {
        abort();
    }
    memcpy(a->data, data, len);
    a->data[len] = '\0';
    a->len = len;
    cmd->argc++;
}

void eq_add_text(struct eq_cmd *cmd, const char *text)
{
    eq_cmd_add(cmd, text, strlen(text));
}

static void add_cased(struct rng *r, struct eq_cmd *cmd, const char *text)
{
    unsigned how = (unsigned)rng_below(r, 4);
    struct eq_arg *a;

    eq_add_text(cmd, text);
    if (cmd->argc == 0) {
        return;
    }
    a = &cmd->argv[cmd->argc - 1];
    for (size_t i = 0; i < a->len; i++) {
        bool upper = how == 1 || (how == 2 && rng_percent(r, 50));
        if (how != 0) {
            a->data[i] = (char)(upper ? toupper((unsigned char)a->data[i])
                                      : tolower((unsigned char)a->data[i]));
        }
    }
}

#define PICK(r, pool) ((pool)[rng_below((r), COUNT(pool))])

static void add_key(struct rng *r, struct eq_cmd *cmd)
{
    char longer[300];

    switch (rng_below(r, 40)) {
    case 0:
        eq_add_text(cmd, "");
        break;
    case 1:
        eq_cmd_add(cmd, "bin\0\xff\r\n", 7);
        break;
    case 2:
        memset(longer, 'L', sizeof(longer));
        eq_cmd_add(cmd, longer, 254 + rng_below(r, 3));
        break;
    case 3:
        eq_cmd_add(cmd, "\0", 1);
        break;
    case 4:
        eq_add_text(cmd, "k[*?\\");
        break;
    default:
        eq_add_text(cmd, PICK(r, keys));
        break;
    }
}

static void add_long_value(struct rng *r, struct eq_cmd *cmd)
{
    size_t len = (size_t)rng_below(r, rng_percent(r, 3) ? 200000 : 3000);
    char *data = malloc(len + 1);

    if (data == NULL) {
        abort();
    }
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)('a' + (i * 7 + len) % 26);
    }
    eq_cmd_add(cmd, data, len);
    free(data);
}

static void add_value(struct rng *r, struct eq_cmd *cmd)
{
    uint8_t bytes[16];

    switch (rng_below(r, 12)) {
    case 0:
    case 1:
        eq_add_text(cmd, PICK(r, ints));
        break;
    case 2:
        eq_add_text(cmd, PICK(r, floats));
        break;
    case 3:
        rng_fill(r, bytes, sizeof(bytes));
        eq_cmd_add(cmd, bytes, rng_below(r, sizeof(bytes)));
        break;
    case 4:
        add_long_value(r, cmd);
        break;
    case 5:
        eq_add_text(cmd, PICK(r, words));
        break;
    default: {
        char text[32];
        snprintf(text, sizeof(text), "v%u", (unsigned)rng_below(r, 1000));
        eq_add_text(cmd, text);
        break;
    }
    }
}

static void add_expiry_option(struct rng *r, struct eq_cmd *cmd)
{
    switch (rng_below(r, 4)) {
    case 0:
        add_cased(r, cmd, "EX");
        eq_add_text(cmd, PICK(r, rel_seconds));
        break;
    case 1:
        add_cased(r, cmd, "PX");
        eq_add_text(cmd, PICK(r, rel_ms));
        break;
    case 2:
        add_cased(r, cmd, "EXAT");
        eq_add_text(cmd, PICK(r, abs_seconds));
        break;
    default:
        add_cased(r, cmd, "PXAT");
        eq_add_text(cmd, PICK(r, abs_ms));
        break;
    }
}

static void add_set_options(struct rng *r, struct eq_cmd *cmd)
{
    static const char *const flags[] = {"NX", "XX", "GET", "KEEPTTL"};
    unsigned n = 1 + (unsigned)rng_below(r, 3);

    for (unsigned i = 0; i < n; i++) {
        if (rng_percent(r, 45)) {
            add_expiry_option(r, cmd);
        } else {
            add_cased(r, cmd, PICK(r, flags));
        }
    }
}

static void add_getex_options(struct rng *r, struct eq_cmd *cmd)
{
    if (rng_percent(r, 30)) {
        add_cased(r, cmd, "PERSIST");
    }
    if (rng_percent(r, 70)) {
        add_expiry_option(r, cmd);
    }
    if (rng_percent(r, 10)) {
        add_expiry_option(r, cmd);
    }
}

static void add_expire_option(struct rng *r, struct eq_cmd *cmd)
{
    static const char *const flags[] = {"NX", "XX", "GT", "LT"};

    if (rng_percent(r, 40)) {
        add_cased(r, cmd, PICK(r, flags));
    }
    if (rng_percent(r, 15)) {
        add_cased(r, cmd, PICK(r, flags));
    }
}

static void add_fields(struct rng *r, struct eq_cmd *cmd)
{
    static const char *const operations[] = {"GET", "SET", "SET", "INCRBY", "INCRBY"};
    static const char *const never_fails[] = {"OVERFLOW", "WRAP", "INCRBY", "u1", "0", "0", NULL};
    static const char *const overflows[] = {"WRAP", "SAT", "FAIL", "SAT", "FAIL", "foo"};
    unsigned n = (unsigned)rng_below(r, 6);
    bool may_fail = false;

    for (unsigned i = 0; i < n; i++) {
        const char *operation = PICK(r, operations);
        if (rng_percent(r, 40)) {
            const char *overflow = PICK(r, overflows);
            add_cased(r, cmd, "OVERFLOW");
            add_cased(r, cmd, overflow);
            may_fail = may_fail || strcmp(overflow, "FAIL") == 0;
        }
        add_cased(r, cmd, operation);
        /* Mostly right ones: one wrong word is enough to refuse all. */
        eq_add_text(cmd, rng_percent(r, 97) ? field_types[rng_below(r, 15)] : PICK(r, field_types));
        eq_add_text(cmd,
                    rng_percent(r, 97) ? field_offsets[rng_below(r, 14)] : PICK(r, field_offsets));
        if (operation[0] != 'G') {
            eq_add_text(cmd, rng_percent(r, 97) ? field_numbers[rng_below(r, 20)]
                                                : PICK(r, field_numbers));
        }
    }
    /* Redis lets a key grow without a WATCH on it taking note when every field fails. */
    for (const char *const *word = never_fails; may_fail && *word != NULL; word++) {
        eq_add_text(cmd, *word);
    }
}

static void add_elements(struct rng *r, struct eq_cmd *cmd)
{
    unsigned n = (unsigned)rng_below(r, rng_percent(r, 30) ? EQ_ARGS_MAX - 4 : 5);
    char text[32];

    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "element %u", (unsigned)rng_below(r, 100000));
        eq_cmd_add(cmd, text, 1 + rng_below(r, strlen(text)));
    }
}

/* A value with registers to the number that there must be, give or take one. No operation is cut in
 * the middle: Redis then goes on with a byte that is not part of the value. */
static void add_hll(struct rng *r, struct eq_cmd *cmd)
{
    uint8_t bytes[2048] = "HYLL\1";
    size_t len = 16;
    unsigned left = 16384;
    unsigned room = 1 + (unsigned)rng_below(r, 300);

    rng_fill(r, bytes + 8, 8);
    while (left > 0 && len < sizeof(bytes) - 2 && room-- > 0) {
        bool last = room == 0 && rng_percent(r, 90);
        unsigned kind = last ? 2 : (unsigned)rng_below(r, 3);
        unsigned most = kind == 0 ? 4 : kind == 1 ? 64 : last ? left : 300;
        unsigned run = last ? left : 1 + (unsigned)rng_below(r, most < left ? most : left);
        if (kind == 0) {
            bytes[len++] = (uint8_t)(0x80 | rng_below(r, 32) << 2 | (run - 1));
        } else if (kind == 1) {
            bytes[len++] = (uint8_t)(run - 1);
        } else {
            bytes[len++] = (uint8_t)(0x40 | (run - 1) >> 8);
            bytes[len++] = (uint8_t)(run - 1);
        }
        left -= run;
    }
    if (rng_percent(r, 10)) {
        bytes[len++] = rng_percent(r, 50) ? 0x80 : 0;
    }
    eq_cmd_add(cmd, bytes, len);
}

void eq_add_anything(struct rng *r, struct eq_cmd *cmd)
{
    switch (rng_below(r, 4)) {
    case 0:
        add_value(r, cmd);
        break;
    case 1:
        eq_add_text(cmd, PICK(r, ints));
        break;
    case 2:
        add_cased(r, cmd, PICK(r, words));
        break;
    default:
        add_key(r, cmd);
        break;
    }
}

static void add_raw(struct rng *r, struct eq_cmd *cmd)
{
    eq_add_text(cmd, PICK(r, raws));
}

static size_t safe_commands(void)
{
    size_t n = 0;
    while (strcmp(commands[n], "multi") != 0) {
        n++;
    }
    return n;
}

static void add_safe_command(struct rng *r, struct eq_cmd *cmd)
{
    add_cased(r, cmd, commands[rng_below(r, safe_commands())]);
}

static void add_command(struct rng *r, struct eq_cmd *cmd)
{
    add_cased(r, cmd, PICK(r, commands));
}

struct kind {
    const char *word;
    void (*add)(struct rng *r, struct eq_cmd *cmd); /* or from the pool, as it is */
    const char *const *pool;
    size_t pool_n;
};

#define POOL(word, pool)              \
    {                                 \
        word, NULL, pool, COUNT(pool) \
    }
static const struct kind kinds[] = {
    {"$k", add_key, NULL, 0},
    {"$v", add_value, NULL, 0},
    {"$x", eq_add_anything, NULL, 0},
    {"$any", add_safe_command, NULL, 0},
    {"$c", add_command, NULL, 0},
    {"$setopts", add_set_options, NULL, 0},
    {"$getexopts", add_getex_options, NULL, 0},
    {"$expopt", add_expire_option, NULL, 0},
    {"$raw", add_raw, NULL, 0},
    {"$fields", add_fields, NULL, 0},
    {"$elements", add_elements, NULL, 0},
    {"$hll", add_hll, NULL, 0},
    POOL("$h", hll_keys),
    POOL("$sparse", sparse_sizes),
    POOL("$lcs", lcs_words),
    POOL("$bo", bit_offsets),
    POOL("$bit", bits),
    POOL("$unit", units),
    POOL("$bop", bit_operations),
    POOL("$ft", field_types),
    POOL("$fo", field_offsets),
    {"$dump", eq_add_payload, NULL, 0},
    POOL("$sub", subcommands),
    POOL("$opt", options),
    POOL("$setopt", set_options),
    POOL("$setval", set_values),
    POOL("$cobl", buffer_limits),
    POOL("$w", words),
    POOL("$i", ints),
    POOL("$f", floats),
    POOL("$s", rel_seconds),
    POOL("$m", rel_ms),
    POOL("$t", abs_seconds),
    POOL("$u", abs_ms),
    POOL("$o", offsets),
    POOL("$r", ranges),
    POOL("$p", patterns),
    POOL("$d", dbs),
    POOL("$n", counts),
    POOL("$u1", unknown),
};

void eq_add_word(struct rng *r, struct eq_cmd *cmd, const char *word)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].word, word) != 0) {
            continue;
        }
        if (kinds[i].add != NULL) {
            kinds[i].add(r, cmd);
        } else {
            eq_add_text(cmd, kinds[i].pool[rng_below(r, kinds[i].pool_n)]);
        }
        return;
    }
    add_cased(r, cmd, word);
}
