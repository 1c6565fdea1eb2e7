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

/* What a line of text consists of; first '\0': any line. */
struct text_rule {
    char first; /* what is no blank begins with it */
    bool begun;
};

static bool takes(struct text_rule *r, int c)
{
    if (r->first == '\0' || c == ' ' || c == '\t' || c == '\r') {
        return true;
    }
    bool ok = c >= ' ' && (r->begun || c == r->first);
    r->begun = true;
    return ok;
}

static int read_line(struct tool_input *in, struct text_rule rule, size_t max, struct bk_buf *out,
                     bool *whole)
{
    int c = EOF;
    bool ok = true;
    out->len = 0;
    *whole = false;
    flockfile(in->f);
    while (ok && out->len <= max && (c = getc_unlocked(in->f)) != EOF && c != '\n') {
        if (out->len == out->cap) {
            bk_buf_reserve(out, 256);
        }
        out->data[out->len++] = (uint8_t)c;
        ok = takes(&rule, c);
    }
    funlockfile(in->f);
    passed(in, out->len + (c == '\n'));
    if (!ok || out->len > max) {
        in->line++;
        return ok ? BK_ETOOBIG : BK_EINVAL;
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

int tool_input_line(struct tool_input *in, size_t max, struct bk_buf *out, bool *whole)
{
    return read_line(in, (struct text_rule){.first = '\0'}, max, out, whole);
}

int tool_input_text(struct tool_input *in, char first, size_t max, struct bk_buf *out, bool *whole)
{
    return read_line(in, (struct text_rule){.first = first}, max, out, whole);
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
