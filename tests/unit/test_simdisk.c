/* SPDX-License-Identifier: MIT */
/* test_simdisk.c - the simulated disk does what a disk may do, and nothing else. */
#include "lib/rng.h"
#include "lib/simdisk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int write_at(const struct bk_io *io, int fd, const void *data, size_t len, uint64_t offset)
{
    char copy[65536];
    memcpy(copy, data, len);
    struct iovec iov = {.iov_base = copy, .iov_len = len};
    return (int)io->pwritev(io->arg, fd, &iov, 1, offset);
}

/* A disk with the directory d and the file d/f, both durable, open as handle 0. */
static struct simdisk *make(uint64_t seed)
{
    struct simdisk *d = simdisk_new(seed);
    const struct bk_io *io = simdisk_io(d);
    assert_int_equal(io->mkdir(io->arg, "d"), 0);
    assert_int_equal(io->open(io->arg, "d/f", BK_IO_CREATE), 0);
    assert_int_equal(io->sync_dir(io->arg, "."), 0);
    assert_int_equal(io->sync_dir(io->arg, "d"), 0);
    return d;
}

static void test_simdisk__written_bytes__are_read_back_at_their_offset(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    char buf[16] = {0};
    assert_int_equal(write_at(io, 0, "hello", 5, 5000), 5);
    assert_int_equal(io->size(io->arg, 0), 5005);
    assert_int_equal(io->pread(io->arg, 0, buf, sizeof(buf), 4998), 7);
    assert_memory_equal(buf, "\0\0hello", 7);
    assert_int_equal(io->pread(io->arg, 0, buf, sizeof(buf), 5005), 0);
    /* A second handle sees the same bytes; an offset is an offset whatever was written before (no
     * O_APPEND). */
    int fd = io->open(io->arg, "d/f", BK_IO_WRITE);
    assert_int_equal(write_at(io, fd, "HE", 2, 5000), 2);
    assert_int_equal(io->pread(io->arg, 0, buf, 5, 5000), 5);
    assert_memory_equal(buf, "HEllo", 5);
    assert_int_equal(simdisk_handles(d), 2);
    assert_int_equal(io->close(io->arg, fd), 0);
    assert_int_equal(simdisk_handles(d), 1);
    assert_int_equal(io->close(io->arg, fd), -EBADF);
    simdisk_free(&d);
}

static void test_simdisk__open__answers_as_posix_does(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    assert_int_equal(io->open(io->arg, "d/g", BK_IO_READ), -ENOENT);
    assert_int_equal(io->open(io->arg, "d/f", BK_IO_CREATE), -EEXIST);
    assert_int_equal(io->open(io->arg, "e/f", BK_IO_CREATE), -ENOENT);
    assert_int_equal(io->open(io->arg, "d", BK_IO_READ), -EISDIR);
    assert_int_equal(io->mkdir(io->arg, "d"), -EEXIST);
    int fd = io->open(io->arg, "d/f", BK_IO_READ);
    assert_int_equal(write_at(io, fd, "x", 1, 0), -EBADF);
    assert_int_equal(io->rename(io->arg, "d/g", "d/h"), -ENOENT);
    assert_int_equal(io->unlink(io->arg, "d/g"), -ENOENT);
    simdisk_free(&d);
}

static void test_simdisk__power_cut__keeps_what_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        char buf[8] = {0};
        assert_int_equal(write_at(io, 0, "synced", 6, 0), 6);
        assert_int_equal(io->sync(io->arg, 0), 0);
        assert_true(simdisk_is_durable(d, "d/f"));
        assert_int_equal(write_at(io, 0, "more", 4, 8192), 4);
        assert_false(simdisk_is_durable(d, "d/f"));
        simdisk_crash(d);
        assert_int_equal(io->sync(io->arg, 0), -EIO);
        assert_int_equal(io->open(io->arg, "d/f", BK_IO_READ), -EIO);
        simdisk_restart(d, SIMDISK_POWER);
        assert_int_equal(simdisk_handles(d), 0);
        assert_int_equal(io->open(io->arg, "d/f", BK_IO_READ), 0);
        assert_int_equal(io->pread(io->arg, 0, buf, 6, 0), 6);
        assert_memory_equal(buf, "synced", 6);
        simdisk_free(&d);
    }
}

