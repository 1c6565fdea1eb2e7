/* SPDX-License-Identifier: MIT */
/* expire.c - takes keys out of memory whose time has run out. Nothing is written: on disk an
 * expired record counts as a delete by itself. */
#include "engine/db_private.h"

/* Removes what is packed of kd. What is not committed yet stays: it may have to be undone. */
static size_t remove_due(struct bk_db *db, struct bki_keydir *kd, const struct bk_buf *packed)
{
    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    struct bki_entry e;
    struct bk_key key;
    size_t removed = 0;
    for (size_t at = 0; bki_entry_next(packed, &at, &e, &key.bytes);) {
        uint64_t offset;
        const struct bki_file *f = bki_files_at(&db->files, e.loc, &offset);
        key.hash = bki_key_hash(db->hash_seed, key.bytes.data, key.bytes.len);
        if (bki_log_record_pos(f, offset, e.size, committed) == 0 &&
            bki_keydir_remove_if(kd, &key, e.loc, 0)) {
            bki_db_guard(db, e.loc, e.size);
            bki_cache_forget(db->cache, e.loc);
            removed++;
        }
    }
    atomic_fetch_add_explicit(&db->expired, removed, memory_order_relaxed);
    return removed;
}

size_t bk_expire_step(struct bk_db *db, size_t max, bool *more)
{
    int64_t now_ms = bk_clock_wall_ms(db->clock);
    struct bk_buf packed = {0};
    size_t removed = 0;
    unsigned pin = bk_pin(db); /* what a stripe gives out has a file until it is removed */
    bk_mutex_lock(&db->control);
    uint32_t num = db->expire_num;
    uint32_t stripe = db->expire_stripe;
    if (atomic_load(&db->expired_ms) < now_ms) {
        atomic_store(&db->expired_ms, now_ms); /* before anything is removed: a merge may ask */
    }
    bk_mutex_unlock(&db->control);
    /* Once around, and the first database to its end. */
    for (uint32_t dbs = 0; max > 0 && dbs <= db->databases;) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        if (kd != NULL) {
            packed.len = 0;
            bki_keydir_expire(kd, stripe, now_ms, &max, &packed);
            removed += packed.len == 0 ? 0 : remove_due(db, kd, &packed);
        }
        if (kd == NULL || ++stripe == BKI_KD_STRIPES) {
            stripe = 0;
            num = num + 1 < db->databases ? num + 1 : 0;
            dbs++;
        }
    }
    bk_mutex_lock(&db->control);
    db->expire_num = num;
    db->expire_stripe = stripe;
    bk_mutex_unlock(&db->control);
    bk_unpin(db, pin);
    bk_buf_fini(&packed);
    if (more != NULL) {
        *more = max == 0;
    }
    return removed;
}
