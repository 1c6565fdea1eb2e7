/* SPDX-License-Identifier: MIT */
/* tracking.c - see tracking.h. */
#include "command/tracking.h"

#include "base/num.h"
#include "command/args.h"
#include "command/exec_private.h"

#include <stdlib.h>
#include <string.h>

/* The executor's marks on keys that its client remembers. */
enum { READ = 1, READ_FIRST = 2 };

/* Pairs of keys that are compared to find out which a transaction reads behind its own change;
 * beyond, each is taken for read. That errs on the safe side: the client hears once too often. */
#define COMPARED_MAX ((uint64_t)1 << 20)

static uint32_t tracking_of(const struct session *s)
{
    return atomic_load_explicit(&s->tracking, memory_order_relaxed);
}

/* ---- Keys that are read ---- */

static bool wanted(uint32_t now)
{
    bool said = (now & TRACKING_CACHING) != 0;
    return (now & TRACKING_ON) != 0 && (now & TRACKING_BCAST) == 0 &&
           ((now & TRACKING_OPTIN) == 0 || said) && ((now & TRACKING_OPTOUT) == 0 || !said);
}

void tracking_remember(const struct command_ctx *c, size_t from, size_t to)
{
    const struct tracking_ops *ops = c->ops->tracking;
    if (!wanted(tracking_of(c->session))) {
        return;
    }
    for (size_t i = from; i < to; i++) {
        if (ks_mark(c->txn, i) != 0) {
            continue;
        }
        bool first = ops->remember(ops->arg, c->session, ks_key(c->txn, i));
        ks_set_mark(c->txn, i, first ? READ | READ_FIRST : READ);
    }
    atomic_thread_fence(memory_order_seq_cst); /* before the look-ups: net/tracking.c */
}

static bool is_clients(const struct command_slot *slot)
{
    return slot != NULL && slot->parent != NULL && strcmp(slot->parent->row->name, "client") == 0;
}

void tracking_next(struct session *s, const struct command_slot *slot)
{
    uint32_t now = tracking_of(s);
    if ((now & TRACKING_CACHING) != 0 && s->multi == NULL && !is_clients(slot)) {
        atomic_store_explicit(&s->tracking, now & ~(uint32_t)TRACKING_CACHING,
                              memory_order_relaxed);
    }
}

/* ---- Keys that have changed ---- */

/* What the client itself has read of the key, in this transaction, beside changing it. Commands are
 * in the order of their keys, and one that reads and writes (PFCOUNT) reads in the end. */
static void look_for_reads(struct ks_txn *t, size_t changed, struct tracking_change *out)
{
    bool unread = false;
    bool before = false;
    for (size_t i = 0; i < ks_txn_named(t); i++) {
        uint8_t mark = ks_mark(t, i);
        if (mark != 0 && bk_span_eq(ks_key(t, i), out->key)) {
            before = before || i < changed;
            out->kept = out->kept || i >= changed;
            unread = unread || (i >= changed && (mark & READ_FIRST) != 0);
        }
    }
    out->unread = unread && !before;
}

/* The changed keys in [from, to); the caller's to free. */
static struct tracking_change *changes_of(struct ks_txn *t, size_t from, size_t to, size_t *n)
{
    struct tracking_change *v = bk_alloc((to - from) * sizeof(*v) + 1);
    size_t reads = 0;
    *n = 0;
    for (size_t i = 0; i < ks_txn_named(t); i++) {
        reads += ks_mark(t, i) != 0;
    }
    bool compare = reads > 0 && (uint64_t)(to - from) * ks_txn_named(t) <= COMPARED_MAX;
    for (size_t i = from; i < to; i++) {
        if (ks_changed(t, i)) {
            v[*n] = (struct tracking_change){.key = ks_key(t, i), .kept = reads > 0 && !compare};
            if (compare) {
                look_for_reads(t, i, &v[*n]);
            }
            ++*n;
        }
    }
    return v;
}

static void tell(const struct exec *e, struct ks_txn *t, size_t from, size_t to, uint64_t pos)
{
    const struct tracking_ops *ops = e->ops->tracking;
    struct tracking_news news = {.by = e->session, .pos = pos};
    struct tracking_change *v = changes_of(t, from, to, &news.n);
    news.changes = v;
    if (news.n > 0) {
        ops->changed(ops->arg, &news);
    }
    free(v);
}

/* What the commands behind a flush have read: the flush has emptied the table, and its message,
 * which makes the client forget all of it, leaves behind their replies. */
static void remember_again(const struct exec *e, struct ks_txn *t, size_t first)
{
    const struct tracking_ops *ops = e->ops->tracking;
    for (size_t i = first; i < ks_txn_named(t); i++) {
        if (ks_mark(t, i) != 0) {
            (void)ops->remember(ops->arg, e->session, ks_key(t, i));
        }
    }
}