/* Over many seeds every outcome is seen that a disk allows for eight unsynced pages over older
 * ones: none, all, some without an earlier one, a page torn at a sector; and a sector is never
 * torn. */
static void test_simdisk__power_cut__keeps_any_subset_of_sectors(void **state)
{
    (void)state;
    unsigned none = 0;
    unsigned all = 0;
    unsigned hole = 0;
    unsigned torn = 0;
    uint8_t page[SIMDISK_SECTOR * 8];
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        for (unsigned round = 1; round <= 2; round++) {
            memset(page, (int)round, sizeof(page));
            for (unsigned i = 0; i < 8; i++) {
                assert_int_equal(write_at(io, 0, page, sizeof(page), i * sizeof(page)),
                                 sizeof(page));
            }
            if (round == 1) {
                assert_int_equal(io->sync(io->arg, 0), 0);
            }
        }
        simdisk_crash(d);
        simdisk_restart(d, SIMDISK_POWER);
        struct bk_buf got = {0};
        simdisk_read(d, "d/f", &got);
        assert_int_equal(got.len, 8 * sizeof(page));
        unsigned fresh = 0;
        unsigned gap = 0;
        unsigned tears = 0;
        for (unsigned s = 0; s < 64; s++) {
            const uint8_t *p = got.data + s * SIMDISK_SECTOR;
            for (unsigned i = 1; i < SIMDISK_SECTOR; i++) {
                assert_int_equal(p[i], p[0]);
            }
            fresh += p[0] == 2;
            gap += s > 0 && p[0] == 2 && p[-1] == 1;
            tears += s % 8 != 0 && p[0] != p[-1];
        }
        none += fresh == 0;
        all += fresh == 64;
        hole += gap > 0;
        torn += tears > 0;
        bk_buf_fini(&got);
        simdisk_free(&d);
    }
    assert_true(none > 0 && all > 0 && hole > 0 && torn > 0);
}

