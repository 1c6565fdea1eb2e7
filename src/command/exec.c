/* SPDX-License-Identifier: MIT */
/*
 * exec.c - runs one command: finds its row, decides whether it may run, takes its keys through
 * "values first".
 *
 * What a plain SET costs here: one look-up in the table, one hash of the key, and what the store
 * does to lock, append and swing. Nothing is allocated. The command's moment comes from the caller,
 * who takes it from the look at the clock at the end of the command before (exec_stats.c).
 *
 * A row says by its keys' needs how much of the protocol a command takes part in:
 *   reading            fetch (all keys at one moment), run
 *   writing, VALUE     fetch, lock, run, commit; again from the fetch when a value changed before
 * the lock writing, META      lock, run, commit: what the function asks for is in memory writing,
 * NOTHING   run, commit: the commit takes the lock
 */
#include "command/exec_private.h"
#include "command/multi.h"
#include "command/tracking.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define ERROR_TEXT_MAX 512
#define LOADING_TEXT "LOADING Redis is loading the dataset in memory"
#define CONTEXT_TEXT                                                                        \
    "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET " \
    "are allowed in this context"

#define PROTECTED_TEXT                                                                          \
    "ERR %s command not allowed. If the enable-%s-command option is set to \"local\", you can " \
    "run "                                                                                      \
    "it from a local connection, otherwise you need to set this option in the configuration "   \
    "file, "                                                                                    \
    "and then restart the server."

/* Where no server provides one. */
static const struct server_watch nobody_watches;

struct exec *exec_new(struct keyspace *ks, const struct server_ops *ops)
{
    struct exec *e = bk_alloc_zero(1, sizeof(*e));
    command_table_setup();
    e->ks = ks;
    e->ops = ops;
    e->watch = ops->pubsub != NULL ? ops->pubsub->watch : &nobody_watches;
    e->stats = bk_alloc_zero(command_slot_count(), sizeof(*e->stats));
    exec_tick(e, bk_clock_system_wall_us(), bk_clock_mono_us(&bk_clock_system));
    return e;
}

void exec_free(struct exec **e)
{
    if (*e != NULL) {
        ks_txn_free(&(*e)->txn);
        ks_reader_free(&(*e)->reader);
        bk_buf_fini(&(*e)->notify.events);
        exec_stats_free(*e);
        free(*e);
        *e = NULL;
    }
}

/* As if nothing had failed; half a kilobyte of zeros for every command would be felt. */
static void clear_error(struct bk_error *err)
{
    err->code = BK_OK;
    err->sys_errno = 0;
    err->offset = 0;
    err->path[0] = '\0';
    err->text[0] = '\0';
}

/* ---- May it run? ---- */

/* NULL: there is no such command, and the reply says so. */
static const struct command_slot *resolve(const struct resp_command *cmd, struct resp_writer *reply)
{
    const struct command_slot *slot = command_slot_find(NULL, cmd->argv[0].bytes);
    if (slot == NULL) {
        exec_reply_unknown(reply, cmd);
    } else if (slot->row->subcommands != NULL && cmd->argc > 1) {
        slot = command_slot_find(slot, cmd->argv[1].bytes);
        if (slot == NULL) {
            exec_reply_unknown_sub(reply, cmd);
        }
    }
    return slot;
}

static void reply_writes_refused(struct resp_writer *reply, const struct bk_error *err)
{
    char reason[ERROR_TEXT_MAX];
    if (err->code == BK_EREADONLY) {
        resp_write_error(reply, "READONLY You can't write against a read only replica.");
        return;
    }
    bk_error_format(err, reason, sizeof(reason));
    resp_write_errorf(
        reply,
        "MISCONF Errors writing to the data files, commands that change data are refused: %s",
        reason);
}

/* On a full disk what makes room goes on: the store has a little for it, and says so when it has no
 * more. A store that is only read is well. */
