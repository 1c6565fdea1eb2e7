/* SPDX-License-Identifier: MIT */
/*
 * mend.h - one flipped bit found by the checksum that it broke; pure functions.
 *
 * A CRC tells where a single wrong bit is, among bytes as few as a header and a key have. What was
 * found so is never served: it is good enough to know whose record is damaged (that bytes which are
 * wrong in more than one bit look like that happens once in 2^32 / bits of them), so that the key
 * answers an error and no older value, and that a delete or a flush is not forgotten.
 */
#ifndef BK_ENGINE_MEND_H
#define BK_ENGINE_MEND_H

#include "engine/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BKI_MEND_KEY_MAX (128u << 10) /* longer keys are not tried */
#define BKI_MEND_VALUE_MAX 4096u

/* len bytes have the CRC that is crc_of (any way of beginning), and should have crc. True: with the
 * bit *bit flipped they do. The CRC's own bits are no bits of these. */
bool bki_mend_find(uint32_t crc_of, uint32_t crc, size_t len, size_t *bit);

/* The header at head (as many bytes as it and an expiry take, or as there are) with bit number i
 * flipped, where that can be a record that fits in room. */
bool bki_mend_header(const uint8_t *head, size_t avail, uint64_t room, unsigned i, uint8_t *out,
                     struct bki_record *r);

#endif
