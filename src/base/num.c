/* SPDX-License-Identifier: MIT */
#include "base/num.h"

bool bk_parse_u64(struct bk_span s, uint64_t *out)
{
    if (s.len == 0 || s.len > 20 || (s.data[0] == '0' && s.len > 1)) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(s.data[i] - '0');
        if (digit > 9 || v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool bk_parse_i64(struct bk_span s, int64_t *out)
{
    bool negative = s.len > 0 && s.data[0] == '-';
    struct bk_span digits = negative ? bk_span_of(s.data + 1, s.len - 1) : s;
    uint64_t v;
    if (!bk_parse_u64(digits, &v) || (negative && v == 0)) {
        return false;
    }
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

unsigned bk_format_u64(char *buf, uint64_t v)
{
    char tmp[20];
    unsigned n = 0;
    do {
        tmp[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (unsigned i = 0; i < n; i++) {
        buf[i] = tmp[n - 1 - i];
    }
    return n;
}

unsigned bk_format_i64(char *buf, int64_t v)
{
    if (v >= 0) {
        return bk_format_u64(buf, (uint64_t)v);
    }
    buf[0] = '-';
    return 1 + bk_format_u64(buf + 1, 0 - (uint64_t)v);
}
