/* SPDX-License-Identifier: MIT */
/* plain.c - the functions for plain use, each a batch or a look-up of one key. */
#include "base/assert.h"
#include "engine/db_private.h"

/* BK_CHANGED in a row before a look-up gives up. Each one means that a write was undone after it
 * had been found, so a few are already rare. */
#define CHANGED_MAX 1000u

void bk_key_init(struct bk_db *db, struct bk_key *key, const void *data, size_t len)
{
    key->bytes = bk_span_of(data, len);
    key->hash = bki_key_hash(db->hash_seed, data, len);
    key->quiet = false;
}

/* Commits and waits; a log without room is waited for too. */
static int commit_and_wait(struct bk_db *db, struct bk_batch *b)
{
    uint64_t pos;
    int rc;
    while ((rc = bk_batch_commit(b, &pos, NULL)) == BK_EAGAIN) {
        struct bki_log *log = &db->log;
        bki_log_flush(log, bk_tail(db));
        bk_mutex_lock(&log->mu);
        bki_log_signal_locked(log);
        bk_cond_wait(&log->moved, &log->mu, 1000);
        bk_mutex_unlock(&log->mu);
    }
    return rc == BK_OK ? bk_wait(db, pos) : rc;
}

int bk_put(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_span value,
           int64_t expire_ms)
{
    if (num >= db->databases) {
        return BK_EINVAL;
    }
    struct bk_batch *b = bk_batch_new(db);
    struct bk_key k;
    struct bk_value v = {value, NULL};
    bk_key_init(db, &k, key.data, key.len);
    bk_batch_put(b, num, &k, &v, 0, expire_ms);
    int rc = commit_and_wait(db, b);
    bk_batch_free(&b);
    return rc;
}

int bk_delete(struct bk_db *db, uint32_t num, struct bk_span key)
{
    if (num >= db->databases) {
        return BK_EINVAL;
    }
    struct bk_batch *b = bk_batch_new(db);
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(db, &k, key.data, key.len);
    bk_batch_lock_key(b, &k);
    bk_batch_lock(b);
    bk_batch_peek(b, num, &k, &item);
    int rc = BK_NOTFOUND;
    if (item.at == 0) {
        bk_batch_cancel(b);
    } else {
        bk_batch_delete(b, num, &k);
        rc = commit_and_wait(db, b);
    }
    bk_batch_free(&b);
    return rc;
}

int bk_get(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_buf *value,
           int64_t *expire_ms)
{
    struct bk_item item = {0};
    struct bk_key k;
    int rc;
    unsigned changed = 0;
    if (num >= db->databases) {
        return BK_EINVAL;
    }
    unsigned pin = bk_pin(db);
    bk_key_init(db, &k, key.data, key.len);
    do {
        bk_locate(db, &num, &k, 1, &item);
        bool gone =
            item.at == 0 || (item.expire_ms != 0 && item.expire_ms <= bk_clock_wall_ms(db->clock));
        rc = gone ? BK_NOTFOUND : bk_load(db, &k, &item, NULL);
    } while (rc == BK_CHANGED && ++changed < CHANGED_MAX);
    bk_unpin(db, pin);
    rc = rc == BK_CHANGED ? BK_EIO : rc;
    if (rc == BK_OK) {
        value->len = 0;
        bk_buf_append(value, item.value.data, item.value.len);
        if (expire_ms != NULL) {
            *expire_ms = item.expire_ms;
        }
    }
    bk_item_fini(&item);
    return rc;
}
