/* SPDX-License-Identifier: MIT */
/* net_fake.c - see net_fake.h. Defines the executor's functions, so that net/ links without
 * command/. */
#include "lib/net_fake.h"

#include "base/clock.h"
#include "base/num.h"
#include "command/table.h"
#include "net/net_private.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_fail(const char *what)
{
    fprintf(stderr, "net_fake: %s\n", what);
    abort();
}

/* ---- The executor ---- */

#define READS_MAX 16

struct exec {
    struct fake *fake;
    void (*wake)(void *arg);
    void *wake_arg;
    struct exec_slice *reading[READS_MAX]; /* READ; borrowed */
    int64_t tick_us;                       /* rises with fake->late only */
    int64_t wall_us;                       /* as of the latest look */
};

struct exec_slice {
    struct fake *fake;
    struct exec *exec; /* READ, else NULL */
    struct session *session;
    int64_t left;
    int64_t until_ms; /* HOLD */
};

struct exec *exec_new(struct keyspace *ks, const struct server_ops *ops)
{
    struct exec *e = calloc(1, sizeof(*e));
    (void)ks;
    e->fake = ops->arg;
    return e;
}

void exec_free(struct exec **e)
{
    free(*e);
    *e = NULL;
}

void exec_slice_free(struct exec_slice **s)
{
    if (*s != NULL) {
        for (unsigned i = 0; (*s)->exec != NULL && i < READS_MAX; i++) {
            struct exec_slice **at = &(*s)->exec->reading[i];
            *at = *at == *s ? NULL : *at;
        }
        atomic_fetch_sub(&(*s)->fake->running_slices, 1);
        free(*s);
        *s = NULL;
    }
}

int64_t exec_slice_until_ms(const struct exec_slice *s)
{
    return s != NULL ? s->until_ms : 0;
}

static _Thread_local const struct session *visiting; /* whose commands are ahead, or NULL */

void exec_ahead(struct exec *e, const struct session *s, const struct resp_command *cmds, size_t n)
{
    (void)cmds;
    visiting = s;
    atomic_fetch_add(&e->fake->looked_ahead, (int)n);
}

void exec_ahead_over(struct exec *e)
{
    (void)e;
    visiting = NULL;
}

static void check_no_visit(const char *where)
{
    if (visiting != NULL) {
        fake_fail(where);
    }
}

void exec_prefetch(struct exec *e, const struct exec_next *next, size_t n)
{
    check_no_visit("another connection's commands in a visit");
    (void)next;
    atomic_fetch_add(&e->fake->fetched, (int)n);
}

/* Longer than any part of a tick. */
static void take_time(struct exec *e)
{
    e->tick_us += atomic_load(&e->fake->late) ? 1000000 : 0;
}

int64_t exec_look(struct exec *e)
{
    take_time(e);
    e->wall_us = bk_clock_system_wall_us();
    return e->wall_us;
}

int64_t exec_clock_ms(const struct exec *e)
{
    return e->wall_us / 1000;
}

void exec_tick(struct exec *e, int64_t wall_us, int64_t mono_us)
{
    check_no_visit("a visit goes on into the next tick");
    e->tick_us = 0;
    e->wall_us = wall_us;
    (void)mono_us;
}

int64_t exec_tick_us(const struct exec *e)
{
    return e->tick_us;
}

void exec_resetstat(struct exec *e)
{
    (void)e;
}

const char *command_name(const struct command_row *row)
{
    (void)row;
    return "fake";
}

static void raise_to(_Atomic uint64_t *at, uint64_t to)
{
    uint64_t was = atomic_load(at);
    while (was < to && !atomic_compare_exchange_weak(at, &was, to)) {
    }
}

static struct bk_span arg_of(const struct resp_command *cmd, int i)
{
    return i < cmd->argc ? cmd->argv[i].bytes : (struct bk_span){0};
}

static int64_t number_of(const struct resp_command *cmd, int i)
{
    int64_t v = 0;
    return bk_parse_i64(arg_of(cmd, i), &v) ? v : 0;
}

static void run_write(struct fake *f, struct resp_writer *reply, uint64_t *pos)
{
    *pos = atomic_fetch_add(&f->tail, 10) + 10;
    if (reply != NULL) {
        resp_write_int(reply, (int64_t)*pos);
    }
}

