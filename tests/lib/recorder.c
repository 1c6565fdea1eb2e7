/* SPDX-License-Identifier: MIT */
/*
 * recorder.c - one thread that keeps commands in flight on many connections and notes what happens
 * in which order.
 *
 * Time is a counter: it rises before each send and with each reply that was read, so it says
 * "before" only of what truly was before. Each client sends one to four commands at once, all
 * called at the same moment; the server promises to run them in order, and the checker holds it to
 * that.
 */
#include "lib/history.h"
#include "lib/rawconn.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN_FLIGHT_MAX 4u
#define PAIRS 2u /* of keys that are only ever written together: 0 and 1, 2 and 3 */
#define PATIENCE_MS 60000

struct client {
    struct rawconn conn;
    struct lin_op flight[IN_FLIGHT_MAX];
    unsigned flight_n, answered;
};

struct recorder {
    struct client clients[HISTORY_CLIENTS];
    struct rawconn control;
    struct rng *rng;     /* borrowed during recorder_run */
    struct history *out; /* borrowed during recorder_run */
    uint64_t now;
    int64_t next_value;
    unsigned keys; /* how many of the keys this history uses */
    size_t called;
};

void recorder_free(struct recorder **r)
{
    if (*r != NULL) {
        for (unsigned i = 0; i < HISTORY_CLIENTS; i++) {
            rawconn_close(&(*r)->clients[i].conn);
        }
        rawconn_close(&(*r)->control);
        free(*r);
        *r = NULL;
    }
}

struct recorder *recorder_new(int port)
{
    struct recorder *r = calloc(1, sizeof(*r));
    bool ok = r != NULL;

    for (unsigned i = 0; i < HISTORY_CLIENTS && r != NULL; i++) {
        ok = rawconn_open(&r->clients[i].conn, port) && ok;
    }
    if (r != NULL && (!rawconn_open(&r->control, port) || !ok)) {
        recorder_free(&r);
    }
    return r;
}

/* ---- what is sent ---- */

static void add_key(struct recorder *r, struct lin_op *op, unsigned key)
{
    op->key[op->n] = (uint8_t)key;
    if (op->kind == LIN_WRITE) {
        op->val[op->n] = r->next_value;
        r->next_value += 1000; /* INCR stays below the next one's value */
    }
    op->n++;
}

static unsigned free_key(struct recorder *r)
{
    return 2 * PAIRS + (unsigned)rng_below(r->rng, r->keys - 2 * PAIRS);
}

static void add_keys(struct recorder *r, struct lin_op *op, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        add_key(r, op, free_key(r));
    }
}

static void draw_op(struct recorder *r, struct lin_op *op)
{
    unsigned what = (unsigned)rng_below(r->rng, 100);
    unsigned pair = 2 * (unsigned)rng_below(r->rng, PAIRS);

    op->n = 0;
    op->kind = what < 42   ? LIN_READ
               : what < 72 ? LIN_WRITE
               : what < 84 ? LIN_INCR
               : what < 92 ? LIN_DEL
                           : LIN_RENAME;
    if (what < 22 || (what >= 42 && what < 56) || op->kind == LIN_INCR) {
        add_keys(r, op, 1);
    } else if (what < 32 || (what >= 56 && what < 66)) {
        add_keys(r, op, (unsigned)rng_range(r->rng, 2, LIN_OP_KEYS_MAX));
    } else if (op->kind == LIN_DEL) {
        add_keys(r, op, (unsigned)rng_range(r->rng, 1, 2));
    } else if (op->kind == LIN_RENAME) {
        add_keys(r, op, 2);
    } else if (op->kind == LIN_WRITE || what >= 38) {
        add_key(r, op, pair);
        add_key(r, op, pair + 1);
    } else {
        add_key(r, op, pair + (what & 1)); /* of two GETs of a pair: see draw_flight() */
    }
}

/* A GET of one key of a pair is followed by a GET of the other: never the newer, then the older. */
static void draw_flight(struct recorder *r, struct client *c, unsigned client)
{
    unsigned n = rng_percent(r->rng, 60) ? 1 : (unsigned)rng_range(r->rng, 1, IN_FLIGHT_MAX);

    c->flight_n = 0;
    c->answered = 0;
    while (c->flight_n < n) {
        struct lin_op *op = &c->flight[c->flight_n++];
        draw_op(r, op);
        if (op->kind == LIN_READ && op->n == 1 && op->key[0] < 2 * PAIRS &&
            c->flight_n < IN_FLIGHT_MAX) {
            c->flight[c->flight_n] = *op;
            c->flight[c->flight_n++].key[0] ^= 1;
        }
    }
    r->now++;
    for (unsigned i = 0; i < c->flight_n; i++) {
        c->flight[i].client = (uint8_t)client;
        c->flight[i].call = r->now;
    }
    r->called += c->flight_n;
}

static const char *command_of(const struct lin_op *op)
{
    switch (op->kind) {
    case LIN_READ:
        return op->n == 1 ? "GET" : "MGET";
    case LIN_WRITE:
        return op->n == 1 ? "SET" : "MSET";
    case LIN_INCR:
        return "INCR";
    case LIN_DEL:
        return "DEL";
    default:
        return "RENAME";
    }
}

