/* SPDX-License-Identifier: MIT */
/* expire.c - takes keys out of memory whose time has run out. Nothing is written: on disk an
 * expired record counts as a delete by itself. */
#include "engine/db_private.h"

/* Who is told of removed keys; all zero: nobody. */
struct teller {
    bk_expired_fn *each;
    void *arg;
};

/* A merge asks how far expiry has come: told before anything is removed. */
static void come_to(struct bk_db *db, int64_t now_ms)
{
    int64_t was = atomic_load(&db->expired_ms);
    while (was < now_ms && !atomic_compare_exchange_weak(&db->expired_ms, &was, now_ms)) {
    }
}

/* What is not committed yet stays: it may have to be undone. Under the key's lock: a command that
 * deletes the key while it lives, by its own moment, does so before or finds it gone. */
static bool remove_one(struct bk_db *db, struct bki_keydir *kd, const struct bk_key *key,
                       const struct bki_entry *e)
{
    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    uint64_t offset;
    const struct bki_file *f = bki_files_at(&db->files, e->loc, &offset);
    uint32_t stripe = bki_keylock_of(key->hash);
    bki_keylock_lock(db->locks, stripe);
    bool removed = bki_log_record_pos(f, offset, e->size, committed) == 0 &&
                   bki_keydir_remove_if(kd, key, e->loc, 0);
    bki_keylock_unlock(db->locks, stripe);
    if (removed) {
        bki_db_guard(db, e->loc, e->size);
        bki_cache_forget(db->cache, e->loc);
        atomic_fetch_add_explicit(&db->expired, 1, memory_order_relaxed);
    }
    return removed;
}

/* Removes what is packed of kd. */
static size_t remove_due(struct bk_db *db, struct bki_keydir *kd, uint32_t num,
                         const struct bk_buf *packed, struct teller teller)
{
    struct bki_entry e;
    struct bk_key key;
    size_t removed = 0;
    for (size_t at = 0; bki_entry_next(packed, &at, &e, &key.bytes);) {
        key.hash = bki_key_hash(db->hash_seed, key.bytes.data, key.bytes.len);
        if (remove_one(db, kd, &key, &e)) {
            removed++;
            if (teller.each != NULL) {
                teller.each(teller.arg, num, key.bytes);
            }
        }
    }
    return removed;
}

bool bk_expire_key(struct bk_db *db, uint32_t num, const struct bk_key *key, int64_t now_ms)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    struct bki_entry e;
    uint64_t pos = 0;
    unsigned pin = bk_pin(db); /* the entry has a file until it is removed */
    bool removed = kd != NULL && bki_keydir_find(kd, key, &e, &pos) && e.expire_ms != 0 &&
                   e.expire_ms < now_ms;
    if (removed) {
        come_to(db, now_ms);
        removed = remove_one(db, kd, key, &e);
    }
    bk_unpin(db, pin);
    return removed;
}

size_t bk_expire_step(struct bk_db *db, size_t max, bool *more)
{
    return bk_expire_each(db, max, more, NULL, NULL);
}

size_t bk_expire_each(struct bk_db *db, size_t max, bool *more, bk_expired_fn *each, void *arg)
{
    struct teller teller = {each, arg};
    int64_t now_ms = bk_clock_wall_ms(db->clock);
    struct bk_buf packed = {0};
    size_t removed = 0;
    unsigned pin = bk_pin(db); /* what a stripe gives out has a file until it is removed */
    bk_mutex_lock(&db->control);
    uint32_t num = db->expire_num;
    uint32_t stripe = db->expire_stripe;
    bk_mutex_unlock(&db->control);
    come_to(db, now_ms);
    /* Once around, and the first database to its end. */
    for (uint32_t dbs = 0; max > 0 && dbs <= db->databases;) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        if (kd != NULL) {
            packed.len = 0;
            bki_keydir_expire(kd, stripe, now_ms, &max, &packed);
            removed += packed.len == 0 ? 0 : remove_due(db, kd, num, &packed, teller);
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
