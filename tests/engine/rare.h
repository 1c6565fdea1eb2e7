/* SPDX-License-Identifier: MIT */
/*
 * rare.h - what test_rare_*.c share: the rig with hooks in its disk's table and a count of
 * wake calls, and writes and reads past the model, for databases that it does not have.
 */
#ifndef BK_TESTS_RARE_H
#define BK_TESTS_RARE_H

#include "engine_test.h"

#include <errno.h>
#include <stdatomic.h>

#define RARE_HANDLES 256

struct rare {
    struct rig r;
    struct bk_io io;            /* the table that the store sees */
    atomic_int create_error;    /* making a file fails with it; 0: it does not */
    atomic_uint write_failures; /* so many of the next writes fail with EIO */
    atomic_uint sync_failures;  /* the same for syncs */
    atomic_bool all_writes_fail;
    const char *sick; /* what has this in its name can be neither made, written nor synced */
    char names[RARE_HANDLES][96]; /* by handle, for sick */
    bool keeps_part; /* a refused allocate keeps what there was room for, as some file systems do */
    void (*in_sync)(struct rare *s); /* runs once, in front of the next sync */
    void (*in_wake)(struct rare *s); /* runs in each wake call */
    void *arg;                       /* for in_wake */
    uint64_t pos;                    /* for in_sync */
    atomic_uint wakes;
    atomic_uint creates; /* tries to make a file that is no hint */
};

static inline const struct bk_io *rare_base(const struct rare *s)
{
    return simdisk_io(s->r.disk);
}

static inline void rare_run(struct rare *s, void (**hook)(struct rare *))
{
    void (*run)(struct rare *) = *hook;
    *hook = NULL;
    if (run != NULL) {
        run(s);
    }
}

static inline int rare_open_file(void *arg, const char *path, enum bk_io_open how)
{
    struct rare *s = arg;
    if (how == BK_IO_CREATE && strstr(path, ".hint") == NULL) {
        atomic_fetch_add(&s->creates, 1);
        if (s->create_error != 0) {
            return -s->create_error;
        }
    }
    if (how == BK_IO_CREATE && s->sick != NULL && strstr(path, s->sick) != NULL) {
        return -EIO;
    }
    int fd = rare_base(s)->open(rare_base(s)->arg, path, how);
    if (fd >= 0 && fd < RARE_HANDLES) {
        snprintf(s->names[fd], sizeof(s->names[fd]), "%s", path);
    }
    return fd;
}

static inline bool rare_is_sick(const struct rare *s, int fd)
{
    return s->sick != NULL && fd < RARE_HANDLES && strstr(s->names[fd], s->sick) != NULL;
}

static inline int64_t rare_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    struct rare *s = arg;
    return rare_base(s)->pread(rare_base(s)->arg, fd, buf, len, offset);
}

static inline int64_t rare_pwritev(void *arg, int fd, const struct iovec *iov, int iov_n,
                                   uint64_t offset)
{
    struct rare *s = arg;
    if (s->all_writes_fail || rare_is_sick(s, fd)) {
        return -EIO;
    }
    if (s->write_failures > 0) {
        s->write_failures--;
        return -EIO;
    }
    return rare_base(s)->pwritev(rare_base(s)->arg, fd, iov, iov_n, offset);
}

static inline int rare_sync(void *arg, int fd)
{
    struct rare *s = arg;
    rare_run(s, &s->in_sync);
    if (s->sync_failures > 0) {
        s->sync_failures--;
        return -EIO;
    }
    if (rare_is_sick(s, fd)) {
        return -EIO;
    }
    return rare_base(s)->sync(rare_base(s)->arg, fd);
}

