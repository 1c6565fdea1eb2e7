/* SPDX-License-Identifier: MIT */
/*
 * conn.c - the life of a connection and the running of its commands.
 *
 * Commands run in the order in which they came. At most one is unfinished: while it is (SLICE,
 * PARKED, PAUSED, READING), nothing is received into the reader, because the command's arguments
 * lie there. Not here: bytes in and out (conn_io.c), what other clients may see of a connection
 * (clients.c).
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/log.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define BIT(state) (1u << (state))
#define ENDING (BIT(CONN_CLOSING) | BIT(CONN_CLOSED))
#define UNFINISHED (BIT(CONN_SLICE) | BIT(CONN_PARKED) | BIT(CONN_PAUSED) | BIT(CONN_READING))

/* legal_moves[from] has the bits of the states that may follow. */
static const unsigned legal_moves[CONN_STATES] = {
    [CONN_OPEN] = UNFINISHED | BIT(CONN_READY) | ENDING,
    [CONN_READY] = BIT(CONN_OPEN) | ENDING,
    [CONN_SLICE] = UNFINISHED | BIT(CONN_OPEN) | BIT(CONN_CLOSED),
    [CONN_PARKED] = UNFINISHED | BIT(CONN_OPEN) | BIT(CONN_CLOSED),
    [CONN_PAUSED] = UNFINISHED | BIT(CONN_OPEN) | BIT(CONN_CLOSED),
    [CONN_READING] = UNFINISHED | BIT(CONN_OPEN) | BIT(CONN_CLOSED),
    [CONN_CLOSING] = BIT(CONN_CLOSED),
    [CONN_CLOSED] = 0,
};

bool conn_state_legal(enum conn_state from, enum conn_state to)
{
    return (legal_moves[from] & BIT(to)) != 0;
}

/* The list that a connection in this state is found on; NULL: none. */
static struct list *state_list(struct loop *l, enum conn_state state)
{
    switch (state) {
    case CONN_READY:
    case CONN_SLICE:
        return &l->work;
    case CONN_PARKED:
        return &l->parked;
    case CONN_PAUSED:
        return &l->paused;
    case CONN_READING:
        return &l->reading;
    default:
        return NULL;
    }
}

static void conn_stop_clock(struct conn *c)
{
    if (c->clock_ev != NULL) {
        event_free(c->clock_ev);
        c->clock_ev = NULL;
    }
}

void conn_set_state(struct conn *c, enum conn_state to)
{
    struct loop *l = c->loop;
    BK_ASSERT(conn_state_legal(c->state, to));
    conn_stop_clock(c);
    if ((c->state == CONN_PARKED) != (to == CONN_PARKED)) {
        stat_add(&l->stats.parked, to == CONN_PARKED ? 1 : UINT64_MAX);
    }
    if ((c->state == CONN_READING) != (to == CONN_READING)) {
        stat_add(&l->stats.reading, to == CONN_READING ? 1 : UINT64_MAX);
    }
    /* Not for want of room in the log: its command asks for the wait, as WAIT does. */
    bool blocked = to == CONN_PAUSED || (to == CONN_PARKED && exec_slice_until_ms(c->slice) != 0);
    if (RELAXED_LOAD(&c->blocked) != blocked) {
        stat_add(&l->stats.blocked, blocked ? 1 : UINT64_MAX);
        RELAXED_STORE(&c->blocked, blocked);
    }
    c->state = to;
    list_remove(&c->queued);
    struct list *home = state_list(l, to);
    if (home != NULL) {
        list_push(home, &c->queued);
    }
    /* A parked connection would otherwise wake its loop for input that it cannot take. */
    conn_watch_input(c, to == CONN_OPEN || to == CONN_READY || to == CONN_SLICE);
}

/* ---- Life ---- */

