/* SPDX-License-Identifier: MIT */
/* What commands of one EXEC share: values that several of them name. */
#include "keyspace_rig.h"

/* As commands of one EXEC do. */
static void test_txn__one_key_named_often__its_value_is_loaded_once(void **state)
{
    struct fixture *f = *state;
    enum { TIMES = 300 };
    static uint8_t value[BIG];
    struct ks_value first;
    put_span(f->t, 0, "big", bk_span_of(value, BIG), 0);
    put(f->t, "other", "o", 0);
    close_store(f);
    open_store(f);
    for (int times = 3; times <= TIMES; times += TIMES - 3) { /* few, and many */
        ks_txn_begin(f->t, 0, NOW);
        for (int i = 0; i < times; i++) {
            bool big = i % 3 != 1;
            assert_int_equal(ks_txn_key(f->t, bk_span_str(big ? "big" : "other"), KS_NEED_VALUE),
                             i);
        }
        assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
        ks_get(f->t, 0, &first);
        for (size_t i = 0; i < (size_t)times; i++) {
            ks_get(f->t, i, &f->v);
            assert_true(f->v.exists);
            assert_int_equal(f->v.bytes.len, i % 3 != 1 ? BIG : 1);
            assert_true(i % 3 == 1 || f->v.bytes.data == first.bytes.data);
        }
        ks_txn_end(f->t, NULL);
    }
}

static void put_block(struct fixture *f, struct bk_block *block)
{
    struct ks_write w = {KS_STRING, bk_span_of(block->data, block->len), block, 0, KS_RAW};
    ks_put(f->t, 0, &w);
}

/* The same: of what each of them makes of the value, only the last is kept. */
static void test_txn__one_key_changed_often__older_versions_go(void **state)
{
    struct fixture *f = *state;
    struct bk_block *versions[3];
    uint64_t pos;
    ks_txn_begin(f->t, 0, NOW);
    for (size_t i = 0; i < 3; i++) {
        versions[i] = bk_block_new(2000);
        memset(versions[i]->data, 'a' + (int)i, 2000);
        ks_txn_focus(f->t, 0, i);
        assert_int_equal(ks_txn_key(f->t, bk_span_str("k"), KS_NEED_VALUE), i);
    }
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    for (size_t i = 0; i < 3; i++) {
        ks_txn_focus(f->t, 0, i);
        ks_get(f->t, 0, &f->v);
        assert_true(i == 0 || f->v.bytes.data == versions[i - 1]->data);
        put_block(f, versions[i]);
        for (size_t old = 0; old + 1 < i; old++) {
            assert_int_equal(atomic_load(&versions[old]->refs), 1); /* ours */
        }
    }
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    read_at(f, 0, "k", NOW);
    assert_true(f->v.exists && f->v.bytes.len == 2000 && f->v.bytes.data[1999] == 'c');
    ks_txn_end(f->t, NULL);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&versions[i]->refs), 1);
        bk_block_unref(&versions[i]);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_txn__one_key_named_often__its_value_is_loaded_once),
        T(test_txn__one_key_changed_often__older_versions_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
