/* SPDX-License-Identifier: MIT */
/* compose.c - see compose.h. */
#include "command/compose.h"

#include "command/notify.h"

#include <string.h>

/* Shorter ones stay until the transaction ends, also when they are replaced. */
#define BLOCK_MIN 1024

void compose_begin(struct command_ctx *c, struct compose *n, size_t len)
{
    n->len = len;
    n->block = len >= BLOCK_MIN ? bk_block_new(len) : NULL;
    n->bytes = n->block != NULL ? n->block->data : ks_alloc(c->txn, len);
}

void compose_fill(struct compose *n, struct bk_span old)
{
    size_t kept = old.len < n->len ? old.len : n->len;
    if (kept != 0) {
        memcpy(n->bytes, old.data, kept);
    }
    if (kept < n->len) {
        memset(n->bytes + kept, 0, n->len - kept);
    }
}

void compose_put(struct command_ctx *c, size_t index, struct compose *n, int64_t expire_ms)
{
    struct ks_write w = {KS_STRING, {n->bytes, n->len}, n->block, expire_ms, KS_RAW};
    command_put(c, index, &w); /* keeps a reference of the block */
    compose_drop(n);
}

void compose_drop(struct compose *n)
{
    bk_block_unref(&n->block);
    n->bytes = NULL;
    n->len = 0;
}
