/* SPDX-License-Identifier: MIT */
/* hint_private.h - the bytes of a hint, shared by hint.c (reading) and hint_write.c. */
#ifndef BK_ENGINE_HINT_PRIVATE_H
#define BK_ENGINE_HINT_PRIVATE_H

#include "engine/hint.h"

#include <errno.h>

#define BKI_HINT_ENTRY 20u /* bytes before expiry and key */
#define BKI_HINT_BLOCK_ROW 24u
#define BKI_HINT_CODE_ROW 20u

uint64_t bki_hint_seed_check(uint64_t hash_seed);
void bki_hint_header_encode(const struct bki_hint_info *i, uint64_t table_at, uint64_t table_len,
                            uint32_t table_crc, uint8_t out[BKI_HINT_HEADER]);
void bki_hint_entry_encode(const struct bki_hint_entry *e, struct bk_buf *out);

#endif
