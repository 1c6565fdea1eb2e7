/* SPDX-License-Identifier: MIT */
/* simdisk_file.c - a file of the simulated disk: pages as cached and as synced. */
#include "lib/simdisk_private.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

static const uint8_t zero_page[SIM_PAGE];

struct sim_file *sim_file_new(void)
{
    struct sim_file *f = bk_alloc_zero(1, sizeof(*f));
    f->refs = 1;
    return f;
}

struct sim_file *sim_file_ref(struct sim_file *f)
{
    f->refs++;
    return f;
}

static void page_drop_synced(struct sim_page *p)
{
    if (p->synced != p->cache) {
        free(p->synced);
    }
    p->synced = NULL;
}

/* Leaves synced alone. */
static void page_set_cache(struct sim_page *p, uint8_t *bytes)
{
    if (p->cache != p->synced) {
        free(p->cache);
    }
    p->cache = bytes;
    p->lost = false;
}

static void page_clean(struct sim_page *p)
{
    if (p->cache != p->synced) {
        page_drop_synced(p);
        p->synced = p->cache;
    }
}

/* Makes cache a page of its own, apart from synced. */
static uint8_t *page_own_cache(struct sim_page *p)
{
    if (p->cache == NULL || p->cache == p->synced) {
        uint8_t *own = bk_alloc(SIM_PAGE);
        memcpy(own, p->cache != NULL ? p->cache : zero_page, SIM_PAGE);
        p->cache = own;
    }
    p->lost = false;
    return p->cache;
}

void sim_file_unref(struct sim_file **f)
{
    struct sim_file *file = *f;
    *f = NULL;
    if (file == NULL || --file->refs > 0) {
        return;
    }
    for (size_t i = 0; i < file->pages_n; i++) {
        page_drop_synced(&file->pages[i]);
        free(file->pages[i].cache);
    }
    free(file->pages);
    free(file);
}

static void grow_table(struct sim_file *f, uint64_t size)
{
    size_t need = (size_t)((size + SIM_PAGE - 1) / SIM_PAGE);
    if (need > f->pages_n) {
        size_t n = need + need / 4;
        f->pages = bk_realloc(f->pages, n * sizeof(*f->pages));
        memset(f->pages + f->pages_n, 0, (n - f->pages_n) * sizeof(*f->pages));
        f->pages_n = n;
    }
}

static void note_size(struct sim_file *f, uint64_t size)
{
    const unsigned max = sizeof(f->sizes) / sizeof(f->sizes[0]);
    if (f->sizes_n == max) {
        memmove(f->sizes, f->sizes + 1, (max - 1) * sizeof(f->sizes[0]));
        f->sizes_n--;
    }
    f->sizes[f->sizes_n++] = f->size;
    f->size = size;
}

void sim_file_write(struct sim_file *f, uint64_t offset, const uint8_t *data, size_t len)
{
    grow_table(f, offset + len);
    for (size_t done = 0; done < len;) {
        struct sim_page *p = &f->pages[(offset + done) / SIM_PAGE];
        size_t in = (size_t)((offset + done) % SIM_PAGE);
        size_t n = SIM_PAGE - in < len - done ? SIM_PAGE - in : len - done;
        /* Zeros over nothing cost no memory: files of many gigabytes can be tested. */
        if (p->cache != NULL || memcmp(data + done, zero_page, n) != 0) {
            memcpy(page_own_cache(p) + in, data + done, n);
        }
        done += n;
    }
    if (len > 0 && offset + len > f->size) {
        note_size(f, offset + len);
    }
}

void sim_file_read(const struct sim_file *f, uint64_t offset, uint8_t *out, size_t len)
{
    BK_ASSERT(offset <= f->size && len <= f->size - offset);
    for (size_t done = 0; done < len;) {
        size_t i = (size_t)((offset + done) / SIM_PAGE);
        size_t in = (size_t)((offset + done) % SIM_PAGE);
        size_t n = SIM_PAGE - in < len - done ? SIM_PAGE - in : len - done;
        const uint8_t *from = i < f->pages_n ? f->pages[i].cache : NULL;
        memcpy(out + done, (from != NULL ? from : zero_page) + in, n);
        done += n;
    }
}

/* Bytes past size read as zero when the file grows again. */
static void cut_cache(struct sim_file *f, uint64_t size)
{
    for (size_t i = (size_t)(size / SIM_PAGE); i < f->pages_n; i++) {
        size_t in = i == size / SIM_PAGE ? (size_t)(size % SIM_PAGE) : 0;
        if (f->pages[i].cache != NULL && in > 0) {
            memset(page_own_cache(&f->pages[i]) + in, 0, SIM_PAGE - in);
        } else if (f->pages[i].cache != NULL) {
            page_set_cache(&f->pages[i], NULL);
        }
    }
}

void sim_file_resize(struct sim_file *f, uint64_t size)
{
    if (size < f->size) {
        cut_cache(f, size);
    }
    if (size != f->size) {
        note_size(f, size);
    }
}

void sim_file_sync(struct sim_file *f)
{
    for (size_t i = 0; i < f->pages_n; i++) {
        if (!f->pages[i].lost) {
            page_clean(&f->pages[i]);
        }
    }
    f->synced_size = f->size;
    f->sizes_n = 0;
}

