/* SPDX-License-Identifier: MIT */
/*
 * fuzz_datafile_scan.c - a data file of records, garbage and zeros as the input says, then scanned
 * as recovery does. The scan ends, moves forward with each step, hands out only what lies in the
 * file, and finds every record of a file that is whole.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/datafile.h"
#include "engine/scan.h"
#include "lib/simdisk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UID 0x1122334455667788u
#define PATH "d.data"

struct input {
    const uint8_t *p;
    size_t left;
};

struct made {
    struct bk_buf file;
    uint64_t seq;
    unsigned records; /* whole ones */
    bool whole;       /* nothing but records, numbers rising */
};

static uint32_t take(struct input *in, size_t n)
{
    uint32_t v = 0;
    for (; n > 0 && in->left > 0; n--, in->left--) {
        v = v << 8 | *in->p++;
    }
    return v;
}

static void add_record(struct made *m, enum bki_kind kind, uint64_t seq, const uint8_t *key,
                       uint32_t key_len, struct bk_span value)
{
    struct bki_record r = {
        .kind = kind, .seq = seq, .space = 1, .key_len = key_len, .value_len = (uint32_t)value.len};
    uint8_t table[4 * 8];
    BK_ASSERT(bki_record_blocks(r.value_len) <= 8);
    r.value_crc = bki_value_crc(value.data, r.value_len, table);
    size_t start = m->file.len;
    m->file.len += bki_record_encode(&r, bki_datafile_seed(UID), key,
                                     bk_buf_reserve(&m->file, BKI_HEADER_BYTES + 8 + key_len));
    bk_buf_append(&m->file, table, (size_t)bki_record_blocks(r.value_len) * 4);
    bk_buf_append(&m->file, value.data, value.len);
    static const uint8_t zeros[65536];
    uint64_t pad = start + bki_record_size(&r) - m->file.len;
    bk_buf_append(&m->file, zeros, (size_t)pad);
    m->records++;
}

static void turn_seq(struct made *m, uint64_t step)
{
    m->seq = (m->seq + step) & BKI_SEQ_MAX;
    m->seq = m->seq == 0 ? 1 : m->seq;
}

static void add_put(struct made *m, struct input *in)
{
    uint32_t key_len = take(in, 1) % 40;
    uint32_t value_len = take(in, 2);
    value_len = value_len > 60000 ? value_len * 4 : value_len % 300;
    uint8_t *bytes = bk_alloc(key_len + value_len + 1);
    memset(bytes, (int)take(in, 1), key_len + value_len + 1);
    uint64_t step = take(in, 1);
    m->whole = m->whole && step < 128;
    turn_seq(m, step < 128 ? 1 : step - 192); /* now and then a number that is no successor */
    add_record(m, BKI_PUT, m->seq, bytes, key_len, bk_span_of(bytes + key_len, value_len));
    free(bytes);
}

static void add_frame_header(struct made *m, struct input *in)
{
    uint8_t value[16];
    bk_put32(value, take(in, 1) % 5);
    bk_put32(value + 4, take(in, 4));
    bk_put64(value + 8, take(in, 2));
    m->whole = m->whole && m->seq < BKI_SEQ_MAX;
    turn_seq(m, 1);
    add_record(m, BKI_BATCH, m->seq, NULL, 0, bk_span_of(value, sizeof(value)));
}

static void add_raw(struct made *m, struct input *in, bool zeros)
{
    uint32_t n = take(in, 1);
    n = zeros ? n * 8 : n;
    m->whole = m->whole && n == 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t b = zeros ? 0 : (uint8_t)take(in, 1);
        bk_buf_append(&m->file, &b, 1);
    }
}

static void patch(struct made *m, struct input *in, uint32_t header)
{
    size_t at = take(in, 2);
    uint8_t mask = (uint8_t)take(in, 1);
    if (m->file.len > header) {
        m->file.data[header + at % (m->file.len - header)] ^= mask;
        m->whole = m->whole && mask == 0;
    }
}

