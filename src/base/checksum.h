/* SPDX-License-Identifier: MIT */
/* checksum.h - CRC32C (Castagnoli, RFC 3720 appendix B.4) and CRC-64 by ISA-L, and little-endian
 * loads and stores. */
#ifndef BK_BASE_CHECKSUM_H
#define BK_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Goes on from crc (0 to begin). bk_crc32c(0, "123456789", 9) is 0xe3069283. */
uint32_t bk_crc32c(uint32_t crc, const void *data, size_t len);

/* CRC-64 with Jones's polynomial ad93d23594c935a9, reflected, without inversions: "CRC-64/REDIS" in
 * the catalogue of reveng.sourceforge.io. Goes on from crc (0 to begin).
 * bk_crc64(0, "123456789", 9) is 0xe9c6d914c4b8d9ca. */
uint64_t bk_crc64(uint64_t crc, const void *data, size_t len);

static inline uint16_t bk_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t bk_get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t bk_get64(const uint8_t *p)
{
    return (uint64_t)bk_get32(p) | (uint64_t)bk_get32(p + 4) << 32;
}

static inline void bk_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void bk_put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline void bk_put64(uint8_t *p, uint64_t v)
{
    bk_put32(p, (uint32_t)v);
    bk_put32(p + 4, (uint32_t)(v >> 32));
}

#endif