static bool may_write(const struct exec_run *r, uint32_t flags, struct bk_error *err)
{
    bool asks = (flags & (CMD_WRITE | CMD_HEALTH)) != 0;
    int rc = asks ? ks_write_state(r->ctx.ks, err) : BK_OK;
    return rc == BK_OK || (rc == BK_ENOSPC && (flags & CMD_TAKES_AWAY) != 0) ||
           (rc == BK_EREADONLY && (flags & CMD_HEALTH) != 0);
}

/* EXEC does what is queued. */
static uint32_t flags_of(const struct command_ctx *c)
{
    bool exec = (c->row->flags & CMD_RUNS_QUEUE) != 0 && c->session->multi != NULL;
    return c->row->flags | (exec ? c->session->multi->flags : 0);
}

/* Inside MULTI even what only reads takes memory, until EXEC or DISCARD. */
static bool takes_memory(const struct command_ctx *c, uint32_t flags)
{
    return (flags & CMD_DENYOOM) != 0 || (c->session->multi != NULL && (flags & CMD_AT_ONCE) == 0);
}

static bool waits_for_store(const struct command_ctx *c)
{
    bool queue = (c->row->flags & CMD_RUNS_QUEUE) != 0 && c->session->multi != NULL;
    return !ks_ready(c->ks) &&
           ((c->row->flags & CMD_LOADING) == 0 || (queue && c->session->multi->not_loading));
}

static bool arity_fits(const struct command_row *row, int argc)
{
    return row->arity > 0 ? argc == row->arity : argc >= -row->arity;
}

/* One that MONITORs is Redis's kind of replica. */
static bool may_touch_keys(const struct command_ctx *c)
{
    return (c->row->flags & (CMD_WRITE | CMD_READONLY | CMD_MAY_REPLICATE)) == 0 ||
           !atomic_load_explicit(&c->session->monitors, memory_order_relaxed);
}

/* Redis's order of checks. false: the reply says why not. */
static bool admit(const struct exec_run *r)
{
    const struct command_ctx *c = &r->ctx;
    const struct command_row *row = c->row;
    const struct server_ops *ops = c->ops;
    uint32_t flags = flags_of(c);
    struct bk_error err;
    bool ok = false;
    clear_error(&err);
    if (!arity_fits(row, c->cmd->argc)) {
        resp_write_errorf(c->reply, "ERR wrong number of arguments for '%s' command",
                          r->slot->full_name);
    } else if ((row->flags & CMD_PROTECTED) != 0 && r->slot->parent != NULL) {
        resp_write_errorf(c->reply, PROTECTED_TEXT, "MODULE", "module"); /* whatever it is set to */
    } else if ((row->flags & CMD_PROTECTED) != 0 && !ops->debug_allowed(ops->arg, c->session)) {
        resp_write_errorf(c->reply, PROTECTED_TEXT, "DEBUG", "debug");
    } else if (!c->session->authenticated && (row->flags & CMD_NO_AUTH) == 0 &&
               ops->auth_required(ops->arg)) {
        resp_write_error(c->reply, "NOAUTH Authentication required.");
    } else if (c->session->multi != NULL && (row->flags & CMD_NO_MULTI) != 0) {
        resp_write_error(c->reply, "ERR Command not allowed inside a transaction");
    } else if (takes_memory(c, flags) && ops->memory_over(ops->arg)) {
        resp_write_error(c->reply, "OOM command not allowed when used memory > 'maxmemory'.");
    } else if (!may_write(r, flags, &err)) {
        reply_writes_refused(c->reply, &err);
    } else if ((row->flags & CMD_SUBSCRIBED) == 0 && pubsub_in_context(c->session)) {
        resp_write_errorf(c->reply, CONTEXT_TEXT, r->slot->full_name);
    } else if (waits_for_store(c)) {
        resp_write_error(c->reply, LOADING_TEXT);
    } else if (!may_touch_keys(c)) {
        resp_write_error(c->reply, "ERR Replica can't interact with the keyspace");
    } else {
        ok = true;
    }
    return ok;
}

