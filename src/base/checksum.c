/* SPDX-License-Identifier: MIT */
/*
 * checksum.c - ISA-L's CRCs.
 *
 * On newer processors ISA-L uses 512-bit registers and leaves their upper parts in use. Every
 * change between plain SSE instructions, which all of our own code consists of, and wider ones then
 * costs some 200 ns, for good: so the upper parts are given back after each call.
 */
#include "base/checksum.h"

#include <isa-l/crc.h>
#include <isa-l/crc64.h>

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx"))) static void zero_upper(void)
{
    _mm256_zeroupper();
}

static void give_back_upper(void)
{
    if (__builtin_cpu_supports("avx")) {
        zero_upper();
    }
}
#else
static void give_back_upper(void)
{
}
#endif

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
    give_back_upper();
    return ~state;
}

/* ISA-L inverts before and after, which this checksum does not do. */
uint64_t bk_crc64(uint64_t crc, const void *data, size_t len)
{
    uint64_t state = ~crc64_jones_refl(~crc, data, len);
    give_back_upper();
    return state;
}
