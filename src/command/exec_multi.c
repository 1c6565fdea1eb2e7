/* SPDX-License-Identifier: MIT */
/*
 * exec_multi.c - EXEC: the queued commands as one transaction.
 *
 * All keys of all commands, and the watched ones, are named first; then values are fetched, locks
 * taken and watches looked at, as for one command; then the functions run in order, each seeing
 * what those before it have written; then one commit. No room in the log: nothing has changed, and
 * EXEC runs again as a whole, except for commands without the store, whose effects are there at
 * once: they have run, and only their replies are sent again.
 *
 * What only reads, with nothing watched, takes no lock: its keys are looked up at one moment.
 */
#include "command/exec_private.h"
#include "command/multi.h"
#include "command/tracking.h"

#include "base/assert.h"

/* What the queue asks of the store. */
struct plan {
    bool writes;
    bool whole;  /* it looks at, or changes, whole databases: every lock */
    bool tracks; /* it changes what its client remembers, while it runs */
    enum ks_need most;
};

static struct command_ctx ctx_of(const struct exec_run *r, const struct multi_command *q)
{
    struct command_ctx c = r->ctx;
    c.cmd = &q->cmd;
    c.row = q->slot->row;
    return c;
}

static bool looks_at_all(const struct command_row *row)
{
    bool keyless = row->first_key == 0 && row->name_keys == NULL;
    return (row->flags & CMD_ALL_KEYS) != 0 || (keyless && (row->flags & CMD_NO_STORE) == 0);
}

static struct plan name_all(const struct exec_run *r, struct multi *m)
{
    struct plan p = {.most = KS_NEED_NOTHING};
    for (size_t i = 0; i < m->n; i++) {
        struct command_ctx c = ctx_of(r, &m->v[i]);
        m->v[i].first_key = ks_txn_named(c.txn);
        p.tracks = p.tracks || (c.row->flags & CMD_TRACKS) != 0;
        p.writes = p.writes || exec_will_write(&c);
        p.whole = p.whole || looks_at_all(c.row);
        if ((c.row->flags & CMD_NO_STORE) == 0 || c.row->name_keys != NULL) {
            enum ks_need need = exec_name_keys(&c);
            p.most = need > p.most ? need : p.most;
        }
    }
    return p;
}

/* ---- Running ---- */

/* A command that goes on in slices (KEYS) has them all at once here: what holds the locks cannot
 * pause. */
static void run_slices(struct command_ctx *c, struct exec_slice **slice)
{
    size_t before = c->reply->out->len;
    bool more = true;
    while (more) {
        c->reply->out->len = before;
        if (*slice != NULL) {
            (*slice)->more = false;
        }
        c->row->run(c);
        more = *slice != NULL && (*slice)->more;
        BK_ASSERT(!more || !(*slice)->parked);
    }
}

/* Keeps the reply of a command whose effects are there. One that names keys is about databases
 * (SELECT), and what PUBLISH sends waits for the commit: these run again. */
static void keep_reply(const struct command_ctx *c, struct multi_command *q, size_t before,
                       unsigned errors)
{
    bool again = c->row->name_keys != NULL || (c->row->flags & CMD_MAY_REPLICATE) != 0;
    if ((c->row->flags & CMD_NO_STORE) != 0 && !again) {
        bk_buf_append(&q->reply, c->reply->out->data + before, c->reply->out->len - before);
        q->errors = errors;
        q->done = true;
    }
}

static void run_queued(const struct exec_run *r, struct multi_command *q)
{
    struct command_ctx c = ctx_of(r, q);
    struct exec *e = c.exec;
    struct exec_command_stat *stat = &e->stats[q->slot->id];
    struct exec_slice *slice = NULL;
    size_t before = c.reply->out->len;
    unsigned errors = c.reply->errors;
    if (q->done) {
        bk_buf_append(c.reply->out, q->reply.data, q->reply.len);
        c.reply->errors += q->errors;
        return;
    }
    q->db = atomic_load_explicit(&c.session->db, memory_order_relaxed);
    if (c.txn != NULL) {
        ks_txn_focus(c.txn, q->db, q->first_key);
    }
    int64_t begin_us = e->now_us;
    e->redacted = 0;
    e->slice = &slice;
    run_slices(&c, &slice);
    e->slice = NULL;
    exec_slice_free(&slice);
    q->redacted = e->redacted;
    exec_ended(&c, stat, exec_took(e, begin_us), c.reply->errors != errors);
    exec_stat_error(e, c.reply, before, errors);
    errors = c.reply->errors - errors;
    exec_count(&e->commands, 1);
    keep_reply(&c, q, before, errors);
    q->db = atomic_load_explicit(&c.session->db, memory_order_relaxed); /* SELECT's new one */
}

