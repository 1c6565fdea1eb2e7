/* SPDX-License-Identifier: MIT */
/* receive.c - a reader's buffer: room for what comes, and the buffers that readers of a thread use
 * in turn. */
#include "resp/args.h"
#include "resp/reader_private.h"

#include <stdlib.h>
#include <string.h>

#define READ_MAX 65536u  /* room offered once reads fill what was offered */
#define MOVE_FREE 1024u  /* so few held bytes are moved to the front for the room */
#define HELD_SMALL 4096u /* of a half command, kept in a buffer of that size */
#define ASIDE_SIZE 2048u /* of a spare's small buffers */

static bool in_block(const struct resp_reader *r)
{
    return r->block != NULL && r->block_have < r->block_want;
}

static void resize_block(struct resp_reader *r, size_t cap)
{
    r->block = bk_realloc(r->block, sizeof *r->block + cap); /* not shared yet */
    r->block_cap = cap;
}

/* Moves what is held to the front of to, and the half command's spans with it. Returns the old
 * buffer, which may be the same. */
static uint8_t *rebase(struct resp_reader *r, uint8_t *to, size_t cap)
{
    uint8_t *old = r->buf;
    size_t held = r->end - r->start;
    const uint8_t *from = held > 0 ? old + r->start : NULL; /* nothing held: no span either */
    for (int i = 0; i < r->part.argc; i++) {
        struct resp_arg *arg = &r->part.argv[i];
        if (arg->block == NULL) {
            arg->bytes.data = to + (arg->bytes.data - from);
        }
    }
    if (held > 0) {
        memmove(to, from, held);
    }
    r->buf = to;
    r->cap = cap;
    r->pos -= r->start;
    r->end = held;
    r->start = 0;
    return old;
}

static void move_held(struct resp_reader *r, size_t new_cap)
{
    uint8_t *old = rebase(r, new_cap == r->cap ? r->buf : bk_alloc(new_cap), new_cap);
    if (old != r->buf) {
        free(old);
    }
}

/* Nothing is held: begins at the front again, in a buffer of the size that this client's reads call
 * for. */
static void rewind_empty(struct resp_reader *r)
{
    r->start = r->pos = r->end = 0;
    if (r->cap != r->read_size) {
        free(r->buf);
        r->buf = bk_alloc(r->read_size);
        r->cap = r->read_size;
    }
}

static void make_room(struct resp_reader *r)
{
    size_t held = r->end - r->start;
    size_t room = r->cap - r->end;
    if (held == 0) {
        rewind_empty(r);
    } else if (r->cap < READ_MIN || (held > r->cap / 2 && room < r->cap / 4)) {
        move_held(r, max_size(r->cap * 2, r->read_size));
    } else if (r->start > 0 && (held <= MOVE_FREE || room < r->cap / 4)) {
        move_held(r, r->cap);
    }
}

uint8_t *resp_reader_space(struct resp_reader *r, size_t *n)
{
    uint8_t *space;
    if (in_block(r)) {
        if (r->block_have == r->block_cap) {
            resize_block(r, min_size(r->block_want, max_size(r->block_cap * 2, RESP_BIG_ARG)));
        }
        r->room = r->block_cap - r->block_have;
        space = r->block->data + r->block_have;
    } else {
        make_room(r);
        r->room = r->cap - r->end;
        space = r->buf + r->end;
    }
    BK_ASSERT(r->room > 0);
    *n = r->room;
    return space;
}

void resp_reader_filled(struct resp_reader *r, size_t n)
{
    BK_ASSERT(n <= r->room);
    if (r->error != NULL) {
        n = 0; /* nobody will look at it */
    }
    if (in_block(r)) {
        r->block_have += n;
    } else {
        r->end += n;
        if (n == r->room && r->read_size < READ_MAX) {
            r->read_size *= 2;
        }
    }
    r->room = 0;
}

/* ---- Buffers that go from reader to reader ---- */

void resp_spare_fini(struct resp_spare *spare)
{
    free(spare->buf);
    while (spare->aside_n > 0) {
        free(spare->aside[--spare->aside_n]);
    }
    *spare = (struct resp_spare){0};
}

/* What a reader has no more use for: kept for the next one if it is of a size that is lent. */
static void keep_buffer(struct resp_spare *spare, uint8_t *buf, size_t cap)
{
    if (cap == READ_MAX && spare->buf == NULL) {
        spare->buf = buf;
        spare->cap = cap;
    } else if (cap == ASIDE_SIZE && spare->aside_n < RESP_ASIDE_MAX) {
        spare->aside[spare->aside_n++] = buf;
    } else {
        free(buf);
    }
}

void resp_reader_borrow(struct resp_reader *r, struct resp_spare *spare)
{
    if (r->cap > HELD_SMALL || in_block(r)) {
        return;
    }
    r->read_size = READ_MAX; /* also of what is made without a spare, so that it can become one */
    if (spare->buf != NULL) {
        size_t old_cap = r->cap;
        uint8_t *old = rebase(r, spare->buf, spare->cap);
        spare->buf = NULL;
        spare->cap = 0;
        keep_buffer(spare, old, old_cap);
    }
}

void resp_reader_give_back(struct resp_reader *r, struct resp_spare *spare)
{
    size_t held = r->end - r->start;
    if (held > HELD_SMALL || (r->cap <= HELD_SMALL && r->cap != ASIDE_SIZE)) {
        return;
    }
    size_t old_cap = r->cap;
    keep_buffer(spare, rebase(r, held > 0 ? bk_alloc(held) : NULL, held), old_cap);
}

bool resp_reader_can_step_aside(const struct resp_reader *r)
{
    return r->block == NULL && r->end - r->start <= ASIDE_SIZE;
}

void resp_reader_step_aside(struct resp_reader *r, struct resp_spare *spare)
{
    BK_ASSERT(resp_reader_can_step_aside(r));
    if (r->cap > ASIDE_SIZE) {
        size_t old_cap = r->cap;
        uint8_t *to = spare->aside_n > 0 ? spare->aside[--spare->aside_n] : bk_alloc(ASIDE_SIZE);
        keep_buffer(spare, rebase(r, to, ASIDE_SIZE), old_cap);
    }
}

/* ---- Memory ---- */

size_t resp_reader_pending(const struct resp_reader *r)
{
    return r->end - r->start + r->blocks_done + (r->block != NULL ? r->block_have : 0);
}

size_t resp_reader_memory(const struct resp_reader *r)
{
    size_t block = r->block != NULL ? r->block_cap : 0;
    return sizeof *r + r->cap + block + resp_command_memory(&r->part);
}

void resp_reader_trim(struct resp_reader *r)
{
    size_t held = r->end - r->start;
    r->read_size = READ_MIN;
    if (held > 0) {
        if (r->cap > held) {
            move_held(r, held);
        }
        resp_args_shrink(&r->part);
        if (r->block != NULL && r->block_cap > r->block_have) {
            resize_block(r, r->block_have);
        }
        return;
    }
    free(r->buf);
    r->buf = NULL;
    r->cap = r->start = r->pos = r->end = 0;
}