/* ---- Values first ---- */

/* "new" asks of every key that is written whether it is there. */
static enum ks_need need_for(const struct command_ctx *c, int arg)
{
    const struct command_row *row = c->row;
    enum ks_need need = row->need_of == NULL ? row->need : row->need_of(c->cmd, arg);
    bool look = (row->flags & CMD_WRITE) != 0 && (c->exec->notify.classes & NOTIFY_NEW) != 0;
    return need == KS_NEED_NOTHING && look ? KS_NEED_META : need;
}

/* Whether looking at the command's keys is no use of them. CLIENT NO-TOUCH leaves TOUCH as it is.
 */
static bool touches_nothing(const struct command_ctx *c)
{
    return (c->row->flags & CMD_NO_TOUCH) != 0 ||
           (atomic_load_explicit(&c->session->no_touch, memory_order_relaxed) &&
            strcmp(c->row->name, "touch") != 0);
}

static enum ks_need name_keys(const struct command_ctx *c)
{
    const struct command_row *row = c->row;
    const struct resp_command *cmd = c->cmd;
    enum ks_need most = KS_NEED_NOTHING;
    ks_txn_no_touch(c->txn, touches_nothing(c));
    if (row->name_keys != NULL) {
        return row->name_keys(c);
    }
    int last = row->last_key < 0 ? cmd->argc + row->last_key : row->last_key;
    if (row->first_key == 0) {
        last = -1;
    }
    for (int i = row->first_key; i <= last && i < cmd->argc; i += row->key_step) {
        enum ks_need need = need_for(c, i);
        (void)ks_txn_key(c->txn, cmd->argv[i].bytes, need);
        most = need > most ? need : most;
    }
    return most;
}

enum ks_need exec_name_keys(const struct command_ctx *c)
{
    size_t from = ks_txn_named(c->txn);
    enum ks_need most = name_keys(c);
    if (c->exec->notify.expires && !exec_pause_holds(c->ops)) {
        notify_expire(c, from);
    }
    if ((c->row->flags & CMD_READONLY) != 0) {
        tracking_remember(c, from, ks_txn_named(c->txn));
    }
    return most;
}

bool exec_will_write(const struct command_ctx *c)
{
    uint32_t flags = c->row->flags;
    struct bk_error err;
    return (flags & CMD_WRITE) != 0 ||
           ((flags & CMD_CACHES) != 0 && ks_write_state(c->ks, &err) == BK_OK);
}

void exec_begin(struct exec_run *r, struct bk_error *err)
{
    struct command_ctx *c = &r->ctx;
    struct exec *e = c->exec;
    clear_error(err);
    if (e->txn == NULL) {
        e->txn = ks_txn_new(e->ks); /* not before there is a store */
        e->reader = e->wake == NULL ? NULL : ks_reader_new(e->ks, e->wake, e->wake_arg);
        ks_txn_on_commit(e->txn, e->ops->tracking != NULL ? tracking_committed : NULL, e);
    }
    c->txn = e->txn;
    e->session = c->session;
    ks_txn_begin(c->txn, atomic_load_explicit(&c->session->db, memory_order_relaxed), c->now_ms);
    if (e->reader != NULL) {
        ks_txn_reads(c->txn, e->reader, &e->reads, c->session->ahead, c->session);
    }
}

int exec_prepare(const struct exec_run *r, bool fetch, bool lock, struct bk_error *err)
{
    struct ks_txn *t = r->ctx.txn;
    enum ks_lock got;
    int rc;
    /* Every turn but the last means that another command has changed one of the keys, so somebody
     * gets on. */
    do {
        rc = BK_OK;
        got = KS_LOCKED;
        if (fetch) {
            rc = ks_txn_fetch(t, err);
        }
        if (rc == BK_OK && lock) {
            got = ks_txn_lock(t);
        }
    } while (rc == BK_OK && got == KS_AGAIN);
    return rc == BK_OK && lock && exec_paused(r) ? EXEC_HELD_UP : rc;
}

