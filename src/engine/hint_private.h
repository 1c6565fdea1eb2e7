/* SPDX-License-Identifier: MIT */
/* hint_private.h - the bytes of a hint, shared by hint.c (reading) and hint_write.c. */
#ifndef BK_ENGINE_HINT_PRIVATE_H
#define BK_ENGINE_HINT_PRIVATE_H

#include "engine/hint.h"

#include <errno.h>

#define BKI_HINT_ENTRY 20u /* bytes before expiry and key */
#define BKI_HINT_BLOCK_ROW 24u
#define BKI_HINT_CODE_ROW 20u
#define BKI_HINT_NO_FILTER UINT32_MAX /* in place of a filter's number of keys */

uint64_t bki_hint_seed_check(uint64_t hash_seed);
void bki_hint_header_encode(const struct bki_hint_info *i, uint64_t table_at, uint64_t table_len,
                            uint32_t table_crc, uint8_t out[BKI_HINT_HEADER]);
/* Opens the hint of a sealed file too when it covers no more than its front. */
BK_MUST_USE int bki_hint_open_front(struct bki_hint *h, const struct bk_io *io, const char *dir,
                                    const struct bki_file *f, uint64_t hash_seed,
                                    struct bk_error *err);
/* A block's bytes into *out, checked. */
BK_MUST_USE int bki_hint_read_block(const struct bki_hint *h, const struct bki_hint_block *b,
                                    struct bk_buf *out, struct bk_error *err);
void bki_hint_entry_encode(const struct bki_hint_entry *e, struct bk_buf *out);

#endif