static void test_simdisk__power_cut__size_is_one_it_had_and_unwritten_bytes_are_zero(void **state)
{
    (void)state;
    unsigned seen[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        assert_int_equal(write_at(io, 0, "a", 1, 0), 1);
        assert_int_equal(io->sync(io->arg, 0), 0);
        assert_int_equal(io->allocate(io->arg, 0, 0, 10000), 0);
        assert_int_equal(write_at(io, 0, "b", 1, 9000), 1);
        assert_int_equal(write_at(io, 0, "c", 1, 20000), 1);
        simdisk_crash(d);
        simdisk_restart(d, SIMDISK_POWER);
        struct bk_buf got = {0};
        simdisk_read(d, "d/f", &got);
        assert_true(got.len == 1 || got.len == 10000 || got.len == 20001);
        seen[got.len == 1 ? 0 : got.len == 10000 ? 1 : 2]++;
        for (size_t i = 1; i < got.len; i++) {
            assert_true(got.data[i] == 0 || (i == 9000 && got.data[i] == 'b') ||
                        (i == 20000 && got.data[i] == 'c'));
        }
        seen[3] += got.len > 1 && got.data[9000] == 0;
        bk_buf_fini(&got);
        simdisk_free(&d);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

static void test_simdisk__power_cut__directory_operations_survive_as_a_prefix(void **state)
{
    (void)state;
    unsigned seen[4] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        assert_int_equal(io->open(io->arg, "d/new", BK_IO_CREATE), 1);
        assert_int_equal(write_at(io, 1, "N", 1, 0), 1);
        assert_int_equal(io->sync(io->arg, 1), 0); /* syncs the bytes, not the name */
        assert_int_equal(io->rename(io->arg, "d/new", "d/f"), 0);
        assert_int_equal(io->open(io->arg, "d/last", BK_IO_CREATE), 2);
        simdisk_crash(d);
        simdisk_restart(d, SIMDISK_POWER);
        bool fresh = simdisk_exists(d, "d/new");
        bool last = simdisk_exists(d, "d/last");
        uint64_t size = simdisk_size(d, "d/f");
        assert_true(simdisk_exists(d, "d/f"));
        assert_false(fresh && size == 1);
        assert_false(last && size == 0);
        seen[fresh ? 1 : size == 0 ? 0 : last ? 3 : 2]++;
        simdisk_free(&d);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

static void test_simdisk__power_cut__directory_without_synced_parent_may_vanish(void **state)
{
    (void)state;
    unsigned gone = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct simdisk *d = simdisk_new(seed);
        const struct bk_io *io = simdisk_io(d);
        assert_int_equal(io->mkdir(io->arg, "d"), 0);
        assert_int_equal(io->open(io->arg, "d/f", BK_IO_CREATE), 0);
        assert_int_equal(io->sync_dir(io->arg, "d"), 0);
        simdisk_crash(d);
        simdisk_restart(d, SIMDISK_POWER);
        assert_int_equal(simdisk_exists(d, "d"), simdisk_exists(d, "d/f"));
        gone += !simdisk_exists(d, "d");
        simdisk_free(&d);
    }
    assert_true(gone > 0 && gone < 40);
}

static void test_simdisk__kill__keeps_page_cache_and_boot_id(void **state)
{
    (void)state;
    struct simdisk *d = make(3);
    const struct bk_io *io = simdisk_io(d);
    uint8_t id[3][16];
    long holder = 0;
    assert_int_equal(io->boot_id(io->arg, id[0]), 0);
    assert_int_equal(write_at(io, 0, "abc", 3, 0), 3);
    assert_true(io->lock(io->arg, "d/LOCK", &holder) >= 0);
    assert_int_equal(io->lock(io->arg, "d/LOCK", &holder), -EWOULDBLOCK);
    assert_int_equal(holder, SIMDISK_HOLDER);
    simdisk_crash(d);
    simdisk_restart(d, SIMDISK_KILL);
    assert_int_equal(simdisk_size(d, "d/f"), 3);
    assert_int_equal(io->boot_id(io->arg, id[1]), 0);
    assert_memory_equal(id[0], id[1], 16);
    int lock = io->lock(io->arg, "d/LOCK", &holder); /* the dead process's lock is gone */
    assert_true(lock >= 0);
    assert_int_equal(io->unlock(io->arg, lock), 0);
    simdisk_crash(d);
    simdisk_restart(d, SIMDISK_POWER);
    assert_int_equal(io->boot_id(io->arg, id[2]), 0);
    assert_memory_not_equal(id[0], id[2], 16);
    simdisk_free(&d);
}

static void test_simdisk__cut_at_call__ends_the_life_there(void **state)
{
    (void)state;
    unsigned part = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        simdisk_cut(d, 2);
        assert_int_equal(write_at(io, 0, "abcdef", 6, 0), 6);
        assert_false(simdisk_dead(d));
        assert_int_equal(write_at(io, 0, "ghijkl", 6, 6), -EIO);
        assert_true(simdisk_dead(d));
        simdisk_restart(d, SIMDISK_KILL);
        uint64_t size = simdisk_size(d, "d/f");
        assert_in_range(size, 6, 12);
        part += size > 6 && size < 12;
        simdisk_free(&d);
    }
    assert_true(part > 0);
}

static void test_simdisk__fail__fails_the_named_calls_only(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    simdisk_fail(d, SIMDISK_WRITE | SIMDISK_ALLOCATE, 2, 2, ENOSPC);
    assert_int_equal(write_at(io, 0, "a", 1, 0), 1);
    assert_int_equal(io->sync(io->arg, 0), 0);
    assert_int_equal(write_at(io, 0, "b", 1, 1), -ENOSPC);
    assert_int_equal(io->allocate(io->arg, 0, 0, 100), -ENOSPC);
    assert_int_equal(simdisk_failed(d), 2);
    assert_int_equal(write_at(io, 0, "c", 1, 1), 1);
    assert_int_equal(io->size(io->arg, 0), 2);
    simdisk_free(&d);
}

/* What PostgreSQL learned in 2018: the second sync answers 0, and the page is gone all the same. */
static void test_simdisk__failed_sync__loses_pages_that_a_later_sync_does_not_bring_back(
    void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        char buf[2] = {0};
        assert_int_equal(write_at(io, 0, "x", 1, 0), 1);
        simdisk_fail(d, SIMDISK_SYNC, 1, 1, EIO);
        assert_int_equal(io->sync(io->arg, 0), -EIO);
        assert_int_equal(io->sync(io->arg, 0), 0);
        assert_int_equal(io->pread(io->arg, 0, buf, 1, 0), 1);
        assert_int_equal(buf[0], 'x');
        simdisk_crash(d);
        simdisk_restart(d, SIMDISK_POWER);
        struct bk_buf got = {0};
        simdisk_read(d, "d/f", &got);
        lost += got.len == 0 || got.data[0] == 0;
        bk_buf_fini(&got);
        simdisk_free(&d);
    }
    assert_true(lost > 0 && lost < 40);
}