/* Inline commands: short, and no argument needs quotes. */
static size_t encode(const struct lin_op *op, char *out, size_t len)
{
    size_t at = (size_t)snprintf(out, len, "%s", command_of(op));

    for (unsigned k = 0; k < op->n; k++) {
        at += (size_t)snprintf(out + at, len - at, " hot:%u", op->key[k]);
        if (op->kind == LIN_WRITE) {
            at += (size_t)snprintf(out + at, len - at, " %lld", (long long)op->val[k]);
        }
    }
    at += (size_t)snprintf(out + at, len - at, "\r\n");
    return at;
}

static bool send_flight(struct recorder *r, unsigned client)
{
    struct client *c = &r->clients[client];
    char bytes[1024];
    size_t at = 0;

    draw_flight(r, c, client);
    for (unsigned i = 0; i < c->flight_n; i++) {
        at += encode(&c->flight[i], bytes + at, sizeof(bytes) - at);
    }
    return rawconn_send(&c->conn, bytes, at);
}

/* ---- what comes back ---- */

static bool read_value(struct raw reply, int64_t *value)
{
    struct raw text = raw_text(reply);
    char digits[32];

    if (raw_is_null(reply)) {
        *value = LIN_ABSENT;
        return true;
    }
    if (reply.data[0] != '$' || text.len == 0 || text.len >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    *value = strtoll(digits, NULL, 10);
    return true;
}

static bool read_values(struct lin_op *op, struct raw reply)
{
    struct raw e[LIN_OP_KEYS_MAX];
    bool ok = raw_is_aggregate(reply) && raw_elements(reply, e, LIN_OP_KEYS_MAX) == op->n;

    for (unsigned k = 0; ok && k < op->n; k++) {
        ok = read_value(e[k], &op->val[k]);
    }
    return ok;
}

/* False: no such command may be answered like this. */
static bool take_reply(struct lin_op *op, struct raw reply)
{
    switch (op->kind) {
    case LIN_READ:
        return op->n == 1 ? read_value(reply, &op->val[0]) : read_values(op, reply);
    case LIN_WRITE:
        return raw_is(reply, "+OK\r\n");
    case LIN_RENAME:
        op->val[0] = raw_is(reply, "+OK\r\n");
        return op->val[0] == 1 || raw_is(reply, "-ERR no such key\r\n");
    default:
        op->val[0] = strtoll(reply.data + 1, NULL, 10);
        return reply.data[0] == ':';
    }
}

static bool take_replies(struct recorder *r, struct client *c)
{
    struct raw reply;
    bool ok = true;

    while (ok && c->answered < c->flight_n && rawconn_next(&c->conn, &reply)) {
        struct lin_op *op = &c->flight[c->answered++];
        ok = take_reply(op, reply);
        op->ret = ++r->now;
        history_add(r->out, op);
        if (!ok) {
            printf("%s answered: ", command_of(op));
            raw_print(reply, 200);
            printf("\n");
        }
    }
    return ok;
}

/* ---- the loop ---- */

static bool in_flight(const struct client *c)
{
    return c->answered < c->flight_n;
}

/* Gives every idle client something to do, as long as there is. */
static bool call(struct recorder *r, size_t ops_n)
{
    bool ok = true;

    for (unsigned i = 0; i < HISTORY_CLIENTS && ok && r->called < ops_n; i++) {
        ok = in_flight(&r->clients[i]) || send_flight(r, i);
    }
    return ok;
}

static bool collect(struct recorder *r)
{
    struct pollfd p[HISTORY_CLIENTS];
    bool ok = true;

    for (unsigned i = 0; i < HISTORY_CLIENTS; i++) {
        p[i] = (struct pollfd){.fd = r->clients[i].conn.fd, .events = POLLIN};
    }
    if (poll(p, HISTORY_CLIENTS, PATIENCE_MS) <= 0) {
        printf("no reply in %d ms\n", PATIENCE_MS);
        return false;
    }
    for (unsigned i = 0; i < HISTORY_CLIENTS && ok; i++) {
        if (p[i].revents != 0) {
            ok = rawconn_poll(&r->clients[i].conn) && take_replies(r, &r->clients[i]);
        }
    }
    return ok;
}

static bool any_in_flight(const struct recorder *r)
{
    bool any = false;

    for (unsigned i = 0; i < HISTORY_CLIENTS; i++) {
        any = any || in_flight(&r->clients[i]);
    }
    return any;
}

bool recorder_run(struct recorder *r, struct rng *rng, size_t ops_n, struct history *h)
{
    static const unsigned key_counts[] = {6, 8, 16, HISTORY_KEYS};
    struct raw reply;
    bool ok = rawconn_send(&r->control, "FLUSHALL\r\n", 10) &&
              rawconn_reply(&r->control, PATIENCE_MS, &reply) && raw_is(reply, "+OK\r\n");

    history_clear(h);
    r->rng = rng;
    r->out = h;
    r->now = 0;
    r->next_value = 1000;
    r->called = 0;
    r->keys = key_counts[rng_below(rng, 4)];
    while (ok && (r->called < ops_n || any_in_flight(r))) {
        ok = call(r, ops_n) && collect(r);
    }
    if (!ok) {
        printf("the history broke off after %zu operations\n", h->n);
    }
    return ok;
}