static void session_setup(struct session *s, struct loop *l, uint64_t id)
{
    const struct server_ops *ops = l->net->ops;
    s->id = id;
    s->created_ms = l->now_ms;
    atomic_init(&s->proto, 2);
    s->authenticated = !ops->auth_required(ops->arg);
}

void conn_new(struct loop *l, const struct newcomer *who)
{
    struct conn *c = bk_alloc_zero(1, sizeof(*c));
    c->loop = l;
    c->addr = who->addr;
    c->laddr = who->laddr;
    c->fd = who->fd;
    c->is_unix = who->is_unix;
    atomic_init(&c->last_ms, l->now_ms);
    session_setup(&c->session, l, who->id);
    c->session.addr = c->addr;
    list_init(&c->registered);
    list_init(&c->queued);
    list_init(&c->dirty_link);
    list_init(&c->waiting);
    list_init(&c->receives);
    event_assign(&c->read_ev, l->base, c->fd, EV_READ | EV_PERSIST, conn_read_cb, c);
    event_assign(&c->write_ev, l->base, c->fd, EV_WRITE | EV_PERSIST, conn_write_cb, c);
    c->reader = resp_reader_new();
    c->state = CONN_OPEN;
    c->trimmed = true;
    conn_measure(c);

    bk_mutex_lock(&l->registry_mu);
    list_push(&l->registry, &c->registered);
    bk_mutex_unlock(&l->registry_mu);
    conn_watch_input(c, true);
}

static void conn_drop_command(struct conn *c)
{
    exec_slice_free(&c->slice);
    if (c->pending != NULL) {
        resp_command_fini(c->pending);
        free(c->pending);
        c->pending = NULL;
    }
}

void conn_close(struct conn *c)
{
    struct loop *l = c->loop;
    if (c->state == CONN_CLOSED) {
        return;
    }
    conn_set_state(c, CONN_CLOSED);
    c->next_dead = l->dead;
    l->dead = c;
    if (c->writing) {
        event_del(&c->write_ev);
        c->writing = false;
    }
    conn_leave_topics(c);
    conn_leave_monitors(c);
    conn_leave_tracking(c);
    list_remove(&c->dirty_link);
    c->dirty = false;
    if (c->waits) {
        list_remove(&c->waiting);
        c->waits = false;
        stat_add(&l->stats.waiting, UINT64_MAX);
    }
    bk_mutex_lock(&l->registry_mu);
    list_remove(&c->registered);
    close(c->fd);
    c->fd = -1;
    bk_mutex_unlock(&l->registry_mu);
    conn_leave_peer(c); /* now that nobody finds c and makes another */
    session_end(&c->session, l->net->ks);
    atomic_fetch_sub(&l->connections, 1);
    atomic_fetch_sub(&l->net->connected, 1);
}

void conn_drain(struct conn *c)
{
    struct peer *me = conn_peer_made(c);
    BK_ASSERT(c->state == CONN_OPEN || c->state == CONN_READY);
    conn_set_state(c, CONN_CLOSING);
    if (me != NULL) {
        atomic_store(&me->full, true); /* who has seen QUIT answered finds it gone */
    }
    RELAXED_STORE(&c->closing, true);
    conn_out_begin(
        c); /* so that the end of the tick looks at it, also when it has nothing to send */
}

static void conn_free(struct conn *c)
{
    conn_drop_command(c);
    resp_reader_free(&c->reader);
    outq_fini(&c->outq);
    free(c->session.name);
    free(c->session.lib_name);
    free(c->session.lib_ver);
    free(c->addr);
    free(c);
}

void conn_free_dead(struct loop *l)
{
    while (l->dead != NULL) {
        struct conn *c = l->dead;
        l->dead = c->next_dead;
        conn_free(c);
    }
}

/* ---- Commands ---- */

static void conn_over_query_limit(struct conn *c)
{
    bk_log(BK_LOG_WARNING, "Closing client that reached max query buffer length: id=%llu addr=%s",
           (unsigned long long)c->session.id, c->addr);
    stat_add(&c->loop->stats.killed_query, 1);
    conn_close(c);
}

