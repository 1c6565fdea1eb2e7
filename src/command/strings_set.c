/* SPDX-License-Identifier: MIT */
/* strings_set.c - commands that store whole strings: SET and its family, GETEX, MSET, MSETNX. */
#include "command/args.h"
#include "command/notify.h"
#include "command/strings_private.h"

/* Options of SET and GETEX. */
enum {
    OPT_NX = 1 << 0,
    OPT_XX = 1 << 1,
    OPT_GET = 1 << 2,
    OPT_KEEPTTL = 1 << 3,
    OPT_PERSIST = 1 << 4,
    OPT_EX = 1 << 5,
    OPT_PX = 1 << 6,
    OPT_EXAT = 1 << 7,
    OPT_PXAT = 1 << 8,
    OPT_EXPIRES = OPT_EX | OPT_PX | OPT_EXAT | OPT_PXAT
};

struct set_options {
    unsigned flags;
    int expire_arg; /* place in argv of the expiry's number; 0 = none */
};

static const struct set_option {
    const char *word;
    unsigned flag;
    unsigned not_with; /* options that may not have come before */
    bool has_number;
    bool for_set;
    bool for_getex;
} set_option_table[] = {
    {"nx", OPT_NX, OPT_XX, false, true, false},
    {"xx", OPT_XX, OPT_NX, false, true, false},
    {"get", OPT_GET, 0, false, true, false},
    {"keepttl", OPT_KEEPTTL, OPT_EXPIRES | OPT_PERSIST, false, true, false},
    {"persist", OPT_PERSIST, OPT_EXPIRES | OPT_KEEPTTL, false, false, true},
    {"ex", OPT_EX, OPT_KEEPTTL | OPT_PERSIST | (OPT_EXPIRES & ~OPT_EX), true, true, true},
    {"px", OPT_PX, OPT_KEEPTTL | OPT_PERSIST | (OPT_EXPIRES & ~OPT_PX), true, true, true},
    {"exat", OPT_EXAT, OPT_KEEPTTL | OPT_PERSIST | (OPT_EXPIRES & ~OPT_EXAT), true, true, true},
    {"pxat", OPT_PXAT, OPT_KEEPTTL | OPT_PERSIST | (OPT_EXPIRES & ~OPT_PXAT), true, true, true},
};

static const struct set_option *find_option(struct bk_span word)
{
    const struct set_option *found = NULL;
    const size_t n = sizeof(set_option_table) / sizeof(set_option_table[0]);
    int first = word.len == 0 ? '\0' : word.data[0] | 0x20;
    for (size_t i = 0; i < n && found == NULL; i++) {
        const struct set_option *o = &set_option_table[i];
        found = first == o->word[0] && arg_is(word, o->word) ? o : NULL;
    }
    return found;
}

/* The options from argv[first] on; false: a syntax error. */
static bool parse_options(const struct resp_command *cmd, int first, bool set,
                          struct set_options *out)
{
    bool ok = true;
    *out = (struct set_options){0};
    for (int i = first; i < cmd->argc && ok; i++) {
        const struct set_option *o = find_option(cmd->argv[i].bytes);
        ok = o != NULL && (set ? o->for_set : o->for_getex) && (out->flags & o->not_with) == 0 &&
             (!o->has_number || i + 1 < cmd->argc);
        if (ok) {
            out->flags |= o->flag;
            if (o->has_number) {
                out->expire_arg = ++i;
            }
        }
    }
    return ok;
}

/* The absolute expiry of EX, PX, EXAT or PXAT; 0 when none was given. false: the error is written.
 */
static bool option_expiry(struct command_ctx *c, const struct set_options *o, int64_t *expire_ms)
{
    bool ok = true;
    *expire_ms = 0;
    if (o->expire_arg != 0) {
        enum arg_unit unit = (o->flags & (OPT_EX | OPT_EXAT)) != 0 ? UNIT_SECONDS : UNIT_MS;
        int64_t base = (o->flags & (OPT_EX | OPT_PX)) != 0 ? c->now_ms : 0;
        ok = arg_expiry(c, arg_at(c, o->expire_arg), unit, base, expire_ms);
    }
    return ok;
}

static bool has_passed(const struct command_ctx *c, int64_t expire_ms)
{
    return expire_ms != 0 && expire_ms < c->now_ms;
}

/* Stores an argument as it came. A time that has passed leaves no key. */
static void put_arg(struct command_ctx *c, size_t index, int arg, int64_t expire_ms)
{
    const struct resp_arg *a = &c->cmd->argv[arg];
    if (has_passed(c, expire_ms)) {
        command_notify_new(c, index);
        ks_delete(c->txn, index);
    } else {
        struct ks_write w = {KS_STRING, a->bytes, a->block, expire_ms, KS_AS_SET};
        command_put(c, index, &w);
    }
    command_notify(c, NOTIFY_STRING, "set", ks_key(c->txn, index));
}

/* An expiry that was asked for; one that has passed has its end told of as well. */
static void notify_expiry(struct command_ctx *c, int64_t expire_ms)
{
    if (expire_ms != 0) {
        command_notify(c, NOTIFY_GENERIC, "expire", ks_key(c->txn, 0));
    }
    if (has_passed(c, expire_ms)) {
        command_notify(c, NOTIFY_EXPIRED, "expired", ks_key(c->txn, 0));
    }
}

