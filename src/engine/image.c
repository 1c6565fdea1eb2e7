/* SPDX-License-Identifier: MIT */
/* image.c - the bytes of an image's head; where an image lies; how it goes. */
#include "engine/image_private.h"

#include "base/checksum.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_FIXED 56u
#define STRIPE_BYTES 40u
#define DATABASE_BYTES (8u + STRIPE_BYTES * BKI_KD_STRIPES)
#define TAIL_BYTES 8u /* CRC, 4 zeros */
#define WORD_ORDER 0x01020304u

void bki_image_fini(struct bki_image *im)
{
    for (uint32_t i = 0; i < im->files_n; i++) {
        free(im->files[i].pages);
    }
    free(im->files);
    free(im->databases);
    bki_spacemap_fini(&im->map);
    *im = (struct bki_image){0};
}

void bki_image_path(const struct bk_db *db, const char *name, char path[BKI_PATH_MAX])
{
    snprintf(path, BKI_PATH_MAX, "%s/%s", db->files.dir, name);
}

int bki_image_remove(struct bk_db *db, struct bk_error *err)
{
    static const char *const names[] = {"KEYDIR", "KEYDIR.new"};
    bool removed = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[BKI_PATH_MAX];
        bki_image_path(db, names[i], path);
        int rc = db->io->unlink(db->io->arg, path);
        if (rc < 0 && rc != -ENOENT) {
            return bki_io_fail(err, rc, path, 0, "unlink");
        }
        removed |= rc == 0;
    }
    int rc = removed ? db->io->sync_dir(db->io->arg, db->files.dir) : 0;
    return rc < 0 ? bki_io_fail(err, rc, db->files.dir, 0, "sync directory") : BK_OK;
}

uint32_t bki_image_block_crc(const struct bki_image *im, uint64_t offset, uint64_t bytes,
                             uint32_t buckets, const void *payload)
{
    uint8_t head[48];
    bk_put64(head, im->store);
    bk_put64(head + 8, im->edits);
    bk_put64(head + 16, im->next_seq);
    bk_put64(head + 24, offset);
    bk_put64(head + 32, bytes);
    bk_put64(head + 40, buckets);
    return bk_crc32c(bk_crc32c(0, head, sizeof head), payload, bytes);
}

/* ---- Out ---- */

uint64_t bki_image_head_bytes(const struct bki_image *im)
{
    uint64_t bytes = BKI_IMAGE_FIXED + (uint64_t)im->map.n * 8 +
                     (uint64_t)im->databases_n * DATABASE_BYTES + TAIL_BYTES;
    for (uint32_t i = 0; i < im->files_n; i++) {
        bytes += FILE_FIXED + ((uint64_t)im->files[i].pages_n + 1) / 2 * 8;
    }
    return bytes;
}

static void put32(struct bk_buf *out, uint32_t v)
{
    bk_put32(bk_buf_reserve(out, 4), v);
    out->len += 4;
}

static void put64(struct bk_buf *out, uint64_t v)
{
    bk_put64(bk_buf_reserve(out, 8), v);
    out->len += 8;
}

static void put_fixed(const struct bki_image *im, struct bk_buf *out)
{
    uint32_t order = WORD_ORDER;
    bk_buf_append(out, BKI_IMAGE_MAGIC, 8);
    put32(out, 1); /* major 1, minor 0 */
    put32(out, (uint32_t)bki_image_head_bytes(im));
    put64(out, im->store);
    put64(out, im->hash_seed);
    put64(out, im->edits);
    put64(out, im->next_seq);
    put64(out, im->bytes);
    bk_buf_append(out, &order, 4);
    put32(out, BKI_KD_STRIPES);
    put32(out, BKI_PAGE_SHIFT);
    put32(out, im->map.next);
    put32(out, im->map.n);
    put32(out, im->files_n);
    put32(out, im->databases_n);
    put32(out, 0);
}

static void put_file(const struct bki_image_file *f, struct bk_buf *out)
{
    put64(out, f->id);
    put64(out, f->uid);
    put64(out, f->rank);
    put64(out, f->size);
    put64(out, f->dead);
    put64(out, f->guard);
    put32(out, f->pages_n);
    put32(out, 0);
    for (uint32_t i = 0; i < f->pages_n; i++) {
        put32(out, f->pages[i]);
    }
    if (f->pages_n % 2 != 0) {
        put32(out, 0);
    }
}

void bki_image_encode(const struct bki_image *im, struct bk_buf *out)
{
    put_fixed(im, out);
    for (uint32_t i = 0; i < im->files_n; i++) {
        put_file(&im->files[i], out);
    }
    bki_spacemap_encode(&im->map, out);
    for (uint32_t i = 0; i < im->databases_n; i++) {
        const struct bki_image_database *d = &im->databases[i];
        put32(out, d->num);
        put32(out, 0);
        for (uint32_t k = 0; k < BKI_KD_STRIPES; k++) {
            put64(out, d->stripe[k].offset);
            put64(out, d->stripe[k].bytes);
            put64(out, d->stripe[k].shape.keys);
            put64(out, d->stripe[k].shape.expiring);
            put32(out, d->stripe[k].shape.buckets);
            put32(out, 0);
        }
    }
    put32(out, bk_crc32c(0, out->data, out->len));
    put32(out, 0);
}