static void raise_pos(uint64_t *pos, uint64_t to)
{
    if (to > *pos) {
        *pos = to;
    }
}

void exec_cut_reply(const struct exec_run *r)
{
    r->ctx.reply->out->len = r->reply_start;
    r->ctx.reply->errors = r->errors_start;
}

static void reply_store_error(const struct exec_run *r, int rc, bool writes,
                              const struct bk_error *err)
{
    struct resp_writer *reply = r->ctx.reply;
    char reason[ERROR_TEXT_MAX];
    exec_cut_reply(r);
    switch (rc) {
    case BK_EREADONLY:
    case BK_ENOSPC:
    case BK_EIO:
        if (writes) {
            reply_writes_refused(reply, err);
            break;
        }
        bk_error_format(err, reason, sizeof(reason));
        resp_write_errorf(reply, "ERR the value cannot be read: %s", reason);
        break;
    case BK_CORRUPT:
        resp_write_error(reply, "ERR the value of this key is damaged on disk");
        break;
    case BK_ETOOBIG:
        resp_write_error(reply,
                         "ERR the command would write more bytes at once than the store allows");
        break;
    default:
        bk_error_format(err, reason, sizeof(reason));
        resp_write_errorf(reply, "ERR the store failed: %s", reason);
        break;
    }
}

enum exec_result exec_end(struct exec_run *r, int rc, bool writes, uint64_t tail, uint64_t *pos,
                          struct bk_error *err)
{
    struct command_ctx *c = &r->ctx;
    enum exec_result result = EXEC_DONE;
    uint64_t seen = 0;
    if (rc == BK_OK && writes && ks_txn_lock_writes(c->txn) && exec_paused(r)) {
        rc = EXEC_HELD_UP;
    }
    if (rc == BK_OK && writes) {
        rc = ks_txn_commit(c->txn, &seen, err);
        if (rc != BK_EAGAIN && (c->row->flags & CMD_CACHES) != 0) {
            rc = BK_OK; /* its reply does not depend on what it wanted to keep */
        }
    } else {
        ks_txn_end(c->txn, &seen);
    }
    if (rc != BK_READING) {
        raise_pos(pos, seen);
    }
    if (rc != BK_OK) {
        notify_begin(&c->exec->notify, c->exec->watch); /* nothing was done */
    }
    raise_pos(pos, tail);
    if (rc == BK_EAGAIN) {
        exec_cut_reply(r);
        result = EXEC_NO_ROOM;
    } else if (rc == BK_READING) {
        result = EXEC_READING;
    } else if (rc == EXEC_HELD_UP) {
        exec_cut_reply(r);
        result = EXEC_PAUSED;
    } else if (rc != BK_OK) {
        reply_store_error(r, rc, writes, err);
    }
    return result;
}

static enum exec_result run_with_store(struct exec_run *r, uint64_t *pos)
{
    struct command_ctx *c = &r->ctx;
    const struct command_row *row = c->row;
    bool writes = exec_will_write(c);
    bool all = (row->flags & CMD_ALL_KEYS) != 0;
    struct bk_error err;
    exec_begin(r, &err);
    enum ks_need most = exec_name_keys(c);
    if (all) {
        ks_txn_all_keys(c->txn);
    }
    int rc = exec_prepare(r, most == KS_NEED_VALUE || !writes,
                          writes && (most != KS_NEED_NOTHING || all), &err);
    uint64_t tail = 0;
    if (rc == BK_OK && row->first_key == 0 && (row->flags & CMD_READONLY) != 0) {
        tail = exec_run_unlocked(r);
    } else if (rc == BK_OK) {
        row->run(c);
    }
    return exec_end(r, rc, writes, tail, pos, &err);
}

/* ---- Running ---- */

