/* SPDX-License-Identifier: MIT */
/* A transaction's view of its keys: fetch, lock, own writes, expiry, positions. */
#include "keyspace_rig.h"

static void test_txn__put__is_read_back_in_its_database_only(void **state)
{
    struct fixture *f = *state;
    put(f->t, "k", "v", 0);
    holds(f, "k", "v");
    read_at(f, 1, "k", NOW);
    assert_false(f->v.exists);
    ks_txn_end(f->t, NULL);
    put(f->t, "k", "", 0);
    holds(f, "k", "");
    holds(f, "", NULL);
}

static void test_txn__expired_key__is_absent_after_its_millisecond(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 0;
    put(f->t, "k", "v", NOW + 10);
    read_at(f, 0, "k", NOW + 10);
    assert_true(f->v.exists);
    assert_true(f->v.expire_ms == NOW + 10);
    ks_txn_end(f->t, NULL);
    read_at(f, 0, "k", NOW + 11);
    assert_false(f->v.exists);
    /* The miss tells of a record that may not be committed yet. */
    ks_txn_end(f->t, &pos);
    assert_true(pos > 0);
}

static void test_txn__own_writes__are_seen_before_the_store(void **state)
{
    struct fixture *f = *state;
    struct ks_write w = {KS_STRING, bk_span_str("new"), NULL, 0, KS_AS_SET};
    uint64_t pos = 0;
    put(f->t, "k", "old", 0);
    ks_txn_begin(f->t, 0, NOW);
    assert_int_equal(ks_txn_key(f->t, bk_span_str("k"), KS_NEED_VALUE), 0);
    assert_int_equal(ks_txn_key(f->t, bk_span_str("k"), KS_NEED_META), 1);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_get(f->t, 0, &f->v);
    assert_true(bk_span_eq(f->v.bytes, bk_span_str("old")));
    ks_put(f->t, 0, &w);
    ks_get(f->t, 1, &f->v);
    assert_true(f->v.exists && bk_span_eq(f->v.bytes, bk_span_str("new")));
    ks_delete(f->t, 1);
    ks_get(f->t, 0, &f->v);
    assert_false(f->v.exists);
    ks_put(f->t, 1, &w);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    holds(f, "k", "new");
}

static void begin_update(struct fixture *f)
{
    ks_txn_begin(f->t, 0, NOW);
    ks_txn_key(f->t, bk_span_str("k"), KS_NEED_VALUE);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
}

static void test_txn__value_changed_before_the_lock__is_fetched_again(void **state)
{
    struct fixture *f = *state;
    put(f->t, "k", "one", 0);
    begin_update(f);
    put(f->other, "k", "two", 0);
    assert_int_equal(ks_txn_lock(f->t), KS_AGAIN);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_get(f->t, 0, &f->v);
    assert_true(bk_span_eq(f->v.bytes, bk_span_str("two")));
    ks_txn_end(f->t, NULL);
    /* After the end nothing is locked any more. */
    put(f->other, "k", "three", 0);
    holds(f, "k", "three");
}

