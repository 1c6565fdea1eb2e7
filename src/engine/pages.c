/* SPDX-License-Identifier: MIT */
#include "engine/pages.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdlib.h>

void bki_pages_init(struct bki_pages *p)
{
    /* Both tables are zero pages of the kernel until touched. */
    p->owner = bk_alloc_zero(BKI_PAGES, sizeof *p->owner);
    p->free_list = bk_alloc_zero(BKI_PAGES, sizeof *p->free_list);
    p->free_n = 0;
    p->fresh = 1; /* page 0 is never lent, so that no record has location 0 */
    atomic_init(&p->used, 0);
}

void bki_pages_fini(struct bki_pages *p)
{
    free(p->owner);
    free(p->free_list);
    p->owner = NULL;
    p->free_list = NULL;
}

uint32_t bki_pages_take(struct bki_pages *p, uint32_t slot, uint32_t index)
{
    uint32_t page;
    if (p->free_n > 0) {
        page = p->free_list[--p->free_n];
    } else if (p->fresh < BKI_PAGES) {
        page = p->fresh++;
    } else {
        return BKI_NO_PAGE;
    }
    atomic_store_explicit(&p->owner[page], (uint64_t)slot << 32 | index, memory_order_release);
    atomic_fetch_add_explicit(&p->used, 1, memory_order_relaxed);
    return page;
}

void bki_pages_restore(struct bki_pages *p, const uint64_t *owner)
{
    BK_ASSERT(atomic_load(&p->used) == 0 && owner[0] == BKI_NO_OWNER);
    uint32_t used = 0;
    uint32_t end = BKI_PAGES;
    while (end > 1 && owner[end - 1] == BKI_NO_OWNER) {
        end--;
    }
    p->fresh = end;
    p->free_n = 0;
    for (uint32_t page = end - 1; page > 0; page--) {
        if (owner[page] == BKI_NO_OWNER) {
            p->free_list[p->free_n++] = page;
        } else {
            atomic_store_explicit(&p->owner[page], owner[page], memory_order_release);
            used++;
        }
    }
    atomic_store(&p->used, used);
}

void bki_pages_give(struct bki_pages *p, uint32_t page)
{
    BK_ASSERT(page < p->fresh && p->free_n < BKI_PAGES);
    p->free_list[p->free_n++] = page;
    atomic_fetch_sub_explicit(&p->used, 1, memory_order_relaxed);
}
