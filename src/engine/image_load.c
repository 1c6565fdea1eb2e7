/* SPDX-License-Identifier: MIT */
/*
 * image_load.c - from an image to keydirs, stripe by stripe, in a few threads.
 *
 * Everything is built beside the store and handed over at the end, so that an image that turns out
 * not to check has changed nothing. Besides the blocks' CRCs every entry must be whole and name a
 * place inside a file, and for every file size = header + live + dead + guards (F1) must come out.
 * What the CRCs vouch for and nobody else looks at: that an entry is in the bucket of its hash.
 */
#include "engine/image_private.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/log.h"
#include "engine/bucket.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 8u

/* Where records of a slot's file may lie. */
struct bounds {
    uint64_t first, end;
};

struct loader {
    struct recover *r;
    char path[BKI_PATH_MAX];
    int fd;
    struct bki_image im;   /* owned */
    uint64_t *owner;       /* owned: by address page, as bki_pages_restore wants it */
    struct bounds *bounds; /* owned: by slot */
    uint32_t slots;
    struct bki_keydir **keydir; /* owned, as what it points to until handed over */
    /* Shared by the workers. */
    atomic_uint next; /* the next stripe: database * BKI_KD_STRIPES + stripe */
    atomic_int rc;    /* the first failure; the others stop then */
};

struct worker {
    struct loader *l;
    uint64_t *live;      /* owned: bytes by slot */
    struct bk_buf block; /* owned */
    pthread_t thread;
    bool started;
};

/* ---- Does it belong to this store? ---- */

static int read_at(struct loader *l, void *to, uint64_t bytes, uint64_t offset,
                   struct bk_error *err)
{
    size_t got = 0;
    int rc = bki_io_read_all(l->r->db->io, l->fd, to, bytes, offset, &got, l->path, err);
    return rc == BK_OK && got < bytes ? BK_CORRUPT : rc;
}

static int read_head(struct loader *l, struct bk_error *err)
{
    const struct bk_io *io = l->r->db->io;
    uint8_t fixed[BKI_IMAGE_FIXED];
    struct bk_buf head = {0};
    int64_t size = io->size(io->arg, l->fd);
    int rc = size < (int64_t)sizeof fixed ? BK_CORRUPT : read_at(l, fixed, sizeof fixed, 0, err);
    uint64_t bytes = rc == BK_OK ? bki_image_peek(fixed) : 0;
    if (bytes == 0 || bytes > (uint64_t)size) {
        return BK_CORRUPT;
    }
    rc = read_at(l, bk_buf_reserve(&head, bytes), bytes, 0, err);
    if (rc == BK_OK) {
        rc = bki_image_decode(&l->im, head.data, bytes);
    }
    bk_buf_fini(&head);
    return rc == BK_OK && l->im.bytes != (uint64_t)size ? BK_CORRUPT : rc;
}

static bool same_file(const struct recover *r, uint32_t i, const struct bki_image_file *is)
{
    const struct bki_file *f = r->files[i].file;
    const struct bki_manifest_file *mf = &r->db->files.manifest.state.files[i];
    return mf->sealed && mf->size == is->size && atomic_load(&f->size) == is->size &&
           f->id == is->id && f->uid == is->uid && f->rank == is->rank && mf->id == is->id;
}

/* The manifest and the files are what they were when it was written. */
static bool fits(const struct loader *l)
{
    const struct recover *r = l->r;
    const struct bki_manifest_state *ms = &r->db->files.manifest.state;
    bool ok = l->im.store == ms->store && l->im.hash_seed == ms->hash_seed &&
              l->im.edits == ms->edits && l->im.next_seq >= ms->next_seq &&
              l->im.files_n == ms->files_n && r->n == ms->files_n;
    for (uint32_t i = 0; ok && i < r->n; i++) {
        ok = same_file(r, i, &l->im.files[i]);
    }
    return ok;
}