/* What a CLIENT TRACKING in the queue has made worth it. All keys are locked, so who changes one
 * looks for who remembers it after this. */
static void remember_keys(const struct exec_run *r, const struct multi *m, size_t i)
{
    struct command_ctx c = ctx_of(r, &m->v[i]);
    if ((c.row->flags & CMD_READONLY) != 0) {
        size_t end = i + 1 < m->n ? m->v[i + 1].first_key : ks_txn_named(c.txn);
        ks_txn_focus(c.txn, m->db, 0);
        tracking_remember(&c, m->v[i].first_key, end);
    }
}

static void run_all(const struct exec_run *r, struct multi *m, bool tracks)
{
    r->ctx.exec->in_multi = true;
    (void)exec_look(r->ctx.exec); /* what came before is EXEC's own time */
    resp_write_array(r->ctx.reply, m->n);
    for (size_t i = 0; i < m->n; i++) {
        if (tracks) {
            remember_keys(r, m, i);
        }
        run_queued(r, &m->v[i]);
    }
    r->ctx.exec->in_multi = false;
}

/* With the store: BK_OK when all have run, or when a watch did not hold and the reply says so. */
static int run_with_store(struct exec_run *r, struct multi *m, struct plan *p, bool *ran,
                          struct bk_error *err)
{
    struct session *s = r->ctx.session;
    struct ks_txn *txn = r->ctx.txn;
    *p = name_all(r, m);
    ks_txn_watches(txn, s->watches);
    if (p->whole) {
        ks_txn_all_keys(txn);
    }
    bool lock = p->writes || p->whole || p->tracks || s->watches != NULL;
    int rc = exec_prepare(r, p->most == KS_NEED_VALUE || !lock, lock, err);
    if (rc == BK_OK && ks_watches_hold(s->watches, txn)) {
        run_all(r, m, p->tracks);
        *ran = true;
    } else if (rc == BK_OK) {
        resp_write_null_array(r->ctx.reply);
        p->whole = true; /* it tells of a write that is perhaps not committed yet */
    }
    return rc;
}

/* What has run is shown to those who MONITOR, before EXEC itself. */
static void show_all(const struct exec_run *r, const struct multi *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct command_ctx c = ctx_of(r, &m->v[i]);
        c.exec->redacted = m->v[i].redacted;
        exec_show(&c, m->v[i].db);
    }
}

/* The store took nothing: an error stands for all replies. */
static bool was_refused(const struct exec_run *r)
{
    return r->ctx.reply->out->data[r->reply_start] == '-';
}

enum exec_result exec_queue(struct exec_run *r, uint64_t *pos)
{
    struct session *s = r->ctx.session;
    struct multi *m = s->multi;
    enum exec_result result = EXEC_DONE;
    bool ran = false;
    m->db = atomic_load_explicit(&s->db, memory_order_relaxed);
    if (m->failed) {
        resp_write_error(r->ctx.reply,
                         "EXECABORT Transaction discarded because of previous errors.");
    } else if (s->watch_lost) {
        resp_write_null_array(r->ctx.reply);
    } else if (!m->uses_store && s->watches == NULL) {
        r->ctx.txn = NULL;
        run_all(r, m, false);
        ran = true;
    } else {
        struct plan p;
        struct bk_error err;
        exec_begin(r, &err);
        int rc = run_with_store(r, m, &p, &ran, &err);
        /* Under the locks still: an undoing moves the tail past what it undoes. */
        uint64_t tail = p.whole ? ks_tail(r->ctx.ks) : 0;
        result = exec_end(r, rc, p.writes, tail, pos, &err);
        ran = ran && result == EXEC_DONE && !was_refused(r);
        if (!ran) {
            atomic_store_explicit(&s->db, m->db, memory_order_relaxed);
        }
    }
    if (ran) {
        show_all(r, m);
        if (m->saves) {
            r->ctx.ops->save_schedule(r->ctx.ops->arg);
        }
    }
    if (result == EXEC_DONE) {
        multi_discard(s, r->ctx.ks);
    }
    return result;
}
