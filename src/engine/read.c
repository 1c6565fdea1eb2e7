/* SPDX-License-Identifier: MIT */
/*
 * read.c - look-ups without a lock, and the one read that a look-up may cost.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "engine/bucket.h"
#include "engine/db_private.h"

#include <errno.h>
#include <stdlib.h>

#define LOCATE_TRIES 3

void bk_item_fini(struct bk_item *item)
{
    bk_buf_fini(&item->buf);
    bk_block_unref(&item->block);
    *item = (struct bk_item){0};
}

/* ---- Look-ups ---- */

void bki_db_find(struct bk_db *db, uint32_t num, const struct bk_key *key, struct bk_item *item)
{
    struct bki_entry e;
    uint64_t pos = 0;
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    item->value = bk_span_of(NULL, 0);
    unsigned pin = bki_pin(&db->files.pins);
    if (kd != NULL &&
        (key->quiet ? bki_keydir_find(kd, key, &e, &pos) : bki_keydir_use(kd, key, &e, &pos))) {
        uint64_t offset;
        const struct bki_file *f = bki_files_at(&db->files, e.loc, &offset);
        item->at = e.loc;
        item->expire_ms = e.expire_ms;
        item->flags = e.type;
        item->age = e.age;
        item->size = e.size;
        uint64_t record = bki_log_record_pos(f, offset, e.size, committed);
        item->pos = pos > committed && pos > record ? pos : record;
        bki_unpin(&db->files.pins, pin);
        return;
    }
    bki_unpin(&db->files.pins, pin);
    item->at = 0;
    item->expire_ms = 0;
    item->flags = 0;
    item->size = 0;
    item->pos = pos <= committed ? 0 : pos;
}

static void find_all(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys, size_t n,
                     struct bk_item *items)
{
    for (size_t i = 0; i < n; i++) {
        bki_db_find(db, nums[i], &keys[i], &items[i]);
    }
}

/* One try without locks: true if no stripe changed while the keys were looked up. The sum of the
 * versions stands for them all: versions only rise. */
static bool locate_unlocked(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys,
                            size_t n, struct bk_item *items)
{
    uint64_t before = 0;
    uint64_t after = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned v = bki_keylock_version(db->locks, bki_keylock_of(keys[i].hash));
        if (v % 2 != 0) {
            return false;
        }
        before += v;
    }
    find_all(db, nums, keys, n, items);
    atomic_thread_fence(memory_order_acquire);
    for (size_t i = 0; i < n; i++) {
        after += bki_keylock_version(db->locks, bki_keylock_of(keys[i].hash));
    }
    return before == after;
}

static void locate_locked(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys,
                          size_t n, struct bk_item *items)
{
    uint64_t stripes[BKI_KEYLOCKS / 64] = {0};
    for (size_t i = 0; i < n; i++) {
        uint32_t s = bki_keylock_of(keys[i].hash);
        stripes[s / 64] |= (uint64_t)1 << (s % 64);
    }
    for (uint32_t s = 0; s < BKI_KEYLOCKS; s++) {
        if ((stripes[s / 64] >> (s % 64) & 1) != 0) {
            bki_keylock_lock(db->locks, s);
        }
    }
    find_all(db, nums, keys, n, items);
    for (uint32_t s = 0; s < BKI_KEYLOCKS; s++) {
        if ((stripes[s / 64] >> (s % 64) & 1) != 0) {
            bki_keylock_unlock(db->locks, s);
        }
    }
}

void bk_prefetch(struct bk_db *db, uint32_t num, const struct bk_key *keys, size_t n)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    uint64_t locs[BK_PREFETCH_MAX];
    BK_ASSERT(n <= BK_PREFETCH_MAX);
    if (kd != NULL) {
        for (size_t i = 0; i < n; i++) {
            __builtin_prefetch(&db->locks->stripe[bki_keylock_of(keys[i].hash)]);
        }
        bki_keydir_prefetch(kd, keys, n, locs);
        bki_cache_prefetch(db->cache, locs, n);
    }
}

/* Of several keys; of one it would take longer than it saves. */
static void prefetch_all(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys,
                         size_t n)
{
    for (size_t first = 0, end; first < n; first = end) {
        end = first + 1;
        while (end < n && end - first < BK_PREFETCH_MAX && nums[end] == nums[first]) {
            end++;
        }
        if (end - first > 1) {
            bk_prefetch(db, nums[first], keys + first, end - first);
        }
    }
}

