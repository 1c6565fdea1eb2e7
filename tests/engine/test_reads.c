/* SPDX-License-Identifier: MIT */
/* test_reads.c - reads that wait on the store's I/O threads: what comes back, and when. */
#include "reads_rig.h"

static void test_reads__no_threads__there_is_no_reader(void **state)
{
    struct place *p = *state;
    p->opt.disk_threads = 0;
    reopen(p);
    assert_null(p->reader);
}

static void test_reads__value_on_disk__comes_by_one_read_of_a_thread(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    put(p, "k", "a value");
    reopen(p);
    get_begin(&g, p, "k");
    assert_int_equal(get_try(&g, &err), BK_READING);
    assert_int_equal(get_try(&g, &err), BK_READING); /* the same place: not a second read */
    assert_false(bk_reads_done(g.reads));
    bk_reads_ready(g.reads);
    BK_SUCCEEDS(get_whole(&g, &err), err);
    expect_bytes(&g, "a value");
    assert_true(bk_reads_done(g.reads));
    BK_SUCCEEDS(get_try(&g, &err), err); /* as often as it is asked for */
    expect_bytes(&g, "a value");
    get_end(&g);
    struct bk_stats s = stats(p);
    assert_int_equal(s.disk_reads, 1);
    assert_int_equal(s.disk_reads_handed, 1);
    assert_int_equal(s.disk_reads_pending, 0);
}

static void test_reads__key_not_there__the_disk_is_not_asked(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    put(p, "k", "a value");
    reopen(p);
    get_begin(&g, p, "other");
    assert_int_equal(get_try(&g, &err), BK_NOTFOUND);
    get_end(&g);
    assert_int_equal(stats(p).disk_reads, 0);
}

static void test_reads__with_a_cache__are_kept_in_it(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    p->opt.cache_bytes = 1 << 20;
    put(p, "k", "a value");
    reopen(p);
    for (int i = 0; i < 2; i++) {
        get_begin(&g, p, "k");
        BK_SUCCEEDS(get_whole(&g, &err), err);
        expect_bytes(&g, "a value");
        get_end(&g);
    }
    assert_int_equal(stats(p).disk_reads, 1);
    assert_int_equal(stats(p).cache_hits, 1);
}

static void test_reads__given_up_while_under_way__are_dropped_when_they_come_back(void **state)
{
    struct place *p = *state;
    struct get g, waits;
    struct bk_error err = {0};
    put(p, "a", "1");
    put(p, "b", "2");
    reopen(p);
    disk_hold(&p->disk, true);
    get_begin(&g, p, "a");
    get_begin(&waits, p, "b");
    assert_int_equal(get_try(&g, &err), BK_READING);
    bk_reader_submit(p->reader);
    disk_wait(&p->disk, 1);
    assert_int_equal(get_try(&waits, &err), BK_READING);
    get_end(&waits); /* not handed over yet */
    get_end(&g);     /* stands at the disk */
    bk_reader_submit(p->reader);
    disk_hold(&p->disk, false);
    bk_reader_free(&p->reader); /* waits for it */
    assert_int_equal(stats(p).disk_reads_handed, 1);
}

static void test_reads__key_written_while_under_way__the_new_value_is_found(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    put(p, "k", "old");
    reopen(p);
    disk_hold(&p->disk, true);
    get_begin(&g, p, "k");
    assert_int_equal(get_try(&g, &err), BK_READING);
    bk_reader_submit(p->reader);
    disk_wait(&p->disk, 1);
    put(p, "k", "new");
    assert_int_equal(get_try(&g, &err), BK_READING); /* written already, so read too */
    disk_hold(&p->disk, false);
    BK_SUCCEEDS(get_whole(&g, &err), err);
    expect_bytes(&g, "new");
    get_end(&g);
    assert_int_equal(stats(p).disk_reads, 2);
}