static void test_txn__key_made_or_deleted_before_the_lock__is_fetched_again(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 0;
    begin_update(f);
    put(f->other, "k", "v", 0);
    assert_int_equal(ks_txn_lock(f->t), KS_AGAIN);
    ks_txn_end(f->t, NULL);
    begin_update(f);
    ks_txn_begin(f->other, 0, NOW);
    ks_delete(f->other, ks_txn_key(f->other, bk_span_str("k"), KS_NEED_NOTHING));
    assert_int_equal(ks_txn_commit(f->other, &pos, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_AGAIN);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_get(f->t, 0, &f->v);
    assert_false(f->v.exists);
    ks_txn_end(f->t, NULL);
}

/* The same bytes written again are another record: ABA does not pass for "unchanged". */
static void test_txn__same_value_written_again__counts_as_a_change(void **state)
{
    struct fixture *f = *state;
    put(f->t, "k", "v", 0);
    begin_update(f);
    put(f->other, "k", "v", 0);
    assert_int_equal(ks_txn_lock(f->t), KS_AGAIN);
    ks_txn_end(f->t, NULL);
}

static void test_txn__positions__cover_what_was_read_and_written(void **state)
{
    struct fixture *f = *state;
    uint64_t written = put(f->t, "k", "v", 0);
    uint64_t pos = 0;
    assert_true(written > 0);
    read_at(f, 0, "k", NOW);
    ks_txn_end(f->t, &pos);
    assert_true(pos >= written);
    ks_txn_begin(f->t, 0, NOW);
    ks_delete(f->t, ks_txn_key(f->t, bk_span_str("k"), KS_NEED_NOTHING));
    assert_int_equal(ks_txn_commit(f->t, &written, NULL), BK_OK);
    read_at(f, 0, "k", NOW);
    ks_txn_end(f->t, &pos);
    assert_false(f->v.exists);
    assert_true(pos >= written);
    assert_true(ks_tail(f->ks) >= written);
}

static void test_txn__many_keys__keep_their_values_apart(void **state)
{
    struct fixture *f = *state;
    char names[3000][16];
    struct ks_txn *t = f->t;
    uint64_t pos = 0;
    ks_txn_begin(t, 0, NOW);
    for (size_t i = 0; i < 3000; i++) {
        snprintf(names[i], sizeof(names[i]), "key:%zu", i);
        assert_int_equal(ks_txn_key(t, bk_span_str(names[i]), KS_NEED_NOTHING), i);
    }
    for (size_t i = 0; i < 3000; i++) {
        struct ks_write w = {KS_STRING, bk_span_str(names[i]), NULL, 0, KS_AS_SET};
        ks_put(t, i, &w);
    }
    assert_int_equal(ks_txn_commit(t, &pos, NULL), BK_OK);
    ks_txn_begin(t, 0, NOW);
    for (size_t i = 0; i < 3000; i++) {
        ks_txn_key(t, bk_span_str(names[i]), KS_NEED_VALUE);
    }
    assert_int_equal(ks_txn_fetch(t, NULL), BK_OK);
    for (size_t i = 0; i < 3000; i++) {
        ks_get(t, i, &f->v);
        assert_true(f->v.exists && bk_span_eq(f->v.bytes, bk_span_str(names[i])));
    }
    ks_txn_end(t, NULL);
    assert_int_equal(ks_count(f->ks, 0), 3000);
}

static void test_txn__big_value_in_a_block__is_passed_on(void **state)
{
    struct fixture *f = *state;
    struct bk_block *block = bk_block_new(BIG);
    uint64_t pos = 0;
    memset(block->data, 'b', BIG);
    struct ks_write w = {KS_STRING, {block->data, BIG}, block, 0, KS_AS_SET};
    ks_txn_begin(f->t, 0, NOW);
    ks_put(f->t, ks_txn_key(f->t, bk_span_str("big"), KS_NEED_NOTHING), &w);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    bk_block_unref(&block);
    /* As EXPIRE does: what was fetched becomes what is written. */
    ks_txn_begin(f->t, 0, NOW);
    ks_txn_key(f->t, bk_span_str("big"), KS_NEED_VALUE);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_get(f->t, 0, &f->v);
    w = (struct ks_write){f->v.type, f->v.bytes, f->v.block, NOW + 5, f->v.encoding};
    ks_put(f->t, 0, &w);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    read_at(f, 0, "big", NOW);
    assert_true(f->v.exists && f->v.bytes.len == BIG && f->v.expire_ms == NOW + 5);
    assert_true(f->v.bytes.data[0] == 'b' && f->v.bytes.data[BIG - 1] == 'b');
    ks_txn_end(f->t, NULL);
}

static void test_txn__flush__empties_one_database_and_keeps_later_writes(void **state)
{
    struct fixture *f = *state;
    struct ks_write w = {KS_STRING, bk_span_str("after"), NULL, 0, KS_AS_SET};
    uint64_t pos = 0;
    put(f->t, "k", "v", 0);
    put_span(f->t, 1, "k", bk_span_str("one"), 0);
    ks_txn_begin(f->t, 0, NOW);
    size_t k = ks_txn_key(f->t, bk_span_str("k"), KS_NEED_META);
    ks_txn_all_keys(f->t);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_flush(f->t, 0);
    ks_get(f->t, k, &f->v);
    assert_false(f->v.exists);
    ks_put(f->t, k, &w);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    holds(f, "k", "after");
    assert_int_equal(ks_count(f->ks, 0), 1);
    assert_int_equal(ks_count(f->ks, 1), 1);
}

/* A flush of what is empty already writes nothing, but its reply waits for what made it empty. */
static void test_txn__flush_of_an_empty_database__depends_on_the_tail(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 0;
    uint64_t tail;
    put_span(f->t, 1, "elsewhere", bk_span_str("v"), 0);
    tail = ks_tail(f->ks);
    ks_txn_begin(f->t, 0, NOW);
    ks_txn_all_keys(f->t);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    ks_flush(f->t, 0);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    assert_true(ks_tail(f->ks) == tail);
    assert_true(pos >= tail);
}

struct seen {
    size_t n;
    bool expired;
};

static void see(void *arg, const struct ks_scan_key *key)
{
    struct seen *s = arg;
    assert_int_equal(key->type, KS_STRING);
    s->n++;
    s->expired = s->expired || key->key.data[0] == 'x';
}

static void test_keyspace__scan_and_random_key__leave_expired_keys_out(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    struct bk_buf key = {0};
    uint64_t cursor = 0;
    assert_int_equal(ks_random_key(f->ks, 0, NOW, &key), BK_NOTFOUND);
    put(f->t, "a", "v", 0);
    put(f->t, "b", "v", NOW + 100);
    put(f->t, "x", "v", NOW + 1);
    ks_txn_begin(f->t, 0, NOW + 2);
    do {
        ks_txn_scan(f->t, &cursor, 10, see, &s);
    } while (cursor != 0);
    ks_txn_end(f->t, NULL);
    assert_int_equal(s.n, 2);
    assert_false(s.expired);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ks_random_key(f->ks, 0, NOW + 2, &key), BK_OK);
        assert_true(key.len == 1 && key.data[0] != 'x');
    }
    bk_buf_fini(&key);
}