static void make_file(struct made *m, struct input *in)
{
    struct bki_datafile_header h = {.uid = UID, .id = 1, .rank = 1, .store = 5};
    bki_datafile_header_encode(&h, &m->file);
    uint32_t header = h.bytes;
    m->whole = true;
    while (in->left > 0 && m->file.len < 2000000) {
        switch (take(in, 1) % 8) {
        case 0:
            add_raw(m, in, false);
            break;
        case 1:
            add_raw(m, in, true);
            break;
        case 2:
            patch(m, in, header);
            break;
        case 3:
            add_frame_header(m, in);
            break;
        default:
            add_put(m, in);
            break;
        }
    }
}

static void check_item(const struct bki_scan *s, const struct bki_scan_item *it, uint64_t before)
{
    BK_ASSERT(it->offset == before);
    BK_ASSERT(it->size > 0 && it->size == bki_record_size(&it->rec));
    BK_ASSERT(s->offset == before + it->size && s->offset <= s->end);
    BK_ASSERT(it->key.len == it->rec.key_len);
    unsigned sum = 0;
    for (size_t i = 0; i < it->key.len; i++) {
        sum += it->key.data[i];
    }
    for (size_t i = 0; i < it->value.len; i++) {
        sum += it->value.data[i];
    }
    bk_ignore((int)sum, "reading it is the test");
    if (it->rec.kind == BKI_BATCH) {
        bool whole = false;
        int rc = bki_scan_frame(s, it, &whole, NULL);
        BK_ASSERT(rc == BK_OK);
    }
}

static void scan_file(const struct made *m, const struct bk_io *io, int fd, uint32_t header,
                      uint64_t end, bool merged)
{
    struct bki_scan s;
    struct bki_scan_item it;
    unsigned found = 0;
    bool more = true;
    bki_scan_init(&s, io, fd, PATH, bki_datafile_seed(UID), merged, header, end);
    while (more) {
        uint64_t before = s.offset;
        int rc = bki_scan_next(&s, &it, NULL);
        if (rc == BK_OK) {
            check_item(&s, &it, before);
            found++;
        } else if (rc == BK_CORRUPT) {
            bool zeros = false;
            BK_ASSERT(s.offset == before);
            rc = bki_scan_resync(&s, &zeros, NULL);
            BK_ASSERT((rc == BK_OK && s.offset > before) || (rc == BK_NOTFOUND && s.offset == end));
            more = rc == BK_OK;
        } else {
            BK_ASSERT(rc == BK_NOTFOUND && s.offset >= end);
            more = false;
        }
    }
    BK_ASSERT(!m->whole || found == m->records);
    bki_scan_fini(&s);
}

static void scan_all(const struct made *m)
{
    struct simdisk *d = simdisk_new(1);
    const struct bk_io *io = simdisk_io(d);
    simdisk_put(d, PATH, m->file.data, m->file.len);
    int fd = io->open(io->arg, PATH, BK_IO_READ);
    BK_ASSERT(fd >= 0);
    struct bki_datafile_header h;
    int rc = bki_datafile_header_read(io, fd, PATH, &h, NULL);
    BK_ASSERT(rc == BK_OK && h.uid == UID);
    scan_file(m, io, fd, h.bytes, m->file.len, false);
    scan_file(m, io, fd, h.bytes, m->file.len, true);
    bki_datafile_header_fini(&h);
    simdisk_free(&d);
}

/* The input as a header, and as a header whose checksum is right. */
static void decode_header(const uint8_t *data, size_t size)
{
    struct bki_datafile_header h;
    uint8_t *copy = bk_alloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    if (bki_datafile_header_decode(copy, size, &h) == BK_OK) {
        BK_ASSERT(h.bytes <= size);
        bki_datafile_header_fini(&h);
    }
    uint64_t id = 0;
    char name[64] = {0};
    memcpy(name, data, size < sizeof(name) - 1 ? size : sizeof(name) - 1);
    if (bki_datafile_name_id(name, &id)) {
        char path[BKI_PATH_MAX];
        bki_datafile_path(path, "d", id);
        BK_ASSERT(strlen(path) >= 2 && strcmp(path + 2, name) == 0);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 20000) {
        return 0;
    }
    struct input in = {data, size};
    struct made m = {0};
    decode_header(data, size);
    make_file(&m, &in);
    scan_all(&m);
    bk_buf_fini(&m.file);
    return 0;
}
