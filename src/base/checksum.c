/* SPDX-License-Identifier: MIT */
#include "base/checksum.h"

#include <isa-l/crc.h>
#include <isa-l/crc64.h>

uint32_t bk_crc32c(uint32_t crc, const void *data, size_t len)
{
    /* ISA-L takes an int length, does not change the bytes although its prototype says so, and
     * leaves both inversions of the standard to the caller. */
    const uint8_t *p = data;
    uint32_t state = ~crc;
    while (len > 0) {
        size_t n = len < (1u << 30) ? len : 1u << 30;
        union {
            const uint8_t *in;
            unsigned char *out;
        } bytes = {.in = p};
        state = crc32_iscsi(bytes.out, (int)n, state);
        p += n;
        len -= n;
    }
    return ~state;
}

/* ISA-L inverts before and after, which this checksum does not do. */
uint64_t bk_crc64(uint64_t crc, const void *data, size_t len)
{
    return ~crc64_jones_refl(~crc, data, len);
}