/* The loop's command becomes the connection's, which is not done with it. */
static void conn_hold_command(struct conn *c, struct resp_command *cmd)
{
    if (c->pending == NULL) {
        c->pending = bk_alloc(sizeof(*c->pending));
        *c->pending = *cmd;
        *cmd = (struct resp_command){0};
    }
}

/* What MULTI queues, and WATCH, is bounded as a single command is. */
static void conn_check_queue(struct conn *c)
{
    if (RELAXED_LOAD(&c->session.multi_bytes) > c->loop->tun.query_buffer_bytes) {
        conn_over_query_limit(c);
    }
}

static void conn_command_done(struct conn *c)
{
    stat_add(&c->loop->stats.commands, 1);
    if (c->state == CONN_CLOSED) {
        return; /* what was pushed in front of its reply was too much for it */
    }
    if (c->pending != NULL) {
        conn_drop_command(c);
        conn_set_state(c, CONN_OPEN);
    }
    conn_take_held(c);
    conn_check_queue(c);
    if (c->state == CONN_OPEN && (c->session.close_after_reply || c->loop->stopping)) {
        conn_drain(c);
    }
}

/* A browser that was tricked into speaking to us sends HTTP, and a command of the attacker's as its
 * body: it must not get that far. */
static bool is_http(const struct resp_command *cmd)
{
    struct bk_span name = cmd->argv[0].bytes;
    return (name.len == 4 && bk_span_eq_nocase(name, "post")) ||
           (name.len == 5 && bk_span_eq_nocase(name, "host:"));
}

static void conn_refuse_http(struct conn *c)
{
    bk_log(BK_LOG_VERBOSE,
           "POST or Host: instead of a command, probably cross protocol scripting: closing client "
           "id=%llu addr=%s",
           (unsigned long long)c->session.id, c->addr);
    conn_close(c);
}

static void conn_clock_cb(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(c->loop);
    conn_go_on(c);
    loop_break_if_late(c->loop);
}

/* A wake call comes when it may; the command's moment is kept by an event of its own. */
static void conn_park(struct conn *c)
{
    struct loop *l = c->loop;
    int64_t until_ms = exec_slice_until_ms(c->slice);
    conn_set_state(c, CONN_PARKED);
    if (until_ms != 0 && until_ms != EXEC_FOREVER) {
        int64_t left_ms = until_ms > l->now_ms ? until_ms - l->now_ms : 0;
        struct timeval tv = {.tv_sec = (time_t)(left_ms / 1000),
                             .tv_usec = (suseconds_t)(left_ms % 1000 * 1000)};
        c->clock_ev = event_new(l->base, -1, 0, conn_clock_cb, c);
        BK_ASSERT(c->clock_ev != NULL); /* out of memory ends the process */
        event_add(c->clock_ev, &tv);
    }
}

bool conn_by_clock(const struct conn *c)
{
    return c->state == CONN_PARKED && exec_slice_until_ms(c->slice) != 0;
}

bool conn_waits_at_will(const struct conn *c)
{
    return conn_by_clock(c) || c->state == CONN_PAUSED;
}

/* The command wants what it has pushed to its own connection in front of its reply, which lies from
 * before to the end of the output. */
static void conn_reply_last(struct conn *c, size_t before, uint64_t pos)
{
    struct loop *l = c->loop;
    struct bk_buf reply = {0};
    bk_buf_append(&reply, l->out.data + before, l->out.len - before);
    l->out.len = before;
    l->answering = c;
    loop_saw_pos(l, pos); /* written it has, even if its pushes are the end of c */
    bk_ignore(conn_take_pushes(c, true), "what is left comes behind the reply");
    l->answering = NULL;
    if (c->state != CONN_CLOSED) {
        conn_out_begin(c);
        before = l->out.len;
        bk_buf_append(&l->out, reply.data, reply.len);
        conn_out_end(c, before, pos, OUT_REPLY);
    }
    bk_buf_fini(&reply);
    (void)exec_look(l->exec);
}