/* ---- In ---- */

/* What is left of a head; running out of it is noted, and reads as zero. */
struct reader {
    const uint8_t *p;
    size_t left;
    bool short_of;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    static const uint8_t zeros[8];
    if (n > r->left) {
        r->short_of = true;
        return zeros;
    }
    const uint8_t *p = r->p;
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t get32(struct reader *r)
{
    return bk_get32(take(r, 4));
}

static uint64_t get64(struct reader *r)
{
    return bk_get64(take(r, 8));
}

uint64_t bki_image_peek(const uint8_t fixed[BKI_IMAGE_FIXED])
{
    uint64_t head = bk_get32(fixed + 12);
    bool ours = memcmp(fixed, BKI_IMAGE_MAGIC, 8) == 0 && bk_get16(fixed + 8) == 1;
    return ours && head >= BKI_IMAGE_FIXED + TAIL_BYTES && head <= BKI_IMAGE_HEAD_MAX ? head : 0;
}

static void get_file(struct reader *r, struct bki_image_file *f)
{
    f->id = get64(r);
    f->uid = get64(r);
    f->rank = get64(r);
    f->size = get64(r);
    f->dead = get64(r);
    f->guard = get64(r);
    uint32_t pages = get32(r);
    get32(r);
    if (r->short_of || pages > r->left / 4) {
        r->short_of = true;
        return;
    }
    f->pages = bk_alloc((size_t)pages * sizeof *f->pages);
    f->pages_n = pages;
    for (uint32_t i = 0; i < pages; i++) {
        f->pages[i] = get32(r);
    }
    if (pages % 2 != 0) {
        get32(r);
    }
}

static void get_database(struct reader *r, struct bki_image_database *d)
{
    d->num = get32(r);
    get32(r);
    for (uint32_t k = 0; k < BKI_KD_STRIPES; k++) {
        struct bki_image_stripe *s = &d->stripe[k];
        s->offset = get64(r);
        s->bytes = get64(r);
        s->shape.keys = get64(r);
        s->shape.expiring = get64(r);
        s->shape.buckets = get32(r);
        get32(r);
    }
}

static int get_tables(struct reader *r, struct bki_image *im, uint32_t files, uint32_t map,
                      uint32_t databases)
{
    if (files > r->left / FILE_FIXED) {
        return BK_CORRUPT;
    }
    im->files = bk_alloc_zero((size_t)files + 1, sizeof *im->files);
    im->files_n = files;
    for (uint32_t i = 0; i < files && !r->short_of; i++) {
        get_file(r, &im->files[i]);
    }
    if (r->short_of || map > r->left / 8 || map > BK_DATABASES_MAX) {
        return BK_CORRUPT;
    }
    uint32_t next = im->map.next;
    int rc = bki_spacemap_apply(&im->map, take(r, (size_t)map * 8), map);
    im->map.next = next;
    if (rc != BK_OK || r->short_of || databases > r->left / DATABASE_BYTES) {
        return BK_CORRUPT;
    }
    im->databases = bk_alloc_zero((size_t)databases + 1, sizeof *im->databases);
    im->databases_n = databases;
    for (uint32_t i = 0; i < databases; i++) {
        get_database(r, &im->databases[i]);
    }
    return r->short_of || r->left != 0 ? BK_CORRUPT : BK_OK;
}

int bki_image_decode(struct bki_image *im, const uint8_t *bytes, size_t len)
{
    uint32_t order;
    if (len < BKI_IMAGE_FIXED + TAIL_BYTES || bki_image_peek(bytes) != len ||
        bk_get64(bytes + len - TAIL_BYTES) != bk_crc32c(0, bytes, len - TAIL_BYTES)) {
        return BK_CORRUPT;
    }
    struct reader r = {bytes + 16, len - TAIL_BYTES - 16, false};
    im->store = get64(&r);
    im->hash_seed = get64(&r);
    im->edits = get64(&r);
    im->next_seq = get64(&r);
    im->bytes = get64(&r);
    memcpy(&order, take(&r, 4), 4);
    uint32_t stripes = get32(&r);
    uint32_t page_shift = get32(&r);
    bki_spacemap_init(&im->map);
    im->map.next = get32(&r);
    uint32_t map = get32(&r);
    uint32_t files = get32(&r);
    uint32_t databases = get32(&r);
    get32(&r);
    if (order != WORD_ORDER || stripes != BKI_KD_STRIPES || page_shift != BKI_PAGE_SHIFT) {
        return BK_CORRUPT; /* of another machine or another build: not for us */
    }
    return get_tables(&r, im, files, map, databases);
}
