/* SPDX-License-Identifier: MIT */
/*
 * log.c - appending: admission, rotation, encoding into the buffer, and reading back from it.
 *
 * Everything here is memory work under log->mu. Not here: writing, syncing, making files
 * (log_write.c, log_step.c).
 */
#include "engine/log_private.h"

#include "base/assert.h"
#include "base/checksum.h"

#include <stdlib.h>
#include <string.h>

#define DRAIN_US 50000
#define FULL_MAX                                                                      \
    ((uint64_t)1 << 20) /* no room for a record up to this: the log is full; a larger \
                         * one is refused for itself */

void bki_log_init(struct bki_log *log, struct bki_files *files, struct bki_damage *damage,
                  const struct bk_options *o)
{
    memset(log, 0, sizeof *log);
    log->files = files;
    log->damage = damage;
    log->wake = o->wake;
    log->wake_arg = o->wake_arg;
    log->took = o->took;
    log->took_arg = o->took_arg;
    log->next_seq = 1;
    store(&log->tail_pos, BKI_LOG_FIRST_POS);
    store(&log->written_pos, BKI_LOG_FIRST_POS);
    store(&log->synced_pos, BKI_LOG_FIRST_POS);
    store(&log->committed_pos, BKI_LOG_FIRST_POS);
    bki_spacemap_init(&log->map);
    bk_mutex_init(&log->mu, "log", BK_RANK_LOG);
    bk_mutex_init(&log->write_mu, "log writer", BK_RANK_WRITE);
    bk_cond_init(&log->moved);
    bk_cond_init(&log->work);
}

void bki_log_fini(struct bki_log *log)
{
    while (log->first != NULL) {
        struct bki_chunk *c = log->first;
        log->first = c->next;
        bk_block_unref(&c->block);
        free(c);
    }
    free(log->spare);
    bki_spacemap_fini(&log->map);
    bk_mutex_fini(&log->mu);
    bk_mutex_fini(&log->write_mu);
    bk_cond_fini(&log->moved);
    bk_cond_fini(&log->work);
}

/* ---- The buffer ---- */

static struct bki_chunk *chunk_add_locked(struct bki_log *log, size_t cap)
{
    struct bki_chunk *c = log->spare;
    if (c != NULL && cap > 0 && cap <= c->cap) {
        log->spare = NULL;
    } else {
        c = bk_alloc(sizeof *c + cap);
        c->cap = cap;
    }
    c->next = NULL;
    c->file = log->active;
    c->pos = load(&log->tail_pos);
    c->offset = load(&log->active->size);
    c->len = 0;
    c->block = NULL;
    c->bytes = c->data;
    if (log->last != NULL) {
        log->last->next = c;
    } else {
        log->first = c;
    }
    log->last = c;
    return c;
}

/* n bytes of the active file, contiguous, for the caller to fill before mu is released. */
static uint8_t *reserve_locked(struct bki_log *log, size_t n)
{
    struct bki_chunk *c = log->last;
    if (c == NULL || c->file != log->active || c->block != NULL || c->cap - c->len < n) {
        c = chunk_add_locked(log, n > BKI_LOG_CHUNK ? n : BKI_LOG_CHUNK);
    }
    uint8_t *p = c->data + c->len;
    c->len += n;
    store(&log->tail_pos, load(&log->tail_pos) + n);
    store(&log->active->size, load(&log->active->size) + n);
    return p;
}

/* The same for bytes that stay where they are. */
static void refer_locked(struct bki_log *log, struct bk_block *block, struct bk_span bytes)
{
    struct bki_chunk *c = chunk_add_locked(log, 0);
    c->block = bk_block_ref(block);
    c->bytes = bytes.data;
    c->len = bytes.len;
    store(&log->tail_pos, load(&log->tail_pos) + bytes.len);
    store(&log->active->size, load(&log->active->size) + bytes.len);
}

/* ---- Encoding ---- */