static void run_big(const struct resp_command *cmd, struct resp_writer *reply)
{
    size_t n = (size_t)number_of(cmd, 1);
    char *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    resp_write_bulk(reply, bk_span_of(bytes, n));
    free(bytes);
}

static void run_clients(struct fake *f, struct session *s, const struct resp_command *cmd,
                        struct resp_writer *reply)
{
    struct client_filter filter = {.self = s};
    if (bk_span_eq_nocase(arg_of(cmd, 0), "list")) {
        struct bk_buf text = {0};
        net_client_list(f->net, &filter, &text);
        resp_write_bulk(reply, bk_buf_span(&text));
        bk_buf_fini(&text);
    } else if (bk_span_eq_nocase(arg_of(cmd, 0), "kill")) {
        uint64_t id = (uint64_t)number_of(cmd, 1);
        filter.ids = &id;
        filter.ids_n = 1;
        resp_write_int(reply, net_client_kill(f->net, &filter));
    } else {
        net_client_set_text(f->net, s, CLIENT_TEXT_NAME, arg_of(cmd, 1));
        resp_write_ok(reply);
    }
}

static void stand_at_gate(struct fake *f)
{
    atomic_fetch_add(&f->at_gate, 1);
    while (sem_wait(&f->gate) != 0) {
        /* A signal came. */
    }
    atomic_fetch_sub(&f->at_gate, 1);
}

/* The client of this connection hears of every TELL from now on. */
static void run_join(struct fake *f, struct session *s)
{
    struct peer *p = peer_ref(conn_peer(LIST_OWNER(s, struct conn, session)));
    unsigned i = atomic_fetch_add(&f->joined_n, 1);
    if (i >= FAKE_JOINED_MAX) {
        fake_fail("too many joined");
    }
    atomic_store(&p->subscribed, true);
    atomic_store(&f->joined[i], p);
}

static void run_tell(struct fake *f, struct session *s, const struct resp_command *cmd,
                     uint64_t *pos)
{
    struct loop *l = LIST_OWNER(s, struct conn, session)->loop;
    struct bk_span text = arg_of(cmd, 1);
    struct bk_buf bytes = {0};
    bk_buf_printf(&bytes, "?1\r\n$%zu\r\n", text.len);
    bk_buf_append(&bytes, text.data, text.len);
    bk_buf_append(&bytes, "\r\n", 2);
    struct push *p = push_new((uint64_t)number_of(cmd, 2), PUSH_MESSAGE, bytes.len);
    memcpy(p->bytes, bytes.data, bytes.len);
    for (unsigned i = 0; i < atomic_load(&f->joined_n); i++) {
        peer_send(atomic_load(&f->joined[i]), p, l);
    }
    l->pushes_first = bk_span_eq_nocase(arg_of(cmd, 0), "first");
    *pos = l->pushes_first ? p->pos : 0;
    push_unref(&p);
    bk_buf_fini(&bytes);
}

static void run_pubsub(struct fake *f, struct session *s, const struct resp_command *cmd)
{
    const struct pubsub_ops *ops = net_pubsub_ops(f->net);
    if (bk_span_eq_nocase(arg_of(cmd, 0), "publish")) {
        ops->publish(ops->arg, s, TOPIC_CHANNEL, arg_of(cmd, 1), arg_of(cmd, 2), 0);
    } else {
        ops->join(ops->arg, s, TOPIC_CHANNEL, arg_of(cmd, 1));
    }
}

/* Commands that steer the test; false: it is none of them. */
static bool run_control(struct fake *f, struct session *s, const struct resp_command *cmd,
                        int64_t now_ms, struct resp_writer *reply, uint64_t *pos)
{
    struct bk_span name = arg_of(cmd, 0);
    bool ok = true;
    if (bk_span_eq_nocase(name, "gate")) {
        stand_at_gate(f);
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "commit")) {
        raise_to(&f->committed, (uint64_t)number_of(cmd, 1));
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "since")) {
        resp_write_int(reply, now_ms >= number_of(cmd, 1));
    } else if (bk_span_eq_nocase(name, "proto")) {
        atomic_store(&s->proto, (int)number_of(cmd, 1));
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "join")) {
        run_join(f, s);
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "tell") || bk_span_eq_nocase(name, "first")) {
        run_tell(f, s, cmd, pos);
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "subscribe") || bk_span_eq_nocase(name, "publish")) {
        run_pubsub(f, s, cmd);
        resp_write_ok(reply);
    } else if (bk_span_eq_nocase(name, "lag")) {
        struct peer *p = atomic_load(&f->joined[number_of(cmd, 1)]);
        resp_write_int(reply, (int64_t)atomic_load(&p->queued));
    } else if (bk_span_eq_nocase(name, "mute")) {
        s->reply_mode = REPLY_OFF;
    } else {
        ok = false;
    }
    return ok;
}