/* Gives each address page to the file that had it; no page to two. */
static bool lay_out_pages(struct loader *l)
{
    bool ok = true;
    l->slots = atomic_load(&l->r->db->files.slots_n);
    l->bounds = bk_alloc_zero((size_t)l->slots + 1, sizeof *l->bounds);
    l->owner = bk_alloc(BKI_PAGES * sizeof *l->owner);
    memset(l->owner, 0xff, BKI_PAGES * sizeof *l->owner);
    for (uint32_t i = 0; i < l->im.files_n; i++) {
        const struct bki_image_file *is = &l->im.files[i];
        const struct bki_file *f = l->r->files[i].file;
        l->bounds[f->slot] = (struct bounds){f->header_bytes, is->size};
        for (uint32_t k = 0; ok && k < is->pages_n; k++) {
            uint32_t page = is->pages[k];
            if (page == BKI_NO_PAGE) {
                continue;
            }
            ok = page > 0 && page < BKI_PAGES && l->owner[page] == BKI_NO_OWNER;
            if (ok) {
                l->owner[page] = (uint64_t)f->slot << 32 | k;
            }
        }
    }
    return ok;
}

static bool make_keydirs(struct loader *l)
{
    l->keydir = bk_alloc_zero((size_t)l->im.databases_n + 1, sizeof(struct bki_keydir *));
    for (uint32_t i = 0; i < l->im.databases_n; i++) {
        uint32_t num = l->im.databases[i].num;
        if (num > BK_DATABASES_MAX || (i > 0 && num <= l->im.databases[i - 1].num)) {
            return false;
        }
        l->keydir[i] = bki_keydir_new(bki_spacemap_get(&l->im.map, num), l->im.hash_seed,
                                      bk_clock_wall_ms(l->r->db->clock), &l->r->db->reclaim);
    }
    return true;
}

/* ---- Stripes ---- */

/* Entries of one bucket: whole, and in place. */
static bool check_bucket(struct worker *w, const uint64_t *p, uint64_t units)
{
    const struct loader *l = w->l;
    while (units > 0) {
        struct bki_entry e;
        struct bk_span key;
        uint64_t n = bki_entry_units_within(p, units);
        if (n == 0) {
            return false;
        }
        bki_entry_read(p, &e, &key);
        uint64_t owner = l->owner[e.loc >> (BKI_PAGE_SHIFT - 3)];
        /* In the one form that the keydir writes, since it may write it anew. */
        if (owner == BKI_NO_OWNER || e.size % 8 != 0 || n != bki_entry_units(&e, key.len)) {
            return false;
        }
        const struct bounds *b = &l->bounds[owner >> 32];
        uint64_t offset = (owner & UINT32_MAX) << BKI_PAGE_SHIFT |
                          (e.loc & ((1u << (BKI_PAGE_SHIFT - 3)) - 1)) << 3;
        if (e.size == 0 || offset < b->first || offset > b->end || e.size > b->end - offset) {
            return false;
        }
        w->live[owner >> 32] += e.size;
        p += n;
        units -= n;
    }
    return true;
}

static bool check_block(struct worker *w, uint32_t buckets)
{
    const uint64_t *p = (const uint64_t *)(const void *)w->block.data;
    uint64_t left = w->block.len / 8;
    for (uint32_t i = 0; i < buckets; i++) {
        if (left == 0 || *p > left - 1 || !check_bucket(w, p + 1, *p)) {
            return false;
        }
        left -= *p + 1;
        p += *p + 1;
    }
    return left == 0;
}

/* Reads and checks the block at *offset, which must end before end; moves on. */
static int read_block(struct worker *w, uint64_t *offset, uint64_t end, uint32_t *buckets,
                      struct bk_error *err)
{
    struct loader *l = w->l;
    uint8_t head[BKI_IMAGE_BLOCK_HEAD];
    uint64_t left = end - *offset;
    int rc = left < sizeof head ? BK_CORRUPT : read_at(l, head, sizeof head, *offset, err);
    if (rc != BK_OK) {
        return rc;
    }
    uint64_t bytes = bk_get64(head);
    *buckets = bk_get32(head + 8);
    if (bytes > left - sizeof head || bytes % 8 != 0) {
        return BK_CORRUPT;
    }
    w->block.len = 0;
    rc = read_at(l, bk_buf_reserve(&w->block, bytes), bytes, *offset + sizeof head, err);
    w->block.len = bytes;
    if (rc == BK_OK && (bk_get32(head + 12) !=
                            bki_image_block_crc(&l->im, *offset, bytes, *buckets, w->block.data) ||
                        !check_block(w, *buckets))) {
        rc = BK_CORRUPT;
    }
    *offset += sizeof head + bytes;
    atomic_fetch_add_explicit(&l->r->progress->bytes_done, sizeof head + bytes,
                              memory_order_relaxed);
    return rc;
}

