/* SPDX-License-Identifier: MIT */
#include "engine/watch.h"

#include "base/assert.h"
#include "engine/db_private.h"

#include <stdlib.h>
#include <string.h>

struct bk_watch {
    /* Set once. */
    struct bk_key key; /* its bytes lie behind the watch */
    uint32_t num;
    /* Under the key's lock. */
    bool fired;
    struct bk_watch *next;  /* borrowed, as the next */
    struct bk_watch **from; /* what points here */
};

static struct bk_watch **head_of(struct bki_keylocks *l, uint32_t stripe)
{
    return &l->watches[stripe];
}

struct bk_watch *bk_watch_new(struct bk_db *db, uint32_t num, const struct bk_key *key)
{
    struct bk_watch *w = bk_alloc_zero(1, sizeof *w + key->bytes.len);
    uint32_t stripe = bki_keylock_of(key->hash);
    struct bk_watch **head = head_of(db->locks, stripe);
    BK_ASSERT(num < db->databases);
    memcpy(w + 1, key->bytes.data, key->bytes.len);
    w->key = (struct bk_key){.bytes = bk_span_of(w + 1, key->bytes.len), .hash = key->hash};
    w->num = num;
    bki_keylock_lock(db->locks, stripe);
    w->next = *head;
    w->from = head;
    if (w->next != NULL) {
        w->next->from = &w->next;
    }
    *head = w;
    db->locks->stripe[stripe].watches++;
    bki_keylock_unlock(db->locks, stripe);
    return w;
}

void bk_watch_free(struct bk_db *db, struct bk_watch **watch)
{
    struct bk_watch *w = *watch;
    if (w == NULL) {
        return;
    }
    uint32_t stripe = bki_keylock_of(w->key.hash);
    bki_keylock_lock(db->locks, stripe);
    *w->from = w->next;
    if (w->next != NULL) {
        w->next->from = w->from;
    }
    db->locks->stripe[stripe].watches--;
    bki_keylock_unlock(db->locks, stripe);
    free(w);
    *watch = NULL;
}

const struct bk_key *bk_watch_key(const struct bk_watch *w)
{
    return &w->key;
}

uint32_t bk_watch_database(const struct bk_watch *w)
{
    return w->num;
}

bool bk_watch_fired(const struct bk_watch *w)
{
    return w->fired;
}

void bki_watch_fire(struct bki_keylocks *l, uint32_t num, const struct bk_key *key)
{
    for (struct bk_watch *w = *head_of(l, bki_keylock_of(key->hash)); w != NULL; w = w->next) {
        if (w->num == num && w->key.hash == key->hash && bk_span_eq(w->key.bytes, key->bytes)) {
            w->fired = true;
        }
    }
}

static bool is_there(struct bk_db *db, uint32_t num, const struct bk_key *key)
{
    struct bk_item item = {0};
    bki_db_find(db, num, key, &item);
    return item.at != 0 && (item.expire_ms == 0 || item.expire_ms >= bk_clock_wall_ms(db->clock));
}

void bki_watch_fire_database(struct bk_db *db, uint32_t num, uint32_t num2)
{
    for (uint32_t i = 0; i < BKI_KEYLOCKS; i++) {
        for (struct bk_watch *w = *head_of(db->locks, i); w != NULL; w = w->next) {
            bool concerned = w->num == num || w->num == num2;
            w->fired = w->fired ||
                       (concerned && (is_there(db, num, &w->key) || is_there(db, num2, &w->key)));
        }
    }
}