static enum exec_result begin_slices(struct fake *f, const struct resp_command *cmd,
                                     struct exec_slice **slice)
{
    *slice = calloc(1, sizeof(**slice));
    (*slice)->fake = f;
    (*slice)->left = number_of(cmd, 1);
    atomic_fetch_add(&f->running_slices, 1);
    return EXEC_MORE;
}

static enum exec_result begin_hold(struct fake *f, const struct resp_command *cmd, int64_t now_ms,
                                   struct exec_slice **slice)
{
    int64_t ms = number_of(cmd, 1);
    begin_slices(f, cmd, slice);
    (*slice)->left = 0;
    (*slice)->until_ms = ms > 0 ? now_ms + ms : EXEC_FOREVER;
    return EXEC_NO_ROOM;
}

static enum exec_result begin_read(struct exec *e, struct session *s,
                                   const struct resp_command *cmd, struct exec_slice **slice)
{
    unsigned i = 0;
    begin_slices(e->fake, cmd, slice);
    (*slice)->left = 1;
    (*slice)->exec = e;
    (*slice)->session = s;
    while (i < READS_MAX && e->reading[i] != NULL) {
        i++;
    }
    if (i == READS_MAX) {
        fake_fail("too many READs");
    }
    e->reading[i] = *slice;
    if (atomic_load(&e->fake->reads_done)) {
        e->wake(e->wake_arg); /* there already */
    }
    return EXEC_READING;
}

enum exec_result exec_command(struct exec *e, struct session *s, const struct resp_command *cmd,
                              int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                              struct exec_slice **slice)
{
    struct fake *f = e->fake;
    struct bk_span name = arg_of(cmd, 0);
    enum exec_result result = EXEC_DONE;
    if (visiting != s) {
        check_no_visit("a visit goes on into another connection's commands");
    }
    take_time(e);
    if (run_control(f, s, cmd, now_ms, reply, pos)) {
        /* done */
    } else if (bk_span_eq_nocase(name, "noroom") && !atomic_load(&f->has_room)) {
        atomic_fetch_add(&f->refused, 1);
        result = EXEC_NO_ROOM;
    } else if (bk_span_eq_nocase(name, "echo") || bk_span_eq_nocase(name, "noroom")) {
        resp_write_bulk(reply, arg_of(cmd, 1));
    } else if (bk_span_eq_nocase(name, "write")) {
        run_write(f, reply, pos);
    } else if (bk_span_eq_nocase(name, "quiet")) {
        run_write(f, NULL, pos);
    } else if (bk_span_eq_nocase(name, "slices")) {
        result = begin_slices(f, cmd, slice);
    } else if (bk_span_eq_nocase(name, "hold")) {
        result = begin_hold(f, cmd, now_ms, slice);
    } else if (bk_span_eq_nocase(name, "read")) {
        result = begin_read(e, s, cmd, slice);
    } else if (bk_span_eq_nocase(name, "big")) {
        run_big(cmd, reply);
    } else if (bk_span_eq_nocase(name, "quit")) {
        resp_write_ok(reply);
        s->close_after_reply = true;
    } else {
        run_clients(f, s, cmd, reply);
    }
    return result;
}

enum exec_result exec_resume(struct exec *e, struct session *s, const struct resp_command *cmd,
                             int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                             struct exec_slice **slice)
{
    (void)s;
    (void)pos;
    take_time(e);
    if ((*slice)->exec != NULL && !atomic_load(&e->fake->reads_done)) {
        return EXEC_READING;
    }
    if (now_ms < (*slice)->until_ms) {
        return EXEC_NO_ROOM;
    }
    if (--(*slice)->left > 0) {
        return EXEC_MORE;
    }
    resp_write_bulk(reply, arg_of(cmd, 1)); /* the argument must have stayed alive */
    exec_slice_free(slice);
    return EXEC_DONE;
}

void exec_wake_by(struct exec *e, void (*wake)(void *arg), void *arg)
{
    e->wake = wake;
    e->wake_arg = arg;
}