static void test_simdisk__capacity__ends_growth_and_comes_back(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    char big[10000];
    memset(big, 'x', sizeof(big));
    simdisk_capacity(d, 8192);
    assert_int_equal(write_at(io, 0, big, sizeof(big), 0),
                     8192); /* a short count, then the error */
    assert_int_equal(write_at(io, 0, big, 10, 8192), -ENOSPC);
    assert_int_equal(io->allocate(io->arg, 0, 0, 8193), -ENOSPC);
    assert_int_equal(write_at(io, 0, big, 10, 0), 10);
    assert_int_equal(io->truncate(io->arg, 0, 0), 0);
    assert_int_equal(io->allocate(io->arg, 0, 0, 8192), 0);
    assert_int_equal(simdisk_used(d), 8192);
    simdisk_free(&d);
}

static void test_simdisk__noise__reads_and_writes_come_in_pieces(void **state)
{
    (void)state;
    struct simdisk *d = make(9);
    const struct bk_io *io = simdisk_io(d);
    unsigned brief = 0;
    unsigned again = 0;
    simdisk_noise(d, 40);
    for (unsigned i = 0; i < 100; i++) {
        int rc = write_at(io, 0, "0123456789", 10, 0);
        assert_true(rc == -EINTR || (rc >= 1 && rc <= 10));
        brief += rc > 0 && rc < 10;
        again += rc == -EINTR;
    }
    assert_true(brief > 0 && again > 0);
    simdisk_free(&d);
}

/* One seed, one script: the same bytes survive; another seed: others do. */
static void run_script(uint64_t seed, struct bk_buf *left)
{
    struct simdisk *d = make(seed);
    const struct bk_io *io = simdisk_io(d);
    struct rng rng = {7};
    for (unsigned i = 0; i < 100; i++) {
        char data[700];
        rng_fill(&rng, data, sizeof(data));
        assert_int_equal(write_at(io, 0, data, sizeof(data), i * 700), 700);
        if (i == 30) {
            assert_int_equal(io->sync(io->arg, 0), 0);
        }
    }
    simdisk_crash(d);
    simdisk_restart(d, SIMDISK_POWER);
    simdisk_read(d, "d/f", left);
    simdisk_free(&d);
}

static int told;

static int tell(void *arg, enum simdisk_call call)
{
    unsigned *calls = arg;
    *calls += call == SIMDISK_WRITE ? 1 : 0;
    return told;
}

static void test_simdisk__asked_at_each_call__does_what_it_is_told(void **state)
{
    (void)state;
    struct simdisk *d = make(9);
    const struct bk_io *io = simdisk_io(d);
    unsigned calls = 0;
    simdisk_ask(d, tell, &calls);
    told = 0;
    write_at(io, 0, "abcdef", 6, 0);
    told = SIMDISK_SHORT;
    assert_in_range(write_at(io, 0, "abcdef", 6, 0), 1, 5);
    told = -ENOSPC;
    assert_int_equal(write_at(io, 0, "x", 1, 100), -ENOSPC);
    told = SIMDISK_ENDS;
    assert_int_equal(io->sync(io->arg, 0), -EIO);
    assert_true(simdisk_dead(d));
    assert_int_equal(calls, 3);
    simdisk_free(&d);
}

static void test_simdisk__flipped_bit__is_the_only_one_that_changed(void **state)
{
    (void)state;
    struct simdisk *d = make(10);
    const struct bk_io *io = simdisk_io(d);
    char buf[4] = {0};
    assert_int_equal(write_at(io, 0, "aaa", 3, 0), 3);
    simdisk_flip(d, "d/f", 9);
    assert_int_equal(io->pread(io->arg, 0, buf, 3, 0), 3);
    assert_memory_equal(buf, "aca", 3);
    simdisk_free(&d);
}