static inline int rare_allocate(void *arg, int fd, uint64_t offset, uint64_t len)
{
    struct rare *s = arg;
    int rc = rare_base(s)->allocate(rare_base(s)->arg, fd, offset, len);
    uint64_t had = len / SIMDISK_SECTOR;
    while (rc == -ENOSPC && s->keeps_part && had > 0 &&
           rare_base(s)->allocate(rare_base(s)->arg, fd, offset, had * SIMDISK_SECTOR) != 0) {
        had = had * 3 / 4;
    }
    return rc;
}

static inline int rare_close_file(void *arg, int fd)
{
    return rare_base(arg)->close(rare_base(arg)->arg, fd);
}

static inline int rare_truncate(void *arg, int fd, uint64_t size)
{
    return rare_base(arg)->truncate(rare_base(arg)->arg, fd, size);
}

static inline int64_t rare_size(void *arg, int fd)
{
    return rare_base(arg)->size(rare_base(arg)->arg, fd);
}

static inline int64_t rare_free_bytes(void *arg, const char *path)
{
    return rare_base(arg)->free_bytes(rare_base(arg)->arg, path);
}

static inline int rare_in_place(void *arg, const char *path)
{
    return rare_base(arg)->in_place(rare_base(arg)->arg, path);
}

static inline int rare_mkdir(void *arg, const char *path)
{
    return rare_base(arg)->mkdir(rare_base(arg)->arg, path);
}

static inline int rare_rename(void *arg, const char *from, const char *to)
{
    return rare_base(arg)->rename(rare_base(arg)->arg, from, to);
}

static inline int rare_unlink(void *arg, const char *path)
{
    return rare_base(arg)->unlink(rare_base(arg)->arg, path);
}

static inline int rare_sync_dir(void *arg, const char *path)
{
    return rare_base(arg)->sync_dir(rare_base(arg)->arg, path);
}

static inline int rare_list(void *arg, const char *path,
                            void (*each)(void *each_arg, const char *name), void *each_arg)
{
    return rare_base(arg)->list(rare_base(arg)->arg, path, each, each_arg);
}

static inline int rare_lock(void *arg, const char *path, long *holder)
{
    return rare_base(arg)->lock(rare_base(arg)->arg, path, holder);
}

static inline int rare_unlock(void *arg, int handle)
{
    return rare_base(arg)->unlock(rare_base(arg)->arg, handle);
}

static inline int rare_boot_id(void *arg, uint8_t out[16])
{
    return rare_base(arg)->boot_id(rare_base(arg)->arg, out);
}

static inline void rare_wake(void *arg)
{
    struct rare *s = arg;
    atomic_fetch_add(&s->wakes, 1);
    if (s->in_wake != NULL) {
        s->in_wake(s);
    }
}

/* A rig, not opened yet, so that a test can change its options; it stands still in memory. */
static inline struct rare *rare_new(uint64_t seed, enum bk_sync sync)
{
    struct rare *s = calloc(1, sizeof(*s));
    rig_init(&s->r, seed, sync);
    s->io = (struct bk_io){
        .arg = s,
        .open = rare_open_file,
        .close = rare_close_file,
        .pread = rare_pread,
        .pwritev = rare_pwritev,
        .sync = rare_sync,
        .allocate = rare_allocate,
        .truncate = rare_truncate,
        .size = rare_size,
        .free_bytes = rare_free_bytes,
        .in_place = rare_in_place,
        .mkdir = rare_mkdir,
        .rename = rare_rename,
        .unlink = rare_unlink,
        .sync_dir = rare_sync_dir,
        .list = rare_list,
        .lock = rare_lock,
        .unlock = rare_unlock,
        .boot_id = rare_boot_id,
    };
    s->r.opt.io = &s->io;
    s->r.opt.wake = rare_wake;
    s->r.opt.wake_arg = s;
    return s;
}

static inline void rare_free(struct rare *s)
{
    rig_fini(&s->r);
    free(s);
}

/* bk_step until it has no more; fails the test when that does not come. Returns how many did
 * something. */