static void test_reads__merge_moves_the_record_under_way__the_place_stays_its_own(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    struct bk_merge_status m;
    put(p, "gone", "to be reclaimed");
    put(p, "k", "a value");
    put(p, "gone", "again");
    reopen(p);
    disk_hold(&p->disk, true);
    get_begin(&g, p, "k");
    assert_int_equal(get_try(&g, &err), BK_READING);
    struct bk_item old = g.item;
    bk_reader_submit(p->reader);
    disk_wait(&p->disk, 1);
    bk_merge(p->db, BK_MERGE_NOW);
    do { /* the inputs cannot go while the read holds its pin */
        sched_yield();
        bk_merge_status(p->db, &m);
    } while (m.state != BK_MERGE_RETIRE);
    for (int i = 0; i < 1000; i++) {
        put(p, "k2", "goes into other pages");
        bk_merge_status(p->db, &m);
        assert_int_equal(m.state, BK_MERGE_RETIRE);
    }
    disk_hold(&p->disk, false);
    assert_ptr_equal(next_done(p), &g);
    struct bk_item moved = {0};
    moved.at = old.at;
    moved.size = old.size;
    BK_SUCCEEDS(bk_reads_take(g.reads, &g.key, &moved, &err), err);
    assert_int_equal(moved.value.len, strlen("a value"));
    assert_memory_equal(moved.value.data, "a value", moved.value.len);
    BK_SUCCEEDS(get_whole(&g, &err), err);
    assert_int_not_equal(g.item.at, old.at);
    expect_bytes(&g, "a value");
    get_end(&g);
    do {
        sched_yield();
        bk_merge_status(p->db, &m);
    } while (m.runs == 0);
}

static void test_reads__disk_answers_an_error__so_do_they(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    put(p, "k", "a value");
    reopen(p);
    p->disk.fails = EIO;
    get_begin(&g, p, "k");
    assert_int_equal(get_whole(&g, &err), BK_EIO);
    assert_int_equal(err.sys_errno, EIO);
    get_end(&g);
    p->disk.fails = 0;
    get_begin(&g, p, "k");
    BK_SUCCEEDS(get_whole(&g, &err), err);
    get_end(&g);
}

static void note_first(void *arg, const struct bk_file_info *info)
{
    uint64_t *id = arg;
    *id = *id == 0 ? info->id : *id;
}

static void test_reads__record_damaged_on_disk__the_answer_is_the_usual_error(void **state)
{
    struct place *p = *state;
    struct get g;
    struct bk_error err = {0};
    char path[300];
    uint8_t value[4000];
    uint64_t id = 0;
    pattern_fill(value, sizeof(value), 1);
    assert_int_equal(bk_put(p->db, 0, bk_span_str("k"), bk_span_of(value, sizeof(value)), 0),
                     BK_OK);
    put(p, "last", "behind it");
    reopen(p);
    bk_files(p->db, note_first, &id);
    snprintf(path, sizeof(path), "%s/%010llu.data", p->dir.path, (unsigned long long)id);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 2000, SEEK_SET), 0);
    int was = fgetc(f);
    assert_int_equal(fseek(f, 2000, SEEK_SET), 0);
    assert_int_equal(fputc(was ^ 1, f), was ^ 1);
    fclose(f);
    get_begin(&g, p, "k");
    assert_int_equal(get_whole(&g, &err), BK_CORRUPT);
    get_end(&g);
    assert_int_equal(stats(p).damaged_records, 1);
}

static void test_reads__more_than_may_be_held__wait_their_turn(void **state)
{
    struct place *p = *state;
    enum { N = 5, BYTES = 24 << 20 }; /* two fit into 64 MiB */
    struct get g[N];
    struct bk_error err = {0};
    uint8_t *value = malloc(BYTES);
    char key[8];
    memset(value, 'v', BYTES);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(bk_put(p->db, 0, bk_span_str(key), bk_span_of(value, BYTES), 0), BK_OK);
    }
    reopen(p);
    static const char *const names[N] = {"k0", "k1", "k2", "k3", "k4"};
    for (int i = 0; i < N; i++) {
        get_begin(&g[i], p, names[i]);
        assert_int_equal(get_try(&g[i], &err), BK_READING);
    }
    bk_reader_submit(p->reader);
    for (unsigned done = 0; done < N; done++) {
        assert_in_range(stats(p).disk_reads_handed, 2, done + 2);
        struct get *next = next_done(p);
        assert_int_equal(get_try(next, &err), BK_OK);
        assert_int_equal(next->item.value.len, BYTES);
        assert_int_equal(next->item.value.data[BYTES - 1], 'v');
        get_end(next);
        bk_reader_submit(p->reader);
    }
    assert_int_equal(stats(p).disk_reads_handed, N);
    free(value);
}

static struct bk_span filled(uint8_t *value, size_t len)
{
    memset(value, 'v', len);
    return bk_span_of(value, len);
}

