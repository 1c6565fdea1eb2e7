/* SPDX-License-Identifier: MIT */
/* bitmap.c - strings as arrays of bits: SETBIT GETBIT BITCOUNT BITPOS BITOP, and the rows of these
 * and of BITFIELD. */
#include "command/args.h"
#include "command/bitmap_private.h"
#include "command/bits.h"
#include "command/compose.h"
#include "command/notify.h"
#include "command/rows.h"

#include "base/num.h"

#include <stdlib.h>

#define FIELD_BYTES 8 /* a field may end that far behind the byte where it begins */

bool bitmap_offset(struct command_ctx *c, struct bk_span arg, unsigned field_bits, uint64_t *offset)
{
    uint64_t limit = c->ops->proto_max_bulk_len(c->ops->arg);
    int64_t n = 0;
    bool counts = field_bits != 0 && arg.len != 0 && arg.data[0] == '#';
    bool ok = bk_parse_i64(counts ? bk_span_of(arg.data + 1, arg.len - 1) : arg, &n);
    if (ok && counts) {
        ok = !__builtin_mul_overflow(n, (int64_t)field_bits, &n);
    }
    limit = limit < KS_VALUE_MAX - FIELD_BYTES ? limit : KS_VALUE_MAX - FIELD_BYTES;
    ok = ok && n >= 0 && (uint64_t)n / 8 < limit;
    if (ok) {
        *offset = (uint64_t)n;
    } else {
        resp_write_error(c->reply, "ERR bit offset is not an integer or out of range");
    }
    return ok;
}

static const struct bits_type one_bit = {.has_sign = false, .bits = 1};

/* A string that is long enough already, and holds the bit, stays as it is. */
static void setbit_command(struct command_ctx *c)
{
    struct ks_value old;
    struct compose n;
    uint64_t offset = 0;
    int64_t bit = 0;
    if (!bitmap_offset(c, arg_at(c, 2), 0, &offset)) {
        return;
    }
    if (!bk_parse_i64(arg_at(c, 3), &bit) || (bit != 0 && bit != 1)) {
        resp_write_error(c->reply, "ERR bit is not an integer or out of range");
    } else if (arg_get_string(c, 0, &old)) {
        size_t end = (size_t)(offset / 8 + 1);
        int64_t was = bits_get(old.bytes, offset, &one_bit);
        resp_write_int(c->reply, was);
        if (end > old.bytes.len || was != bit) {
            compose_begin(c, &n, end > old.bytes.len ? end : old.bytes.len);
            compose_fill(&n, old.bytes);
            bits_set(n.bytes, offset, &one_bit, bit);
            compose_put(c, 0, &n, old.exists ? old.expire_ms : 0);
            command_notify(c, NOTIFY_STRING, "setbit", ks_key(c->txn, 0));
        }
    }
}

static void getbit_command(struct command_ctx *c)
{
    struct ks_value v;
    uint64_t offset = 0;
    if (bitmap_offset(c, arg_at(c, 2), 0, &offset) && arg_lookup_string(c, 0, &v)) {
        resp_write_int(c->reply, bits_get(v.bytes, offset, &one_bit));
    }
}

/* ---- Ranges ---- */

/* Does the argument say BIT and not BYTE? false: the error is written. */
static bool arg_unit_is_bit(struct command_ctx *c, struct bk_span arg, bool *is_bit)
{
    bool ok = true;
    *is_bit = arg_is(arg, "bit");
    if (!*is_bit && !arg_is(arg, "byte")) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        ok = false;
    }
    return ok;
}

/* From start and end, which count from the end when negative, to bits of the string; false: there
 * are none. */
static bool bit_range(struct bk_span s, int64_t start, int64_t end, bool is_bit, uint64_t *first,
                      uint64_t *last)
{
    int64_t len = is_bit ? (int64_t)s.len * 8 : (int64_t)s.len;
    bool any;
    start = start < 0 ? start + len : start;
    end = end < 0 ? end + len : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= len ? len - 1 : end;
    any = start <= end;
    if (any) {
        *first = (uint64_t)(is_bit ? start : start * 8);
        *last = (uint64_t)(is_bit ? end : end * 8 + 7);
    }
    return any;
}

/* As in Redis an absent key is 0 whatever else is asked, and so is a range that is reversed within
 * negative numbers, whatever its unit. */
static void bitcount_command(struct command_ctx *c)
{
    struct ks_value v;
    const int argc = c->cmd->argc;
    int64_t start = 0;
    int64_t end = -1;
    bool is_bit = false;
    uint64_t first = 0;
    uint64_t last = 0;
    if (!arg_lookup_string(c, 0, &v)) {
        return;
    }
    if (v.exists && argc != 2 && argc != 4 && argc != 5) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        return;
    }
    if (v.exists && argc > 2) {
        if (!arg_i64(c, arg_at(c, 2), &start) || !arg_i64(c, arg_at(c, 3), &end)) {
            return;
        }
        bool reversed = start < 0 && end < 0 && start > end;
        if (!reversed && argc == 5 && !arg_unit_is_bit(c, arg_at(c, 4), &is_bit)) {
            return;
        }
        v.exists = !reversed;
    }
    v.exists = v.exists && bit_range(v.bytes, start, end, is_bit, &first, &last);
    resp_write_int(c->reply, v.exists ? (int64_t)bits_count(v.bytes, first, last) : 0);
}

