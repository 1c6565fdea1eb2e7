/* SPDX-License-Identifier: MIT */
/* sha256.h - SHA-256 (FIPS 180-4): the form in which ACL commands show a password. */
#ifndef BK_BASE_SHA256_H
#define BK_BASE_SHA256_H

#include "base/span.h"

#include <stdint.h>

#define BK_SHA256_BYTES 32u

void bk_sha256(struct bk_span bytes, uint8_t out[BK_SHA256_BYTES]);

#endif
