/* SPDX-License-Identifier: MIT */
/* outq.c - see outq.h. True between calls: sent + settled + lengths of parts[head ..] == bytes.len.
 */
#include "net/outq.h"

#include "base/assert.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#define KEEP_BYTES 16384u /* buffers up to this stay for the next tick */
#define KEEP_PARTS 128u

void out_parts_fini(struct out_parts *p)
{
    free(p->v);
    *p = (struct out_parts){0};
}

static void out_parts_reserve(struct out_parts *p, size_t n)
{
    if (p->n + n > p->cap) {
        size_t cap = p->cap == 0 ? 4 : p->cap * 2;
        while (cap < p->n + n) {
            cap *= 2;
        }
        p->v = bk_realloc(p->v, cap * sizeof(*p->v));
        p->cap = cap;
    }
}

static void parts_add(struct out_parts *p, size_t first, const struct out_part *part)
{
    struct out_part *last = p->n > first ? &p->v[p->n - 1] : NULL;
    if (last != NULL && last->pos == part->pos && last->stays == part->stays) {
        last->len += part->len;
        last->replies += part->replies;
    } else {
        out_parts_reserve(p, 1);
        p->v[p->n++] = *part;
    }
}

void out_parts_add(struct out_parts *p, size_t first, uint64_t pos, size_t len, uint32_t replies)
{
    struct out_part part = {.pos = pos, .len = len, .replies = replies};
    parts_add(p, first, &part);
}

void out_parts_add_staying(struct out_parts *p, size_t first, uint64_t pos, size_t len)
{
    struct out_part part = {.pos = pos, .len = len, .stays = true};
    parts_add(p, first, &part);
}

void outq_fini(struct outq *q)
{
    bk_buf_fini(&q->bytes);
    out_parts_fini(&q->parts);
    *q = (struct outq){0};
}

/* What has been sent makes way for what comes, when at least as much is gone as stays: so each byte
 * moves at most once on average. */
static void outq_append(struct outq *q, struct bk_span bytes)
{
    if (q->sent > KEEP_BYTES && q->sent >= q->bytes.len - q->sent) {
        bk_buf_consume(&q->bytes, q->sent);
        q->sent = 0;
    }
    bk_buf_append(&q->bytes, bytes.data, bytes.len);
}

void outq_add_settled(struct outq *q, struct bk_span bytes)
{
    BK_ASSERT(!outq_waits(q));
    outq_append(q, bytes);
    q->settled += bytes.len;
}

void outq_add(struct outq *q, struct bk_span bytes, const struct out_part *parts, size_t n)
{
    if (n == 0) {
        return;
    }
    outq_append(q, bytes);
    if (q->head > 0 &&
        q->head >= q->parts.n - q->head) { /* a queue that never runs empty must not creep */
        q->parts.n -= q->head;
        memmove(q->parts.v, q->parts.v + q->head, q->parts.n * sizeof(*parts));
        q->head = 0;
    }
    out_parts_reserve(&q->parts, n);
    memcpy(q->parts.v + q->parts.n, parts, n * sizeof(*parts));
    q->parts.n += n;
}

void outq_steal(struct outq *q, struct bk_buf *bytes, size_t sent)
{
    BK_ASSERT(outq_empty(q));
    bk_buf_fini(&q->bytes);
    q->bytes = *bytes;
    q->sent = sent;
    q->settled = bytes->len - sent;
    *bytes = (struct bk_buf){0};
}

/* Puts in place of everything not yet sent: kept, then the bytes from offset rest on. */
static void outq_replace(struct outq *q, struct bk_buf *kept, size_t rest)
{
    bk_buf_append(kept, q->bytes.data + rest, q->bytes.len - rest);
    bk_buf_fini(&q->bytes);
    q->bytes = *kept;
    q->sent = 0;
}

void outq_settle(struct outq *q, const struct outq_judge *judge)
{
    struct bk_buf kept = {
        0}; /* what may leave, written anew once a part of it had to be replaced */
    bool rewritten = false;
    size_t at = q->sent + q->settled;

    while (outq_waits(q)) {
        const struct out_part *part = &q->parts.v[q->head];
        int state = part->pos == 0 ? BK_OK : judge->pos_state(judge->arg, part->pos);
        if (state == BK_EAGAIN) {
            break;
        }
        bool undone = state != BK_OK && !part->stays;
        if (undone && !rewritten) {
            bk_buf_append(&kept, q->bytes.data + q->sent, q->settled);
            rewritten = true;
        }
        if (undone) {
            size_t before = kept.len;
            judge->undone(judge->arg2, part->replies, &kept);
            q->settled += kept.len - before;
        } else {
            if (rewritten) {
                bk_buf_append(&kept, q->bytes.data + at, part->len);
            }
            q->settled += part->len;
        }
        at += part->len;
        q->head++;
    }
    if (rewritten) {
        outq_replace(q, &kept, at);
    }
    if (q->head == q->parts.n) {
        q->head = q->parts.n = 0;
    }
}

struct bk_span outq_ready(const struct outq *q)
{
    if (q->settled == 0) {
        return (struct bk_span){0};
    }
    return bk_span_of(q->bytes.data + q->sent, q->settled);
}

void outq_sent(struct outq *q, size_t n)
{
    BK_ASSERT(n <= q->settled);
    q->sent += n;
    q->settled -= n;
    if (outq_empty(q)) {
        q->sent = 0;
        q->bytes.len = 0;
    }
}

void outq_trim(struct outq *q, bool keep)
{
    if (!outq_empty(q) || outq_waits(q)) {
        return;
    }
    if (!keep || q->bytes.cap > KEEP_BYTES) {
        bk_buf_fini(&q->bytes);
        q->sent = 0;
    }
    if (!keep || q->parts.cap > KEEP_PARTS) {
        out_parts_fini(&q->parts);
        q->head = 0;
    }
}

size_t outq_memory(const struct outq *q)
{
    return q->bytes.cap + q->parts.cap * sizeof(*q->parts.v);
}
