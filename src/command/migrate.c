/* SPDX-License-Identifier: MIT */
/*
 * migrate.c - MIGRATE: keys to another server, by RESTORE there and a delete here.
 *
 * In four steps, between which other clients and other commands run:
 *   1  the values are read and the commands for the target composed, under the key locks
 *   2  a transfer is begun (server_ops), without a lock; the connection is parked
 *   3  the transfer has ended: the keys that the target has acknowledged are named again
 *   4  under their locks each is compared with what was sent, and those that are still the same,
 *      value and expiry, are deleted, all in one batch
 * A key that was changed meanwhile is kept here, and the reply is an error that tells how many: the
 * target has an older value of it then. So nothing is ever lost: a key is here until the target has
 * its newest value. Hanging up, or stopping the server, before step 4 leaves all keys here. A
 * CLIENT PAUSE that begins meanwhile holds up the next step (exec.c), so that no key leaves during
 * it.
 */
#include "command/args.h"
#include "command/dump_payload.h"
#include "command/exec_private.h"
#include "command/notify.h"
#include "command/rows.h"

#include "base/num.h"

#include <stdlib.h>

#define REQUEST_MAX ((size_t)1 << 30) /* bytes for the target; they are held in memory */
#define TIMEOUT_MS 1000               /* when none is given */
#define BEGIN_AGAIN_MS 100

struct options {
    bool copy, replace;
    int user, password;    /* places in argv; 0: none */
    int first_key, keys_n; /* places in argv */
    int64_t db, timeout_ms;
};

/* A key that is on its way. */
struct migrant {
    int arg;           /* its place in argv */
    int64_t expire_ms; /* as it was */
    size_t at, len;    /* its payload in what was sent */
};

enum step { COMPOSED, SENT, ENDED };

/* What a MIGRATE keeps between its steps. */
struct migration {
    const struct server_ops *ops; /* borrowed */
    enum step step;
    struct transfer_order order; /* until it is begun */
    int64_t give_up_ms;          /* if it cannot be begun until then */
    struct transfer *transfer;   /* owned */
    struct transfer_result result;
    bool copy;
    size_t heads;         /* lines that answer what comes before the keys: AUTH, SELECT */
    struct migrant *keys; /* owned */
    size_t n;
};

static void migration_free(void *arg)
{
    struct migration *m = arg;
    m->ops->transfer_drop(&m->transfer);
    free(m->order.host);
    bk_buf_fini(&m->order.bytes);
    free(m->keys);
    free(m);
}

/* NULL: the command is at its beginning. */
static struct migration *migration_of(const struct command_ctx *c)
{
    struct exec_slice **slice = c->exec->slice;
    return slice != NULL && *slice != NULL ? (*slice)->work : NULL;
}

/* ---- Arguments ---- */

/* NULL, or the error's text. */
static const char *parse_words(const struct resp_command *cmd, struct options *o)
{
    const char *error = NULL;
    for (int i = 6; i < cmd->argc && error == NULL; i++) {
        struct bk_span word = cmd->argv[i].bytes;
        int more = cmd->argc - 1 - i;
        if (arg_is(word, "copy")) {
            o->copy = true;
        } else if (arg_is(word, "replace")) {
            o->replace = true;
        } else if (arg_is(word, "auth") && more >= 1) {
            o->password = ++i;
        } else if (arg_is(word, "auth2") && more >= 2) {
            o->user = ++i;
            o->password = ++i;
        } else if (!arg_is(word, "keys")) {
            error = ARG_ERROR_SYNTAX;
        } else if (cmd->argv[3].bytes.len != 0) {
            error = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty "
                    "string";
        } else {
            o->first_key = i + 1;
            o->keys_n = more;
            break;
        }
    }
    return error;
}

