/* SPDX-License-Identifier: MIT */
/* datafile.c - header bytes and names of data files. */
#include "engine/datafile.h"

#include "base/assert.h"
#include "base/checksum.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Offsets in the header. */
enum {
    AT_MAJOR = 8,
    AT_MINOR = 10,
    AT_BYTES = 12,
    AT_UID = 16,
    AT_ID = 24,
    AT_RANK = 32,
    AT_STORE = 40,
    AT_CREATED = 48,
    AT_REPLACES_N = 56,
    AT_CRC = 60
};

#define MERGED 0x80000000u /* in the field of the count */

void bki_datafile_header_fini(struct bki_datafile_header *h)
{
    free(h->replaces);
    *h = (struct bki_datafile_header){0};
}

static uint32_t header_crc(const uint8_t *bytes, size_t len)
{
    uint32_t crc = bk_crc32c(0, bytes, AT_CRC);
    return bk_crc32c(crc, bytes + BKI_DATAFILE_FIXED, len - BKI_DATAFILE_FIXED);
}

void bki_datafile_header_encode(struct bki_datafile_header *h, struct bk_buf *out)
{
    out->len = 0;
    uint8_t fixed[BKI_DATAFILE_FIXED] = {0};
    bk_buf_append(out, fixed, sizeof fixed);
    for (uint32_t i = 0; i < h->replaces_n; i++) {
        uint8_t uid[8];
        bk_put64(uid, h->replaces[i]);
        bk_buf_append(out, uid, sizeof uid);
    }
    BK_ASSERT(out->len <= BKI_DATAFILE_HEADER_MAX);
    h->bytes = (uint32_t)out->len;

    uint8_t *p = out->data;
    memcpy(p, BKI_DATAFILE_MAGIC, 8);
    bk_put16(p + AT_MAJOR, BKI_FORMAT_MAJOR);
    bk_put16(p + AT_MINOR, BKI_FORMAT_MINOR);
    bk_put32(p + AT_BYTES, h->bytes);
    bk_put64(p + AT_UID, h->uid);
    bk_put64(p + AT_ID, h->id);
    bk_put64(p + AT_RANK, h->rank);
    bk_put64(p + AT_STORE, h->store);
    bk_put64(p + AT_CREATED, (uint64_t)h->created_ms);
    bk_put32(p + AT_REPLACES_N, h->replaces_n | (h->merged ? MERGED : 0));
    bk_put32(p + AT_CRC, header_crc(p, out->len));
}

int bki_datafile_header_decode(const uint8_t *bytes, size_t len, struct bki_datafile_header *out)
{
    if (len < BKI_DATAFILE_FIXED || memcmp(bytes, BKI_DATAFILE_MAGIC, 8) != 0) {
        return BK_CORRUPT;
    }
    uint32_t n = bk_get32(bytes + AT_BYTES);
    uint64_t replaces_n = bk_get32(bytes + AT_REPLACES_N) & ~MERGED;
    if (n < BKI_DATAFILE_FIXED || n > len || n > BKI_DATAFILE_HEADER_MAX ||
        header_crc(bytes, n) != bk_get32(bytes + AT_CRC)) {
        return BK_CORRUPT;
    }
    if (bk_get16(bytes + AT_MAJOR) > BKI_FORMAT_MAJOR) {
        return BK_EVERSION;
    }
    if (BKI_DATAFILE_FIXED + replaces_n * 8 != n) {
        return BK_CORRUPT;
    }
    struct bki_datafile_header h = {
        .uid = bk_get64(bytes + AT_UID),
        .id = bk_get64(bytes + AT_ID),
        .rank = bk_get64(bytes + AT_RANK),
        .store = bk_get64(bytes + AT_STORE),
        .created_ms = (int64_t)bk_get64(bytes + AT_CREATED),
        .replaces_n = (uint32_t)replaces_n,
        .merged = (bk_get32(bytes + AT_REPLACES_N) & MERGED) != 0,
        .bytes = n,
    };
    const uint8_t *list = bytes + BKI_DATAFILE_FIXED;
    h.replaces = bk_alloc(replaces_n * sizeof *h.replaces);
    for (uint32_t i = 0; i < h.replaces_n; i++) {
        h.replaces[i] = bk_get64(list + (size_t)i * 8);
    }
    *out = h;
    return BK_OK;
}

int bki_datafile_header_read(const struct bk_io *io, int fd, const char *path,
                             struct bki_datafile_header *out, struct bk_error *err)
{
    struct bk_buf buf = {0};
    size_t got = 0;
    int rc = bki_io_read_all(io, fd, bk_buf_reserve(&buf, BKI_DATAFILE_FIXED), BKI_DATAFILE_FIXED,
                             0, &got, path, err);
    if (rc != BK_OK) {
        goto out;
    }
    uint32_t n = got == BKI_DATAFILE_FIXED ? bk_get32(buf.data + AT_BYTES) : 0;
    if (n > BKI_DATAFILE_FIXED && n <= BKI_DATAFILE_HEADER_MAX) {
        rc = bki_io_read_all(io, fd, bk_buf_reserve(&buf, n), n, 0, &got, path, err);
        if (rc != BK_OK) {
            goto out;
        }
    }
    rc = bki_datafile_header_decode(buf.data, got, out);
    if (rc == BK_EVERSION) {
        rc = bk_error_set(err, rc, 0, path, 0, "written by a newer version of the format");
    } else if (rc != BK_OK) {
        rc = bk_error_set(err, rc, 0, path, 0, "not a data file, or its header is damaged");
    }
out:
    bk_buf_fini(&buf);
    return rc;
}

uint32_t bki_datafile_seed(uint64_t uid)
{
    uint8_t bytes[8];
    bk_put64(bytes, uid);
    return bk_crc32c(0, bytes, sizeof bytes);
}

void bki_datafile_path(char *path, const char *dir, uint64_t id)
{
    snprintf(path, BKI_PATH_MAX, "%s/%010" PRIu64 ".data", dir, id);
}

bool bki_datafile_name_id(const char *name, uint64_t *id)
{
    size_t digits = strspn(name, "0123456789");
    if (digits < 10 || digits > 19 || strcmp(name + digits, ".data") != 0) {
        return false;
    }
    *id = strtoull(name, NULL, 10);
    return true;
}
