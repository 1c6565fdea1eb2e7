/* SPDX-License-Identifier: MIT */
/*
 * damaged_copy.h - a store on a simulated disk, and damaged copies of it; shared by test_damage.c
 * and test_torn.c.
 */
#ifndef BK_TESTS_DAMAGED_COPY_H
#define BK_TESTS_DAMAGED_COPY_H

#include "engine_test.h"

#define KEYS 12u
#define HEADER 28u /* bytes of a record before its key, when it does not expire */

struct copy {
    struct simdisk *disk;  /* owned */
    struct bk_db *db;      /* owned */
    struct bk_stats stats; /* after opening */
};

static inline void file_path(uint64_t id, char out[300])
{
    char name[64];
    snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)id);
    rig_path(name, out, 300);
}

static inline void note_active(void *arg, const struct bk_file_info *info)
{
    struct bk_file_info *active = arg;
    if (info->state == BK_FILE_ACTIVE) {
        *active = *info;
    }
}

static inline struct bk_file_info active_file(struct rig *r, char path[300])
{
    struct bk_file_info info = {0};
    bk_files(r->db, note_active, &info);
    assert_true(info.id != 0);
    file_path(info.id, path);
    return info;
}

/* The copy starts a new life of the given kind; the caller damages it, then opens it. */
static inline void copy_make(struct copy *c, struct rig *r, enum simdisk_kind kind)
{
    *c = (struct copy){.disk = simdisk_clone(r->disk, 5)};
    simdisk_restart(c->disk, kind);
}

static inline int copy_open(struct copy *c, struct rig *r, enum bk_on_corruption on_corruption)
{
    struct bk_options o = r->opt;
    struct bk_error err = {0};
    o.io = simdisk_io(c->disk);
    o.on_corruption = on_corruption;
    int rc = bk_open(&c->db, &o, &err);
    if (rc == BK_OK) {
        bk_stats_get(c->db, &c->stats);
    }
    return rc;
}

static inline void copy_free(struct copy *c)
{
    if (c->db != NULL) {
        bk_ignore(bk_close(&c->db, NULL), "thrown away");
    }
    simdisk_free(&c->disk);
}

/* The value of a key: BK_OK with it in out, BK_NOTFOUND, or the error. */
static inline int copy_get(struct copy *c, const char *key, struct bk_buf *out)
{
    return bk_get(c->db, 0, bk_span_str(key), out, NULL);
}

static inline bool has_value(struct copy *c, const char *key, const char *value)
{
    struct bk_buf got = {0};
    bool same =
        copy_get(c, key, &got) == BK_OK && bk_span_eq(bk_buf_span(&got), bk_span_str(value));
    bk_buf_fini(&got);
    return same;
}

static inline void name_of(unsigned i, char key[32], char value[64])
{
    snprintf(key, 32, "key-number-%03u", i);
    snprintf(value, 64, "the value of key number %03u, not short", i);
}

/* KEYS keys written one by one; synced (with a mark behind them) when asked. */
static inline void fill(struct rig *r, bool synced)
{
    char key[32];
    char value[64];
    for (unsigned i = 0; i < KEYS; i++) {
        name_of(i, key, value);
        assert_int_equal(rig_put(r, key, value), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    if (synced) {
        RIG_TRUE(r, rig_sync(r));
    }
}

/* Where bytes stand in a file; the test fails when they do not, or twice. */
static inline uint64_t find(struct rig *r, const char *path, const char *bytes)
{
    struct bk_buf all = {0};
    simdisk_read(r->disk, path, &all);
    uint8_t *at = memmem(all.data, all.len, bytes, strlen(bytes));
    assert_non_null(at);
    uint64_t offset = (uint64_t)(at - all.data);
    at++;
    assert_null(memmem(at, all.len - (size_t)(at - all.data), bytes, strlen(bytes)));
    bk_buf_fini(&all);
    return offset;
}

static inline unsigned count_good(struct copy *c, unsigned skip)
{
    char key[32];
    char value[64];
    unsigned good = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        name_of(i, key, value);
        good += i != skip && has_value(c, key, value);
    }
    return good;
}

static inline int setup_sync(void **state, enum bk_sync sync)
{
    struct rig *r = malloc(sizeof(*r));
    rig_init(r, 31, sync);
    r->opt.max_file_bytes = 1 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    *state = r;
    return 0;
}

static inline int setup(void **state)
{
    return setup_sync(state, BK_SYNC_NO);
}

static inline int setup_everysec(void **state)
{
    return setup_sync(state, BK_SYNC_EVERYSEC);
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    rig_fini(r);
    free(r);
    return 0;
}

#endif