static const char *parse(const struct resp_command *cmd, struct options *o)
{
    const char *error;
    *o = (struct options){.first_key = 3, .keys_n = 1};
    error = parse_words(cmd, o);
    if (error == NULL && (!bk_parse_i64(cmd->argv[5].bytes, &o->timeout_ms) ||
                          !bk_parse_i64(cmd->argv[4].bytes, &o->db))) {
        error = ARG_ERROR_INTEGER;
    }
    o->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_MS;
    return error;
}

/* ---- Step 1: composing ---- */

static void write_word(struct resp_writer *w, const char *word)
{
    resp_write_bulk_str(w, word);
}

static void write_heads(const struct command_ctx *c, const struct options *o, struct migration *m,
                        struct resp_writer *w)
{
    if (o->password != 0) {
        resp_write_array(w, o->user != 0 ? 3 : 2);
        write_word(w, "AUTH");
        if (o->user != 0) {
            resp_write_bulk(w, arg_at(c, o->user));
        }
        resp_write_bulk(w, arg_at(c, o->password));
        m->heads++;
    }
    resp_write_array(w, 2);
    write_word(w, "SELECT");
    resp_write_bulk_i64(w, o->db);
    m->heads++;
}

static void write_key(const struct command_ctx *c, const struct options *o, int arg,
                      const struct ks_value *v, struct migrant *k, struct resp_writer *w)
{
    struct bk_buf payload = {0};
    int64_t ttl = v->expire_ms == 0 ? 0 : v->expire_ms > c->now_ms ? v->expire_ms - c->now_ms : 1;
    dump_write(&payload, v->bytes);
    resp_write_array(w, o->replace ? 5 : 4);
    write_word(w, "RESTORE");
    resp_write_bulk(w, arg_at(c, arg));
    resp_write_bulk_i64(w, ttl);
    resp_write_bulk(w, bk_buf_span(&payload));
    *k = (struct migrant){arg, v->expire_ms, w->out->len - 2 - payload.len, payload.len};
    if (o->replace) {
        write_word(w, "REPLACE");
    }
    bk_buf_fini(&payload);
}

/* As %s sees it. */
static char *c_string(struct bk_span arg)
{
    size_t len = arg.len == 0 ? 0 : strnlen((const char *)arg.data, arg.len);
    char *text = bk_alloc(len + 1);
    if (len > 0) {
        memcpy(text, arg.data, len);
    }
    text[len] = '\0';
    return text;
}

static struct migration *migration_new(const struct command_ctx *c, const struct options *o)
{
    struct migration *m = bk_alloc_zero(1, sizeof(*m));
    char *port = c_string(arg_at(c, 2));
    m->ops = c->ops;
    m->copy = o->copy;
    m->order.host = c_string(arg_at(c, 1));
    m->order.port = (int)strtol(port, NULL, 10);
    m->order.timeout_ms = o->timeout_ms;
    if (__builtin_add_overflow(c->now_ms, o->timeout_ms, &m->give_up_ms)) {
        m->give_up_ms = INT64_MAX;
    }
    m->keys = bk_alloc((size_t)o->keys_n * sizeof(*m->keys));
    free(port);
    return m;
}

/* Everything that there is of the keys; false: it is too much. */
static bool write_request(struct command_ctx *c, const struct options *o, struct migration *m)
{
    struct resp_writer w = {.out = &m->order.bytes, .proto = 2};
    write_heads(c, o, m, &w);
    for (int i = 0; i < o->keys_n && w.out->len <= REQUEST_MAX; i++) {
        struct ks_value v;
        arg_lookup(c, (size_t)i, &v);
        if (v.exists) {
            write_key(c, o, o->first_key + i, &v, &m->keys[m->n++], &w);
        }
    }
    m->order.lines = m->heads + m->n;
    return w.out->len <= REQUEST_MAX;
}

static void begin(struct command_ctx *c)
{
    struct options o;
    const char *error = parse(c->cmd, &o);
    struct migration *m;
    if (error != NULL) {
        resp_write_error(c->reply, error);
        return;
    }
    m = migration_new(c, &o);
    if (!write_request(c, &o, m)) {
        resp_write_error(c->reply, "ERR the values are too large to be migrated at once");
    } else if (m->n == 0) {
        resp_write_simple(c->reply, "NOKEY");
    } else {
        struct exec_slice *slice = exec_slice_of(c);
        slice->work = m;
        slice->work_free = migration_free;
        slice->more = true; /* at once, but without the locks */
        m = NULL;
    }
    if (m != NULL) {
        migration_free(m);
    }
}

