/* SPDX-License-Identifier: MIT */
/*
 * pages.h - the address space of 8 TiB: 2^19 pages of 16 MiB, each lent to one file.
 *
 * A location is 40 bits in units of 8 bytes: page << 21 | unit in the page. Page 0 is never lent:
 * location 0 means that there is no record.
 */
#ifndef BK_ENGINE_PAGES_H
#define BK_ENGINE_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_PAGE_SHIFT 24u
#define BKI_PAGES (1u << 19)
#define BKI_LOC_BITS 40u
#define BKI_LOC_MASK (((uint64_t)1 << BKI_LOC_BITS) - 1)
#define BKI_NO_PAGE UINT32_MAX
#define BKI_NO_OWNER UINT64_MAX

struct bki_pages {
    /* Atomic: file slot << 32 | index of the page in its file. Valid as long as a location in it
     * can be found. */
    _Atomic uint64_t *owner;
    /* Guarded by the log's mutex. */
    uint32_t *free_list; /* pages given back, used again last in, first out */
    uint32_t free_n;
    uint32_t fresh; /* pages from here on were never lent */
    atomic_uint used;
};

void bki_pages_init(struct bki_pages *p);
void bki_pages_fini(struct bki_pages *p);
/* BKI_NO_PAGE when all are lent. */
uint32_t bki_pages_take(struct bki_pages *p, uint32_t slot, uint32_t index);
/* Lends pages as they were lent before: owner[page] is slot << 32 | index, BKI_NO_OWNER for a page
 * that nobody has. Before any page is taken. */
void bki_pages_restore(struct bki_pages *p, const uint64_t *owner);
void bki_pages_give(struct bki_pages *p, uint32_t page);

static inline uint64_t bki_loc_make(uint32_t page, uint64_t offset)
{
    return (uint64_t)page << (BKI_PAGE_SHIFT - 3) | (offset & ((1u << BKI_PAGE_SHIFT) - 1)) >> 3;
}

/* File slot and byte offset of a location. */
static inline uint32_t bki_loc_file(const struct bki_pages *p, uint64_t loc, uint64_t *offset)
{
    uint64_t owner =
        atomic_load_explicit(&p->owner[loc >> (BKI_PAGE_SHIFT - 3)], memory_order_acquire);
    *offset = (owner & UINT32_MAX) << BKI_PAGE_SHIFT | (loc & ((1u << (BKI_PAGE_SHIFT - 3)) - 1))
                                                           << 3;
    return (uint32_t)(owner >> 32);
}

#endif