void bk_locate(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys, size_t n,
               struct bk_item *items)
{
    BK_ASSERT(n > 0);
    prefetch_all(db, nums, keys, n);
    for (int i = 0; i < LOCATE_TRIES; i++) {
        if (locate_unlocked(db, nums, keys, n, items)) {
            return;
        }
    }
    locate_locked(db, nums, keys, n, items);
}

/* ---- Values ---- */

static int damaged(struct bk_db *db, const struct bki_stored *s, uint64_t size,
                   const struct bk_key *key, struct bk_error *err)
{
    struct bki_damage_at at = {.path = s->file->path,
                               .offset = s->offset,
                               .bytes = size,
                               .what = "a key's value, its reads answer an error",
                               .key = key->bytes,
                               .has_key = true};
    bki_damage_note(&db->damage, &at);
    return bk_error_set(err, BK_CORRUPT, 0, s->file->path, s->offset,
                        "a record of %llu bytes does not check", (unsigned long long)size);
}

int bki_record_gone(struct bk_db *db, const struct bki_stored *s, const struct bk_key *key,
                    const struct bk_item *item, struct bk_error *err)
{
    return item->pos != 0 ? BK_CHANGED : damaged(db, s, item->size, key, err);
}

int bki_record_open(struct bk_db *db, const struct bki_stored *s, const struct bk_key *key,
                    struct bk_item *item, struct bk_error *err)
{
    struct bki_record r;
    const uint8_t *p = s->bytes.data;
    size_t have = s->bytes.len;
    if (bki_record_peek(p, have, item->size, &r) != BK_OK ||
        have < (size_t)bki_record_value_offset(&r) || !bki_record_check(&r, p, s->file->seed)) {
        return damaged(db, s, item->size, key, err);
    }
    struct bk_span stored = bk_span_of(p + bki_record_key_offset(&r), r.key_len);
    if (r.kind == BKI_LOST) {
        return damaged(db, s, item->size, key, err);
    }
    if (r.kind != BKI_PUT || !bk_span_eq(stored, key->bytes)) {
        return bki_record_gone(db, s, key, item, err);
    }
    size_t front = (size_t)bki_record_value_offset(&r);
    const uint8_t *table = p + bki_record_key_offset(&r) + r.key_len;
    if (item->block == NULL) {
        if (have < front + r.value_len) {
            return damaged(db, s, item->size, key, err);
        }
        item->value = bk_span_of(p + front, r.value_len);
        if (!bki_value_check(&r, item->value.data, table)) {
            return damaged(db, s, item->size, key, err);
        }
    }
    item->flags = r.flags;
    return BK_OK;
}

static void count_read(struct bk_db *db, uint64_t bytes)
{
    bki_count(&db->reads, BKI_DISK_READS, 1);
    bki_count(&db->reads, BKI_DISK_READ_BYTES, bytes);
}

static int read_record(struct bk_db *db, const struct bki_stored *s, struct bk_item *item,
                       struct bk_error *err)
{
    size_t got = 0;
    item->buf.len = 0;
    uint8_t *p = bk_buf_reserve(&item->buf, (size_t)item->size);
    int rc = bki_io_read_all(db->io, s->file->fd, p, (size_t)item->size, s->offset, &got,
                             s->file->path, err);
    item->buf.len = got;
    count_read(db, got);
    return rc;
}

/* The same if no disk has to be waited for: BK_READING, unless all of it is there. Whatever else
 * is wrong, the read that waits finds out. */
static int read_cached(struct bk_db *db, const struct bki_stored *s, struct bk_item *item)
{
    const struct bk_io *io = db->io;
    item->buf.len = 0;
    uint8_t *p = bk_buf_reserve(&item->buf, (size_t)item->size);
    int64_t n = io->pread_cached == NULL
                    ? -EAGAIN
                    : io->pread_cached(io->arg, s->file->fd, p, (size_t)item->size, s->offset);
    if (n < 0 || (uint64_t)n < item->size) {
        return BK_READING;
    }
    item->buf.len = (size_t)item->size;
    count_read(db, item->size);
    return BK_OK;
}

/* The file ends before the record. */
static bool was_undone(const struct bki_stored *s, const struct bk_item *item)
{
    return s->offset + item->size > atomic_load_explicit(&s->file->size, memory_order_acquire);
}