/* ---- Steps 2 and 3: on its way ---- */

/* As long as it cannot be begun there is time until its timeout, as for a target that is slow. */
static void send_order(struct command_ctx *c, struct migration *m)
{
    m->transfer = c->ops->transfer_begin(c->ops->arg, &m->order);
    if (m->transfer != NULL) {
        m->step = SENT;
    } else if (c->now_ms >= m->give_up_ms) {
        m->step = ENDED;
        m->result.outcome = TRANSFER_NOT_CONNECTED;
    }
}

static void stay_parked(struct command_ctx *c, const struct migration *m)
{
    struct exec_slice *slice = exec_slice_of(c);
    int64_t again_ms = c->now_ms + BEGIN_AGAIN_MS;
    again_ms = again_ms < m->give_up_ms ? again_ms : m->give_up_ms;
    slice->more = true;
    slice->parked = true;
    slice->until_ms = m->step == COMPOSED ? again_ms : EXEC_FOREVER;
}

/* ---- Step 4: the target's answers ---- */

/* The line that answers number i of what was sent; NULL: it has not come. */
static const char *line_at(const struct transfer_result *r, size_t i)
{
    const char *line = (const char *)r->lines.data;
    if (i >= r->lines_n) {
        return NULL;
    }
    for (; i > 0; i--) {
        line += strlen(line) + 1;
    }
    return line;
}

static bool heads_are_good(const struct migration *m)
{
    bool good = m->result.lines_n >= m->heads;
    for (size_t i = 0; i < m->heads && good; i++) {
        good = line_at(&m->result, i)[0] != '-';
    }
    return good;
}

/* How many keys of the first ones the target has answered at all. */
static size_t answered(const struct migration *m)
{
    return m->result.lines_n > m->heads ? m->result.lines_n - m->heads : 0;
}

/* Calls each() for the keys that the target now has. */
static void each_arrived(struct migration *m,
                         void (*each)(void *arg, const struct migrant *k, size_t n), void *arg)
{
    size_t n = 0;
    if (heads_are_good(m) && answered(m) > 0) {
        const char *line = line_at(&m->result, m->heads);
        for (size_t i = 0; i < answered(m); i++, line += strlen(line) + 1) {
            if (line[0] != '-') {
                each(arg, &m->keys[i], n++);
            }
        }
    }
}

static void name_one(void *arg, const struct migrant *k, size_t n)
{
    const struct command_ctx *c = arg;
    (void)n;
    (void)ks_txn_key(c->txn, arg_at(c, k->arg), KS_NEED_VALUE);
}

/* Users and passwords for the target, as far as the words can be read. */
static void redact(const struct command_ctx *c)
{
    bool more = true;
    for (int i = 6; i + 1 < c->cmd->argc && more; i++) {
        struct bk_span word = arg_at(c, i);
        if (arg_is(word, "auth")) {
            exec_redact(c, ++i);
        } else if (arg_is(word, "auth2")) {
            exec_redact(c, ++i);
            exec_redact(c, ++i);
        } else {
            more = arg_is(word, "copy") || arg_is(word, "replace");
        }
    }
}

static enum ks_need migrate_keys(const struct command_ctx *c)
{
    struct migration *m = migration_of(c);
    struct options o;
    bool named = false;
    redact(c); /* what fails before the command runs is shown too */
    if (m == NULL) {
        named = c->cmd->argc >= 6 && parse(c->cmd, &o) == NULL;
        for (int i = 0; named && i < o.keys_n; i++) {
            (void)ks_txn_key(c->txn, arg_at(c, o.first_key + i), KS_NEED_VALUE);
        }
    } else {
        if (m->step == SENT && c->ops->transfer_ended(m->transfer, &m->result)) {
            m->step = ENDED;
        }
        named = m->step == ENDED && !m->copy;
        if (named) {
            struct command_ctx mine = *c;
            each_arrived(m, name_one, &mine);
        }
    }
    return named && ks_txn_named(c->txn) > 0 ? KS_NEED_VALUE : KS_NEED_NOTHING;
}