static void put_record_locked(struct bki_log *log, struct bki_append *a)
{
    struct bki_file *f = log->active;
    uint64_t start = load(&f->size);
    size_t front = (size_t)bki_record_value_offset(&a->rec);
    size_t pad = (size_t)(a->size - front - a->value.len);
    bool copy = a->value.len <= BKI_LOG_COPY_MAX;
    a->rec.seq = log->next_seq++;
    a->file = f;
    a->loc = bki_file_locate(log->files, f, start);
    BK_ASSERT(a->loc != 0); /* admission has counted the pages */

    uint8_t *p = reserve_locked(log, copy ? (size_t)a->size : front);
    size_t head = bki_record_encode(&a->rec, f->seed, a->key.data, p);
    if (front > head) {
        memcpy(p + head, a->table, front - head);
    }
    if (copy) {
        if (a->value.len > 0) {
            memcpy(p + front, a->value.data, a->value.len);
        }
        memset(p + front + a->value.len, 0, pad);
    } else {
        refer_locked(log, a->block, a->value);
        memset(reserve_locked(log, pad), 0, pad);
    }
    a->pos = load(&log->tail_pos);
    if (a->rec.kind == BKI_MAP && a->value.len > 0) {
        /* Here and not later: a file that is begun next repeats the map. */
        int rc = bki_spacemap_apply(&log->map, a->value.data, (uint32_t)(a->value.len / 8));
        BK_ASSERT(rc == BK_OK);
    }
    count_locked(&log->appends, 1);
}

/* A record of the log's own: no key, a short value, dead as soon as it is written. */
static void put_own_locked(struct bki_log *log, enum bki_kind kind, const uint8_t *value,
                           size_t len)
{
    struct bki_append a = {
        .rec = {.kind = kind, .value_len = (uint32_t)len, .value_crc = bk_crc32c(0, value, len)},
        .value = bk_span_of(value, len),
    };
    a.size = bki_record_size(&a.rec);
    put_record_locked(log, &a);
    atomic_fetch_add_explicit(&a.file->dead_bytes, a.size, memory_order_relaxed);
    count_locked(&log->own_appends, 1);
}

static uint64_t own_size(size_t len)
{
    struct bki_record r = {.kind = BKI_SYNC_MARK, .value_len = (uint32_t)len};
    return bki_record_size(&r);
}

static void put_mark_locked(struct bki_log *log)
{
    uint8_t value[16];
    bk_put64(value, log->mark_uid);
    bk_put64(value + 8, log->mark_offset);
    log->mark_due = false;
    put_own_locked(log, BKI_SYNC_MARK, value, sizeof value);
}

/* Every file that is used begins with the whole map of databases, if it is not the first map: so
 * the records of no earlier file are needed to know it. */
static void put_map_locked(struct bki_log *log)
{
    struct bk_buf pairs = {0};
    bki_spacemap_encode(&log->map, &pairs);
    put_own_locked(log, BKI_MAP, pairs.data, pairs.len);
    bk_buf_fini(&pairs);
}

/* What the log has to say of its own before the next record. */
static void put_front_locked(struct bki_log *log)
{
    if (log->map.n > 0 && load(&log->active->size) == log->active->header_bytes) {
        put_map_locked(log);
    }
    if (log->mark_due) {
        put_mark_locked(log);
    }
}

bool bki_log_tell_map(struct bki_log *log)
{
    bool told = true;
    bk_mutex_lock(&log->mu);
    if (log->map.n > 0 &&
        (log->active == NULL || load(&log->active->size) == log->active->header_bytes)) {
        uint64_t need = own_size((size_t)log->map.n * 8) + own_size(16);
        /* The page last: it is taken. Admission keeps some for this and for merges. */
        told = log->active != NULL &&
               atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK &&
               log->active->header_bytes + need <= load(&log->active->allocated) &&
               bki_file_locate(log->files, log->active, log->active->header_bytes) != 0;
        if (told) {
            put_front_locked(log);
            bki_log_signal_locked(log);
        }
    }
    bk_mutex_unlock(&log->mu);
    return told;
}

/* The frame's header goes before its members and holds a CRC over theirs, so it is filled in last.
 */
static void put_batch_locked(struct bki_log *log, struct bki_append *items, size_t n,
                             uint64_t length)
{
    uint8_t value[BKI_FRAME_VALUE] = {0};
    struct bki_record frame = {
        .kind = BKI_BATCH, .value_len = sizeof value, .seq = log->next_seq++};
    size_t size = (size_t)bki_record_size(&frame);
    struct bki_file *f = log->active;
    uint8_t *p = reserve_locked(log, size);
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        put_record_locked(log, &items[i]);
        uint8_t member[4];
        bk_put32(member, items[i].rec.header_crc);
        crc = bk_crc32c(crc, member, sizeof member);
    }
    bk_put32(value, (uint32_t)n);
    bk_put32(value + 4, crc);
    bk_put64(value + 8, length);
    frame.value_crc = bk_crc32c(0, value, sizeof value);
    size_t head = bki_record_encode(&frame, f->seed, NULL, p);
    memcpy(p + head, value, sizeof value);
    memset(p + head + sizeof value, 0, size - head - sizeof value);
    atomic_fetch_add_explicit(&f->dead_bytes, size, memory_order_relaxed);
    count_locked(&log->batches, 1);
}