static int load_stripe(struct worker *w, uint32_t item, struct bk_error *err)
{
    struct loader *l = w->l;
    const struct bki_image_stripe *s =
        &l->im.databases[item / BKI_KD_STRIPES].stripe[item % BKI_KD_STRIPES];
    struct bki_keydir *kd = l->keydir[item / BKI_KD_STRIPES];
    unsigned index = item % BKI_KD_STRIPES;
    uint64_t at = s->offset;
    uint32_t bucket = 0;
    struct bki_keydir_shape got;
    int rc = BK_OK;
    /* A bucket takes a word at least, so no false number asks for more memory than the file has. */
    if (at > l->im.bytes || s->bytes > l->im.bytes - at || s->shape.buckets > s->bytes / 8 ||
        s->shape.buckets > BKI_KD_BUCKETS_MAX) {
        return BK_CORRUPT;
    }
    if (s->shape.buckets > 0) {
        bki_keydir_load_shape(kd, index, s->shape.buckets);
    }
    while (rc == BK_OK && bucket < s->shape.buckets) {
        uint32_t n = 0;
        rc = read_block(w, &at, s->offset + s->bytes, &n, err);
        if (rc == BK_OK && (n == 0 || n > s->shape.buckets - bucket)) {
            rc = BK_CORRUPT;
        }
        if (rc == BK_OK) {
            bki_keydir_load(kd, index, bucket, (const uint64_t *)(const void *)w->block.data, n);
            bucket += n;
            rc = bki_recover_wanted(l->r, err);
        }
    }
    bki_keydir_shape(kd, index, &got);
    if (rc == BK_OK && (got.keys != s->shape.keys || got.expiring != s->shape.expiring)) {
        rc = BK_CORRUPT;
    }
    atomic_fetch_add_explicit(&l->r->progress->keys, got.keys, memory_order_relaxed);
    return rc;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct loader *l = w->l;
    struct bk_error err = {0};
    uint32_t items = l->im.databases_n * BKI_KD_STRIPES;
    uint32_t item;
    while (atomic_load(&l->rc) == BK_OK && (item = atomic_fetch_add(&l->next, 1)) < items) {
        int rc = load_stripe(w, item, &err);
        int none = BK_OK;
        if (rc != BK_OK) {
            atomic_compare_exchange_strong(&l->rc, &none, rc);
        }
    }
    return NULL;
}

/* F1, which was true when the image was written. */
static bool bytes_add_up(const struct loader *l, const uint64_t *live)
{
    bool ok = true;
    for (uint32_t i = 0; i < l->im.files_n; i++) {
        const struct bki_image_file *is = &l->im.files[i];
        const struct bki_file *f = l->r->files[i].file;
        uint64_t left = is->size - f->header_bytes;
        ok = ok && is->dead <= left && is->guard <= left - is->dead &&
             live[f->slot] == left - is->dead - is->guard;
    }
    return ok;
}

static uint32_t threads_for(const struct loader *l)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = cores < 1 ? 1 : cores > (long)THREADS_MAX ? THREADS_MAX : (uint32_t)cores;
    return l->r->alone || l->im.bytes < BKI_IMAGE_BLOCK ? 1 : n;
}