void exec_submit_reads(struct exec *e)
{
    (void)e;
}

void exec_read_ahead(struct exec *e, struct session *s, const struct resp_command *cmds, size_t n)
{
    (void)e;
    (void)s;
    (void)cmds;
    (void)n;
    check_no_visit("reads ahead in a visit");
}

struct session *exec_read_next(struct exec *e)
{
    struct session *s = NULL;
    for (unsigned i = 0; i < READS_MAX && s == NULL && atomic_load(&e->fake->reads_done); i++) {
        if (e->reading[i] != NULL) {
            s = e->reading[i]->session;
            e->reading[i] = NULL;
        }
    }
    return s;
}

void fake_finish_reads(struct fake *f)
{
    size_t n;
    struct exec *const *all = net_execs(f->net, &n);
    atomic_store(&f->reads_done, true);
    for (size_t i = 0; i < n; i++) {
        all[i]->wake(all[i]->wake_arg);
    }
}

/* ---- The store ---- */

static void fake_flush(void *arg, uint64_t pos)
{
    struct fake *f = arg;
    check_no_visit("a flush in a visit");
    atomic_fetch_add(&f->flushes, 1);
    if (atomic_load(&f->commits_at_once)) {
        raise_to(&f->committed, pos);
    }
}

static int fake_pos_state(void *arg, uint64_t pos)
{
    struct fake *f = arg;
    if (pos > atomic_load(&f->undone_from) && pos <= atomic_load(&f->undone_to)) {
        return BK_EIO;
    }
    return pos <= atomic_load(&f->committed) ? BK_OK : BK_EAGAIN;
}

static size_t fake_expire(void *arg, size_t max, bool *more)
{
    (void)arg;
    (void)max;
    *more = false;
    return 0;
}

static void fake_write_error(void *arg, char *text, size_t size)
{
    (void)arg;
    snprintf(text, size, "disk on fire");
}

void fake_commit(struct fake *f, uint64_t pos)
{
    raise_to(&f->committed, pos);
    net_wake(f->net);
}

void fake_give_room(struct fake *f)
{
    atomic_store(&f->has_room, true);
    net_wake(f->net);
}

void fake_open_gate(struct fake *f)
{
    sem_post(&f->gate);
}

/* ---- The server ---- */

static bool has_password(void *arg)
{
    return atomic_load(&((struct fake *)arg)->password);
}

static uint64_t bulk_max(void *arg)
{
    (void)arg;
    return 512u << 20;
}

static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&sa, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
        fake_fail("no free port");
    }
    close(fd);
    return ntohs(sa.sin_port);
}

void fake_start(struct fake *f, unsigned loops)
{
    static const char *const bind_to[] = {"127.0.0.1"};
    struct bk_error err = {0};
    sem_init(&f->gate, 0, 0);
    tmpdir_make(&f->dir, "net");
    tmpdir_join(&f->dir, "s", f->path, sizeof(f->path));
    f->port = free_port();
    f->ops = (struct server_ops){
        .arg = f, .auth_required = has_password, .proto_max_bulk_len = bulk_max};
    f->store = (struct net_store_ops){.arg = f,
                                      .flush = fake_flush,
                                      .pos_state = fake_pos_state,
                                      .expire_step = fake_expire,
                                      .write_error = fake_write_error};
    f->cfg.listen = (struct net_listen){
        .bind = bind_to, .bind_n = 1, .port = f->port, .backlog = 511, .unixsocket = f->path};
    if (f->cfg.tunables.maxclients == 0) {
        f->cfg.tunables.maxclients = 10000;
    }
    if (f->cfg.tunables.query_buffer_bytes == 0) {
        f->cfg.tunables.query_buffer_bytes = 1u << 30;
    }
    int rc = net_new(&f->net, loops, &err);
    if (rc == BK_OK) {
        rc = net_start(f->net, &f->cfg, NULL, &f->ops, &f->store, &err);
    }
    if (rc != BK_OK) {
        fake_fail(err.text);
    }
}

void fake_stop(struct fake *f)
{
    net_shutdown(f->net, 5000);
    for (unsigned i = 0; i < atomic_load(&f->joined_n); i++) {
        struct peer *p = atomic_load(&f->joined[i]);
        peer_unref(&p);
    }
    net_free(&f->net);
    sem_destroy(&f->gate);
    tmpdir_remove(&f->dir);
}