/* ---- Admission ---- */

static int again_locked(struct bki_log *log)
{
    atomic_store_explicit(&log->waiters, true, memory_order_release);
    count_locked(&log->log_full, 1);
    bki_log_signal_locked(log);
    return BK_EAGAIN;
}

/* What asks to be let in. */
struct ask {
    uint64_t bytes;
    bool away; /* takes away only: may use a part of the reserve */
};

/* *want, in the log, is raised to what the record needs; the sync thread makes it so. */
static int no_room_locked(struct bki_log *log, uint64_t *want, uint64_t need, const struct ask *ask,
                          struct bk_error *err)
{
    *want = need > *want ? need : *want;
    bool lack = log->no_space || bki_log_is_full(log);
    if (ask->away && lack && !log->away_spent) {
        log->away_want = ask->bytes > log->away_want ? ask->bytes : log->away_want;
        return again_locked(log);
    }
    if (!lack) {
        return again_locked(log);
    }
    if (log->error.code == BK_ENOSPC && !ask->away && ask->bytes <= FULL_MAX) {
        bki_log_set_full_locked(log, ask->bytes, &log->error);
    }
    if (err != NULL) {
        *err = log->error;
    }
    bki_log_signal_locked(log);
    return BK_ENOSPC;
}

/* Who waits for room in the buffer cannot count on a flush by those whose bytes are there: a client
 * may be gone before its loop flushes, and nobody flushes what a merge has the log tell. */
static int again_once_written_locked(struct bki_log *log)
{
    log->asked_pos = load(&log->tail_pos);
    return again_locked(log);
}

/* Uncommitted bytes are bounded; what is larger than the bound by itself waits until it would be
 * alone. */
static int admit_bytes_locked(struct bki_log *log, uint64_t bytes)
{
    uint64_t limit = load(&log->buffer_bytes);
    uint64_t used = load(&log->tail_pos) - load(&log->committed_pos);
    bool large = bytes > limit / 2;
    if (log->drain_until_us != 0 && !large && used > 0) {
        if (bk_clock_mono_us(log->files->clock) < log->drain_until_us) {
            return again_once_written_locked(log);
        }
        log->drain_until_us = 0;
    }
    if (used > 0 && used + bytes > limit) {
        if (large && log->drain_until_us == 0) {
            log->drain_until_us = bk_clock_mono_us(log->files->clock) + DRAIN_US;
        }
        return again_once_written_locked(log);
    }
    if (large) {
        log->drain_until_us = 0;
    }
    return BK_OK;
}

static uint64_t map_size_locked(const struct bki_log *log)
{
    return log->map.n == 0 ? 0 : own_size((size_t)log->map.n * 8);
}

/* A pointer changes: the next file was made, named and given room before. */
void bki_log_rotate_locked(struct bki_log *log)
{
    struct bki_file *f = log->active;
    struct bki_file *next = log->next;
    log->rotated[log->rotated_n++] = f;
    atomic_store_explicit(&f->state, BKI_FILE_ROTATED, memory_order_relaxed);
    store(&next->pos_base, load(&log->tail_pos) - next->header_bytes);
    atomic_store_explicit(&next->state, BKI_FILE_ACTIVE, memory_order_relaxed);
    next->created_us = bk_clock_mono_us(log->files->clock);
    log->active = next;
    log->active_want = 0;
    log->rotate_wanted = false;
    log->next = NULL;
    count_locked(&log->rotations, 1);
    bki_log_signal_locked(log);
}

static int check_pages_locked(struct bki_log *log, uint64_t bytes, struct bk_error *err)
{
    const struct bki_pages *p = &log->files->pages;
    uint64_t left = (uint64_t)(BKI_PAGES - p->fresh) + p->free_n;
    if (left < (bytes >> BKI_PAGE_SHIFT) + 3) {
        return bk_error_set(err, BK_ENOSPC, 0, log->files->dir, 0,
                            "the address space of 8 TiB is used up");
    }
    return BK_OK;
}