/* Behind a change, which whoever does not count himself before this sees: net/tracking.c. */
static bool anybody_tracks(const struct server_watch *watch)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&watch->tracking, memory_order_relaxed) > 0;
}

void tracking_committed(void *arg, struct ks_txn *t, uint64_t pos)
{
    const struct exec *e = arg;
    const struct tracking_ops *ops = e->ops->tracking;
    size_t n = ks_txn_named(t);
    size_t first;
    if (ks_changed_whole(t, &first)) {
        if (ops->any(ops->arg)) {
            tell(e, t, 0, first, pos);
            ops->flushed(ops->arg, e->session, pos);
            remember_again(e, t, first);
            tell(e, t, first, n, pos);
        }
    } else if (anybody_tracks(e->watch)) {
        tell(e, t, 0, n, pos);
    }
}

void tracking_vanished(const struct tracking_ops *ops, const struct server_watch *watch,
                       struct session *by, struct bk_span key, uint64_t pos)
{
    if (anybody_tracks(watch)) {
        struct tracking_change change = {.key = key};
        struct tracking_news news = {
            .by = by, .changes = &change, .n = 1, .pos = pos, .vanished = true};
        ops->changed(ops->arg, &news);
    }
}

/* ---- CLIENT TRACKING ---- */

/* What was asked for; prefixes' array is owned. */
struct asked {
    uint32_t flags;
    int64_t redirect;
    struct bk_span *prefixes;
    size_t n;
};

static uint32_t flag_of(struct bk_span word)
{
    return arg_is(word, "bcast")    ? TRACKING_BCAST
           : arg_is(word, "optin")  ? TRACKING_OPTIN
           : arg_is(word, "optout") ? TRACKING_OPTOUT
           : arg_is(word, "noloop") ? TRACKING_NOLOOP
                                    : 0;
}

static bool parse_redirect(struct command_ctx *c, struct bk_span arg, struct asked *a)
{
    const struct tracking_ops *ops = c->ops->tracking;
    bool ok = false;
    if (a->redirect != 0) {
        resp_write_error(c->reply, "ERR A client can only redirect to a single other client");
    } else if (arg_i64(c, arg, &a->redirect)) {
        ok = ops->client_exists(ops->arg, (uint64_t)a->redirect);
        if (!ok) {
            resp_write_error(c->reply, "ERR The client ID you want redirect to does not exist");
        }
    }
    return ok;
}

static bool parse(struct command_ctx *c, struct asked *a)
{
    bool ok = true;
    for (int i = 3; ok && i < c->cmd->argc; i++) {
        struct bk_span word = arg_at(c, i);
        bool more = i + 1 < c->cmd->argc;
        uint32_t flag = flag_of(word);
        if (more && arg_is(word, "redirect")) {
            ok = parse_redirect(c, arg_at(c, ++i), a);
        } else if (more && arg_is(word, "prefix")) {
            a->prefixes[a->n++] = arg_at(c, ++i);
        } else if (flag != 0) {
            a->flags |= flag;
        } else {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
            ok = false;
        }
    }
    return ok;
}

/* One begins as the other does: a key could fit both. */
static bool overlap(struct bk_span a, struct bk_span b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    return len == 0 || memcmp(a.data, b.data, len) == 0;
}

static void reply_overlap(struct command_ctx *c, struct bk_span one, const char *with,
                          struct bk_span other)
{
    resp_write_errorf(c->reply,
                      "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single "
                      "client must not overlap.",
                      arg_text_len(one), (const char *)one.data, with, arg_text_len(other),
                      (const char *)other.data);
}

static bool check_prefixes(struct command_ctx *c, const struct asked *a)
{
    const struct tracking_ops *ops = c->ops->tracking;
    for (size_t i = 0; i < a->n; i++) {
        for (size_t k = 0; k < ops->prefixes(ops->arg, c->session); k++) {
            struct bk_span has = ops->prefix(ops->arg, c->session, k);
            if (overlap(a->prefixes[i], has)) {
                reply_overlap(c, a->prefixes[i], "an existing", has);
                return false;
            }
        }
        for (size_t k = i + 1; k < a->n; k++) {
            if (overlap(a->prefixes[i], a->prefixes[k])) {
                reply_overlap(c, a->prefixes[i], "another provided", a->prefixes[k]);
                return false;
            }
        }
    }
    return true;
}

/* NULL: they go together, and with how the client tracks now. */
static const char *why_not(const struct asked *a, uint32_t now)
{
    bool bcast = (a->flags & TRACKING_BCAST) != 0;
    bool in = (a->flags & TRACKING_OPTIN) != 0;
    bool out = (a->flags & TRACKING_OPTOUT) != 0;
    const char *why = NULL;
    if (!bcast && a->n > 0) {
        why = "ERR PREFIX option requires BCAST mode to be enabled";
    } else if ((now & TRACKING_ON) != 0 && bcast != ((now & TRACKING_BCAST) != 0)) {
        why = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
              "and then re-enabling it with a different mode.";
    } else if (bcast && (in || out)) {
        why = "ERR OPTIN and OPTOUT are not compatible with BCAST";
    } else if (in && out) {
        why = "ERR You can't specify both OPTIN mode and OPTOUT mode";
    } else if ((in && (now & TRACKING_OPTOUT) != 0) || (out && (now & TRACKING_OPTIN) != 0)) {
        why = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, "
              "and then re-enabling it with a different mode.";
    }
    return why;
}