static void test_simdisk__same_seed__same_survivors(void **state)
{
    (void)state;
    unsigned differs = 0;
    struct bk_buf first = {0};
    run_script(1, &first);
    for (uint64_t seed = 1; seed < 10; seed++) {
        struct bk_buf a = {0};
        struct bk_buf b = {0};
        run_script(seed, &a);
        run_script(seed, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        differs += a.len != first.len || memcmp(a.data, first.data, a.len) != 0;
        bk_buf_fini(&a);
        bk_buf_fini(&b);
    }
    assert_true(differs > 0);
    bk_buf_fini(&first);
}

static void test_simdisk__clone__is_a_disk_of_its_own(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    assert_int_equal(write_at(io, 0, "abc", 3, 4095), 3);
    struct simdisk *copy = simdisk_clone(d, 2);
    assert_true(simdisk_is_durable(copy, "d/f"));
    simdisk_patch(copy, "d/f", 4096, "X", 1);
    struct bk_buf a = {0};
    struct bk_buf b = {0};
    simdisk_read(d, "d/f", &a);
    simdisk_read(copy, "d/f", &b);
    assert_memory_equal(a.data + 4095, "abc", 3);
    assert_memory_equal(b.data + 4095, "aXc", 3);
    simdisk_resize(copy, "d/f", 1);
    simdisk_remove(d, "d/f");
    assert_int_equal(simdisk_size(copy, "d/f"), 1);
    assert_false(simdisk_exists(d, "d/f"));
    bk_buf_fini(&a);
    bk_buf_fini(&b);
    simdisk_free(&copy);
    simdisk_free(&d);
}

static void count_name(void *arg, const char *name)
{
    unsigned *seen = arg;
    seen[0] += strcmp(name, "f") == 0;
    seen[1]++;
}

static void test_simdisk__list__names_what_lies_in_the_directory(void **state)
{
    (void)state;
    struct simdisk *d = make(1);
    const struct bk_io *io = simdisk_io(d);
    unsigned seen[2] = {0};
    simdisk_put(d, "d/g", "1", 1);
    simdisk_put(d, "other", "1", 1);
    assert_int_equal(io->list(io->arg, "d", count_name, seen), 0);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 2);
    assert_int_equal(io->list(io->arg, "nowhere", count_name, seen), -ENOENT);
    simdisk_free(&d);
}

static void test_simdisk__link__is_a_second_name_of_one_file(void **state)
{
    (void)state;
    struct simdisk *d = make(31);
    const struct bk_io *io = simdisk_io(d);
    char buf[8] = {0};
    assert_int_equal(write_at(io, 0, "first", 5, 0), 5);
    uint64_t used = simdisk_used(d);
    assert_int_equal(io->mkdir(io->arg, "e"), 0);
    assert_int_equal(io->link(io->arg, "d/f", "e/g"), 0);
    assert_int_equal(io->link(io->arg, "d/f", "e/g"), -EEXIST);
    assert_int_equal(io->link(io->arg, "d/none", "e/h"), -ENOENT);
    assert_int_equal(io->link(io->arg, "d/f", "none/h"), -ENOENT);
    assert_int_equal(io->link(io->arg, "d", "e/h"), -EPERM);
    assert_int_equal(simdisk_used(d), used); /* a name takes no room */
    assert_int_equal(io->unlink(io->arg, "d/f"), 0);
    int fd = io->open(io->arg, "e/g", BK_IO_WRITE);
    assert_int_equal(io->pread(io->arg, fd, buf, sizeof(buf), 0), 5);
    assert_memory_equal(buf, "first", 5);
    /* In a clone two names are one file too. */
    assert_int_equal(io->link(io->arg, "e/g", "e/h"), 0);
    struct simdisk *copy = simdisk_clone(d, 32);
    const struct bk_io *cio = simdisk_io(copy);
    fd = cio->open(cio->arg, "e/g", BK_IO_WRITE);
    assert_int_equal(write_at(cio, fd, "other", 5, 0), 5);
    fd = cio->open(cio->arg, "e/h", BK_IO_READ);
    assert_int_equal(cio->pread(cio->arg, fd, buf, sizeof(buf), 0), 5);
    assert_memory_equal(buf, "other", 5);
    simdisk_free(&copy);
    simdisk_free(&d);
}

