/* SPDX-License-Identifier: MIT */
/*
 * make_golden.c DIR - writes the store that tests/engine/golden keeps: every kind of record, sealed
 * files and open ones, as a killed process leaves it. Run by hand when the format's version
 * changes, never to make a test pass:
 *
 *   make build-debug-engine
 *   gcc -std=c11 -D_GNU_SOURCE -Isrc -Itests tests/engine/make_golden.c build/debug/libtest.a \
 *       build/debug/libbitkv.a -lisal -lpthread -lm -o /tmp/make_golden
 *   /tmp/make_golden tests/engine/golden && tclsh tests/engine/read_store.tcl tests/engine/golden \
 *       > tests/engine/golden.expected
 */
#include "lib/rig.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

static void put(struct rig *r, uint32_t num, const char *key, size_t value_len, uint8_t flags,
                int64_t expire_ms)
{
    static uint8_t value[200000];
    for (size_t i = 0; i < value_len; i++) {
        value[i] = (uint8_t)('a' + i % 23);
    }
    rig_batch_put(r, num, bk_span_str(key), bk_span_of(value, value_len), flags, expire_ms);
}

static void done(struct rig *r)
{
    int rc = rig_commit(r);
    BK_ASSERT(rc == BK_OK);
    rig_begin(r);
}

static void first_life(struct rig *r)
{
    put(r, 0, "string", 5, 0, 0);
    done(r);
    put(r, 0, "", 0, 7, 0);
    done(r);
    put(r, 0, "expires", 10, 0x83, SIMCLOCK_START_MS + 1000);
    done(r);
    put(r, 0, "never mind", 600, 0, 0);
    done(r);
    rig_batch_delete(r, 0, bk_span_str("never mind"));
    done(r);
    bool ok = rig_sync(r); /* the next write carries a mark */
    BK_ASSERT(ok);
    put(r, 0, "batch:1", 3, 0, 0);
    put(r, 1, "batch:2", 600, 1, 0);
    rig_batch_delete(r, 0, bk_span_str("batch:3"));
    done(r);
    put(r, 2, "flushed", 20, 0, 0);
    done(r);
    put(r, 3, "large: a table of block checksums", 65536 + 100, 0, 0);
    done(r);
    rig_batch_flush(r, 2);
    done(r);
    put(r, 2, "after the flush", 20, 0, 0);
    done(r);
}

static void second_life(struct rig *r)
{
    rig_batch_swap(r, 0, 1);
    put(r, 0, "swapped and set in one batch", 1, 0, 0);
    done(r);
    for (unsigned i = 0; i < 12; i++) { /* more than one file of 4 KiB: each begins with the map */
        put(r, 1, "again and again", 700 + i, 0, 0);
        done(r);
    }
    put(r, 0, "last", 4, 0, 0);
    done(r);
    bool ok = rig_settle(r);
    BK_ASSERT(ok);
}

static void save(struct rig *r, const char *dir, const char *name)
{
    char path[512];
    struct bk_buf bytes = {0};
    rig_path(name, path, sizeof(path));
    simdisk_read(r->disk, path, &bytes);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    BK_ASSERT(f != NULL);
    size_t n = fwrite(bytes.data, 1, bytes.len, f);
    BK_ASSERT(n == bytes.len);
    int rc = fclose(f);
    BK_ASSERT(rc == 0);
    bk_buf_fini(&bytes);
}

struct save_to {
    struct rig *r;
    const char *dir;
};

static void save_data(void *arg, const char *name)
{
    struct save_to *to = arg;
    save(to->r, to->dir, name);
}

int main(int argc, char **argv)
{
    struct rig r;
    if (argc != 2) {
        fprintf(stderr, "usage: make_golden DIR\n");
        return 1;
    }
    rig_init(&r, 1, BK_SYNC_EVERYSEC);
    r.opt.max_file_bytes = 4096;
    int rc = rig_open(&r);
    BK_ASSERT(rc == BK_OK);
    first_life(&r);
    rc = rig_close(&r);
    BK_ASSERT(rc == BK_OK);
    rc = rig_open(&r);
    BK_ASSERT(rc == BK_OK);
    second_life(&r);
    rig_crash(&r, SIMDISK_KILL);
    save(&r, argv[1], "MANIFEST");
    rig_data_files(&r, save_data, &(struct save_to){&r, argv[1]});
    rig_fini(&r);
    return 0;
}
