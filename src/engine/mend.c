/* SPDX-License-Identifier: MIT */
/* mend.c - by the linearity of a CRC: flipping a bit changes it by an amount that depends on the
 * bit's distance from the end alone. */
#include "engine/mend.h"

#include "base/checksum.h"

#include <string.h>

/* What a change of the CRC becomes by another byte behind it. */
static uint32_t one_byte_on(uint32_t change)
{
    static const uint8_t zero = 0;
    return bk_crc32c(change, &zero, 1) ^ bk_crc32c(0, &zero, 1);
}

bool bki_mend_find(uint32_t crc_of, uint32_t crc, size_t len, size_t *bit)
{
    static const uint8_t zero = 0;
    uint32_t wanted = crc_of ^ crc;
    uint32_t change[8];
    for (unsigned b = 0; b < 8; b++) {
        uint8_t byte = (uint8_t)(1u << b);
        change[b] = bk_crc32c(0, &byte, 1) ^ bk_crc32c(0, &zero, 1);
    }
    for (size_t at = len; wanted != 0 && at > 0; at--) {
        for (unsigned b = 0; b < 8; b++) {
            if (change[b] == wanted) {
                *bit = (at - 1) * 8 + b;
                return true;
            }
            change[b] = one_byte_on(change[b]);
        }
    }
    return false;
}

bool bki_mend_header(const uint8_t *head, size_t avail, uint64_t room, unsigned i, uint8_t *out,
                     struct bki_record *r)
{
    memcpy(out, head, avail);
    out[i / 8] ^= (uint8_t)(1u << i % 8);
    return bki_record_peek(out, avail, room, r) == BK_OK && r->key_len <= BKI_MEND_KEY_MAX;
}