static inline unsigned rare_steps(struct rare *s)
{
    unsigned n = 0;
    while (n < 1000 && bk_step(s->r.db)) {
        n++;
    }
    assert_true(n < 1000);
    return n;
}

/* Commits b, stepping while the log has no room. */
static inline int rare_commit(struct rare *s, struct bk_batch *b, uint64_t *pos)
{
    int rc = bk_batch_commit(b, pos, NULL);
    for (int i = 0; i < 2000 && rc == BK_EAGAIN; i++) {
        simclock_advance_ms(&s->r.clock, 1);
        bk_flush(s->r.db, bk_tail(s->r.db));
        bk_step(s->r.db);
        rc = bk_batch_commit(b, pos, NULL);
    }
    return rc;
}

/* One write that the model does not hear of; the first code, BK_EAGAIN too. */
static inline int rare_put_once(struct rare *s, uint32_t num, const char *key, struct bk_span value,
                                uint64_t *pos)
{
    struct bk_key k;
    struct bk_value v = {value, NULL};
    bk_key_init(s->r.db, &k, key, strlen(key));
    bk_batch_begin(s->r.batch);
    bk_batch_put(s->r.batch, num, &k, &v, 0, 0);
    return bk_batch_commit(s->r.batch, pos, NULL);
}

static inline int rare_put(struct rare *s, uint32_t num, const char *key, struct bk_span value)
{
    struct bk_key k;
    struct bk_value v = {value, NULL};
    uint64_t pos = 0;
    bk_key_init(s->r.db, &k, key, strlen(key));
    bk_batch_begin(s->r.batch);
    bk_batch_put(s->r.batch, num, &k, &v, 0, 0);
    return rare_commit(s, s->r.batch, &pos);
}

static inline void rare_locate(struct rare *s, const char *key, struct bk_item *item)
{
    struct bk_key k;
    bk_key_init(s->r.db, &k, key, strlen(key));
    bk_locate(s->r.db, &(uint32_t){0}, &k, 1, item);
}

static inline int rare_load(struct rare *s, const char *key, struct bk_item *item)
{
    struct bk_key k;
    bk_key_init(s->r.db, &k, key, strlen(key));
    return bk_load(s->r.db, &k, item, NULL);
}

/* The key has this value; NULL: it is not there. */
static inline void rare_expect(struct rare *s, uint32_t num, const char *key, const char *value)
{
    struct bk_buf got = {0};
    int rc = bk_get(s->r.db, num, bk_span_str(key), &got, NULL);
    if (rc != (value == NULL ? BK_NOTFOUND : BK_OK)) {
        print_error("key %s of database %u: %d\n", key, num, rc);
        fail();
    }
    if (value != NULL) {
        assert_true(bk_span_eq(bk_buf_span(&got), bk_span_str(value)));
    }
    bk_buf_fini(&got);
}

static inline struct rare *rare_opened(uint64_t seed, enum bk_sync sync)
{
    struct rare *s = rare_new(seed, sync);
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
    return s;
}

static inline struct bk_span rare_filled(size_t len)
{
    uint8_t *p = malloc(len);
    pattern_fill(p, len, len);
    return bk_span_of(p, len);
}

static inline void rare_span_free(struct bk_span *v)
{
    free((void *)(uintptr_t)v->data);
    *v = bk_span_of(NULL, 0);
}

static inline void rare_settle(struct rare *s)
{
    RIG_TRUE(&s->r, rig_settle(&s->r));
}

static inline void rare_reopen(struct rare *s)
{
    RIG_TRUE(&s->r, rig_close(&s->r) == BK_OK);
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
}

static inline void rare_flush_db(struct rare *s, uint32_t num)
{
    uint64_t pos = 0;
    bk_batch_begin(s->r.batch);
    bk_batch_lock_all(s->r.batch);
    bk_batch_lock(s->r.batch);
    bk_batch_flush(s->r.batch, num);
    assert_int_equal(rare_commit(s, s->r.batch, &pos), BK_OK);
}

#endif
