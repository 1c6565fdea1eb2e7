/* SPDX-License-Identifier: MIT */
/* eqpeer.c - one of the two servers of a comparison. */
#include "lib/eqpeer.h"

#include "base/buf.h"
#include "lib/eqjudge.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MS 10000
#define SILENCE_MS 2000
#define RESTARTS_MAX 5
#define SCAN_STEPS_MAX 100000u

struct raw eq_raw(const struct eq_answer *r)
{
    return (struct raw){r->data, r->len};
}

void eq_set_answer(struct eq_answer *r, const void *data, size_t len)
{
    free(r->data);
    r->data = malloc(len + 1);
    if (r->data == NULL) {
        abort();
    }
    memcpy(r->data, data, len);
    r->len = len;
}

void eq_free_answers(struct eq_answer *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(r[i].data);
        r[i] = (struct eq_answer){NULL, 0};
    }
}

/* ---- one side ---- */

/* A server that has died is started again, a few times; the test fails anyway, but tells more. */
static void reconnect(struct eq_peer *s)
{
    const char *name = s->server.redis ? "redis-server" : "bitkv-server";

    rawconn_close(&s->conn);
    if (rawconn_open(&s->conn, s->server.port)) {
        return;
    }
    printf("!!! %s has died: %d\n", name, server_wait(&s->server));
    server_show_log(&s->server);
    if (++s->restarts > RESTARTS_MAX || !server_start(&s->server) ||
        !rawconn_open(&s->conn, s->server.port)) {
        printf("!!! %s does not stay up\n", name);
        exit(1);
    }
}

static size_t encode(const struct eq_cmd *cmd, char **out, size_t at)
{
    size_t need = at + 32;

    for (size_t i = 0; i < cmd->argc; i++) {
        need += cmd->argv[i].len + 32;
    }
    *out = realloc(*out, need);
    if (*out == NULL) {
        abort();
    }
    at += (size_t)snprintf(*out + at, 32, "*%zu\r\n", cmd->argc);
    for (size_t i = 0; i < cmd->argc; i++) {
        at += (size_t)snprintf(*out + at, 32, "$%zu\r\n", cmd->argv[i].len);
        memcpy(*out + at, cmd->argv[i].data, cmd->argv[i].len);
        at += cmd->argv[i].len;
        memcpy(*out + at, "\r\n", 2);
        at += 2;
    }
    return at;
}

/* Sends all in one piece; replies that do not come are left empty, and the connection is made anew.
 */
void eq_peer_batch(struct eq_peer *s, const struct eq_cmd *const *cmds, size_t n,
                   struct eq_answer *out)
{
    char *bytes = NULL;
    size_t len = 0;
    bool ok;

    for (size_t i = 0; i < n; i++) {
        len = encode(cmds[i], &bytes, len);
    }
    ok = rawconn_send(&s->conn, bytes, len);
    for (size_t i = 0; i < n; i++) {
        struct raw r = {"", 0};
        ok = rawconn_reply(&s->conn, REPLY_MS, &r) && ok;
        eq_set_answer(&out[i], r.data, ok ? r.len : 0);
    }
    free(bytes);
    if (!ok) {
        reconnect(s);
    }
}

void eq_peer_one(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out)
{
    eq_peer_batch(s, &cmd, 1, out);
}

void eq_peer_closing(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out)
{
    char *bytes = NULL;
    size_t len = encode(cmd, &bytes, 0);
    struct raw all = {"", 0};
    bool closed = false;

    if (rawconn_send(&s->conn, bytes, len)) {
        all = rawconn_rest(&s->conn, SILENCE_MS, &closed);
    }
    eq_set_answer(out, all.data, all.len);
    if (!closed) {
        eq_set_answer(out, "(still open)", 12);
    }
    free(bytes);
    reconnect(s);
}

/* HELLO's connection id is not the same on both sides. */
static void mask_id(struct eq_answer *a)
{
    char *at = a->len == 0 ? NULL : memmem(a->data, a->len, "$2\r\nid\r\n:", 9);
    char *end = at == NULL ? NULL : memchr(at + 9, '\r', a->len - (size_t)(at + 9 - a->data));

    if (end != NULL) {
        memmove(at + 9, end, a->len - (size_t)(end - a->data));
        a->len -= (size_t)(end - at) - 9;
    }
}

void eq_peer_raw(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out)
{
    struct rawconn c;
    struct raw all = {"", 0};
    bool closed = false;

    if (rawconn_open(&c, s->server.port) && rawconn_send(&c, cmd->argv[0].data, cmd->argv[0].len)) {
        rawconn_end_sending(&c);
        all = rawconn_rest(&c, SILENCE_MS, &closed);
    }
    eq_set_answer(out, all.data, all.len);
    mask_id(out);
    if (!closed) {
        eq_set_answer(out, "(still open)", 12);
    }
    rawconn_close(&c);
}

/* Iterates to the end; out: all keys, each once, sorted; or the first reply that is no step of a
 * scan. */
/* The elements of one more step, without the head of their array. */
static size_t add_elements(struct bk_buf *all, struct raw array)
{
    const char *first = memchr(array.data, '\n', array.len);
    size_t head = first == NULL ? array.len : (size_t)(first - array.data) + 1;

    bk_buf_append(all, array.data + head, array.len - head);
    return raw_elements(array, NULL, 0);
}

static void set_sorted_keys(struct eq_answer *out, const struct bk_buf *elements, size_t n)
{
    struct bk_buf array = {NULL, 0, 0};
    struct raw sorted;

    bk_buf_printf(&array, "*%zu\r\n", n);
    bk_buf_append(&array, elements->data, elements->len);
    sorted = eq_sorted((struct raw){(const char *)array.data, array.len}, 1, true);
    eq_set_answer(out, sorted.data, sorted.len);
    free((void *)(uintptr_t)sorted.data);
    bk_buf_fini(&array);
}

void eq_peer_scan(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out)
{
    struct eq_cmd step = {.argc = 0};
    struct eq_answer got = {NULL, 0};
    struct bk_buf all = {NULL, 0, 0};
    struct raw part[2];
    size_t n = 0;
    bool more = true;
    bool good = true;

    for (size_t i = 0; i < cmd->argc; i++) {
        eq_cmd_add(&step, cmd->argv[i].data, cmd->argv[i].len);
    }
    for (unsigned steps = 0; good && more && steps < SCAN_STEPS_MAX; steps++) {
        eq_peer_one(s, &step, &got);
        good = raw_elements(eq_raw(&got), part, 2) == 2 && raw_is_aggregate(part[1]);
        if (good) {
            struct raw cursor = raw_text(part[0]);
            n += add_elements(&all, part[1]);
            more = !raw_is(cursor, "0");
            free(step.argv[1].data);
            step.argv[1].data = strndup(cursor.data, cursor.len);
            step.argv[1].len = cursor.len;
        }
    }
    if (!good) {
        eq_set_answer(out, got.data, got.len);
    } else if (more) {
        eq_set_answer(out, "(no end)", 8);
    } else {
        set_sorted_keys(out, &all, n);
    }
    bk_buf_fini(&all);
    free(got.data);
    eq_cmd_fini(&step);
}
