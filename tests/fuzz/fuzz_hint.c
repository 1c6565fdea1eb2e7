/* SPDX-License-Identifier: MIT */
/*
 * fuzz_hint.c - a hint file with patches from the input, as it is and with checksums that are right
 * again. As it is the reader finds it out or reads what was written; with right checksums it may
 * read lies, but every entry lies within what the hint covers and no memory is touched beside it.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/files.h"
#include "engine/hint_private.h"
#include "lib/simdisk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED 7u
#define KEYS 40u
#define DATA_BYTES 4096u
#define PATCH 4u /* bytes of input: where (2), what, how */

/* Made once: a hint as hint_write.c lays it out, of a data file that is not there. */
static struct bk_buf good;
static struct bki_file file;

static void put_table(struct bki_hint_info *info, const struct bk_buf *entries, uint32_t n)
{
    uint8_t row[BKI_HINT_BLOCK_ROW] = {0};
    uint8_t code[BKI_HINT_CODE_ROW] = {0};
    uint8_t head[BKI_HINT_HEADER];
    uint64_t at = BKI_HINT_HEADER + entries->len;
    bk_put64(row, BKI_HINT_HEADER);
    bk_put32(row + 12, n);
    bk_put32(row + 16, (uint32_t)entries->len);
    bk_put32(row + 20, bk_crc32c(0, entries->data, entries->len));
    bk_put64(code, at);
    struct bk_buf table = {0};
    bk_buf_append(&table, row, sizeof(row));
    bk_buf_append(&table, code, sizeof(code));
    info->blocks = 1;
    bki_hint_header_encode(info, at, table.len, bk_crc32c(0, table.data, table.len), head);
    bk_buf_append(&good, head, sizeof(head));
    bk_buf_append(&good, entries->data, entries->len);
    bk_buf_append(&good, table.data, table.len);
    bk_buf_fini(&table);
}

static void make(void)
{
    struct bk_buf entries = {0};
    struct bki_hint_info info = {
        .uid = 5, .covers = DATA_BYTES, .seed = bki_hint_seed_check(SEED), .parts = 1};
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t key[16] = {(uint8_t)i};
        struct bki_hint_entry e = {.offset = 64 + i * 64,
                                   .size = 64,
                                   .kind = i % 5 == 0 ? BKI_DELETE : BKI_PUT,
                                   .expire_ms = i % 3 == 0 ? 1000 : 0,
                                   .key = bk_span_of(key, i % 17)};
        bki_hint_entry_encode(&e, &entries);
        info.entries++;
    }
    put_table(&info, &entries, KEYS);
    bk_buf_fini(&entries);
    file.id = 12;
    file.uid = 5;
    atomic_init(&file.size, DATA_BYTES);
    atomic_init(&file.state, BKI_FILE_SEALED);
}

static void patch(struct bk_buf *b, const uint8_t *data, size_t size)
{
    for (; size >= PATCH; data += PATCH, size -= PATCH) {
        size_t at = bk_get16(data) % b->len;
        b->data[at] = data[3] % 2 == 0 ? data[2] : (uint8_t)(b->data[at] ^ data[2]);
    }
}

/* As far as the sizes in it still lead somewhere. */
static void mend(struct bk_buf *b)
{
    uint64_t at = bk_get64(b->data + 68);
    if (at <= b->len && b->len - at >= BKI_HINT_BLOCK_ROW) {
        uint8_t *row = b->data + at;
        uint64_t offset = bk_get64(row);
        uint64_t len = bk_get32(row + 16);
        if (offset <= b->len && len <= b->len - offset) {
            bk_put32(row + 20, bk_crc32c(0, b->data + offset, len));
        }
        bk_put32(b->data + 84, bk_crc32c(0, row, b->len - at));
        bk_put64(b->data + 76, b->len - at);
    }
    bk_put32(b->data + 92, bk_crc32c(0, b->data, 92));
}

static void read_part(const struct bki_hint *h, uint32_t part)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    uint64_t asked[] = {1, UINT64_MAX / 3, UINT64_MAX};
    bool maybe[3];
    int rc = bki_hint_part_begin(&c, h, part, SEED);
    BK_ASSERT(rc == BK_OK);
    while ((rc = bki_hint_next(&c, &e, NULL)) == BK_OK) {
        BK_ASSERT(e.offset <= DATA_BYTES && e.size <= DATA_BYTES - e.offset);
        uint8_t last = e.key.len > 0 ? e.key.data[e.key.len - 1] : 0;
        bk_ignore(last, "the key is there");
    }
    bki_hint_part_end(&c);
    bk_ignore(bki_hint_filter(h, part, asked, 3, maybe, NULL), "any answer");
}

static void read_hint(const struct bk_buf *b)
{
    struct simdisk *d = simdisk_new(1);
    struct bki_hint h;
    simdisk_put(d, "store/0000000012.hint", b->data, b->len);
    if (bki_hint_open(&h, simdisk_io(d), "store", &file, SEED, NULL) == BK_OK) {
        struct bk_span pairs;
        for (size_t at = 0; bki_hint_map(&h, &at, &pairs);) {
            BK_ASSERT(pairs.len % 8 == 0);
        }
        for (uint32_t part = 0; part < bki_hint_parts(&h); part++) {
            read_part(&h, part);
        }
        bki_hint_close(&h);
    }
    simdisk_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bk_buf b = {0};
    if (good.len == 0) {
        make();
    }
    if (size == 0) {
        return 0;
    }
    bk_buf_append(&b, good.data, good.len);
    patch(&b, data + 1, size - 1);
    if (data[0] % 2 == 1) {
        mend(&b);
    }
    read_hint(&b);
    bk_buf_fini(&b);
    return 0;
}