/* ---- Several commands in one transaction ---- */

static bool get_is(struct fixture *f, size_t index, const char *want)
{
    ks_get(f->t, index, &f->v);
    return f->v.exists == (want != NULL) &&
           (want == NULL || bk_span_eq(f->v.bytes, bk_span_str(want)));
}

/* As EXEC does it: GET k; SWAPDB 0 1; GET k; FLUSHDB; GET k; SET k new; GET k; SELECT 1; GET k. */
static void test_txn__swap_and_flush_between_reads__values_come_from_where_they_lie(void **state)
{
    struct fixture *f = *state;
    struct ks_txn *t = f->t;
    struct bk_span k = bk_span_str("k");
    struct ks_write w = {KS_STRING, bk_span_str("new"), NULL, 0, KS_AS_SET};
    uint64_t pos = 0;
    put_span(t, 0, "k", bk_span_str("zero"), 0);
    put_span(t, 1, "k", bk_span_str("one"), 0);
    ks_txn_begin(t, 0, NOW);
    ks_txn_all_keys(t);
    (void)ks_txn_key(t, k, KS_NEED_VALUE);
    ks_txn_will_swap(t, 0, 1);
    (void)ks_txn_key(t, k, KS_NEED_VALUE);
    ks_txn_will_flush(t, 0);
    (void)ks_txn_key(t, k, KS_NEED_VALUE);
    ks_txn_focus(t, 1, 0);
    (void)ks_txn_key(t, k, KS_NEED_VALUE);
    assert_int_equal(ks_txn_named(t), 4);
    assert_int_equal(ks_txn_fetch(t, NULL), BK_OK);
    assert_int_equal(ks_txn_lock(t), KS_LOCKED);
    ks_txn_focus(t, 0, 0);
    assert_true(get_is(f, 0, "zero"));
    ks_swap(t, 0, 1);
    ks_txn_focus(t, 0, 1);
    assert_true(get_is(f, 0, "one"));
    ks_flush(t, 0);
    ks_txn_focus(t, 0, 2);
    assert_true(get_is(f, 0, NULL));
    ks_put(t, 0, &w);
    assert_true(get_is(f, 0, "new"));
    assert_int_equal(ks_txn_count(t), 1);
    ks_txn_focus(t, 1, 3);
    assert_true(get_is(f, 0, "zero"));
    assert_int_equal(ks_txn_commit(t, &pos, NULL), BK_OK);
    holds(f, "k", "new");
    read_at(f, 1, "k", NOW);
    assert_true(bk_span_eq(f->v.bytes, bk_span_str("zero")));
    ks_txn_end(f->t, NULL);
}

