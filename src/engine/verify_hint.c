/* SPDX-License-Identifier: MIT */
/*
 * verify_hint.c - is a hint complete and right? The entries that the data's records make and those
 * that the hint holds are summed up as hashes, in any order, so nothing is kept of either.
 */
#include "base/checksum.h"
#include "engine/hint_private.h"
#include "engine/keydir.h"
#include "engine/verify.h"

#include <stdlib.h>

/* A hint that cannot be read is made again like one that does not check. */
static void found_error(struct bki_verify *v, int rc, const struct bk_error *why)
{
    bki_verify_found(v, why->path, why->offset, 0,
                     rc == BK_EIO ? "the hint file cannot be read" : why->text);
}

static void found(struct bki_verify *v, const struct bki_verify_hint *vh, uint64_t offset,
                  const char *what)
{
    bki_verify_found(v, vh->hint.path, offset, 0, what);
}

void bki_verify_hint_begin(struct bki_verify *v, struct bki_verify_hint *vh,
                           const struct bki_file *f)
{
    struct bk_error why = {0};
    struct bki_file as_written = {.id = f->id, .uid = f->uid};
    *vh = (struct bki_verify_hint){0};
    /* A hint that lists the front of its file is right as far as it goes: nobody had the time to
     * make a longer one before the store was killed. */
    atomic_init(&as_written.state, BKI_FILE_ROTATED);
    atomic_init(&as_written.size, atomic_load(&f->size));
    if (!v->manifest_whole && !v->manifest_torn) {
        return; /* with it the seed of the hints' hashes is lost: they are made again */
    }
    int rc =
        bki_hint_open(&vh->hint, v->db->io, v->db->files.dir, &as_written, v->db->hash_seed, &why);
    vh->open = rc == BK_OK;
    if (rc != BK_OK && rc != BK_NOTFOUND) {
        found_error(v, rc, &why);
    }
}

static void add_entry(struct bki_verify *v, struct bki_verify_hint *vh,
                      const struct bki_hint_entry *e, uint64_t *sum)
{
    vh->entry.len = 0;
    bki_hint_entry_encode(e, &vh->entry);
    *sum += bki_key_hash(v->db->hash_seed, vh->entry.data, vh->entry.len);
}

void bki_verify_hint_record(struct bki_verify *v, struct bki_verify_hint *vh,
                            const struct bki_scan_item *it)
{
    enum bki_kind kind = it->rec.kind;
    if (!vh->open || it->offset >= vh->hint.info.covers) {
        return;
    }
    vh->last_seq = it->rec.seq;
    vh->max_seq = it->rec.seq > vh->max_seq ? it->rec.seq : vh->max_seq;
    if (kind == BKI_MAP && it->value_ok && it->value.len == it->rec.value_len) {
        uint8_t head[8] = {0};
        bk_put32(head, it->rec.value_len / 8);
        bk_buf_append(&vh->maps, head, sizeof head);
        bk_buf_append(&vh->maps, it->value.data, it->rec.value_len / 8 * 8);
    }
    if (kind == BKI_PUT || kind == BKI_DELETE || kind == BKI_LOST) {
        struct bki_hint_entry e = {.offset = it->offset,
                                   .size = it->size,
                                   .kind = kind,
                                   .flags = it->rec.flags,
                                   .space = it->rec.space,
                                   .expire_ms = it->rec.expire_ms,
                                   .key = it->key};
        add_entry(v, vh, &e, &vh->sum);
        vh->entries++;
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* No key of the part may be denied by its filter. */
static void ask_filter(struct bki_verify *v, struct bki_verify_hint *vh, uint32_t part,
                       struct bk_buf *values)
{
    size_t n = values->len / sizeof(uint64_t);
    uint64_t *asked = (uint64_t *)(void *)values->data;
    bool *maybe = bk_alloc_zero(n + 1, sizeof *maybe);
    bool all = true;
    if (n > 1) {
        qsort(asked, n, sizeof *asked, by_value);
    }
    int rc = bki_hint_filter(&vh->hint, part, asked, n, maybe, NULL);
    for (size_t i = 0; i < n; i++) {
        all = all && maybe[i];
    }
    free(maybe);
    if (rc != BK_OK || !all) {
        found(v, vh, vh->hint.codes[part].offset,
              rc == BK_EIO ? "the filter cannot be read" : "the filter does not check");
    }
}

/* False: the part does not check, which has been told. */
static bool walk_part(struct bki_verify *v, struct bki_verify_hint *vh, uint32_t part,
                      uint64_t *sum, uint64_t *n)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    struct bk_buf values = {0};
    struct bk_error why = {0};
    uint64_t before = 0;
    int rc = bki_hint_part_begin(&c, &vh->hint, part, v->db->hash_seed);
    bk_buf_reserve(&values, sizeof(uint64_t));
    while (rc == BK_OK && (rc = bki_hint_next(&c, &e, &why)) == BK_OK) {
        uint64_t value = bki_filter_value(e.hash, e.space);
        bk_buf_append(&values, &value, sizeof value);
        add_entry(v, vh, &e, sum);
        if (e.offset < before) {
            found(v, vh, 0, "entries are not in the order of the data file");
        }
        before = e.offset;
        (*n)++;
    }
    bki_hint_part_end(&c);
    if (rc == BK_NOTFOUND) {
        ask_filter(v, vh, part, &values);
    } else {
        found_error(v, rc, &why);
    }
    bk_buf_fini(&values);
    return rc == BK_NOTFOUND;
}

void bki_verify_hint_end(struct bki_verify *v, struct bki_verify_hint *vh, bool damaged)
{
    uint64_t sum = 0;
    uint64_t n = 0;
    bool whole = true;
    if (!vh->open) {
        return;
    }
    const struct bki_hint_info *info = &vh->hint.info;
    for (uint32_t part = 0; part < info->parts; part++) {
        whole = walk_part(v, vh, part, &sum, &n) && whole;
    }
    if (whole && !damaged) {
        if (sum != vh->sum || n != vh->entries || info->entries != n) {
            found(v, vh, 0, "the entries are not the records of the data file");
        }
        if (info->max_seq != vh->max_seq || info->last_seq != vh->last_seq || info->damaged != 0) {
            found(v, vh, 0, "the numbers in the header are not those of the data file");
        }
        if (!bk_span_eq(bk_buf_span(&vh->hint.maps), bk_buf_span(&vh->maps))) {
            found(v, vh, 0, "the maps of databases are not those of the data file");
        }
    }
    bki_hint_close(&vh->hint);
    bk_buf_fini(&vh->maps);
    bk_buf_fini(&vh->entry);
}