/* BITPOS's range, the unit read before the end as Redis does. false: the error is written. */
static bool bitpos_range(struct command_ctx *c, int64_t *start, int64_t *end, bool *is_bit)
{
    const int argc = c->cmd->argc;
    bool ok = argc <= 6;
    *start = 0;
    *end = -1;
    *is_bit = false;
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (argc > 3) {
        ok = arg_i64(c, arg_at(c, 3), start) &&
             (argc < 6 || arg_unit_is_bit(c, arg_at(c, 5), is_bit)) &&
             (argc < 5 || arg_i64(c, arg_at(c, 4), end));
    }
    return ok;
}

/* Behind a string whose end was not named there are zeros. */
static int64_t find_bit(struct bk_span s, uint64_t first, uint64_t last, bool bit, bool end_given)
{
    int64_t found = bits_find(s, first, last, bit);
    return found == -1 && !bit && !end_given ? (int64_t)s.len * 8 : found;
}

static void bitpos_command(struct command_ctx *c)
{
    struct ks_value v;
    int64_t bit = 0;
    int64_t start = 0;
    int64_t end = 0;
    bool is_bit = false;
    uint64_t first = 0;
    uint64_t last = 0;
    if (!arg_i64(c, arg_at(c, 2), &bit)) {
        return;
    }
    if (bit != 0 && bit != 1) {
        resp_write_error(c->reply, "ERR The bit argument must be 1 or 0.");
    } else if (arg_lookup_string(c, 0, &v)) {
        if (!v.exists) {
            resp_write_int(c->reply, bit == 1 ? -1 : 0);
        } else if (bitpos_range(c, &start, &end, &is_bit)) {
            bool any = bit_range(v.bytes, start, end, is_bit, &first, &last);
            bool end_given = c->cmd->argc >= 5;
            resp_write_int(c->reply,
                           any ? find_bit(v.bytes, first, last, bit == 1, end_given) : -1);
        }
    }
}

/* ---- BITOP ---- */

static bool bitop_operation(struct bk_span arg, enum bits_op *op)
{
    static const char *const names[] = {
        [BITS_AND] = "and", [BITS_OR] = "or", [BITS_XOR] = "xor", [BITS_NOT] = "not"};
    bool found = false;
    for (int i = BITS_AND; i <= BITS_NOT && !found; i++) {
        found = arg_is(arg, names[i]);
        if (found) {
            *op = (enum bits_op)i;
        }
    }
    return found;
}

/* The n source strings, which follow the destination; the longest one's length. */
static bool bitop_sources(struct command_ctx *c, struct bk_span *src, size_t n, size_t *len)
{
    bool ok = true;
    *len = 0;
    for (size_t i = 0; i < n && ok; i++) {
        struct ks_value v;
        ok = arg_lookup_string(c, i + 1, &v);
        if (ok) {
            src[i] = v.bytes;
            *len = v.bytes.len > *len ? v.bytes.len : *len;
        }
    }
    return ok;
}

static void bitop_store(struct command_ctx *c, enum bits_op op, const struct bk_span *src, size_t n,
                        size_t len)
{
    struct ks_value old;
    struct compose result;
    if (len != 0) {
        compose_begin(c, &result, len);
        bits_combine(op, result.bytes, len, src, n);
        compose_put(c, 0, &result, 0);
        command_notify(c, NOTIFY_STRING, "set", ks_key(c->txn, 0));
    } else {
        ks_get(c->txn, 0, &old);
        if (old.exists) {
            ks_delete(c->txn, 0);
            command_notify(c, NOTIFY_GENERIC, "del", ks_key(c->txn, 0));
        }
    }
    resp_write_int(c->reply, (int64_t)len);
}

static enum ks_need bitop_need(const struct resp_command *cmd, int arg)
{
    (void)cmd;
    return arg == 2 ? KS_NEED_META : KS_NEED_VALUE;
}

static void bitop_command(struct command_ctx *c)
{
    enum bits_op op = BITS_AND;
    size_t n = (size_t)c->cmd->argc - 3;
    size_t len = 0;
    if (!bitop_operation(arg_at(c, 1), &op)) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (op == BITS_NOT && n != 1) {
        resp_write_error(c->reply, "ERR BITOP NOT must be called with a single source key.");
    } else {
        struct bk_span *src = bk_alloc(n * sizeof(*src));
        if (bitop_sources(c, src, n, &len)) {
            bitop_store(c, op, src, n, len);
        }
        free(src);
    }
}

/* ---- Rows ---- */

#define CAT_BITMAP_READ (CAT_READ | CAT_BITMAP)
#define CAT_BITMAP_WRITE (CAT_WRITE | CAT_BITMAP | CAT_SLOW)

const struct command_row command_rows_bitmap[] = {
    {.name = "bitcount",
     .arity = -2,
     .flags = CMD_READONLY,
     .categories = CAT_BITMAP_READ | CAT_SLOW,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = bitcount_command},
    {.name = "bitfield",
     .arity = -2,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_BITMAP_WRITE,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = bitmap_bitfield},
    {.name = "bitfield_ro",
     .arity = -2,
     .flags = ROW_READ_FAST,
     .categories = CAT_BITMAP_READ | CAT_FAST,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = bitmap_bitfield_ro},
    {.name = "bitop",
     .arity = -4,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_BITMAP_WRITE,
     .first_key = 2,
     .last_key = -1,
     .key_step = 1,
     .need_of = bitop_need,
     .run = bitop_command},
    {.name = "bitpos",
     .arity = -3,
     .flags = CMD_READONLY,
     .categories = CAT_BITMAP_READ | CAT_SLOW,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = bitpos_command},
    {.name = "getbit",
     .arity = 3,
     .flags = ROW_READ_FAST,
     .categories = CAT_BITMAP_READ | CAT_FAST,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = getbit_command},
    {.name = "setbit",
     .arity = 4,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_BITMAP_WRITE,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = setbit_command},
    ROW_END,
};