/* Finds a file with room for bytes, rotating if need be. */
static int admit_locked(struct bki_log *log, const struct ask *ask, struct bk_error *err)
{
    uint64_t bytes = ask->bytes;
    if (atomic_load_explicit(&log->state, memory_order_relaxed) != BKI_LOG_OK) {
        if (err != NULL) {
            *err = log->error;
        }
        return log->error.code == BK_ENOSPC ? BK_ENOSPC : BK_EIO;
    }
    if (bki_log_is_full(log) && !ask->away) {
        if (err != NULL) {
            *err = log->full_error;
        }
        return BK_ENOSPC;
    }
    int rc = admit_bytes_locked(log, bytes);
    if (rc == BK_OK) {
        rc = check_pages_locked(log, bytes, err);
    }
    if (rc != BK_OK) {
        return rc;
    }
    struct bki_file *f = log->active;
    uint64_t end = load(&f->size) + bytes;
    uint64_t room = atomic_load_explicit(&f->allocated, memory_order_acquire);
    if (end <= room && end <= load(&log->max_file_bytes)) {
        if (room - end < BKI_LOG_ALLOCATE / 2 && room < load(&log->max_file_bytes)) {
            bki_log_signal_locked(log);
        }
        return BK_OK;
    }
    if (end <= load(&log->max_file_bytes)) {
        return no_room_locked(log, &log->active_want, end, ask, err);
    }
    uint64_t want = BKI_DATAFILE_FIXED + bytes;
    struct bki_file *next = log->next;
    if (next == NULL || want > atomic_load_explicit(&next->allocated, memory_order_acquire) ||
        log->rotated_n == sizeof log->rotated / sizeof log->rotated[0]) {
        return no_room_locked(log, &log->want_bytes, want, ask, err);
    }
    bki_log_rotate_locked(log);
    return BK_OK;
}

int bki_log_append(struct bki_log *log, struct bki_append *items, size_t n, uint64_t *pos,
                   struct bk_error *err)
{
    uint64_t members = 0;
    bool away = true;
    for (size_t i = 0; i < n; i++) {
        members += items[i].size;
        away = away && items[i].rec.kind != BKI_PUT;
    }
    uint64_t bytes = members + (n > 1 ? own_size(BKI_FRAME_VALUE) : 0);

    bk_mutex_lock(&log->mu);
    uint64_t own = own_size(16) + map_size_locked(log);
    int rc = admit_locked(log, &(struct ask){bytes + own, away}, err);
    if (rc == BK_OK && log->next_seq + n + 3 > BKI_SEQ_MAX) {
        rc = bk_error_set(err, BK_ENOSPC, 0, log->files->dir, 0, "2^48 writes have been made");
    }
    if (rc == BK_OK) {
        put_front_locked(log);
        if (n > 1) {
            put_batch_locked(log, items, n, members);
        } else {
            put_record_locked(log, &items[0]);
        }
        *pos = load(&log->tail_pos);
    }
    bk_mutex_unlock(&log->mu);
    return rc;
}

/* ---- Reading back ---- */

bool bki_log_read(struct bki_log *log, const struct bki_file *f, uint64_t offset, uint64_t size,
                  struct bk_buf *out, struct bk_block **block, struct bk_span *value)
{
    uint64_t base = load(&f->pos_base);
    if (base == 0 || base + offset < load(&log->committed_pos)) {
        return false; /* the usual answer, without a lock */
    }
    bool found = false;
    bk_mutex_lock(&log->mu);
    struct bki_chunk *c = log->first;
    while (c != NULL && (c->file != f || offset >= c->offset + c->len)) {
        c = c->next;
    }
    if (c != NULL && offset >= c->offset && c->block == NULL) {
        const uint8_t *p = c->bytes + (offset - c->offset);
        size_t here = (size_t)(c->offset + c->len - offset);
        found = true;
        if (here >= size) {
            bk_buf_append(out, p, (size_t)size);
        } else {
            /* The value is a reference: it has a chunk to itself, right behind its header. */
            BK_ASSERT(c->next != NULL && c->next->block != NULL);
            bk_buf_append(out, p, here);
            *block = bk_block_ref(c->next->block);
            *value = bk_span_of(c->next->bytes, c->next->len);
        }
    }
    bk_mutex_unlock(&log->mu);
    return found;
}

uint64_t bki_log_record_pos(const struct bki_file *f, uint64_t offset, uint64_t size,
                            uint64_t committed)
{
    uint64_t base = atomic_load_explicit(&f->pos_base, memory_order_acquire);
    if (base == 0) {
        return 0;
    }
    uint64_t end = base + offset + size;
    return end <= committed ? 0 : end;
}
