/* SPDX-License-Identifier: MIT */
/* lcs.c - see lcs.h. Where several subsequences are as long, the way back takes the one that Redis
 * takes: at a pair that differs it goes back in a only if that is the longer one of the two. */
#include "command/lcs.h"

#include "base/assert.h"

#include <stdlib.h>

static bool bit_at(const struct lcs *l, size_t i, size_t j)
{
    size_t at = i * l->b.len + j;
    return (l->up[at / 64] >> (at % 64) & 1) != 0;
}

static void set_bit(struct lcs *l, size_t i, size_t j)
{
    size_t at = i * l->b.len + j;
    l->up[at / 64] |= (uint64_t)1 << (at % 64);
}

/* row[j + 1]: the length for the first i bytes of a and j + 1 of b; brought from i to i + 1. */
static void next_row(struct lcs *l, size_t i, uint32_t *row)
{
    uint32_t diagonal = 0; /* what row[j] was before */
    uint8_t byte = l->a.data[i];
    for (size_t j = 0; j < l->b.len; j++) {
        uint32_t above = row[j + 1];
        if (byte == l->b.data[j]) {
            row[j + 1] = diagonal + 1;
        } else if (above > row[j]) {
            if (l->up != NULL) {
                set_bit(l, i, j);
            }
        } else {
            row[j + 1] = row[j];
        }
        diagonal = above;
    }
}

bool lcs_init(struct lcs *l, struct bk_span a, struct bk_span b, bool way)
{
    size_t words = a.len * b.len / 64 + 1;           /* both have 32 bits */
    uint32_t *row = calloc(b.len + 1, sizeof(*row)); /* not bk_alloc: a failure is answered */
    bool ok;
    BK_ASSERT(a.len <= LCS_LENGTH_MAX && b.len <= LCS_LENGTH_MAX);
    *l = (struct lcs){.a = a, .b = b};
    if (way) {
        l->up = calloc(words, sizeof(*l->up));
    }
    ok = row != NULL && (!way || l->up != NULL);
    if (ok) {
        for (size_t i = 0; i < a.len; i++) {
            next_row(l, i, row);
        }
        l->len = row[b.len];
    } else {
        lcs_fini(l);
    }
    free(row);
    return ok;
}

void lcs_fini(struct lcs *l)
{
    free(l->up);
    l->up = NULL;
}

/* One step on the way back from the pair behind i and j; true: their last bytes are common. */
static bool step(const struct lcs *l, size_t *i, size_t *j)
{
    bool same = l->a.data[*i - 1] == l->b.data[*j - 1];
    bool up = !same && bit_at(l, *i - 1, *j - 1);
    *i -= same || up ? 1 : 0;
    *j -= same || !up ? 1 : 0;
    return same;
}

void lcs_ranges(const struct lcs *l, void (*each)(void *arg, const struct lcs_range *range),
                void *arg)
{
    size_t i = l->a.len;
    size_t j = l->b.len;
    struct lcs_range range = {0, 0, 0, 0};
    bool open = false;
    while (i > 0 && j > 0) {
        if (step(l, &i, &j)) {
            range.a_first = (uint32_t)i;
            range.b_first = (uint32_t)j;
            if (!open) {
                range.a_last = range.a_first;
                range.b_last = range.b_first;
            }
            open = true;
        } else if (open) {
            each(arg, &range);
            open = false;
        }
    }
    if (open) {
        each(arg, &range);
    }
}

void lcs_text(const struct lcs *l, uint8_t *text)
{
    size_t i = l->a.len;
    size_t j = l->b.len;
    size_t left = l->len;
    while (i > 0 && j > 0 && left > 0) {
        if (step(l, &i, &j)) {
            text[--left] = l->a.data[i];
        }
    }
}
