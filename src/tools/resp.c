/* SPDX-License-Identifier: MIT */
/*
 * resp.c - records as a Redis client's commands: what redis-cli --pipe sends, and the same read
 * back. Values may hold newlines, so a place in the input is told in bytes and commands.
 */
#include "tools/format.h"

#include "base/num.h"

#include <inttypes.h>
#include <string.h>

#define HEAD_MAX 32u /* of a line that holds a count */
#define WORD_MAX 32u /* of a command's name, an option, a number */
#define ARGS_MAX 5u

/* ---- Writing ---- */

static void write_bulk(FILE *f, struct bk_span s)
{
    fprintf(f, "$%zu\r\n", s.len);
    if (s.len > 0) {
        fwrite(s.data, 1, s.len, f);
    }
    fputs("\r\n", f);
}

int tool_resp_write(FILE *f, const struct tool_record *r, int64_t *selected)
{
    char digits[24];
    if ((r->flags & BK_TYPE_MASK) != 0) { /* the other bits are what SET makes of the bytes */
        return BK_EINVAL;
    }
    if (*selected != r->num) {
        unsigned n = bk_format_u64(digits, r->num);
        fputs("*2\r\n", f);
        write_bulk(f, bk_span_str("SELECT"));
        write_bulk(f, bk_span_of(digits, n));
        *selected = r->num;
    }
    fputs(r->expire_ms == 0 ? "*3\r\n" : "*5\r\n", f);
    write_bulk(f, bk_span_str("SET"));
    write_bulk(f, r->key);
    write_bulk(f, r->value);
    if (r->expire_ms != 0) {
        unsigned n = bk_format_i64(digits, r->expire_ms);
        write_bulk(f, bk_span_str("PXAT"));
        write_bulk(f, bk_span_of(digits, n));
    }
    return BK_OK;
}

/* ---- Reading ---- */

static int bad(struct tool_reader *rd, const char *what)
{
    snprintf(rd->why, sizeof rd->why, "command %" PRIu64 ", byte %" PRIu64 ": %s", rd->in.line + 1,
             rd->in.offset, what);
    return BK_EINVAL;
}

/* The end of the input is one only between commands. */
static int inside(struct tool_reader *rd, int rc)
{
    return rc == BK_NOTFOUND ? bad(rd, "the input ends in a command") : rc;
}

/* "*3\r\n", "$12\r\n". BK_NOTFOUND: nothing is there any more. */
static int read_count(struct tool_reader *rd, char sign, uint64_t max, uint64_t *out)
{
    bool whole;
    uint64_t commands = rd->in.line;
    int rc = tool_input_line(&rd->in, HEAD_MAX, &rd->line, &whole);
    rd->in.line = commands; /* lines are not what is counted here */
    if (rc == BK_EIO || rc == BK_NOTFOUND) {
        return rc;
    }
    struct bk_span s = bk_buf_span(&rd->line);
    if (rc != BK_OK || !whole || s.len < 3 || s.data[0] != (uint8_t)sign ||
        s.data[s.len - 1] != '\r' || !bk_parse_u64(bk_span_of(s.data + 1, s.len - 2), out)) {
        return bad(rd, sign == '*' ? "expected the length of an array" : "expected a length");
    }
    return *out <= max ? BK_OK : bad(rd, "longer than it may be");
}

static int read_bulk(struct tool_reader *rd, uint64_t max, struct bk_buf *out)
{
    uint64_t n = 0;
    uint8_t end[2];
    struct bk_buf tail = {0};
    int rc = inside(rd, read_count(rd, '$', max, &n));
    rc = rc == BK_OK ? inside(rd, tool_input_bytes(&rd->in, (size_t)n, out)) : rc;
    rc = rc == BK_OK ? inside(rd, tool_input_bytes(&rd->in, sizeof end, &tail)) : rc;
    if (rc == BK_OK && memcmp(tail.data, "\r\n", 2) != 0) {
        rc = bad(rd, "no end of line behind the bytes");
    }
    bk_buf_fini(&tail);
    return rc;
}

static bool word_is(const struct tool_reader *rd, const char *word)
{
    return bk_span_eq_nocase(bk_buf_span(&rd->word), word);
}

static int read_select(struct tool_reader *rd)
{
    uint64_t num;
    int rc = read_bulk(rd, WORD_MAX, &rd->word);
    if (rc != BK_OK) {
        return rc;
    }
    if (!bk_parse_u64(bk_buf_span(&rd->word), &num) || num >= BK_DATABASES_MAX) {
        return bad(rd, "no number of a database");
    }
    rd->db = (uint32_t)num;
    return BK_OK;
}

static int read_set(struct tool_reader *rd, bool expires)
{
    int64_t pxat = 0;
    int rc = read_bulk(rd, BK_KEY_MAX, &rd->key);
    rc = rc == BK_OK ? read_bulk(rd, BK_VALUE_MAX, &rd->value) : rc;
    if (rc == BK_OK && expires) {
        rc = read_bulk(rd, WORD_MAX, &rd->word);
        rc = rc == BK_OK && !word_is(rd, "PXAT") ? bad(rd, "SET takes PXAT alone") : rc;
        rc = rc == BK_OK ? read_bulk(rd, WORD_MAX, &rd->word) : rc;
        if (rc == BK_OK && (!bk_parse_i64(bk_buf_span(&rd->word), &pxat) || pxat <= 0)) {
            rc = bad(rd, "no time of an expiry");
        }
    }
    rd->r = (struct tool_record){.num = rd->db,
                                 .key = bk_buf_span(&rd->key),
                                 .value = bk_buf_span(&rd->value),
                                 .expire_ms = pxat};
    return rc;
}

/* One command; *set: it was a SET, and rd->r is filled. */
static int read_command(struct tool_reader *rd, bool *set)
{
    uint64_t argc = 0;
    int rc = read_count(rd, '*', ARGS_MAX, &argc);
    rc = rc == BK_OK ? read_bulk(rd, WORD_MAX, &rd->word) : rc;
    if (rc != BK_OK) {
        return rc;
    }
    *set = word_is(rd, "SET") && (argc == 3 || argc == 5);
    if (*set) {
        rc = read_set(rd, argc == 5);
    } else {
        rc = word_is(rd, "SELECT") && argc == 2 ? read_select(rd)
                                                : bad(rd, "neither SELECT nor SET with PXAT");
    }
    rd->in.line += rc == BK_OK;
    return rc;
}

int tool_resp_read(struct tool_reader *rd)
{
    bool set = false;
    int rc;
    do {
        rc = read_command(rd, &set);
    } while (rc == BK_OK && !set);
    return rc;
}
