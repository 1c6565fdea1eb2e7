/* SPDX-License-Identifier: MIT */
/* image_private.h - the image's head, shared by image.c (its bytes), image_write.c, image_load.c.
 */
#ifndef BK_ENGINE_IMAGE_PRIVATE_H
#define BK_ENGINE_IMAGE_PRIVATE_H

#include "engine/image.h"

#define BKI_IMAGE_MAGIC "bitkvidx"
#define BKI_IMAGE_FIXED 88u /* bytes of the head in front of its tables */
#define BKI_IMAGE_HEAD_MAX ((uint64_t)256 << 20)
#define BKI_IMAGE_BLOCK ((size_t)1 << 20) /* a block ends with the bucket that reaches it */
#define BKI_IMAGE_BLOCK_HEAD 16u

/* Where a stripe's blocks are, and what is in them. */
struct bki_image_stripe {
    uint64_t offset, bytes;
    struct bki_keydir_shape shape;
};

struct bki_image_database {
    uint32_t num;
    struct bki_image_stripe stripe[BKI_KD_STRIPES];
};

struct bki_image_file {
    uint64_t id, uid, rank, size, dead, guard;
    uint32_t *pages; /* owned */
    uint32_t pages_n;
};

struct bki_image {
    /* What it belongs to. */
    uint64_t store, hash_seed;
    uint64_t edits; /* number of the manifest's last edit */
    uint64_t next_seq;
    uint64_t bytes; /* of the whole image */
    struct bki_spacemap map;
    struct bki_image_file *files; /* owned; in the order of rank */
    uint32_t files_n;
    struct bki_image_database *databases; /* owned; those with keys */
    uint32_t databases_n;
};

void bki_image_fini(struct bki_image *im);
void bki_image_path(const struct bk_db *db, const char *name, char path[BKI_PATH_MAX]);

/* The head's length, which its numbers of files, pages, map entries and databases decide. */
uint64_t bki_image_head_bytes(const struct bki_image *im);
void bki_image_encode(const struct bki_image *im, struct bk_buf *out);
/* The length that a head's first BKI_IMAGE_FIXED bytes name; 0: no image of ours. */
uint64_t bki_image_peek(const uint8_t fixed[BKI_IMAGE_FIXED]);
/* BK_CORRUPT: does not check. *im is empty before, and to be released after either answer. */
BK_MUST_USE int bki_image_decode(struct bki_image *im, const uint8_t *bytes, size_t len);

/* The CRC of a block: of its place in this image of this store, its head and its payload. */
uint32_t bki_image_block_crc(const struct bki_image *im, uint64_t offset, uint64_t bytes,
                             uint32_t buckets, const void *payload);

#endif
