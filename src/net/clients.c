/* SPDX-License-Identifier: MIT */
/*
 * clients.c - what CLIENT LIST, INFO, KILL and SETNAME see and do, across loops.
 *
 * A registry's mutex keeps its connections alive while another thread looks at them. Figures are
 * relaxed atomics, texts change under the mutex only.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/clock.h"
#include "command/table.h"

#include <stdlib.h>
#include <string.h>

/* ---- One line ---- */

static bool listens_to_any(const struct conn *c)
{
    const struct session *s = &c->session;
    return (RELAXED_LOAD(&s->listens[TOPIC_CHANNEL]) | RELAXED_LOAD(&s->listens[TOPIC_PATTERN]) |
            RELAXED_LOAD(&s->listens[TOPIC_SHARD])) != 0;
}

static size_t tracking_letters(const struct conn *c, char *letters)
{
    uint32_t tracking = RELAXED_LOAD(&c->session.tracking);
    const struct peer *p = conn_peer_made(c);
    size_t n = 0;
    if ((tracking & TRACKING_ON) != 0) {
        letters[n++] = 't';
    }
    if ((tracking & TRACKING_ON) != 0 && p != NULL && RELAXED_LOAD(&p->broken)) {
        letters[n++] = 'R';
    }
    if ((tracking & TRACKING_BCAST) != 0) {
        letters[n++] = 'B';
    }
    return n;
}

static void flag_letters(const struct conn *c, char letters[16])
{
    size_t n = 0;
    if (RELAXED_LOAD(&c->session.monitors)) {
        letters[n++] = 'O';
    }
    if (listens_to_any(c)) {
        letters[n++] = 'P';
    }
    if (RELAXED_LOAD(&c->session.multi_count) != 0) {
        letters[n++] = 'x';
    }
    if (RELAXED_LOAD(&c->blocked)) {
        letters[n++] = 'b';
    }
    n += tracking_letters(c, letters + n);
    if (RELAXED_LOAD(&c->closing)) {
        letters[n++] = 'c';
    }
    if (c->is_unix) {
        letters[n++] = 'U';
    }
    if (RELAXED_LOAD(&c->session.no_evict)) {
        letters[n++] = 'e';
    }
    if (RELAXED_LOAD(&c->session.no_touch)) {
        letters[n++] = 'T';
    }
    if (n == 0) {
        letters[n++] = 'N';
    }
    letters[n] = '\0';
}

static long long redirect_of(const struct session *s)
{
    bool on = (RELAXED_LOAD(&s->tracking) & TRACKING_ON) != 0;
    return on ? (long long)RELAXED_LOAD(&s->redirect) : -1;
}

static long long age_s(int64_t since_ms, int64_t now_ms)
{
    return now_ms > since_ms ? (long long)(now_ms - since_ms) / 1000 : 0;
}

/* Redis 7.0's fields, in its order. What it keeps apart and we do not (its two output buffers, the
 * arguments' memory) reads 0; lib-name and lib-ver, which are Redis 7.2's, follow only where a
 * client has set them. */
void client_line(const struct conn *c, int64_t now_ms, struct bk_buf *out)
{
    const struct session *s = &c->session;
    const struct command_row *last = RELAXED_LOAD(&s->last_command);
    unsigned long long output = RELAXED_LOAD(&c->output_pending);
    char flags[16];
    flag_letters(c, flags);
    bk_buf_printf(
        out,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=%s db=%u sub=%u psub=%u ",
        (unsigned long long)s->id, c->addr, c->laddr, c->fd, s->name != NULL ? s->name : "",
        age_s(s->created_ms, now_ms), age_s(RELAXED_LOAD(&c->last_ms), now_ms), flags,
        RELAXED_LOAD(&s->db), RELAXED_LOAD(&s->listens[TOPIC_CHANNEL]),
        RELAXED_LOAD(&s->listens[TOPIC_PATTERN]));
    bk_buf_printf(out,
                  "ssub=%u multi=%d qbuf=%llu qbuf-free=0 argv-mem=0 multi-mem=%llu rbs=0 rbp=0 "
                  "obl=0 oll=%d ",
                  RELAXED_LOAD(&s->listens[TOPIC_SHARD]), (int)RELAXED_LOAD(&s->multi_count) - 1,
                  (unsigned long long)RELAXED_LOAD(&c->input_pending),
                  (unsigned long long)RELAXED_LOAD(&s->multi_bytes), output > 0 ? 1 : 0);
    bk_buf_printf(out, "omem=%llu tot-mem=%llu events=%s cmd=%s user=default redir=%lld resp=%d",
                  output, (unsigned long long)RELAXED_LOAD(&c->memory), output > 0 ? "rw" : "r",
                  last != NULL ? command_name(last) : "NULL", redirect_of(s),
                  RELAXED_LOAD(&s->proto));
    if (s->lib_name != NULL || s->lib_ver != NULL) {
        bk_buf_printf(out, " lib-name=%s lib-ver=%s", s->lib_name != NULL ? s->lib_name : "",
                      s->lib_ver != NULL ? s->lib_ver : "");
    }
}