/* EXEC's reply holds those of its commands, which are counted as theirs. */
static bool has_failed(const struct exec_run *r)
{
    const struct resp_writer *reply = r->ctx.reply;
    bool holds = (r->ctx.row->flags & CMD_RUNS_QUEUE) != 0;
    return reply->errors != r->errors_start && !(holds && reply->out->data[r->reply_start] != '-');
}

static enum exec_result run_row(struct exec_run *r, uint64_t *pos, struct exec_slice **slice)
{
    struct exec *e = r->ctx.exec;
    enum exec_result result = EXEC_DONE;
    int64_t begin_us = e->now_us != 0 ? e->now_us : exec_look(e);
    int64_t took_us = 0;
    e->slice = slice;
    notify_begin(&e->notify, e->watch);
    e->redacted = 0;
    e->reads = exec_take_reads(slice, &took_us);
    if ((r->ctx.row->flags & CMD_RUNS_QUEUE) != 0 && r->ctx.session->multi != NULL) {
        result = exec_queue(r, pos);
    } else if ((r->ctx.row->flags & CMD_NO_STORE) != 0) {
        r->ctx.row->run(&r->ctx);
    } else {
        result = run_with_store(r, pos);
    }
    e->slice = NULL;
    took_us += exec_took(e, begin_us);
    exec_keep_reads(e, slice, result == EXEC_READING, took_us);
    if (result == EXEC_DONE && exec_goes_on(e, slice, pos)) {
        exec_cut_reply(r);
        (*slice)->took_us = took_us;
        result = (*slice)->parked ? EXEC_NO_ROOM : EXEC_MORE;
    }
    if (result == EXEC_DONE) {
        exec_ended(&r->ctx, r->stat, took_us, has_failed(r));
    }
    return result;
}

/* CLIENT REPLY: as in Redis, what counts is the mode after the command, so that CLIENT REPLY ON
 * answers. */
static void obey_reply_mode(struct exec_run *r)
{
    struct session *s = r->ctx.session;
    bool stays = r->ctx.row != NULL && (r->ctx.row->flags & CMD_ANSWERS) != 0 &&
                 r->ctx.reply->errors == r->errors_start;
    if (s->reply_mode != REPLY_ON && !stays) {
        r->ctx.reply->out->len = r->reply_start;
    }
    if (s->reply_mode == REPLY_SKIP) {
        s->reply_mode = REPLY_ON;
    } else if (s->reply_mode == REPLY_SKIP_NEXT) {
        s->reply_mode = REPLY_SKIP;
    }
}

/* Commands of administrators are not shown: so does Redis. */
void exec_show(const struct command_ctx *c, uint32_t db)
{
    const struct server_watch *watch = c->exec->watch;
    if (atomic_load_explicit(&watch->monitors, memory_order_relaxed) > 0 &&
        (c->row->flags & (CMD_ADMIN | CMD_SKIP_MONITOR)) == 0 && ks_ready(c->ks)) {
        monitor_feed(c, db);
    }
}

/* Inside MULTI a refused command spoils the whole; a refused EXEC ends it. */
static void spoil_multi(struct exec_run *r)
{
    struct session *s = r->ctx.session;
    if (s->multi != NULL) {
        s->multi->failed = true;
    }
    if (r->slot != NULL && (r->slot->row->flags & CMD_RUNS_QUEUE) != 0) {
        char text[ERROR_TEXT_MAX];
        struct bk_buf *out = r->ctx.reply->out;
        size_t len = out->len - r->reply_start - 3; /* without "-" and CRLF */
        len = len < sizeof(text) ? len : sizeof(text) - 1;
        memcpy(text, out->data + r->reply_start + 1, len);
        text[len] = '\0';
        exec_cut_reply(r);
        /* As Redis has it: only codes other than ERR are told. */
        resp_write_errorf(r->ctx.reply, "EXECABORT Transaction discarded because of: %s",
                          text + (strncmp(text, "ERR ", 4) == 0 ? 4 : 0));
        multi_discard(s, r->ctx.ks);
    }
}

