/* SPDX-License-Identifier: MIT */
/*
 * table.h - one row per command: what the executor, COMMAND, the statistics and redis-compat.md's
 * check know of it. What only people and clients ask for (summary, key specifications, tips) is in
 * docs.h.
 *
 * Rows live in the file of their functions (strings.c, keys.c, ...) as an array that ends with a
 * row whose name is NULL; table.c lists the arrays and looks names up by a hash made at start.
 */
#ifndef BK_COMMAND_TABLE_H
#define BK_COMMAND_TABLE_H

#include "command/command.h"

/* Redis's command flags, in the order in which COMMAND INFO names them. */
enum command_flag {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NOSCRIPT = 1 << 5,
    CMD_BLOCKING = 1 << 6,
    CMD_LOADING = 1 << 7,
    CMD_STALE = 1 << 8,
    CMD_SKIP_MONITOR = 1 << 9,
    CMD_SKIP_SLOWLOG = 1 << 10,
    CMD_ASKING = 1 << 11,
    CMD_FAST = 1 << 12,
    CMD_NO_AUTH = 1 << 13,
    CMD_MAY_REPLICATE = 1 << 14,
    CMD_NO_MANDATORY_KEYS = 1 << 15,
    CMD_PROTECTED = 1 << 16,
    CMD_ALLOW_BUSY = 1 << 17,
    CMD_NO_MULTI = 1 << 18,
    CMD_MOVABLEKEYS = 1 << 19,
    CMD_NO_ASYNC_LOADING = 1 << 20,
    /* Ours: how the executor treats the command. */
    CMD_SUBSCRIBED = 1 << 21, /* allowed to a RESP2 client that listens to a channel */
    CMD_ANSWERS = 1 << 22,    /* is answered whatever CLIENT REPLY says: the answer is a push */
    CMD_NO_TOUCH = 1 << 23,   /* to look at its keys is not to use them: their idle time stays */
    CMD_ALL_KEYS = 1 << 24,   /* takes every key lock */
    CMD_NO_STORE = 1 << 25,   /* touches no data: no transaction is begun, fetched or locked */
    CMD_TAKES_AWAY = 1 << 26, /* of what it writes nothing is put: goes on while the disk is full */
    CMD_AT_ONCE = 1 << 27,    /* inside MULTI it is not queued */
    CMD_RUNS_QUEUE = 1 << 28, /* EXEC */
    /* Reads, and keeps what it has worked out in the value: locks and commits as a writing command
     * as long as the store takes writes, and goes without when it does not. */
    CMD_CACHES = 1 << 29,
    CMD_TRACKS = 1 << 30 /* changes which keys its client remembers */
};
/* Tells whether the server is well: refused as a write is while the disk takes none. (No
 * enumerator: these are of type int.) */
#define CMD_HEALTH (UINT32_C(1) << 31)

/* Redis's ACL categories, as bits in the order of ACL CAT; a few follow from the flags by Redis's
 * own rules. */
enum command_category {
    CAT_KEYSPACE = 1 << 0,
    CAT_READ = 1 << 1,
    CAT_WRITE = 1 << 2,
    CAT_SET = 1 << 3,
    CAT_SORTEDSET = 1 << 4,
    CAT_LIST = 1 << 5,
    CAT_HASH = 1 << 6,
    CAT_STRING = 1 << 7,
    CAT_BITMAP = 1 << 8,
    CAT_HYPERLOGLOG = 1 << 9,
    CAT_GEO = 1 << 10,
    CAT_STREAM = 1 << 11,
    CAT_PUBSUB = 1 << 12,
    CAT_ADMIN = 1 << 13,
    CAT_FAST = 1 << 14,
    CAT_SLOW = 1 << 15,
    CAT_BLOCKING = 1 << 16,
    CAT_DANGEROUS = 1 << 17,
    CAT_CONNECTION = 1 << 18,
    CAT_TRANSACTION = 1 << 19,
    CAT_SCRIPTING = 1 << 20
};