/* ---- Which clients ---- */

static int id_order(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* The filter's ids are in order here: there may be as many as arguments, and each client is held
 * against them under the registry's mutex. */
static bool id_matches(const struct client_filter *f, uint64_t id)
{
    return f->ids_n == 0 || bsearch(&id, f->ids, f->ids_n, sizeof(id), id_order) != NULL;
}

static bool text_matches(struct bk_span wanted, const char *text)
{
    return wanted.len == 0 || bk_span_eq(wanted, bk_span_str(text));
}

static bool client_matches(const struct client_filter *f, const struct conn *c)
{
    bool type_ok =
        f->type.len == 0 || bk_span_eq_nocase(f->type, listens_to_any(c) ? "pubsub" : "normal");
    bool there = !RELAXED_LOAD(&c->session.close_soon); /* else it has been killed already */
    return there && type_ok && id_matches(f, c->session.id) && text_matches(f->addr, c->addr) &&
           text_matches(f->laddr, c->laddr) && text_matches(f->user, "default") &&
           !(f->skip_self && &c->session == f->self);
}

/* ---- CLIENT LIST ---- */

struct line {
    uint64_t id;
    size_t at, len; /* in the text */
};

struct listing {
    struct bk_buf text;
    struct line *v; /* owned */
    size_t n, cap;
};

static void listing_add(struct listing *li, const struct conn *c, int64_t now_ms)
{
    if (li->n == li->cap) {
        li->cap = li->cap == 0 ? 32 : li->cap * 2;
        li->v = bk_realloc(li->v, li->cap * sizeof(*li->v));
    }
    size_t at = li->text.len;
    client_line(c, now_ms, &li->text);
    bk_buf_append(&li->text, "\n", 1);
    li->v[li->n++] = (struct line){.id = c->session.id, .at = at, .len = li->text.len - at};
}

static int by_id(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void listing_put(const struct listing *li, uint64_t id, struct bk_buf *out)
{
    struct line wanted = {.id = id};
    const struct line *found =
        li->n == 0 ? NULL : bsearch(&wanted, li->v, li->n, sizeof(wanted), by_id);
    if (found != NULL) {
        bk_buf_append(out, li->text.data + found->at, found->len);
    }
}

/* Oldest first; with ids, in the order and as often as they were asked for, as Redis does. */
static void listing_write(struct listing *li, const struct client_filter *f, struct bk_buf *out)
{
    if (li->n > 0) {
        qsort(li->v, li->n, sizeof(*li->v), by_id);
    }
    if (f->ids_n > 0) {
        for (size_t i = 0; i < f->ids_n; i++) {
            listing_put(li, f->ids[i], out);
        }
    } else {
        for (size_t i = 0; i < li->n; i++) {
            bk_buf_append(out, li->text.data + li->v[i].at, li->v[i].len);
        }
    }
}

static uint64_t *ids_in_order(const struct client_filter *f)
{
    uint64_t *ids = bk_alloc(f->ids_n * sizeof(*ids));
    if (f->ids_n > 0) {
        memcpy(ids, f->ids, f->ids_n * sizeof(*ids));
        qsort(ids, f->ids_n, sizeof(*ids), id_order);
    }
    return ids;
}

void net_client_list(struct net *net, const struct client_filter *filter, struct bk_buf *out)
{
    struct listing li = {0};
    int64_t now_ms = bk_clock_wall_ms(&bk_clock_system);
    struct client_filter by_ids = *filter;
    uint64_t *ids = ids_in_order(filter);
    by_ids.ids = ids;
    for (unsigned i = 0; i < net->loops_n; i++) {
        struct loop *l = &net->loops[i];
        bk_mutex_lock(&l->registry_mu);
        for (struct list *node = l->registry.next; node != &l->registry; node = node->next) {
            const struct conn *c = LIST_OWNER(node, struct conn, registered);
            if (client_matches(&by_ids, c)) {
                listing_add(&li, c, now_ms);
            }
        }
        bk_mutex_unlock(&l->registry_mu);
    }
    listing_write(&li, filter, out);
    bk_buf_fini(&li.text);
    free(li.v);
    free(ids);
}

/* ---- One's own client ---- */

void net_client_info(struct net *net, const struct session *s, struct bk_buf *out)
{
    (void)net;
    const struct conn *c =
        (const struct conn *)(const void *)((const char *)s - offsetof(struct conn, session));
    client_line(c, bk_clock_wall_ms(&bk_clock_system), out);
}

void net_client_set_text(struct net *net, struct session *s, enum client_text which,
                         struct bk_span text)
{
    struct conn *c = LIST_OWNER(s, struct conn, session);
    char *fresh = text.len == 0 ? NULL : strndup((const char *)text.data, text.len);
    char **field = which == CLIENT_TEXT_NAME       ? &s->name
                   : which == CLIENT_TEXT_LIB_NAME ? &s->lib_name
                                                   : &s->lib_ver;
    (void)net;
    BK_ASSERT(text.len == 0 || fresh != NULL);
    bk_mutex_lock(&c->loop->registry_mu);
    char *old = *field;
    *field = fresh;
    bk_mutex_unlock(&c->loop->registry_mu);
    free(old);
}

/* ---- CLIENT KILL ---- */

/* Marks them; each loop closes its own. A marked client runs no further command. */
static unsigned kill_on_loop(struct loop *l, const struct client_filter *f)
{
    unsigned marked = 0;
    unsigned self = 0;
    bk_mutex_lock(&l->registry_mu);
    for (struct list *node = l->registry.next; node != &l->registry; node = node->next) {
        struct conn *c = LIST_OWNER(node, struct conn, registered);
        if (!client_matches(f, c)) {
            continue;
        }
        if (&c->session == f->self) {
            c->session.close_after_reply = true; /* our own loop: it still gets its answer */
            self = 1;
        } else {
            RELAXED_STORE(&c->session.close_soon, true);
            marked++;
        }
    }
    bk_mutex_unlock(&l->registry_mu);
    if (marked > 0) {
        atomic_store(&l->kill_requested, true);
        loop_poke(l);
    }
    return marked + self;
}

unsigned net_client_kill(struct net *net, const struct client_filter *filter)
{
    unsigned killed = 0;
    for (unsigned i = 0; i < net->loops_n; i++) {
        killed += kill_on_loop(&net->loops[i], filter);
    }
    return killed;
}

/* ---- CLIENT UNBLOCK ---- */

/* True: it has the client. *ended: its wait is over; its loop is to look again. */
static bool unblock_on_loop(struct loop *l, uint64_t id, int how, bool *ended)
{
    bool found = false;
    bk_mutex_lock(&l->registry_mu);
    for (struct list *node = l->registry.next; node != &l->registry && !found; node = node->next) {
        struct conn *c = LIST_OWNER(node, struct conn, registered);
        int parked = WAIT_PARKED;
        found = c->session.id == id && !RELAXED_LOAD(&c->session.close_soon);
        *ended = found && atomic_compare_exchange_strong(&c->session.wait, &parked, how);
    }
    bk_mutex_unlock(&l->registry_mu);
    if (*ended) {
        loop_poke(l); /* who waits by the clock looks again at each wake-up */
    }
    return found;
}

bool net_client_unblock(struct net *net, uint64_t id, bool error)
{
    bool ended = false;
    int how = error ? WAIT_UNBLOCKED_ERROR : WAIT_UNBLOCKED;
    for (unsigned i = 0; i < net->loops_n && !unblock_on_loop(&net->loops[i], id, how, &ended);
         i++) {
    }
    return ended;
}