static bool queues(const struct exec_run *r)
{
    return r->ctx.session->multi != NULL && (r->ctx.row->flags & CMD_AT_ONCE) == 0;
}

/* Those who listen to changes, and those who MONITOR, hear of a command that has run. */
static enum exec_result run_and_tell(struct exec_run *r, uint64_t *pos, struct exec_slice **slice)
{
    struct exec *e = r->ctx.exec;
    struct session *s = r->ctx.session;
    enum exec_result result = run_row(r, pos, slice);
    if (result == EXEC_DONE) {
        if (e->notify.events.len > 0) {
            notify_end(&e->notify, e->ops->pubsub, s, *pos);
        }
        exec_show(&r->ctx, atomic_load_explicit(&s->db, memory_order_relaxed));
    }
    return result;
}

static enum exec_result execute(struct exec_run *r, uint64_t *pos, struct exec_slice **slice)
{
    struct exec *e = r->ctx.exec;
    struct session *s = r->ctx.session;
    enum exec_result result = EXEC_DONE;
    r->slot = resolve(r->ctx.cmd, r->ctx.reply);
    if (r->slot != NULL) {
        r->ctx.row = r->slot->row;
        r->stat = &e->stats[r->slot->id];
        if (!exec_stays(r->ctx.row)) {
            exec_ahead_over(e);
        }
        atomic_store_explicit(&s->last_command, r->ctx.row, memory_order_relaxed);
        if (!r->begun && !admit(r)) {
            exec_count(&r->stat->rejected, 1);
            spoil_multi(r);
        } else if (exec_paused(r)) {
            result = EXEC_PAUSED;
        } else if (queues(r)) {
            multi_queue(s, r->slot, r->ctx.cmd);
            resp_write_simple(r->ctx.reply, "QUEUED");
        } else {
            result = run_and_tell(r, pos, slice);
        }
    } else {
        spoil_multi(r);
    }
    if (result == EXEC_DONE) {
        exec_count(&e->commands, 1);
        exec_count(&e->errors, r->ctx.reply->errors - r->errors_start);
        exec_stat_error(e, r->ctx.reply, r->reply_start, r->errors_start);
        obey_reply_mode(r);
        tracking_next(s, r->slot);
    }
    if (s->ahead != NULL && result == EXEC_DONE) {
        exec_ahead_ran(s);
    } else if (result == EXEC_PAUSED || result == EXEC_NO_ROOM) {
        ks_reads_free(&s->ahead); /* as with its own: it may take long */
    }
    return result;
}

static struct exec_run run_of(struct exec *e, struct session *s, const struct resp_command *cmd,
                              int64_t now_ms, struct resp_writer *reply)
{
    return (struct exec_run){
        .ctx = {.session = s,
                .cmd = cmd,
                .reply = reply,
                .ks = e->ks,
                .txn = e->txn,
                .ops = e->ops,
                .exec = e,
                .now_ms = now_ms},
        .reply_start = reply->out->len,
        .errors_start = reply->errors,
    };
}

enum exec_result exec_command(struct exec *e, struct session *s, const struct resp_command *cmd,
                              int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                              struct exec_slice **slice)
{
    struct exec_run r = run_of(e, s, cmd, now_ms, reply);
    BK_ASSERT(cmd->argc >= 1 && *slice == NULL);
    return execute(&r, pos, slice);
}

enum exec_result exec_resume(struct exec *e, struct session *s, const struct resp_command *cmd,
                             int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                             struct exec_slice **slice)
{
    struct exec_run r = run_of(e, s, cmd, now_ms, reply);
    BK_ASSERT(*slice != NULL);
    r.begun = (*slice)->begun;
    enum exec_result result = execute(&r, pos, slice);
    if (!r.begun && (result == EXEC_DONE || result == EXEC_PAUSED)) {
        exec_slice_free(slice); /* it was not let in again, and a pause may be long */
    } else if (result == EXEC_PAUSED) {
        ks_reads_free(&(*slice)->reads);
    }
    return result;
}
