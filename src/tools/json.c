/* SPDX-License-Identifier: MIT */
/* json.c - records as lines of JSON, by libjansson. */
#include "tools/format.h"
#include "tools/text.h"

#include <jansson.h>
#include <string.h>

/* Text at most doubles in JSON (what would need \u00XX is not written as text). */
#define LINE_MAX_BYTES ((size_t)2 * (BK_KEY_MAX + BK_VALUE_MAX) + 4096)

/* ---- Writing ---- */

/* Text that an escape of two bytes can always show; whether it is UTF-8, jansson finds out. */
static bool is_text(struct bk_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == 0x7f || (c < 0x20 && c != '\n' && c != '\r' && c != '\t')) {
            return false;
        }
    }
    return true;
}

int tool_json_set_bytes(json_t *o, const char *name, const char *name64, struct bk_span s)
{
    const char *text = s.len == 0 ? "" : (const char *)s.data;
    json_t *v = is_text(s) ? json_stringn(text, s.len) : NULL;
    if (v != NULL) {
        return json_object_set_new(o, name, v);
    }
    struct bk_buf b = {0};
    tool_base64_encode(s, &b);
    int rc = json_object_set_new(o, name64, json_stringn((const char *)b.data, b.len));
    bk_buf_fini(&b);
    return rc;
}

int tool_json_write(FILE *f, const struct tool_record *r)
{
    json_t *o = json_object();
    int rc = json_object_set_new(o, "db", json_integer(r->num));
    rc |= tool_json_set_bytes(o, "key", "key64", r->key);
    rc |= tool_json_set_bytes(o, "value", "value64", r->value);
    rc |= r->expire_ms == 0 ? 0 : json_object_set_new(o, "pxat", json_integer(r->expire_ms));
    rc |= r->flags == 0 ? 0 : json_object_set_new(o, "flags", json_integer(r->flags));
    rc |= json_dumpf(o, f, JSON_COMPACT);
    json_decref(o);
    fputc('\n', f);
    return rc == 0 ? BK_OK : BK_EINVAL;
}

/* ---- Reading ---- */

static int get_text(struct tool_reader *rd, const char *name, const json_t *v, struct bk_buf *out)
{
    if (!json_is_string(v)) {
        return tool_reader_bad(rd, "%s is no string", name);
    }
    bk_buf_append(out, json_string_value(v), json_string_length(v));
    return BK_OK;
}

static int get_base64(struct tool_reader *rd, const char *name, const json_t *v, struct bk_buf *out)
{
    if (!json_is_string(v) ||
        !tool_base64_decode(json_string_value(v), json_string_length(v), out)) {
        return tool_reader_bad(rd, "%s is no base64", name);
    }
    return BK_OK;
}

static int get_number(struct tool_reader *rd, const char *name, const json_t *v, int64_t low,
                      int64_t high, int64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high) {
        return tool_reader_bad(rd, "%s is no number from %lld to %lld", name, (long long)low,
                               (long long)high);
    }
    *out = json_integer_value(v);
    return BK_OK;
}

/* What has been seen of a record's members. */
struct members {
    unsigned keys, values;
    int64_t db, pxat, flags;
};

static int take_member(struct tool_reader *rd, const char *name, const json_t *v, struct members *m)
{
    if (strcmp(name, "key") == 0) {
        m->keys++;
        return get_text(rd, name, v, &rd->key);
    }
    if (strcmp(name, "key64") == 0) {
        m->keys++;
        return get_base64(rd, name, v, &rd->key);
    }
    if (strcmp(name, "value") == 0) {
        m->values++;
        return get_text(rd, name, v, &rd->value);
    }
    if (strcmp(name, "value64") == 0) {
        m->values++;
        return get_base64(rd, name, v, &rd->value);
    }
    if (strcmp(name, "db") == 0) {
        return get_number(rd, name, v, 0, BK_DATABASES_MAX - 1, &m->db);
    }
    if (strcmp(name, "pxat") == 0) {
        return get_number(rd, name, v, 1, INT64_MAX, &m->pxat);
    }
    if (strcmp(name, "flags") == 0) {
        return get_number(rd, name, v, 0, 255, &m->flags);
    }
    return tool_reader_bad(rd, "there is no member of this name: %.40s", name);
}

static int take_object(struct tool_reader *rd, json_t *o)
{
    struct members m = {0};
    const char *name;
    json_t *v;
    int rc = BK_OK;
    json_object_foreach(o, name, v)
    {
        rc = rc == BK_OK ? take_member(rd, name, v, &m) : rc;
    }
    if (rc == BK_OK && (m.keys != 1 || m.values != 1)) {
        rc = tool_reader_bad(rd, "it takes one of key and key64, and one of value and value64");
    }
    if (rc == BK_OK && (rd->key.len > BK_KEY_MAX || rd->value.len > BK_VALUE_MAX)) {
        rc = tool_reader_bad(rd, "the key or the value is too long");
    }
    rd->r = (struct tool_record){.num = (uint32_t)m.db,
                                 .key = bk_buf_span(&rd->key),
                                 .value = bk_buf_span(&rd->value),
                                 .flags = (uint8_t)m.flags,
                                 .expire_ms = m.pxat};
    return rc;
}

/* The last byte of the line. */
static int bad_byte(struct tool_reader *rd)
{
    unsigned c = rd->line.data[rd->line.len - 1];
    return c < ' ' ? tool_reader_bad(rd, "no text: it has the byte 0x%02x at column %zu", c,
                                     rd->line.len)
                   : tool_reader_bad(rd, "no object");
}

int tool_json_read(struct tool_reader *rd)
{
    json_error_t je;
    bool whole;
    rd->key.len = 0;
    rd->value.len = 0;
    do {
        int rc = tool_input_text(&rd->in, '{', LINE_MAX_BYTES, &rd->line, &whole);
        if (rc == BK_EINVAL) {
            return bad_byte(rd);
        }
        if (rc == BK_ETOOBIG) {
            return tool_reader_bad(rd, "longer than any record");
        }
        if (rc != BK_OK) {
            return rc;
        }
    } while (rd->line.len == 0);
    json_t *o = json_loadb((const char *)rd->line.data, rd->line.len,
                           JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &je);
    if (o == NULL) {
        return tool_reader_bad(rd, "%s, at column %d", je.text, je.column);
    }
    int rc = take_object(rd, o);
    json_decref(o);
    return rc;
}