void sim_file_sync_failed(struct sim_file *f, struct rng *rng, bool evict)
{
    for (size_t i = 0; i < f->pages_n; i++) {
        struct sim_page *p = &f->pages[i];
        if (p->cache == p->synced || p->lost) {
            continue;
        }
        if (rng_percent(rng, 50)) {
            page_clean(p);
        } else if (evict) {
            page_set_cache(p, p->synced);
        } else {
            p->lost = true;
        }
    }
}

void sim_file_writeback(struct sim_file *f, struct rng *rng)
{
    for (size_t i = 0; i < f->pages_n; i++) {
        struct sim_page *p = &f->pages[i];
        if (p->cache != p->synced && !p->lost && rng_percent(rng, 50)) {
            page_clean(p);
        }
    }
}

/* How the dirty sectors of one file fare; drawn once for each file and cut. */
enum fate {
    FATE_NONE,
    FATE_ALL,
    FATE_PAGES,
    FATE_SECTORS,
    FATE_EVERY_SECOND,
    FATE_PREFIX,
    FATE_SUFFIX,
    FATES
};

static bool survives(enum fate fate, uint64_t sector, uint64_t turn, bool page_coin,
                     struct rng *rng)
{
    switch (fate) {
    case FATE_NONE:
        return false;
    case FATE_ALL:
        return true;
    case FATE_PAGES:
        return page_coin;
    case FATE_SECTORS:
        return rng_percent(rng, 50);
    case FATE_EVERY_SECOND:
        return (sector / 8) % 2 == turn % 2;
    case FATE_PREFIX:
        return sector < turn;
    case FATE_SUFFIX:
        return sector >= turn;
    case FATES:
    default:
        BK_UNREACHABLE("fate");
    }
}

/* What survives of a dirty page becomes both its cached and its synced content. */
static void page_power_cut(struct sim_page *p, uint64_t first_sector, enum fate fate, uint64_t turn,
                           struct rng *rng)
{
    bool coin = rng_percent(rng, 50);
    uint8_t *left = bk_alloc(SIM_PAGE);
    memcpy(left, p->synced != NULL ? p->synced : zero_page, SIM_PAGE);
    const uint8_t *fresh = p->cache != NULL ? p->cache : zero_page;
    for (unsigned s = 0; s < SIM_PAGE / SECTOR; s++) {
        if (!p->lost && survives(fate, first_sector + s, turn, coin, rng)) {
            memcpy(left + s * SECTOR, fresh + s * SECTOR, SECTOR);
        }
    }
    page_drop_synced(p);
    page_set_cache(p, left);
    p->synced = left;
}

void sim_file_power_cut(struct sim_file *f, struct rng *rng)
{
    enum fate fate = (enum fate)rng_below(rng, FATES);
    uint64_t sectors = (f->size + SECTOR - 1) / SECTOR;
    uint64_t from = f->synced_size / SECTOR < sectors ? f->synced_size / SECTOR : 0;
    for (uint64_t i = 0; i < f->pages_n; i++) {
        if (f->pages[i].cache != f->pages[i].synced) {
            from = i * (SIM_PAGE /
                        SECTOR); /* the first dirty page: turns before it would change nothing */
            break;
        }
    }
    uint64_t turn = from + rng_below(rng, sectors - (from < sectors ? from : sectors) + 1);
    for (size_t i = 0; i < f->pages_n; i++) {
        if (f->pages[i].cache != f->pages[i].synced) {
            page_power_cut(&f->pages[i], (uint64_t)i * (SIM_PAGE / SECTOR), fate, turn, rng);
        }
    }
    if (f->sizes_n > 0) { /* the size it had at the last sync, one it has had since, or the last */
        uint64_t pick = rng_below(rng, f->sizes_n + 2u);
        f->size = pick == 0 ? f->synced_size : pick <= f->sizes_n ? f->sizes[pick - 1] : f->size;
    }
    cut_cache(f, f->size);
    for (size_t i = 0; i < f->pages_n; i++) {
        f->pages[i].lost = false;
    }
    sim_file_sync(f);
}

bool sim_file_is_durable(const struct sim_file *f)
{
    bool clean = f->sizes_n == 0 && f->size == f->synced_size;
    for (size_t i = 0; i < f->pages_n && clean; i++) {
        clean = f->pages[i].cache == f->pages[i].synced;
    }
    return clean;
}

uint64_t sim_file_charge(const struct sim_file *f)
{
    return (f->size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE;
}

struct sim_file *sim_file_copy(const struct sim_file *f)
{
    struct sim_file *copy = sim_file_new();
    grow_table(copy, f->size);
    copy->size = f->size;
    for (size_t i = 0; i < f->pages_n && i < copy->pages_n; i++) {
        if (f->pages[i].cache != NULL) {
            copy->pages[i].cache = bk_alloc(SIM_PAGE);
            memcpy(copy->pages[i].cache, f->pages[i].cache, SIM_PAGE);
        }
    }
    sim_file_sync(copy);
    return copy;
}