enum ks_need strings_set_need(const struct resp_command *cmd, int arg)
{
    enum ks_need need = KS_NEED_NOTHING;
    struct set_options o;
    (void)arg;
    if (cmd->argc > 3 && parse_options(cmd, 3, true, &o)) {
        if ((o.flags & OPT_GET) != 0) {
            need = KS_NEED_VALUE;
        } else if ((o.flags & (OPT_NX | OPT_XX | OPT_KEEPTTL)) != 0) {
            need = KS_NEED_META;
        }
    }
    return need;
}

/* SET with options that look at the key first. */
static void set_looking(struct command_ctx *c, const struct set_options *o, int64_t expire_ms)
{
    struct ks_value old;
    bool get = (o->flags & OPT_GET) != 0;
    bool ok = true;
    if (get) {
        ok = arg_lookup_string(c, 0, &old);
    } else {
        ks_get(c->txn, 0, &old);
    }
    if (ok) {
        bool refused =
            ((o->flags & OPT_NX) != 0 && old.exists) || ((o->flags & OPT_XX) != 0 && !old.exists);
        if (get && old.exists) {
            resp_write_bulk(c->reply, old.bytes);
        } else if (get || refused) {
            resp_write_null(c->reply);
        } else {
            resp_write_ok(c->reply);
        }
        bool keeps = (o->flags & OPT_KEEPTTL) != 0 && old.exists;
        if (!refused) {
            put_arg(c, 0, 2, keeps ? old.expire_ms : expire_ms);
            notify_expiry(c, expire_ms);
        }
    }
}

void strings_set(struct command_ctx *c)
{
    struct set_options o = {0};
    int64_t expire_ms = 0;
    if (c->cmd->argc > 3 && !parse_options(c->cmd, 3, true, &o)) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (option_expiry(c, &o, &expire_ms)) {
        if ((o.flags & (OPT_NX | OPT_XX | OPT_KEEPTTL | OPT_GET)) != 0) {
            set_looking(c, &o, expire_ms);
        } else {
            put_arg(c, 0, 2, expire_ms);
            notify_expiry(c, expire_ms);
            resp_write_ok(c->reply);
        }
    }
}

void strings_setnx(struct command_ctx *c)
{
    struct ks_value old;
    ks_get(c->txn, 0, &old);
    if (!old.exists) {
        put_arg(c, 0, 2, 0);
    }
    resp_write_int(c->reply, old.exists ? 0 : 1);
}

static void set_with_ttl(struct command_ctx *c, enum arg_unit unit)
{
    int64_t expire_ms = 0;
    if (arg_expiry(c, arg_at(c, 2), unit, c->now_ms, &expire_ms)) {
        put_arg(c, 0, 3, expire_ms);
        notify_expiry(c, expire_ms);
        resp_write_ok(c->reply);
    }
}

void strings_setex(struct command_ctx *c)
{
    set_with_ttl(c, UNIT_SECONDS);
}

void strings_psetex(struct command_ctx *c)
{
    set_with_ttl(c, UNIT_MS);
}

void strings_getset(struct command_ctx *c)
{
    struct ks_value old;
    if (arg_lookup_string(c, 0, &old)) {
        if (old.exists) {
            resp_write_bulk(c->reply, old.bytes);
        } else {
            resp_write_null(c->reply);
        }
        put_arg(c, 0, 2, 0);
    }
}

/* GETEX's change of a key that is there. */
static void change_expiry(struct command_ctx *c, const struct ks_value *v,
                          const struct set_options *o, int64_t expire_ms)
{
    bool at = (o->flags & (OPT_EXAT | OPT_PXAT)) != 0;
    struct bk_span key = ks_key(c->txn, 0);
    if (at && expire_ms <= c->now_ms) {
        ks_delete(c->txn, 0);
        command_notify(c, NOTIFY_GENERIC, "del", key);
        return;
    }
    if (expire_ms != 0 || ((o->flags & OPT_PERSIST) != 0 && v->expire_ms != 0)) {
        struct ks_write w = {v->type, v->bytes, v->block, expire_ms, v->encoding};
        ks_put(c->txn, 0, &w); /* the same time too: who watches the key sees a change */
        command_notify(c, NOTIFY_GENERIC, expire_ms != 0 ? "expire" : "persist", key);
    }
}

void strings_getex(struct command_ctx *c)
{
    struct set_options o;
    struct ks_value v;
    int64_t expire_ms = 0;
    if (!parse_options(c->cmd, 2, false, &o)) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (arg_lookup_string(c, 0, &v)) {
        if (!v.exists) {
            resp_write_null(c->reply);
        } else if (option_expiry(c, &o, &expire_ms)) {
            resp_write_bulk(c->reply, v.bytes);
            change_expiry(c, &v, &o, expire_ms);
        }
    }
}

/* Every second argument from the first on is a key; index i stands for argv[2 i + 1]. */
static void put_pairs(struct command_ctx *c)
{
    for (int arg = 1; arg < c->cmd->argc; arg += 2) {
        put_arg(c, (size_t)arg / 2, arg + 1, 0);
    }
}

void strings_mset(struct command_ctx *c)
{
    if (c->cmd->argc % 2 == 0) {
        arg_reply_arity(c);
    } else {
        put_pairs(c);
        resp_write_ok(c->reply);
    }
}

void strings_msetnx(struct command_ctx *c)
{
    bool any = false;
    size_t keys = (size_t)c->cmd->argc / 2;
    if (c->cmd->argc % 2 == 0) {
        arg_reply_arity(c);
    } else {
        for (size_t i = 0; i < keys && !any; i++) {
            struct ks_value v;
            ks_get(c->txn, i, &v);
            any = v.exists;
        }
        if (!any) {
            put_pairs(c);
        }
        resp_write_int(c->reply, any ? 0 : 1);
    }
}
