/* SPDX-License-Identifier: MIT */
/* test_hint_write.c - hints made step by step, over the hints of the file's front, say what a hint
 * made of the data alone says. */
#include "engine/bitkv.h"
#include "engine/datafile.h"
#include "engine/files.h"
#include "engine/hint_private.h"
#include "engine/keydir.h"
#include "engine/scan.h"
#include "lib/rng.h"
#include "lib/simdisk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIR "store"
#define DATA DIR "/0000000001.data"
#define HINT DIR "/0000000001.hint"
#define SEED 7u
#define ENDS_MAX 4096u

/* A store's first file, and where its records end. */
struct place {
    struct simdisk *disk;
    struct bki_file f;
    uint64_t ends[ENDS_MAX];
    size_t n;
};

static void flush_database(struct bk_db *db, uint32_t num)
{
    struct bk_batch *b = bk_batch_new(db);
    uint64_t pos;
    bk_batch_begin(b);
    bk_batch_lock_all(b);
    bk_batch_lock(b);
    bk_batch_flush(b, num);
    assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_OK);
    bk_batch_free(&b);
}

static void write_store(struct place *p, struct rng *rng, unsigned writes)
{
    struct bk_options opt;
    struct bk_db *db;
    struct bk_error err = {0};
    static char value[20000];
    bk_options_init(&opt);
    opt.dir = DIR;
    opt.io = simdisk_io(p->disk);
    opt.hash_seed = SEED;
    opt.merge.policy = BK_MERGE_NEVER;
    assert_int_equal(bk_open(&db, &opt, &err), BK_OK);
    for (unsigned i = 0; i < writes; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key:%u", (unsigned)rng_below(rng, 500));
        struct bk_span k = bk_span_of(key, (size_t)n);
        uint32_t num = (uint32_t)rng_below(rng, 3);
        int rc = BK_OK;
        if (rng_percent(rng, 15)) {
            rc = bk_delete(db, num, k);
        } else if (rng_percent(rng, 2)) {
            flush_database(db, num);
        } else {
            rc = bk_put(db, num, k, bk_span_of(value, rng_below(rng, sizeof value)), 0);
        }
        assert_true(rc == BK_OK || rc == BK_NOTFOUND);
    }
    assert_int_equal(bk_close(&db, &err), BK_OK);
    simdisk_remove(p->disk, HINT);
}

static void find_ends(struct place *p)
{
    struct bki_scan s;
    struct bki_scan_item it;
    bki_scan_init(&s, simdisk_io(p->disk), p->f.fd, DATA, p->f.seed, false, p->f.header_bytes,
                  simdisk_size(p->disk, DATA));
    while (bki_scan_next(&s, &it, NULL) == BK_OK && p->n < ENDS_MAX) {
        p->ends[p->n++] = s.offset;
    }
    bki_scan_fini(&s);
    assert_true(p->n > 100);
    atomic_store(&p->f.size, p->ends[p->n - 1]);
}

static void place_init(struct place *p, struct rng *rng)
{
    struct bki_datafile_header h;
    memset(p, 0, sizeof *p);
    p->disk = simdisk_new(1);
    write_store(p, rng, 1500);
    const struct bk_io *io = simdisk_io(p->disk);
    p->f.fd = io->open(io->arg, DATA, BK_IO_READ);
    assert_true(p->f.fd >= 0);
    assert_int_equal(bki_datafile_header_read(io, p->f.fd, DATA, &h, NULL), BK_OK);
    p->f.id = h.id;
    p->f.uid = h.uid;
    p->f.seed = bki_datafile_seed(h.uid);
    p->f.header_bytes = h.bytes;
    p->f.path = (char *)(uintptr_t)DATA;
    atomic_store(&p->f.state, BKI_FILE_SEALED);
    bki_datafile_header_fini(&h);
    find_ends(p);
}

static void place_fini(struct place *p)
{
    const struct bk_io *io = simdisk_io(p->disk);
    io->close(io->arg, p->f.fd);
    simdisk_free(&p->disk);
}

static void write_hint(struct place *p, uint64_t covers, bool whole)
{
    struct bk_error err = {0};
    assert_int_equal(bki_hint_write(simdisk_io(p->disk), DIR, &p->f, covers, whole, SEED, &err),
                     BK_OK);
}

/* All entries of a hint, in the order of the data. */
static int by_offset(const void *a, const void *b)
{
    const struct bki_hint_entry *x = a;
    const struct bki_hint_entry *y = b;
    return x->offset < y->offset ? -1 : 1;
}

static size_t entries_of(const struct bki_hint *h, struct bki_hint_entry *out)
{
    size_t n = 0;
    for (uint32_t part = 0; part < bki_hint_parts(h); part++) {
        struct bki_hint_cursor c;
        uint64_t last = 0;
        assert_int_equal(bki_hint_part_begin(&c, h, part, SEED), BK_OK);
        while (n < ENDS_MAX && bki_hint_next(&c, &out[n], NULL) == BK_OK) {
            assert_true(out[n].offset > last);
            last = out[n].offset;
            out[n++].key = bk_span_str(""); /* its hash stays */
        }
        bki_hint_part_end(&c);
    }
    qsort(out, n, sizeof *out, by_offset);
    return n;
}

