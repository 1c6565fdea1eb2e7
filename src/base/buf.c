/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void *bk_alloc(size_t size)
{
    void *p = malloc(size == 0 ? 1 : size);
    if (p == NULL) {
        bk_assert_failed("out of memory", __FILE__, __LINE__);
    }
    return p;
}

void *bk_alloc_zero(size_t count, size_t size)
{
    void *p = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    if (p == NULL) {
        bk_assert_failed("out of memory", __FILE__, __LINE__);
    }
    return p;
}

void *bk_realloc(void *p, size_t size)
{
    void *q = realloc(p, size == 0 ? 1 : size);
    if (q == NULL) {
        bk_assert_failed("out of memory", __FILE__, __LINE__);
    }
    return q;
}

void bk_buf_fini(struct bk_buf *b)
{
    free(b->data);
    *b = (struct bk_buf){0};
}

uint8_t *bk_buf_reserve(struct bk_buf *b, size_t n)
{
    BK_ASSERT(n <= SIZE_MAX / 2 - b->len);
    size_t need = b->len + n;
    if (need > b->cap || b->data == NULL) { /* never NULL, which offset 0 may not be added to */
        /* Doubling keeps appends amortised; large buffers grow by half, so that less stands empty.
         */
        size_t cap = b->cap < (1u << 20) ? b->cap * 2 : b->cap + b->cap / 2;
        cap = cap < 64 ? 64 : cap;
        cap = cap < need ? need : cap;
        b->data = bk_realloc(b->data, cap);
        b->cap = cap;
    }
    return b->data + b->len;
}

void bk_buf_append(struct bk_buf *b, const void *data, size_t n)
{
    if (n == 0) {
        return;
    }
    memcpy(bk_buf_reserve(b, n), data, n);
    b->len += n;
}

void bk_buf_printf(struct bk_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    BK_ASSERT(n >= 0);
    size_t size = (size_t)n + 1;
    vsnprintf((char *)bk_buf_reserve(b, size), size, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void bk_buf_consume(struct bk_buf *b, size_t n)
{
    BK_ASSERT(n <= b->len);
    b->len -= n;
    if (b->len > 0) {
        memmove(b->data, b->data + n, b->len);
    }
}

struct bk_block *bk_block_new(size_t len)
{
    BK_ASSERT(len < SIZE_MAX / 2);
    struct bk_block *b = bk_alloc(sizeof *b + len);
    atomic_init(&b->refs, 1);
    b->len = len;
    return b;
}

struct bk_block *bk_block_ref(struct bk_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void bk_block_unref(struct bk_block **b)
{
    if (*b == NULL) {
        return;
    }
    if (atomic_fetch_sub_explicit(&(*b)->refs, 1, memory_order_acq_rel) == 1) {
        free(*b);
    }
    *b = NULL;
}