/* A link is durable once its directory was synced and its file was, each on its own. */
static void test_simdisk__power_cut__takes_unsynced_links(void **state)
{
    (void)state;
    unsigned with = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        assert_int_equal(write_at(io, 0, "first", 5, 0), 5);
        assert_int_equal(io->sync(io->arg, 0), 0);
        assert_int_equal(io->link(io->arg, "d/f", "d/sure"), 0);
        assert_int_equal(io->sync_dir(io->arg, "d"), 0);
        assert_int_equal(io->link(io->arg, "d/f", "d/perhaps"), 0);
        assert_false(simdisk_is_durable(d, "d/perhaps"));
        simdisk_restart(d, SIMDISK_POWER);
        assert_true(simdisk_exists(d, "d/f"));
        assert_int_equal(simdisk_size(d, "d/sure"), 5);
        with += simdisk_exists(d, "d/perhaps") ? 1u : 0u;
        simdisk_free(&d);
    }
    assert_in_range(with, 5, 35);
}

static void test_simdisk__renamed_directory__takes_what_lies_in_it_along(void **state)
{
    (void)state;
    unsigned moved = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct simdisk *d = make(seed);
        const struct bk_io *io = simdisk_io(d);
        assert_int_equal(io->mkdir(io->arg, "e"), 0);
        assert_int_equal(io->sync_dir(io->arg, "."), 0);
        assert_int_equal(io->rmdir(io->arg, "d"), -ENOTEMPTY);
        assert_int_equal(io->rename(io->arg, "e", "d"), -ENOTEMPTY);
        assert_int_equal(io->rename(io->arg, "d", "e"), 0); /* e was empty */
        assert_true(simdisk_exists(d, "e/f") && !simdisk_exists(d, "d/f"));
        simdisk_restart(d, SIMDISK_POWER);
        assert_true(simdisk_exists(d, "e/f") != simdisk_exists(d, "d/f"));
        moved += simdisk_exists(d, "e/f") ? 1u : 0u;
        simdisk_free(&d);
    }
    assert_in_range(moved, 5, 35);
}

static void test_simdisk__rmdir__removes_an_empty_directory(void **state)
{
    (void)state;
    struct simdisk *d = make(33);
    const struct bk_io *io = simdisk_io(d);
    assert_int_equal(io->rmdir(io->arg, "none"), -ENOENT);
    assert_int_equal(io->rmdir(io->arg, "d/f"), -ENOTDIR);
    assert_int_equal(io->unlink(io->arg, "d/f"), 0);
    assert_int_equal(io->rmdir(io->arg, "d"), 0);
    assert_false(simdisk_exists(d, "d"));
    simdisk_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simdisk__written_bytes__are_read_back_at_their_offset),
        cmocka_unit_test(test_simdisk__open__answers_as_posix_does),
        cmocka_unit_test(test_simdisk__power_cut__keeps_what_was_synced),
        cmocka_unit_test(test_simdisk__power_cut__keeps_any_subset_of_sectors),
        cmocka_unit_test(test_simdisk__power_cut__size_is_one_it_had_and_unwritten_bytes_are_zero),
        cmocka_unit_test(test_simdisk__power_cut__directory_operations_survive_as_a_prefix),
        cmocka_unit_test(test_simdisk__power_cut__directory_without_synced_parent_may_vanish),
        cmocka_unit_test(test_simdisk__kill__keeps_page_cache_and_boot_id),
        cmocka_unit_test(test_simdisk__cut_at_call__ends_the_life_there),
        cmocka_unit_test(test_simdisk__fail__fails_the_named_calls_only),
        cmocka_unit_test(
            test_simdisk__failed_sync__loses_pages_that_a_later_sync_does_not_bring_back),
        cmocka_unit_test(test_simdisk__capacity__ends_growth_and_comes_back),
        cmocka_unit_test(test_simdisk__noise__reads_and_writes_come_in_pieces),
        cmocka_unit_test(test_simdisk__asked_at_each_call__does_what_it_is_told),
        cmocka_unit_test(test_simdisk__flipped_bit__is_the_only_one_that_changed),
        cmocka_unit_test(test_simdisk__same_seed__same_survivors),
        cmocka_unit_test(test_simdisk__clone__is_a_disk_of_its_own),
        cmocka_unit_test(test_simdisk__list__names_what_lies_in_the_directory),
        cmocka_unit_test(test_simdisk__link__is_a_second_name_of_one_file),
        cmocka_unit_test(test_simdisk__power_cut__takes_unsynced_links),
        cmocka_unit_test(test_simdisk__renamed_directory__takes_what_lies_in_it_along),
        cmocka_unit_test(test_simdisk__rmdir__removes_an_empty_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
