/* SPDX-License-Identifier: MIT */
/*
 * fuzz_image.c - an index image with patches from the input, as it is and with checksums that are
 * right again. As it is it costs nothing: the store has what it had. With right checksums it may
 * tell lies, but neither memory nor a rule of the structures breaks while they are believed.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "base/log.h"
#include "engine/bitkv.h"
#include "engine/image_private.h"
#include "lib/simclock.h"
#include "lib/simdisk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS 300u
#define PATCH 4u /* bytes of input: where (2), what, how */

/* Made once. */
static struct simdisk *made;
static struct simclock sim_clock;
static struct bk_buf good;

static struct bk_db *open_on(struct simdisk *d)
{
    struct bk_options o;
    struct bk_db *db = NULL;
    bk_options_init(&o);
    o.dir = "store";
    o.stepped = true;
    o.databases = 2;
    o.hash_seed = 5;
    o.max_file_bytes = 8192;
    o.io = simdisk_io(d);
    o.clock = &sim_clock.clock;
    int rc = bk_open(&db, &o, NULL);
    BK_ASSERT(rc == BK_OK);
    return db;
}

static void put(struct bk_db *db, uint32_t num, unsigned i, int64_t expire_ms)
{
    uint8_t bytes[400] = {0};
    struct bk_batch *b = bk_batch_new(db);
    struct bk_key key;
    struct bk_value value = {bk_span_of(bytes, i % 90), NULL};
    uint64_t pos;
    size_t len = (size_t)snprintf((char *)bytes, sizeof(bytes), "key %u", i);
    bk_key_init(db, &key, bytes, i % 50 == 0 ? 260 + i / 50 : len);
    int rc;
    do {
        bk_batch_begin(b);
        bk_batch_put(b, num, &key, &value, 0, expire_ms);
        rc = bk_batch_commit(b, &pos, NULL);
        bk_flush(db, bk_tail(db));
        bk_step(db);
    } while (rc == BK_EAGAIN);
    BK_ASSERT(rc == BK_OK);
    bk_batch_free(&b);
}

static void close_it(struct bk_db **db)
{
    int rc = bk_close(db, NULL);
    BK_ASSERT(rc == BK_OK);
}

static void make(void)
{
    bk_log_set_level(BK_LOG_NOTHING);
    simclock_init(&sim_clock);
    made = simdisk_new(9);
    struct bk_db *db = open_on(made);
    for (unsigned i = 0; i < KEYS; i++) {
        put(db, i % 2, i, i % 3 == 0 ? INT64_C(99999999999999) : 0);
    }
    close_it(&db);
    simdisk_read(made, "store/KEYDIR", &good);
    BK_ASSERT(good.len > 0);
}

/* Checksums of a head and of the blocks that the good head names. */
static void make_right(struct bk_buf *bytes)
{
    struct bki_image was = {0};
    uint64_t head = bki_image_peek(good.data);
    int rc = bki_image_decode(&was, good.data, head);
    BK_ASSERT(rc == BK_OK);
    for (uint32_t i = 0; i < was.databases_n * BKI_KD_STRIPES; i++) {
        const struct bki_image_stripe *s =
            &was.databases[i / BKI_KD_STRIPES].stripe[i % BKI_KD_STRIPES];
        uint8_t *p = bytes->data + s->offset;
        uint64_t len = s->bytes > 0 ? bk_get64(p) : UINT64_MAX;
        if (s->bytes > 0 && len <= bytes->len - s->offset - BKI_IMAGE_BLOCK_HEAD) {
            bk_put32(p + 12, bki_image_block_crc(&was, s->offset, len, bk_get32(p + 8),
                                                 p + BKI_IMAGE_BLOCK_HEAD));
        }
    }
    bk_put64(bytes->data + head - 8, bk_crc32c(0, bytes->data, head - 8));
    bki_image_fini(&was);
}

static bool patch(struct bk_buf *bytes, const uint8_t *data, size_t size)
{
    bool right = size > 0 && data[0] % 2 == 1;
    for (size_t at = 1; at + PATCH <= size; at += PATCH) {
        uint8_t *p = bytes->data + bk_get16(data + at) % bytes->len;
        *p = data[at + 3] % 2 == 0 ? data[at + 2] : *p ^ (uint8_t)(1u << data[at + 2] % 8);
    }
    if (right) {
        make_right(bytes);
    }
    return right;
}

static void see_key(void *arg, const struct bk_scan_entry *entry)
{
    struct bk_buf *keys = arg;
    uint64_t len = entry->key.len;
    bk_buf_append(keys, &len, sizeof(len));
    bk_buf_append(keys, entry->key.data, entry->key.len);
}

/* Everything that walks or changes what was loaded. */
static void use(struct bk_db *db)
{
    for (uint32_t num = 0; num < 2; num++) {
        struct bk_buf keys = {0};
        struct bk_buf value = {0};
        uint64_t cursor = 0;
        do {
            bk_scan(db, num, &cursor, 100, see_key, &keys);
        } while (cursor != 0);
        for (size_t at = 0; at < keys.len;) {
            struct bk_span key;
            uint64_t len;
            memcpy(&len, keys.data + at, sizeof(len));
            key = bk_span_of(keys.data + at + sizeof(len), len);
            bk_ignore(bk_get(db, num, key, &value, NULL), "it may be a lie");
            at += sizeof(len) + len;
        }
        for (unsigned i = 0; i < KEYS; i += 7) {
            put(db, num, i, 0);
        }
        bk_buf_fini(&keys);
        bk_buf_fini(&value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (made == NULL) {
        make();
    }
    struct bk_buf bytes = {0};
    struct simdisk *d = simdisk_clone(made, 3);
    bk_buf_append(&bytes, good.data, good.len);
    bool right = patch(&bytes, data, size);
    simdisk_put(d, "store/KEYDIR", bytes.data, bytes.len);
    struct bk_db *db = open_on(d);
    if (!right) {
        struct bk_error err = {0};
        BK_ASSERT(bk_count(db, 0) + bk_count(db, 1) == KEYS);
        int rc = bk_check(db, &err);
        BK_ASSERT(rc == BK_OK);
    }
    use(db);
    close_it(&db);
    BK_ASSERT(simdisk_handles(d) == 0);
    simdisk_free(&d);
    bk_buf_fini(&bytes);
    return 0;
}
