/* SPDX-License-Identifier: MIT */
/*
 * buf.h - growable bytes with one owner, and counted blocks of bytes for what several owners share.
 *
 * Out of memory ends the process (bk_alloc and friends): a server that has lost count of its memory
 * cannot promise anything, and every size that comes from outside is bounded before it gets here.
 */
#ifndef BK_BASE_BUF_H
#define BK_BASE_BUF_H

#include "base/span.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Never return NULL; size 0 is allowed. Free with free(). */
void *bk_alloc(size_t size);
void *bk_alloc_zero(size_t count, size_t size);
void *bk_realloc(void *p, size_t size);

/* Owned bytes. All zero is a valid empty buffer. */
struct bk_buf {
    uint8_t *data; /* owned; NULL while cap is 0 */
    size_t len;
    size_t cap;
};

void bk_buf_fini(struct bk_buf *b); /* frees; leaves it empty and usable */
uint8_t *bk_buf_reserve(struct bk_buf *b,
                        size_t n); /* room for n more bytes; returns the first of them */
void bk_buf_append(struct bk_buf *b, const void *data, size_t n);
void bk_buf_printf(struct bk_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bk_buf_consume(struct bk_buf *b, size_t n); /* drops n bytes from the front (memmove) */

static inline struct bk_span bk_buf_span(const struct bk_buf *b)
{
    return (struct bk_span){b->data, b->len};
}

/* Counted bytes: written once by who made them, then shared read-only by any thread. */
struct bk_block {
    atomic_uint refs;
    size_t len;
    uint8_t data[];
};

struct bk_block *bk_block_new(size_t len); /* one reference; data is not initialised */
struct bk_block *bk_block_ref(struct bk_block *b);
void bk_block_unref(struct bk_block **b); /* takes and nulls; NULL inside is accepted */

#endif