struct command_doc; /* docs.h: summary, since, group, complexity, arguments: what COMMAND DOCS
                       answers */

struct command_row {
    const char *name;    /* lower case; NULL ends an array */
    int arity;           /* as Redis: negative = at least; the command's name counts */
    uint32_t flags;      /* enum command_flag, CMD_HEALTH */
    uint32_t categories; /* enum command_category */
    int first_key, last_key,
        key_step;      /* as Redis: 0 = no keys, last -1 = up to the last argument */
    enum ks_need need; /* of every key, unless need_of says otherwise */
    /* By the arguments (SET's options, RENAME's second key): arg is the key's place in argv. NULL =
     * need. */
    enum ks_need (*need_of)(const struct resp_command *cmd, int arg);
    /* Names the keys to c->txn, before the locks, where the places above do not tell all (keys of
     * another database); returns the most that any of them needs. What it cannot make out it leaves
     * to run, which finds no such key then. NULL = by the places. */
    enum ks_need (*name_keys)(const struct command_ctx *c);
    void (*run)(struct command_ctx *c);
    const struct command_row
        *subcommands; /* rows of "config|get" and so on, name without "config|"; or NULL */
};

/* NULL when there is no such command. Looks at argv[0] only; the executor goes on to subcommands.
 */
const struct command_row *command_find(struct bk_span name);
const struct command_row *command_find_sub(const struct command_row *parent, struct bk_span name);
size_t command_count(void);
/* All top-level rows in a fixed order. */
const struct command_row *command_at(size_t i);

/* Arrays of rows, one per file. */
extern const struct command_row command_rows_string[];      /* strings.c */
extern const struct command_row command_rows_bitmap[];      /* bitmap.c */
extern const struct command_row command_rows_hyperloglog[]; /* hyperloglog.c */
extern const struct command_row command_rows_key[];         /* keys.c */
extern const struct command_row command_rows_expire[];      /* expire.c */
extern const struct command_row command_rows_string[];      /* strings.c */
extern const struct command_row command_rows_key[];         /* keys.c */
extern const struct command_row command_rows_expire[];      /* expire.c */
extern const struct command_row command_rows_dump[];        /* dump.c */
extern const struct command_row command_rows_object[];      /* object.c */
extern const struct command_row command_rows_copy[];        /* copy.c: COPY, MOVE, SWAPDB */
extern const struct command_row command_rows_sort[];        /* sort.c */
extern const struct command_row command_rows_memory[];      /* memory.c */
extern const struct command_row command_rows_wait[];        /* wait.c */
extern const struct command_row command_rows_migrate[];     /* migrate.c */
extern const struct command_row
    command_rows_database[]; /* database.c: SELECT, FLUSHDB, DBSIZE, SCAN ... */
extern const struct command_row
    command_rows_connection[]; /* connection.c: PING, HELLO, AUTH, RESET ... */
extern const struct command_row command_rows_client[]; /* client.c */
extern const struct command_row
    command_rows_server[]; /* server.c: CONFIG, INFO, TIME, DEBUG, SHUTDOWN ... */
extern const struct command_row command_rows_bitkv[];   /* bitkv.c: BITKV, BGREWRITEAOF */
extern const struct command_row command_rows_multi[];   /* multi.c: MULTI, EXEC, WATCH ... */
extern const struct command_row command_rows_acl[];     /* acl.c */
extern const struct command_row command_rows_module[];  /* module.c */
extern const struct command_row command_rows_slowlog[]; /* slowlog.c */
extern const struct command_row command_rows_latency[]; /* latency.c */
extern const struct command_row command_rows_command[]; /* introspect.c: COMMAND */
extern const struct command_row command_rows_pubsub[];  /* pubsub.c */
extern const struct command_row command_rows_monitor[]; /* monitor.c */

#endif