/* True: c is closed, and runs nothing more. */
static bool conn_exec_ends(struct conn *c)
{
    if (RELAXED_LOAD(&c->session.close_soon)) {
        conn_close(c);
    }
    return c->state == CONN_CLOSED;
}

/* Runs c's command, its pending one or one of the loop's, for the first time, again, or on. */
static void conn_exec(struct conn *c, struct resp_command *cmd)
{
    struct loop *l = c->loop;
    if (conn_exec_ends(c)) {
        return;
    }
    uint64_t pos = 0;
    /* Not the tick's: something slow may have run in it, and another loop may since have called a
     * key expired that this command would still serve. The executor has looked since this command
     * was received: behind all that came with it, and at the end of each. */
    l->now_ms = exec_clock_ms(l->exec);
    conn_out_begin(c);
    size_t before = l->out.len;
    l->writer.proto = RELAXED_LOAD(&c->session.proto);
    l->proto_before = l->writer.proto;
    l->pushes_first = false;
    enum exec_result result = (c->slice != NULL ? exec_resume : exec_command)(
        l->exec, &c->session, cmd, l->now_ms, &l->writer, &pos, &c->slice);
    if (l->pushes_first && result == EXEC_DONE) {
        conn_reply_last(c, before, pos);
    } else {
        conn_out_end(c, before, pos, result == EXEC_DONE ? OUT_REPLY : OUT_MESSAGE);
    }
    if (l->monitored.len > 0) {
        conn_tell_monitors(c, pos);
    }
    switch (result) {
    case EXEC_DONE:
        conn_command_done(c);
        break;
    case EXEC_NO_ROOM:
        BK_ASSERT(l->out.len == before);
        conn_hold_command(c, cmd);
        conn_park(c);
        break;
    case EXEC_PAUSED:
        conn_hold_command(c, cmd);
        conn_set_state(c, CONN_PAUSED);
        loop_pause_wait(l);
        break;
    case EXEC_READING:
        conn_hold_command(c, cmd);
        conn_set_state(c, CONN_READING);
        break;
    case EXEC_MORE:
        conn_hold_command(c, cmd);
        conn_set_state(c, CONN_SLICE);
        break;
    }
    if (l->stopping && conn_waits_at_will(c)) {
        conn_close(c); /* as those that waited so when the stop began */
    }
    if (l->out.len >= NET_TICK_OUTPUT) {
        loop_flush(l);
        (void)exec_look(l->exec);
    }
}

/* The stream is dead: says so, unless the client holds more than it may or wants no replies
 * (CLIENT REPLY OFF or SKIP), and closes. */
static void conn_bad_input(struct conn *c, const char *error)
{
    struct loop *l = c->loop;
    if (error[0] == '\0') {
        conn_over_query_limit(c);
        return;
    }
    bk_log(BK_LOG_VERBOSE, "Protocol error from client id=%llu addr=%s: %s",
           (unsigned long long)c->session.id, c->addr, error);
    if (c->session.reply_mode == REPLY_ON) {
        conn_out_begin(c);
        size_t before = l->out.len;
        resp_write_error(&l->writer, error);
        conn_out_end(c, before, 0, OUT_REPLY);
    }
    conn_drain(c);
}

/* Those of its last command come before its next reply. True: some are left for later ticks, and so
 * is the reply. */
static bool conn_lags(struct conn *c)
{
    if (!conn_has_pushes(c)) {
        return false;
    }
    bool left = !conn_take_pushes(c, false);
    (void)exec_look(c->loop->exec); /* many are sent at once, which takes its time */
    return left;
}