static void test_watches__written_or_run_out__do_not_hold(void **state)
{
    struct fixture *f = *state;
    struct ks_watches *list = NULL;
    put(f->t, "k", "v", NOW + 10);
    ks_watch(f->ks, &list, 0, bk_span_str("k"), NOW);
    ks_watch(f->ks, &list, 0, bk_span_str("k"), NOW);
    ks_watch(f->ks, &list, 0, bk_span_str("nosuch"), NOW);
    assert_true(ks_watches_memory(list) > 0);
    for (int ms = 10; ms <= 11; ms++) {
        ks_txn_begin(f->t, 0, NOW + ms);
        ks_txn_watches(f->t, list);
        assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
        assert_int_equal(ks_watches_hold(list, f->t), ms == 10);
        ks_txn_end(f->t, NULL);
    }
    put(f->other, "nosuch", "v", 0);
    ks_txn_begin(f->t, 0, NOW);
    ks_txn_watches(f->t, list);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    assert_false(ks_watches_hold(list, f->t));
    ks_txn_end(f->t, NULL);
    ks_unwatch(f->ks, &list);
    assert_null(list);
    assert_int_equal(ks_watches_memory(list), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Shown by OBJECT ENCODING: seen by the transaction that writes it, by others, and after a restart.
 */
static void test_txn__encoding__is_kept_with_the_value(void **state)
{
    struct fixture *f = *state;
    static const enum ks_encoding all[] = {KS_AS_SET, KS_TEXT, KS_RAW};
    static const char *const names[] = {"a", "b", "c"};
    uint64_t pos = 0;
    ks_txn_begin(f->t, 0, NOW);
    for (size_t i = 0; i < 3; i++) {
        struct ks_write w = {KS_STRING, bk_span_str("12"), NULL, 0, all[i]};
        size_t at = ks_txn_key(f->t, bk_span_str(names[i]), KS_NEED_VALUE);
        ks_put(f->t, at, &w);
    }
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    for (unsigned life = 0; life < 2; life++) {
        for (size_t i = 0; i < 3; i++) {
            struct bk_error err;
            ks_txn_begin(f->t, 0, NOW);
            size_t at = ks_txn_key(f->t, bk_span_str(names[i]), KS_NEED_VALUE);
            assert_int_equal(ks_txn_fetch(f->t, &err), BK_OK);
            assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
            ks_get(f->t, at, &f->v);
            assert_true(f->v.exists && f->v.type == KS_STRING && f->v.encoding == all[i]);
            struct ks_write w = {KS_STRING, f->v.bytes, NULL, NOW + 5, f->v.encoding};
            ks_put(f->t, at, &w);
            ks_get(f->t, at, &f->v);
            assert_true(f->v.encoding == all[i]);
            assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
        }
        close_store(f);
        open_store(f);
    }
}

struct told {
    unsigned calls;
    uint64_t pos;
    char changed[128]; /* the keys, each behind a blank, "*" in front of those behind a flush */
};

static void on_commit(void *arg, struct ks_txn *t, uint64_t pos)
{
    struct told *told = arg;
    size_t first;
    bool whole = ks_changed_whole(t, &first);
    told->calls++;
    told->pos = pos;
    told->changed[0] = '\0';
    for (size_t i = 0; i < ks_txn_named(t); i++) {
        size_t len = strlen(told->changed);
        struct bk_span key = ks_key(t, i);
        if (ks_changed(t, i)) {
            snprintf(told->changed + len, sizeof told->changed - len, " %s%.*s%.*u",
                     whole && i >= first ? "*" : "", (int)key.len, (const char *)key.data,
                     ks_mark(t, i) == 0 ? 0 : 1, ks_mark(t, i));
        }
    }
}

static void test_txn__commit__tells_what_it_has_changed(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct ks_write w = {.type = KS_STRING, .bytes = bk_span_str("v")};
    uint64_t pos = 0;
    ks_txn_on_commit(f->t, on_commit, &told);
    ks_txn_begin(f->t, 0, NOW);
    for (const char *key = "a\0b\0c\0d\0e\0"; *key != '\0'; key += 2) {
        ks_txn_key(f->t, bk_span_str(key), KS_NEED_NOTHING);
    }
    ks_set_mark(f->t, 2, 7);
    ks_put(f->t, 0, &w);
    ks_txn_focus(f->t, 0, 2);
    ks_flush(f->t, 0);
    ks_put(f->t, 0, &w); /* c */
    ks_delete(f->t, 2);  /* e */
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    assert_int_equal(told.calls, 1);
    assert_string_equal(told.changed, " a *c7 *e");
    assert_true(told.pos == pos);
}

static void test_txn__nothing_changed__tells_nothing(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct ks_write w = {.type = KS_STRING, .bytes = bk_span_str("v")};
    uint64_t pos = 0;
    ks_txn_on_commit(f->t, on_commit, &told);
    ks_txn_begin(f->t, 0, NOW);
    ks_txn_key(f->t, bk_span_str("a"), KS_NEED_META);
    assert_int_equal(ks_txn_lock(f->t), KS_LOCKED);
    assert_int_equal(ks_txn_commit(f->t, &pos, NULL), BK_OK);
    ks_txn_begin(f->t, 0, NOW);
    ks_put(f->t, ks_txn_key(f->t, bk_span_str("a"), KS_NEED_NOTHING), &w);
    ks_txn_end(f->t, NULL);
    assert_int_equal(told.calls, 0);
    put(f->t, "a", "v", 0);
    assert_int_equal(told.calls, 1);
    assert_string_equal(told.changed, " a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_txn__put__is_read_back_in_its_database_only),
        T(test_txn__swap_and_flush_between_reads__values_come_from_where_they_lie),
        T(test_watches__written_or_run_out__do_not_hold),
        T(test_txn__expired_key__is_absent_after_its_millisecond),
        T(test_txn__own_writes__are_seen_before_the_store),
        T(test_txn__value_changed_before_the_lock__is_fetched_again),
        T(test_txn__key_made_or_deleted_before_the_lock__is_fetched_again),
        T(test_txn__same_value_written_again__counts_as_a_change),
        T(test_txn__positions__cover_what_was_read_and_written),
        T(test_txn__many_keys__keep_their_values_apart),
        T(test_txn__big_value_in_a_block__is_passed_on),
        T(test_txn__flush__empties_one_database_and_keeps_later_writes),
        T(test_txn__flush_of_an_empty_database__depends_on_the_tail),
        T(test_txn__encoding__is_kept_with_the_value),
        T(test_keyspace__scan_and_random_key__leave_expired_keys_out),
        T(test_txn__commit__tells_what_it_has_changed),
        T(test_txn__nothing_changed__tells_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
