/* SPDX-License-Identifier: MIT */
/* input.c - see input.h. */
#include "tools/input.h"

#define PIECE ((size_t)1 << 20)

static void passed(struct tool_input *in, size_t n)
{
    in->offset += n;
    if (in->count != NULL) {
        atomic_store_explicit(in->count, in->offset, memory_order_relaxed);
    }
}

int tool_input_line(struct tool_input *in, size_t max, struct bk_buf *out, bool *whole)
{
    int c = EOF;
    out->len = 0;
    *whole = false;
    flockfile(in->f);
    while (out->len <= max && (c = getc_unlocked(in->f)) != EOF && c != '\n') {
        if (out->len == out->cap) {
            bk_buf_reserve(out, 256);
        }
        out->data[out->len++] = (uint8_t)c;
    }
    funlockfile(in->f);
    passed(in, out->len + (c == '\n'));
    if (out->len > max) {
        in->line++;
        return BK_ETOOBIG;
    }
    if (ferror(in->f) != 0) {
        return BK_EIO;
    }
    if (c == EOF && out->len == 0) {
        return BK_NOTFOUND;
    }
    in->line++;
    *whole = c == '\n';
    return BK_OK;
}

int tool_input_bytes(struct tool_input *in, size_t n, struct bk_buf *out)
{
    out->len = 0;
    while (out->len < n) {
        size_t want = n - out->len < PIECE ? n - out->len : PIECE;
        size_t got = fread(bk_buf_reserve(out, want), 1, want, in->f);
        out->len += got;
        passed(in, got);
        if (got < want) {
            return ferror(in->f) != 0 ? BK_EIO : BK_NOTFOUND;
        }
    }
    return BK_OK;
}

int tool_input_all(struct tool_input *in, size_t max, struct bk_buf *out)
{
    size_t got;
    out->len = 0;
    do {
        got = fread(bk_buf_reserve(out, PIECE), 1, PIECE, in->f);
        out->len += got;
        passed(in, got);
    } while (got > 0 && out->len <= max);
    if (ferror(in->f) != 0) {
        return BK_EIO;
    }
    return out->len > max ? BK_ETOOBIG : BK_OK;
}