static void same_filters(const struct bki_hint *a, const struct bki_hint *b)
{
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key:%u", i);
        uint64_t hash = bki_key_hash(SEED, key, (size_t)n);
        uint64_t value = bki_filter_value(hash, i % 4);
        bool in_a;
        bool in_b;
        assert_int_equal(bki_hint_filter(a, (uint32_t)(hash >> 48) & (bki_hint_parts(a) - 1),
                                         &value, 1, &in_a, NULL),
                         BK_OK);
        assert_int_equal(bki_hint_filter(b, (uint32_t)(hash >> 48) & (bki_hint_parts(b) - 1),
                                         &value, 1, &in_b, NULL),
                         BK_OK);
        assert_int_equal(in_a, in_b);
    }
}

static void same_hints(const struct bki_hint *a, const struct bki_hint *b)
{
    static struct bki_hint_entry x[ENDS_MAX];
    static struct bki_hint_entry y[ENDS_MAX];
    size_t n = entries_of(a, x);
    assert_int_equal(entries_of(b, y), n);
    assert_int_equal(a->info.entries, n);
    assert_int_equal(b->info.entries, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(x[i].offset, y[i].offset);
        assert_int_equal(x[i].size, y[i].size);
        assert_int_equal(x[i].hash, y[i].hash);
        assert_int_equal(x[i].space, y[i].space);
        assert_int_equal(x[i].kind, y[i].kind);
        assert_int_equal(x[i].expire_ms, y[i].expire_ms);
    }
    assert_int_equal(a->info.max_seq, b->info.max_seq);
    assert_int_equal(a->info.last_seq, b->info.last_seq);
    assert_int_equal(a->maps.len, b->maps.len);
    assert_true(a->maps.len == 0 || memcmp(a->maps.data, b->maps.data, a->maps.len) == 0);
    same_filters(a, b);
}

/* One made of the data alone, beside the one that is there. */
static void compare_with_fresh(struct place *p)
{
    struct bki_hint made;
    struct bki_hint fresh;
    struct bk_error err = {0};
    uint64_t end = atomic_load(&p->f.size);
    assert_int_equal(bki_hint_open(&made, simdisk_io(p->disk), DIR, &p->f, SEED, &err), BK_OK);
    simdisk_remove(p->disk, HINT);
    write_hint(p, end, true);
    assert_int_equal(bki_hint_open(&fresh, simdisk_io(p->disk), DIR, &p->f, SEED, &err), BK_OK);
    same_hints(&made, &fresh);
    bki_hint_close(&made);
    bki_hint_close(&fresh);
}

static void test_hint_write__over_hints_of_the_front__says_the_same(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rng rng = {seed};
        struct place p;
        place_init(&p, &rng);
        size_t at = 0;
        for (unsigned fronts = 0; fronts < seed; fronts++) {
            at += rng_below(&rng, (p.n - at) / 2);
            write_hint(&p, p.ends[at], false);
        }
        write_hint(&p, atomic_load(&p.f.size), true);
        compare_with_fresh(&p);
        place_fini(&p);
    }
}

/* Whatever bit of the earlier hint is wrong: it is used and right, or the data is read. */
static void test_hint_write__over_a_damaged_hint__says_the_same(void **state)
{
    (void)state;
    struct rng rng = {11};
    struct place p;
    place_init(&p, &rng);
    for (unsigned i = 0; i < 60; i++) {
        uint8_t byte;
        struct bk_buf b = {0};
        simdisk_remove(p.disk, HINT);
        write_hint(&p, p.ends[p.n / 2], i % 2 == 0);
        simdisk_read(p.disk, HINT, &b);
        uint64_t at = rng_below(&rng, b.len);
        byte = (uint8_t)(b.data[at] ^ 1u << rng_below(&rng, 8));
        simdisk_patch(p.disk, HINT, at, &byte, 1);
        bk_buf_fini(&b);
        write_hint(&p, atomic_load(&p.f.size), true);
        compare_with_fresh(&p);
    }
    place_fini(&p);
}

/* A front's hint has no filters: it is never taken for a sealed file's, even when nothing came
 * behind it, nor for a damaged one, and says that any key may be there. */
static void test_hint_write__front_is_all_there_is__no_sealed_files_hint(void **state)
{
    (void)state;
    struct rng rng = {12};
    struct place p;
    struct bki_hint h;
    uint64_t value = 5;
    bool maybe = false;
    place_init(&p, &rng);
    write_hint(&p, atomic_load(&p.f.size), false);
    const struct bk_io *io = simdisk_io(p.disk);
    assert_int_equal(bki_hint_open(&h, io, DIR, &p.f, SEED, NULL), BK_NOTFOUND);
    atomic_store(&p.f.state, BKI_FILE_ACTIVE);
    assert_int_equal(bki_hint_open(&h, io, DIR, &p.f, SEED, NULL), BK_OK);
    assert_int_equal(bki_hint_filter(&h, 0, &value, 1, &maybe, NULL), BK_OK);
    assert_true(maybe);
    bki_hint_close(&h);
    atomic_store(&p.f.state, BKI_FILE_SEALED);
    write_hint(&p, atomic_load(&p.f.size), true);
    compare_with_fresh(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hint_write__over_hints_of_the_front__says_the_same),
        cmocka_unit_test(test_hint_write__over_a_damaged_hint__says_the_same),
        cmocka_unit_test(test_hint_write__front_is_all_there_is__no_sealed_files_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