struct removal {
    struct command_ctx *c;
    struct migration *m;
    size_t changed;
};

/* Is the key what was sent? One whose time has run out meanwhile is so on both sides. */
static bool is_unchanged(const struct removal *r, const struct migrant *k, const struct ks_value *v)
{
    struct dump_value sent;
    enum dump_status status = dump_read(bk_span_of(r->m->result.sent.data + k->at, k->len), &sent);
    bool ran_out = k->expire_ms != 0 && k->expire_ms < r->c->now_ms;
    bool same = status == DUMP_OK && v->exists && v->type == KS_STRING &&
                v->expire_ms == k->expire_ms && dump_value_is(&sent, v->bytes);
    return same || (!v->exists && ran_out);
}

static void remove_one(void *arg, const struct migrant *k, size_t n)
{
    struct removal *r = arg;
    struct ks_value v;
    ks_get(r->c->txn, n, &v);
    if (!is_unchanged(r, k, &v)) {
        r->changed++;
    } else if (v.exists) {
        ks_delete(r->c->txn, n);
        command_notify(r->c, NOTIFY_GENERIC, "del", arg_at(r->c, k->arg));
    }
}

/* The first error of the target, if it has answered for a key at all; NULL: none. */
static const char *target_error(const struct migration *m)
{
    const char *line = (const char *)m->result.lines.data;
    const char *error = NULL;
    for (size_t i = 0; answered(m) > 0 && i < m->result.lines_n && error == NULL; i++) {
        error = line[0] == '-' ? line + 1 : NULL;
        line += strlen(line) + 1;
    }
    return error;
}

static void finish(struct command_ctx *c, struct migration *m)
{
    struct removal r = {.c = c, .m = m};
    const char *error = target_error(m);
    if (!m->copy) {
        each_arrived(m, remove_one, &r);
    }
    if (m->result.outcome == TRANSFER_NOT_CONNECTED) {
        resp_write_error(c->reply, "IOERR error or timeout connecting to the client");
    } else if (m->result.outcome == TRANSFER_NOT_SENT) {
        resp_write_error(c->reply, "IOERR error or timeout writing to target instance");
    } else if (error != NULL) {
        resp_write_errorf(c->reply, "ERR Target instance replied with error: %s", error);
    } else if (m->result.outcome == TRANSFER_NOT_ANSWERED) {
        resp_write_error(c->reply, "IOERR error or timeout reading to target instance");
    } else if (r.changed > 0) {
        resp_write_errorf(c->reply,
                          "ERR %zu of the keys were changed during the transfer and are kept here, "
                          "the target instance has older values of them",
                          r.changed);
    } else {
        resp_write_ok(c->reply);
    }
}

static void migrate_command(struct command_ctx *c)
{
    struct migration *m = migration_of(c);
    redact(c);
    if (c->exec->in_multi) {
        resp_write_error(c->reply, "ERR MIGRATE is not possible inside a transaction");
    } else if (m == NULL) {
        begin(c);
    } else {
        if (m->step == COMPOSED) {
            send_order(c, m);
        }
        if (m->step == ENDED) {
            finish(c, m);
        } else {
            stay_parked(c, m);
        }
    }
}

const struct command_row command_rows_migrate[] = {
    {.name = "migrate",
     .arity = -6,
     .flags = CMD_WRITE | CMD_MOVABLEKEYS,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_SLOW | CAT_DANGEROUS,
     .first_key = 3,
     .last_key = 3,
     .key_step = 1,
     .name_keys = migrate_keys,
     .run = migrate_command},
    ROW_END,
};