static void switch_on(struct command_ctx *c, const struct asked *a)
{
    const struct tracking_ops *ops = c->ops->tracking;
    const char *why = why_not(a, tracking_of(c->session));
    if (why != NULL) {
        resp_write_error(c->reply, why);
    } else if ((a->flags & TRACKING_BCAST) == 0 || check_prefixes(c, a)) {
        struct tracking_mode mode = {.flags = TRACKING_ON | a->flags,
                                     .redirect = (uint64_t)a->redirect,
                                     .prefixes = a->prefixes,
                                     .prefixes_n = a->n};
        ops->on(ops->arg, c->session, &mode);
        resp_write_ok(c->reply);
    }
}

void client_tracking(struct command_ctx *c)
{
    struct asked a = {.prefixes = bk_alloc((size_t)c->cmd->argc * sizeof(struct bk_span))};
    if (!parse(c, &a)) {
        /* The reply says so. */
    } else if (arg_is(arg_at(c, 2), "on")) {
        switch_on(c, &a);
    } else if (arg_is(arg_at(c, 2), "off")) {
        c->ops->tracking->off(c->ops->tracking->arg, c->session);
        resp_write_ok(c->reply);
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
    free(a.prefixes);
}

/* ---- CACHING, TRACKINGINFO, GETREDIR ---- */

void client_caching(struct command_ctx *c)
{
    uint32_t now = tracking_of(c->session);
    bool yes = arg_is(arg_at(c, 2), "yes");
    bool no = arg_is(arg_at(c, 2), "no");
    if ((now & TRACKING_ON) == 0) {
        resp_write_error(c->reply, "ERR CLIENT CACHING can be called only when the client is in "
                                   "tracking mode with OPTIN or OPTOUT mode enabled");
    } else if (yes && (now & TRACKING_OPTIN) == 0) {
        resp_write_error(c->reply, "ERR CLIENT CACHING YES is only valid when tracking is enabled "
                                   "in OPTIN mode.");
    } else if (no && (now & TRACKING_OPTOUT) == 0) {
        resp_write_error(c->reply, "ERR CLIENT CACHING NO is only valid when tracking is enabled "
                                   "in OPTOUT mode.");
    } else if (!yes && !no) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else {
        atomic_store_explicit(&c->session->tracking, now | TRACKING_CACHING, memory_order_relaxed);
        resp_write_ok(c->reply);
    }
}

static int64_t redirect_of(const struct session *s)
{
    bool on = (tracking_of(s) & TRACKING_ON) != 0;
    return on ? (int64_t)atomic_load_explicit(&s->redirect, memory_order_relaxed) : -1;
}

static void write_flags(struct command_ctx *c)
{
    const struct tracking_ops *ops = c->ops->tracking;
    uint32_t now = tracking_of(c->session);
    bool on = (now & TRACKING_ON) != 0;
    bool said = (now & TRACKING_CACHING) != 0;
    const struct {
        const char *word;
        bool shown;
    } flags[] = {
        {on ? "on" : "off", true},
        {"bcast", (now & TRACKING_BCAST) != 0},
        {"optin", (now & TRACKING_OPTIN) != 0},
        {"caching-yes", (now & TRACKING_OPTIN) != 0 && said},
        {"optout", (now & TRACKING_OPTOUT) != 0},
        {"caching-no", (now & TRACKING_OPTOUT) != 0 && said},
        {"noloop", (now & TRACKING_NOLOOP) != 0},
        {"broken_redirect", on && ops->broken(ops->arg, c->session)},
    };
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        n += flags[i].shown;
    }
    resp_write_set(c->reply, n);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].shown) {
            resp_write_bulk_str(c->reply, flags[i].word);
        }
    }
}

void client_trackinginfo(struct command_ctx *c)
{
    const struct tracking_ops *ops = c->ops->tracking;
    size_t prefixes = ops->prefixes(ops->arg, c->session);
    resp_write_map(c->reply, 3);
    resp_write_bulk_str(c->reply, "flags");
    write_flags(c);
    resp_write_bulk_str(c->reply, "redirect");
    resp_write_int(c->reply, redirect_of(c->session));
    resp_write_bulk_str(c->reply, "prefixes");
    resp_write_array(c->reply, prefixes);
    for (size_t i = 0; i < prefixes; i++) {
        resp_write_bulk(c->reply, ops->prefix(ops->arg, c->session, i));
    }
}

void client_getredir(struct command_ctx *c)
{
    resp_write_int(c->reply, redirect_of(c->session));
}
