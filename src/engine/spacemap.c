/* SPDX-License-Identifier: MIT */
#include "engine/spacemap.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "engine/bitkv.h"

#include <stdlib.h>

void bki_spacemap_init(struct bki_spacemap *m)
{
    *m = (struct bki_spacemap){.next = BKI_SPACE_FIRST};
}

void bki_spacemap_fini(struct bki_spacemap *m)
{
    free(m->space);
    *m = (struct bki_spacemap){0};
}

void bki_spacemap_copy(struct bki_spacemap *to, const struct bki_spacemap *from)
{
    uint32_t *space = NULL;
    if (from->n > 0) {
        space = bk_alloc(from->n * sizeof *space);
        memcpy(space, from->space, from->n * sizeof *space);
    }
    free(to->space);
    *to = (struct bki_spacemap){space, from->n, from->next};
}

uint32_t bki_spacemap_get(const struct bki_spacemap *m, uint32_t num)
{
    return num < m->n ? m->space[num] : num + 1;
}

void bki_spacemap_set(struct bki_spacemap *m, uint32_t num, uint32_t space)
{
    BK_ASSERT(num < BK_DATABASES_MAX);
    if (num >= m->n) {
        m->space = bk_realloc(m->space, (num + 1) * sizeof *m->space);
        for (uint32_t i = m->n; i <= num; i++) {
            m->space[i] = i + 1;
        }
        m->n = num + 1;
    }
    m->space[num] = space;
    if (space >= m->next) {
        m->next = space + 1;
    }
}

int64_t bki_spacemap_number(const struct bki_spacemap *m, uint32_t space)
{
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->space[i] == space) {
            return i;
        }
    }
    /* More than that never had a number: a record that names such a space is not ours, whatever its
     * checksum says. */
    bool untouched = space > m->n && space <= BK_DATABASES_MAX;
    return untouched ? (int64_t)space - 1 : -1;
}

void bki_spacemap_encode(const struct bki_spacemap *m, struct bk_buf *out)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint8_t pair[8];
        bk_put32(pair, i);
        bk_put32(pair + 4, m->space[i]);
        bk_buf_append(out, pair, sizeof pair);
    }
}

int bki_spacemap_apply(struct bki_spacemap *m, const uint8_t *pairs, uint32_t n)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t num = bk_get32(pairs + (size_t)i * 8);
        if (num >= BK_DATABASES_MAX || bk_get32(pairs + (size_t)i * 8 + 4) == 0) {
            return BK_CORRUPT;
        }
        last = num > last ? num : last;
    }
    if (n > 0) {
        bki_spacemap_set(m, last, bki_spacemap_get(m, last)); /* grows it once */
    }
    for (uint32_t i = 0; i < n; i++) {
        bki_spacemap_set(m, bk_get32(pairs + (size_t)i * 8), bk_get32(pairs + (size_t)i * 8 + 4));
    }
    return BK_OK;
}
