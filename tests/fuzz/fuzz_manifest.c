/* SPDX-License-Identifier: MIT */
/*
 * fuzz_manifest.c - any bytes as a manifest: as they are, and as edits with checksums that are
 * right. What is read keeps its own rules, survives an edit and a reload, and damage costs no more
 * than what stands behind it.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/datafile.h"
#include "engine/manifest.h"
#include "lib/simdisk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORE 77u
#define EDIT_HEADER 16u

static void check_state(struct bki_manifest_state *s)
{
    for (uint32_t i = 0; i < s->files_n; i++) {
        const struct bki_manifest_file *f = &s->files[i];
        BK_ASSERT(i == 0 || s->files[i - 1].rank <= f->rank);
        BK_ASSERT(bki_manifest_find(s, f->id) == f); /* no id twice */
        BK_ASSERT(s->next_id > f->id && s->next_rank > f->rank);
    }
}

static void decode_raw(const uint8_t *data, size_t size)
{
    struct bki_manifest_state s;
    enum bki_manifest_end end;
    uint8_t *copy = bk_alloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    bki_manifest_state_init(&s);
    int rc = bki_manifest_decode(copy, size, &s, &end);
    BK_ASSERT(rc == BK_OK || rc == BK_CORRUPT || rc == BK_EVERSION);
    check_state(&s);
    bki_manifest_state_fini(&s);
    free(copy);
}

/* A header, then edits whose items are cut from the input: {length u8, bytes} each. */
static void make_manifest(const uint8_t *data, size_t size, struct bk_buf *out)
{
    uint8_t head[BKI_MANIFEST_HEADER] = {0};
    memcpy(head, BKI_MANIFEST_MAGIC, 8);
    bk_put16(head + 8, BKI_FORMAT_MAJOR);
    bk_put16(head + 10, BKI_FORMAT_MINOR);
    bk_put32(head + 12, BKI_MANIFEST_HEADER);
    bk_put64(head + 16, STORE);
    bk_put32(head + 36, bk_crc32c(0, head, 36));
    bk_buf_append(out, head, sizeof(head));
    for (uint64_t number = 1; size > 0; number++) {
        size_t n = data[0] < size - 1 ? data[0] : size - 1;
        uint8_t edit[EDIT_HEADER + 256];
        bk_put32(edit + 4, (uint32_t)n);
        bk_put64(edit + 8, number);
        memcpy(edit + EDIT_HEADER, data + 1, n);
        bk_put32(edit, bk_crc32c(bki_datafile_seed(STORE), edit + 4, EDIT_HEADER - 4 + n));
        bk_buf_append(out, edit, EDIT_HEADER + n);
        data += 1 + n;
        size -= 1 + n;
    }
}

static bool same_state(struct bki_manifest_state *a, struct bki_manifest_state *b)
{
    bool same = a->files_n == b->files_n && a->next_id == b->next_id &&
                a->next_rank == b->next_rank && a->next_seq == b->next_seq &&
                memcmp(a->boot_id, b->boot_id, 16) == 0;
    for (uint32_t i = 0; i < a->files_n && same; i++) {
        const struct bki_manifest_file *f = &a->files[i];
        const struct bki_manifest_file *g = &b->files[i];
        same = f->id == g->id && f->uid == g->uid && f->rank == g->rank && f->sealed == g->sealed &&
               (!f->sealed || f->size == g->size);
    }
    for (uint32_t num = 0; num < 64 && same; num++) {
        same = bki_spacemap_get(&a->map, num) == bki_spacemap_get(&b->map, num);
    }
    return same;
}

/* Loads the bytes from a disk, commits an edit, loads again: the same state and one file more, all
 * of it whole. */
static void load_and_commit(const struct bk_buf *bytes)
{
    struct simdisk *d = simdisk_new(3);
    const struct bk_io *io = simdisk_io(d);
    struct bki_manifest m;
    struct bki_manifest again;
    enum bki_manifest_end end = BKI_MANIFEST_DAMAGED;
    struct bk_buf edit = {0};
    int rc = io->mkdir(io->arg, "d");
    BK_ASSERT(rc == 0);
    simdisk_put(d, "d/MANIFEST", bytes->data, bytes->len);
    rc = bki_manifest_load(&m, io, "d", &end, NULL);
    BK_ASSERT(rc == BK_OK);
    if (m.state.next_id < UINT64_MAX - 1 && m.state.next_rank < UINT64_MAX - 1) {
        uint64_t id = m.state.next_id;
        bki_edit_add(&edit, id, 99, m.state.next_rank);
        bki_edit_seal(&edit, id, 12345);
        rc = bki_manifest_commit(&m, &edit, NULL);
        BK_ASSERT(rc == BK_OK);
        check_state(&m.state);
        rc = bki_manifest_load(&again, io, "d", &end, NULL);
        BK_ASSERT(rc == BK_OK && end == BKI_MANIFEST_WHOLE);
        BK_ASSERT(same_state(&m.state, &again.state));
        BK_ASSERT(bki_manifest_find(&again.state, id) != NULL);
        bki_manifest_close(&again);
    }
    bki_manifest_close(&m);
    BK_ASSERT(simdisk_handles(d) == 0);
    bk_buf_fini(&edit);
    simdisk_free(&d);
}

static void damage(struct bk_buf *bytes, const uint8_t *data, size_t size)
{
    struct bki_manifest_state before;
    struct bki_manifest_state after;
    enum bki_manifest_end end = BKI_MANIFEST_WHOLE;
    size_t at = size >= 2 ? bk_get16(data) % bytes->len : 0;
    bki_manifest_state_init(&before);
    bki_manifest_state_init(&after);
    int rc = bki_manifest_decode(bytes->data, bytes->len, &before, &end);
    BK_ASSERT(rc == BK_OK);
    check_state(&before);
    bytes->data[at] ^= (uint8_t)(1u << (size % 8));
    rc = bki_manifest_decode(bytes->data, bytes->len, &after, &end);
    check_state(&after);
    BK_ASSERT(rc == BK_CORRUPT || after.edits <= before.edits);
    BK_ASSERT(rc == BK_CORRUPT || end != BKI_MANIFEST_WHOLE);
    bki_manifest_state_fini(&before);
    bki_manifest_state_fini(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 20000) {
        return 0;
    }
    struct bk_buf bytes = {0};
    decode_raw(data, size);
    make_manifest(data, size, &bytes);
    load_and_commit(&bytes);
    damage(&bytes, data, size);
    bk_buf_fini(&bytes);
    return 0;
}