struct resp_limits conn_limits(const struct conn *c)
{
    const struct server_ops *ops = c->loop->net->ops;
    return (struct resp_limits){.bulk_max = ops->proto_max_bulk_len(ops->arg),
                                .query_max = c->loop->tun.query_buffer_bytes,
                                .authenticated =
                                    c->session.authenticated || !ops->auth_required(ops->arg)};
}

/* While its command waits for the disk, the values that those behind it will need are read too. */
static void conn_read_ahead(struct conn *c)
{
    struct loop *l = c->loop;
    struct ahead *ahead = &l->ahead;
    struct resp_limits limits = conn_limits(c);
    if (c->session.authenticated) {
        ahead_more(ahead, c->reader, &limits);
        exec_read_ahead(l->exec, &c->session, ahead->cmd + ahead->at, ahead->n - ahead->at);
    }
}

/* Parses on: one command, or several of a client whose limits no command changes. */
static enum resp_status conn_parse(struct conn *c, size_t max, const char **error)
{
    struct loop *l = c->loop;
    exec_ahead_over(l->exec);
    if (resp_reader_pending(c->reader) == 0) {
        return RESP_MORE; /* as behind every command without a pipeline */
    }
    struct resp_limits limits = conn_limits(c);
    enum resp_status status =
        ahead_fill(&l->ahead, c->reader, &limits, c->session.authenticated ? max : 0, error);
    if (l->ahead.n > 1) {
        exec_ahead(l->exec, &c->session, l->ahead.cmd, l->ahead.n);
    }
    if (status == RESP_COMMAND) {
        (void)exec_look(l->exec);
    }
    return status;
}

static void conn_run_one(struct conn *c, struct resp_command *cmd)
{
    if (cmd->argc > 0 && is_http(cmd)) {
        conn_refuse_http(c);
    } else if (cmd->argc > 0) {
        conn_exec(c, cmd);
    }
}

void conn_run(struct conn *c)
{
    struct loop *l = c->loop;
    struct ahead *ahead = &l->ahead;
    unsigned left = NET_TICK_COMMANDS;
    bool lags = false;
    bool late = false;
    while (c->state == CONN_OPEN && left > 0 && !late) {
        lags = conn_lags(c);
        if (lags || c->state != CONN_OPEN) {
            break;
        }
        const char *error = NULL;
        enum resp_status status = ahead->at < ahead->n ? RESP_COMMAND : conn_parse(c, left, &error);
        if (status == RESP_MORE) {
            break;
        }
        left--;
        if (status == RESP_BAD) {
            conn_bad_input(c, error);
        } else {
            conn_run_one(c, &ahead->cmd[ahead->at++]);
        }
        late = loop_late(l);
        if (!c->session.authenticated) {
            ahead_put_back(ahead, c->reader); /* RESET: stricter limits for what follows */
        }
    }
    exec_ahead_over(l->exec);
    if (c->state == CONN_READING) {
        conn_read_ahead(c);
    }
    ahead_put_back(ahead, c->reader);
    if (left == NET_TICK_COMMANDS) {
        (void)exec_look(l->exec); /* no command has looked at the clock behind what was received */
    }
    if ((left == 0 || lags || late) && c->state == CONN_OPEN &&
        resp_reader_pending(c->reader) > 0) {
        conn_set_state(c, CONN_READY);
    }
    if (c->pending == NULL) {
        resp_reader_give_back(c->reader,
                              &l->spare); /* else the held command's arguments lie there */
    }
    conn_measure(c);
}

void conn_go_on(struct conn *c)
{
    bool ran = (BIT(c->state) & UNFINISHED) != 0;
    if (ran) {
        (void)exec_look(c->loop->exec);
        conn_exec(c, c->pending);
    } else if (c->state == CONN_READY) {
        conn_set_state(c, CONN_OPEN);
    }
    if (c->state == CONN_OPEN && ran && loop_late(c->loop) && resp_reader_pending(c->reader) > 0) {
        conn_set_state(c, CONN_READY);
    } else if (c->state == CONN_OPEN) {
        conn_run(c);
    }
}
