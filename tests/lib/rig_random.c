/* SPDX-License-Identifier: MIT */
/* rig_random.c - random operations on the store under test, each checked against the model at once.
 */
#include "lib/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_NAMES 24u
#define LONG_KEY 70000u

/* Few names, so that keys meet; the odd lengths are where the format changes. */
static struct bk_block *draw_key(struct rig *r)
{
    static const size_t lengths[] = {0, 1, 253, 254, 255, 256, 300};
    uint64_t pick = rng_below(&r->rng, 100);
    size_t len = 16;
    if (pick >= 88) {
        len = lengths[rng_below(&r->rng, sizeof(lengths) / sizeof(lengths[0]))];
    }
    if (pick == 99 && rng_percent(&r->rng, 10)) {
        len = LONG_KEY;
    }
    char name[24];
    snprintf(name, sizeof(name), "key:%012llu", (unsigned long long)rng_below(&r->rng, KEY_NAMES));
    struct bk_block *key = bk_block_new(len);
    memset(key->data, 'k', len);
    memcpy(key->data, name, len < 16 ? len : 16);
    return key;
}

static size_t draw_length(struct rig *r)
{
    uint64_t pick = rng_below(&r->rng, 1000);
    if (pick < 50) {
        return 0;
    }
    if (pick < 750) {
        return (size_t)rng_below(&r->rng, 200);
    }
    if (pick < 900) {
        return (size_t)rng_below(&r->rng, 2000);
    }
    if (pick < 985) {
        return (size_t)rng_below(&r->rng, 20000);
    }
    if (pick < 995) {
        return 65530 + (size_t)rng_below(&r->rng, 12);
    }
    return (size_t)rng_below(&r->rng, 300000);
}

static struct bk_block *draw_value(struct rig *r)
{
    struct bk_block *v = bk_block_new(draw_length(r));
    uint64_t x = rng_next(&r->rng);
    for (size_t i = 0; i < v->len; i++) {
        v->data[i] = (uint8_t)(x >> (i % 8 * 8));
        x = i % 8 == 7 ? x * 6364136223846793005u + 1442695040888963407u : x;
    }
    return v;
}

static uint32_t draw_db(struct rig *r)
{
    return rng_percent(&r->rng, 70) ? 0 : (uint32_t)rng_below(&r->rng, RIG_DATABASES);
}

static void add_put(struct rig *r)
{
    struct bk_block *key = draw_key(r);
    struct bk_block *value = draw_value(r);
    int64_t expire = 0;
    if (rng_percent(&r->rng, 20)) {
        expire = bk_clock_wall_ms(&r->clock.clock) + 1 + (int64_t)rng_below(&r->rng, 8000);
    }
    rig_batch_put(r, draw_db(r), bk_span_of(key->data, key->len),
                  bk_span_of(value->data, value->len), (uint8_t)rng_below(&r->rng, 256), expire);
    bk_block_unref(&key);
    bk_block_unref(&value);
}

static void add_delete(struct rig *r)
{
    struct bk_block *key = draw_key(r);
    rig_batch_delete(r, draw_db(r), bk_span_of(key->data, key->len));
    bk_block_unref(&key);
}

static void add_any(struct rig *r)
{
    uint64_t pick = rng_below(&r->rng, 100);
    if (pick < 62) {
        add_put(r);
    } else if (pick < 90) {
        add_delete(r);
    } else if (pick < 95) {
        rig_batch_flush(r, draw_db(r));
    } else {
        rig_batch_swap(r, draw_db(r), draw_db(r));
    }
}

static bool write_op(struct rig *r, uint64_t pick)
{
    rig_begin(r);
    if (pick < 28) {
        add_put(r);
    } else if (pick < 36) {
        add_delete(r);
    } else if (pick < 48) {
        size_t n = 2 + (size_t)rng_below(&r->rng, 7);
        for (size_t i = 0; i < n; i++) {
            add_any(r);
        }
    } else if (pick < 49) {
        rig_batch_flush(r, draw_db(r));
    } else {
        rig_batch_swap(r, draw_db(r), draw_db(r));
    }
    int rc = rig_commit(r);
    bool fair = rc == BK_OK || rc == BK_ENOSPC || rc == BK_EIO ||
                (rc == BK_EAGAIN && simdisk_dead(r->disk));
    if (!fair) {
        snprintf(r->why, sizeof(r->why), "seed %llu: commit answered %d",
                 (unsigned long long)r->seed, rc);
    }
    return fair;
}

static bool read_op(struct rig *r)
{
    struct bk_block *key = draw_key(r);
    bool ok = simdisk_dead(r->disk) ||
              rig_get_same(r, draw_db(r), bk_span_of(key->data, key->len)) || simdisk_dead(r->disk);
    bk_block_unref(&key);
    return ok;
}

static bool random_key_op(struct rig *r)
{
    struct bk_buf key = {0};
    int64_t expire = 0;
    uint32_t num = draw_db(r);
    int rc = bk_random_key(r->db, num, rng_next(&r->rng), &key, &expire);
    struct model_value v;
    /* Once the disk is dead the model no longer follows what is undone. */
    bool ok = simdisk_dead(r->disk) ||
              (rc == BK_NOTFOUND
                   ? bk_count(r->db, num) == 0
                   : rc == BK_OK && model_state_get(&r->model.now, num, bk_buf_span(&key), &v) &&
                         v.expire_ms == expire);
    if (!ok) {
        snprintf(r->why, sizeof(r->why), "seed %llu: bk_random_key", (unsigned long long)r->seed);
    }
    bk_buf_fini(&key);
    return ok;
}

bool rig_random_op(struct rig *r)
{
    uint64_t pick = rng_below(&r->rng, 100);
    bool ok = true;
    if (pick < 50) {
        ok = write_op(r, pick);
    } else if (pick < 65) {
        ok = read_op(r);
    } else if (pick < 67) {
        ok = random_key_op(r);
    } else if (pick < 92) {
        rig_step(r);
    } else if (pick < 97) {
        simclock_advance_ms(&r->clock, (int64_t)rng_below(&r->rng, 1500));
    } else if (pick < 99) {
        bk_expire_step(r->db, 1 + (size_t)rng_below(&r->rng, 10), NULL);
    } else {
        ok = simdisk_dead(r->disk) || rig_settle(r);
    }
    return ok;
}