static int load(struct bk_db *db, const struct bk_key *key, struct bk_item *item, bool may_wait,
                struct bk_error *err)
{
    BK_ASSERT(item->at != 0 && item->at != UINT64_MAX);
    struct bki_stored s = {0};
    s.file = bki_files_at(&db->files, item->at, &s.offset);
    bk_block_unref(&item->block);
    item->buf.len = 0;
    if (was_undone(&s, item)) {
        return bki_record_gone(db, &s, key, item, err);
    }
    if (bki_cache_get(db->cache, item->at, &item->buf, &item->flags)) {
        item->value = bk_buf_span(&item->buf);
        return BK_OK;
    }
    bool buffered = bki_log_read(&db->log, s.file, s.offset, item->size, &item->buf, &item->block,
                                 &item->value);
    int rc = BK_OK;
    if (buffered) {
        bki_count(&db->reads, BKI_BUFFER_READS, 1);
    } else if (was_undone(&s, item)) {
        /* It was still in the buffer when its file's end was looked at. */
        return bki_record_gone(db, &s, key, item, err);
    } else if (s.file->gone != NULL) {
        return damaged(db, &s, item->size, key, err);
    } else {
        rc = may_wait ? read_record(db, &s, item, err) : read_cached(db, &s, item);
    }
    if (rc == BK_OK) {
        s.bytes = bk_buf_span(&item->buf);
        rc = bki_record_open(db, &s, key, item, err);
    }
    if (rc == BK_OK && !buffered) {
        bki_cache_put(db->cache, item->at, item->value, item->flags);
    }
    return rc;
}

int bk_load(struct bk_db *db, const struct bk_key *key, struct bk_item *item, struct bk_error *err)
{
    return load(db, key, item, true, err);
}

int bk_load_cached(struct bk_db *db, const struct bk_key *key, struct bk_item *item,
                   struct bk_error *err)
{
    return load(db, key, item, false, err);
}

/* ---- Walking ---- */

void bk_scan(struct bk_db *db, uint32_t num, uint64_t *cursor, size_t wanted,
             void (*each)(void *arg, const struct bk_scan_entry *entry), void *arg)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    struct bk_buf packed = {0};
    size_t seen = 0;
    if (kd == NULL) {
        *cursor = 0;
        return;
    }
    do {
        size_t at = 0;
        struct bki_entry e;
        struct bk_scan_entry entry;
        packed.len = 0;
        bki_keydir_scan(kd, cursor, &packed);
        while (bki_entry_next(&packed, &at, &e, &entry.key)) {
            entry.expire_ms = e.expire_ms;
            entry.flags = e.type;
            each(arg, &entry);
            seen++;
        }
    } while (*cursor != 0 && seen < wanted);
    bk_buf_fini(&packed);
}

void bk_sample(struct bk_db *db, uint32_t num, enum bk_sample_of of, uint64_t random,
               void (*each)(void *arg, const struct bk_sample *sample), void *arg)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    struct bk_buf packed = {0};
    struct bki_entry e;
    struct bk_sample s;
    if (kd == NULL) {
        return;
    }
    if (of == BK_SAMPLE_ALL) {
        bki_keydir_sample(kd, random, &packed);
    } else {
        bki_keydir_sample_expiring(kd, random, of == BK_SAMPLE_SOONEST, &packed);
    }
    for (size_t at = 0; bki_entry_next(&packed, &at, &e, &s.key);) {
        s.at = e.loc;
        s.expire_ms = e.expire_ms;
        s.idle_ms = bk_idle_ms(db, e.age);
        s.memory = bki_entry_units(&e, s.key.len) * 8 * 4 / 3 + (e.expire_ms != 0 ? 8 : 0);
        each(arg, &s);
    }
    bk_buf_fini(&packed);
}

int bk_random_key(struct bk_db *db, uint32_t num, uint64_t random, struct bk_buf *key,
                  int64_t *expire_ms)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    struct bk_buf packed = {0};
    struct bki_entry e;
    struct bk_span bytes;
    size_t at = 0;
    size_t n = 0;
    if (kd != NULL) {
        bki_keydir_sample(kd, random, &packed);
    }
    while (bki_entry_next(&packed, &at, &e, &bytes)) {
        n++;
    }
    int rc = n == 0 ? BK_NOTFOUND : BK_OK;
    if (n > 0) {
        uint64_t nth = (random >> 16) % n;
        at = 0;
        for (uint64_t i = 0; i <= nth; i++) {
            bool more = bki_entry_next(&packed, &at, &e, &bytes);
            BK_ASSERT(more);
        }
        key->len = 0;
        bk_buf_append(key, bytes.data, bytes.len);
        *expire_ms = e.expire_ms;
    }
    bk_buf_fini(&packed);
    return rc;
}
