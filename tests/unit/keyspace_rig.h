/* SPDX-License-Identifier: MIT */
/* keyspace_rig.h - a store in a directory of its own with two transactions, for tests of what is
 * above the engine. */
#ifndef BK_TESTS_KEYSPACE_RIG_H
#define BK_TESTS_KEYSPACE_RIG_H

#include "engine/bitkv.h"
#include "keyspace/keyspace.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000
#define BIG 200000

struct fixture {
    struct tmpdir dir;
    struct bk_db *db;
    struct keyspace *ks;
    struct ks_txn *t, *other;
    struct ks_value v;
};

static inline void open_store(struct fixture *f)
{
    struct bk_options o;
    bk_options_init(&o);
    o.dir = f->dir.path;
    o.stepped = true;
    assert_int_equal(bk_open(&f->db, &o, NULL), BK_OK);
    f->ks = ks_new(f->db, o.databases);
    f->t = ks_txn_new(f->ks);
    f->other = ks_txn_new(f->ks);
}

static inline int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof(*f));
    tmpdir_make(&f->dir, "keyspace");
    open_store(f);
    *state = f;
    return 0;
}

static inline void close_store(struct fixture *f)
{
    ks_txn_free(&f->t);
    ks_txn_free(&f->other);
    ks_free(&f->ks);
    assert_int_equal(bk_close(&f->db, NULL), BK_OK);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

static inline uint64_t put_span(struct ks_txn *t, uint32_t db, const char *key,
                                struct bk_span value, int64_t expire_ms)
{
    struct ks_write w = {KS_STRING, value, NULL, expire_ms, KS_AS_SET};
    uint64_t pos = 0;
    ks_txn_begin(t, db, NOW);
    ks_put(t, ks_txn_key(t, bk_span_str(key), KS_NEED_NOTHING), &w);
    assert_int_equal(ks_txn_commit(t, &pos, NULL), BK_OK);
    return pos;
}

static inline uint64_t put(struct ks_txn *t, const char *key, const char *value, int64_t expire_ms)
{
    return put_span(t, 0, key, bk_span_str(value), expire_ms);
}

/* Begins a reading transaction on one key and fetches it. */
static inline void read_at(struct fixture *f, uint32_t db, const char *key, int64_t now_ms)
{
    ks_txn_begin(f->t, db, now_ms);
    assert_int_equal(ks_txn_key(f->t, bk_span_str(key), KS_NEED_VALUE), 0);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    ks_get(f->t, 0, &f->v);
}

static inline void holds(struct fixture *f, const char *key, const char *want)
{
    read_at(f, 0, key, NOW);
    assert_int_equal(f->v.exists, want != NULL);
    if (want != NULL) {
        assert_true(bk_span_eq(f->v.bytes, bk_span_str(want)));
    }
    ks_txn_end(f->t, NULL);
}

#endif