/* Whoever keeps them may be waiting for the other: two commands of one client, say. */
static void test_reads__kept_ones_leave_no_room__others_come_all_the_same(void **state)
{
    struct place *p = *state;
    enum { KEPT = 10 << 20, LARGE = 60 << 20 }; /* together more than 64 MiB */
    struct get kept;
    struct get large;
    struct bk_error err = {0};
    uint8_t *value = malloc(LARGE);
    assert_int_equal(bk_put(p->db, 0, bk_span_str("kept"), filled(value, KEPT), 0), BK_OK);
    assert_int_equal(bk_put(p->db, 0, bk_span_str("large"), filled(value, LARGE), 0), BK_OK);
    reopen(p);
    get_begin(&kept, p, "kept");
    assert_int_equal(get_try(&kept, &err), BK_READING);
    bk_reader_submit(p->reader);
    assert_ptr_equal(next_done(p), &kept);
    assert_int_equal(get_try(&kept, &err), BK_OK);
    get_begin(&large, p, "large");
    assert_int_equal(get_try(&large, &err), BK_READING);
    bk_reader_submit(p->reader);
    assert_int_equal(stats(p).disk_reads_handed, 2);
    assert_ptr_equal(next_done(p), &large);
    assert_int_equal(get_try(&large, &err), BK_OK);
    assert_int_equal(large.item.value.len, LARGE);
    get_end(&large);
    get_end(&kept);
    free(value);
}

/* Asks for one more value, whose read then stands still: all before it have come back. */
static void stand_behind(struct get *g, struct place *p, const char *key, uint64_t read_before)
{
    struct bk_error err = {0};
    while (stats(p).disk_reads < read_before) {
        sched_yield();
    }
    disk_hold(&p->disk, true);
    get_begin(g, p, key);
    assert_int_equal(get_try(g, &err), BK_READING);
    bk_reader_submit(p->reader);
    disk_wait(&p->disk, 1);
}

/* One that stops in the middle, and is not waked again for what comes meanwhile: that is told
 * before false is. */
static void test_reads__comes_while_others_are_told__is_told_too(void **state)
{
    struct place *p = *state;
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct get g[4];
    struct bk_error err = {0};
    void *owner = NULL;
    for (size_t i = 0; i < 4; i++) {
        put(p, keys[i], "value");
    }
    p->opt.disk_threads = 1;
    reopen(p);
    for (size_t i = 0; i < 2; i++) {
        get_begin(&g[i], p, keys[i]);
        assert_int_equal(get_try(&g[i], &err), BK_READING);
    }
    bk_reader_submit(p->reader);
    stand_behind(&g[2], p, keys[2], 2);
    assert_true(bk_reader_next(p->reader, &owner));
    assert_ptr_equal(owner, &g[0]);
    disk_hold(&p->disk, false);
    stand_behind(&g[3], p, keys[3], 3);
    while (sem_trywait(&p->woken) == 0) { /* the calls are taken while there is still b to tell */
    }
    assert_true(bk_reader_next(p->reader, &owner));
    assert_ptr_equal(owner, &g[1]);
    bool told = bk_reader_next(p->reader, &owner);
    disk_hold(&p->disk, false);
    assert_true(told);
    assert_ptr_equal(owner, &g[2]);
    assert_ptr_equal(next_done(p), &g[3]);
    for (size_t i = 0; i < 4; i++) {
        get_end(&g[i]);
    }
}

int main(void)
{
    quiet_log();
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reads__no_threads__there_is_no_reader),
        TEST(test_reads__value_on_disk__comes_by_one_read_of_a_thread),
        TEST(test_reads__key_not_there__the_disk_is_not_asked),
        TEST(test_reads__with_a_cache__are_kept_in_it),
        TEST(test_reads__given_up_while_under_way__are_dropped_when_they_come_back),
        TEST(test_reads__key_written_while_under_way__the_new_value_is_found),
        TEST(test_reads__merge_moves_the_record_under_way__the_place_stays_its_own),
        TEST(test_reads__disk_answers_an_error__so_do_they),
        TEST(test_reads__record_damaged_on_disk__the_answer_is_the_usual_error),
        TEST(test_reads__more_than_may_be_held__wait_their_turn),
        TEST(test_reads__kept_ones_leave_no_room__others_come_all_the_same),
        TEST(test_reads__comes_while_others_are_told__is_told_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
