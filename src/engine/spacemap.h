/* SPDX-License-Identifier: MIT */
/*
 * spacemap.h - which space each database number stands for.
 *
 * A number n that was never flushed or swapped stands for space n + 1; new spaces are counted from
 * BKI_SPACE_FIRST on and never used twice. On disk a map lists the numbers up to the highest that
 * ever differed.
 */
#ifndef BK_ENGINE_SPACEMAP_H
#define BK_ENGINE_SPACEMAP_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define BKI_SPACE_FIRST 0x10000u

struct bki_spacemap {
    uint32_t *space; /* owned: by number; entries beyond n stand for number + 1 */
    uint32_t n;
    uint32_t next; /* the next new space */
};

void bki_spacemap_init(struct bki_spacemap *m);
void bki_spacemap_fini(struct bki_spacemap *m);
void bki_spacemap_copy(struct bki_spacemap *to, const struct bki_spacemap *from);
uint32_t bki_spacemap_get(const struct bki_spacemap *m, uint32_t num);
/* Also moves next past space. num < BK_DATABASES_MAX. */
void bki_spacemap_set(struct bki_spacemap *m, uint32_t num, uint32_t space);
/* The number that stands for space, or -1. */
int64_t bki_spacemap_number(const struct bki_spacemap *m, uint32_t space);

/* Appends {number u32, space u32} for each number below n. */
void bki_spacemap_encode(const struct bki_spacemap *m, struct bk_buf *out);
/* Applies pairs; BK_CORRUPT when a number is over the limit. */
BK_MUST_USE int bki_spacemap_apply(struct bki_spacemap *m, const uint8_t *pairs, uint32_t n);

#endif
