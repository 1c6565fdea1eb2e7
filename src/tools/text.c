/* SPDX-License-Identifier: MIT */
/* text.c - see text.h. */
#include "tools/text.h"

#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void tool_text_escaped(FILE *f, struct bk_span s)
{
    static const char plain[] = "\n\r\t\\";
    static const char named[] = "nrt\\";
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        const char *at = c == 0 ? NULL : strchr(plain, c);
        if (at != NULL) {
            fprintf(f, "\\%c", named[at - plain]);
        } else if (c < 0x20 || c > 0x7e) {
            fprintf(f, "\\x%02x", c);
        } else {
            fputc(c, f);
        }
    }
}

void tool_text_hex(FILE *f, struct bk_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        fputc(hex_digits[s.data[i] >> 4], f);
        fputc(hex_digits[s.data[i] & 15], f);
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool tool_hex_decode(const char *text, struct bk_buf *out)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + 1 < n; i += 2) {
        int high = hex_value(text[i]);
        int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uint8_t byte = (uint8_t)(high << 4 | low);
        bk_buf_append(out, &byte, 1);
    }
    return n % 2 == 0;
}

void tool_base64_encode(struct bk_span s, struct bk_buf *out)
{
    uint8_t *p = bk_buf_reserve(out, (s.len + 2) / 3 * 4);
    for (size_t i = 0; i < s.len; i += 3) {
        size_t n = s.len - i < 3 ? s.len - i : 3;
        uint32_t word = (uint32_t)s.data[i] << 16;
        word |= n > 1 ? (uint32_t)s.data[i + 1] << 8 : 0;
        word |= n > 2 ? s.data[i + 2] : 0;
        p[0] = (uint8_t)base64_digits[word >> 18];
        p[1] = (uint8_t)base64_digits[word >> 12 & 63];
        p[2] = (uint8_t)(n > 1 ? base64_digits[word >> 6 & 63] : '=');
        p[3] = (uint8_t)(n > 2 ? base64_digits[word & 63] : '=');
        p += 4;
    }
    out->len += (s.len + 2) / 3 * 4;
}

static int base64_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(base64_digits, c);
    return at == NULL ? -1 : (int)(at - base64_digits);
}

bool tool_base64_decode(const char *text, size_t len, struct bk_buf *out)
{
    if (len % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < len; i += 4) {
        bool last = i + 4 == len;
        size_t pad = last && text[i + 3] == '=' ? text[i + 2] == '=' ? 2 : 1 : 0;
        uint32_t word = 0;
        for (size_t k = 0; k < 4 - pad; k++) {
            int v = base64_value(text[i + k]);
            if (v < 0) {
                return false;
            }
            word |= (uint32_t)v << (18 - 6 * k);
        }
        uint8_t bytes[3] = {(uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
        /* Bits that stand for nothing are zero: one form for each value. */
        if ((pad == 2 && (word & 0xffff) != 0) || (pad == 1 && (word & 0xff) != 0)) {
            return false;
        }
        bk_buf_append(out, bytes, 3 - pad);
    }
    return true;
}