/* The calling thread works too; helpers that cannot be had are not missed. */
static int load_stripes(struct loader *l)
{
    struct worker workers[THREADS_MAX] = {{0}};
    uint32_t n = threads_for(l);
    for (uint32_t i = 0; i < n; i++) {
        workers[i].l = l;
        workers[i].live = bk_alloc_zero((size_t)l->slots + 1, sizeof *workers[i].live);
    }
    for (uint32_t i = 1; i < n; i++) {
        workers[i].started =
            pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0;
    }
    worker_main(&workers[0]);
    for (uint32_t i = 0; i < n; i++) {
        if (workers[i].started) {
            int joined = pthread_join(workers[i].thread, NULL);
            BK_ASSERT(joined == 0);
        }
        for (uint32_t k = 0; i > 0 && k < l->slots; k++) {
            workers[0].live[k] += workers[i].live[k];
        }
    }
    int rc = atomic_load(&l->rc);
    if (rc == BK_OK && !bytes_add_up(l, workers[0].live)) {
        rc = BK_CORRUPT;
    }
    for (uint32_t i = 0; i < n; i++) {
        free(workers[i].live);
        bk_buf_fini(&workers[i].block);
    }
    return rc;
}

/* ---- Taking it over ---- */

static void hand_over(struct loader *l)
{
    struct bk_db *db = l->r->db;
    uint64_t keys = 0;
    for (uint32_t i = 0; i < l->im.files_n; i++) {
        struct bki_file *f = l->r->files[i].file;
        struct bki_image_file *is = &l->im.files[i];
        BK_ASSERT(f->pages == NULL);
        f->pages = is->pages;
        f->pages_n = is->pages_n;
        is->pages = NULL;
        atomic_store(&f->dead_bytes, is->dead);
        atomic_store(&f->guard_bytes, is->guard);
    }
    bki_pages_restore(&db->files.pages, l->owner);
    for (uint32_t i = 0; i < l->im.databases_n; i++) {
        keys += bki_keydir_count(l->keydir[i]);
        atomic_store(&db->keydir[l->im.databases[i].num], l->keydir[i]);
        l->keydir[i] = NULL;
    }
    bki_spacemap_copy(&db->log.map, &l->im.map);
    l->r->max_seq = l->im.next_seq - 1;
    atomic_store(&db->recovered_records, keys);
}

static int load(struct loader *l, struct bk_error *err)
{
    struct bk_progress *p = l->r->progress;
    int rc = read_head(l, err);
    if (rc != BK_OK) {
        return rc;
    }
    if (!fits(l)) {
        return BK_NOTFOUND;
    }
    if (!lay_out_pages(l) || !make_keydirs(l)) {
        return BK_CORRUPT;
    }
    atomic_store_explicit(&p->bytes_total, l->im.bytes, memory_order_relaxed);
    atomic_store_explicit(&p->bytes_done, bki_image_head_bytes(&l->im), memory_order_relaxed);
    rc = load_stripes(l);
    if (rc == BK_OK) {
        hand_over(l);
        atomic_store_explicit(&p->files_done, l->r->n, memory_order_relaxed);
    }
    return rc;
}

static void loader_fini(struct loader *l)
{
    for (uint32_t i = 0; l->keydir != NULL && i < l->im.databases_n; i++) {
        bki_keydir_free(&l->keydir[i]);
    }
    free(l->keydir);
    free(l->owner);
    free(l->bounds);
    bki_image_fini(&l->im);
}

int bki_image_load(struct recover *r, struct bk_error *err)
{
    const struct bk_io *io = r->db->io;
    struct loader l = {.r = r};
    bki_image_path(r->db, "KEYDIR", l.path);
    l.fd = r->manifest.end == BKI_MANIFEST_WHOLE && atomic_load(&r->db->damage.records) == 0
               ? io->open(io->arg, l.path, BK_IO_READ)
               : -ENOENT;
    if (l.fd < 0) {
        return BK_NOTFOUND;
    }
    int rc = load(&l, err);
    io->close(io->arg, l.fd);
    loader_fini(&l);
    if (rc == BK_OK || rc == BK_ECANCELED) {
        return rc == BK_OK ? BK_OK : bki_recover_wanted(r, err);
    }
    r->db->image_refused = true;
    if (rc == BK_NOTFOUND) {
        bk_log(BK_LOG_NOTICE,
               "The index image %s is not used: it belongs to another state of the store", l.path);
    } else {
        struct bki_damage_at at = {.path = l.path,
                                   .what = "the index image does not check and is not used"};
        bki_damage_index(&r->db->damage, &at);
    }
    return BK_NOTFOUND;
}
