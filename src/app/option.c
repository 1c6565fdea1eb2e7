/* SPDX-License-Identifier: MIT */
/* option.c - the table of options, and the kinds of values that most of them have. Lists:
 * option_list.c. */
#include "app/option.h"

#include "app/option_check.h"
#include "base/assert.h"
#include "base/num.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IO_THREADS_DEFAULT_MAX 8
#define HZ_MIN 1
#define HZ_MAX 500

const struct option_row option_rows[OPTION_COUNT] = {
#define NUMBER(id, nm, al, kd, fl, lo, hi, df, dc) \
    [OPTION_##id] = {.name = nm,                   \
                     .alias = al,                  \
                     .kind = kd,                   \
                     .flags = fl,                  \
                     .min = lo,                    \
                     .max = hi,                    \
                     .def = df,                    \
                     .doc = dc},
#define BOOL(id, nm, al, fl, df, dc) NUMBER(id, nm, al, OPTION_KIND_BOOL, fl, 0, 1, df, dc)
#define INT(id, nm, al, fl, lo, hi, df, dc) NUMBER(id, nm, al, OPTION_KIND_INT, fl, lo, hi, df, dc)
#define OCTAL(id, nm, al, fl, lo, hi, df, dc) \
    NUMBER(id, nm, al, OPTION_KIND_OCTAL, fl, lo, hi, df, dc)
#define MEMORY(id, nm, al, fl, lo, hi, df, dc) \
    NUMBER(id, nm, al, OPTION_KIND_MEMORY, fl, lo, hi, df, dc)
#define PERCENT(id, nm, al, fl, lo, hi, df, dc) \
    NUMBER(id, nm, al, OPTION_KIND_PERCENT, fl, lo, hi, df, dc)
#define SECONDS(id, nm, al, fl, lo, hi, df, dc) \
    NUMBER(id, nm, al, OPTION_KIND_SECONDS, fl, lo, hi, df, dc)
#define ENUM(id, nm, al, fl, ch, df, dc)       \
    [OPTION_##id] = {.name = nm,               \
                     .alias = al,              \
                     .kind = OPTION_KIND_ENUM, \
                     .flags = fl,              \
                     .choices = ch,            \
                     .def = df,                \
                     .doc = dc},
#define TEXT(id, nm, al, fl, ck, df, dc)       \
    [OPTION_##id] = {.name = nm,               \
                     .alias = al,              \
                     .kind = OPTION_KIND_TEXT, \
                     .flags = fl,              \
                     .check = ck,              \
                     .def = df,                \
                     .doc = dc},
#define LIST(id, nm, al, fl, ls, df, dc)       \
    [OPTION_##id] = {.name = nm,               \
                     .alias = al,              \
                     .kind = OPTION_KIND_LIST, \
                     .flags = fl,              \
                     .list = &ls,              \
                     .def = df,                \
                     .doc = dc},
#include "app/option_rows.inc"
#include "app/option_rows_end.inc"
#undef NUMBER
};

static bool name_matches(struct bk_span name, const char *candidate)
{
    return candidate != NULL && bk_span_eq_nocase(name, candidate);
}

enum option_id option_find(struct bk_span name)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (name_matches(name, option_rows[id].name) || name_matches(name, option_rows[id].alias)) {
            return (enum option_id)id;
        }
    }
    return OPTION_COUNT;
}

void option_value_fini(struct option_value *v)
{
    free(v->text);
    *v = (struct option_value){0};
}

static void set_text(struct option_value *v, struct bk_span text)
{
    char *copy = bk_alloc(text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    free(v->text);
    v->text = copy;
    v->len = text.len;
}

void option_value_copy(struct option_value *to, const struct option_value *from)
{
    if (to == from) {
        return;
    }
    to->num = from->num;
    if (from->text != NULL) {
        set_text(to, bk_span_of(from->text, from->len));
    } else {
        option_value_fini(to);
        to->num = from->num;
    }
}

/* ---- Kinds of numbers ---- */

enum memory_text { MEMORY_NONE, MEMORY_FITS, MEMORY_TOO_LARGE };

static enum memory_text read_memory(struct bk_span s, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {{"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
                 {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30}};
    int64_t v = 0;
    size_t i = 0;
    bool fits = true;
    for (; i < s.len && s.data[i] >= '0' && s.data[i] <= '9'; i++) {
        fits = fits && !__builtin_mul_overflow(v, 10, &v) &&
               !__builtin_add_overflow(v, s.data[i] - '0', &v);
    }
    struct bk_span unit = {s.data + i, s.len - i};
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        if (bk_span_eq_nocase(unit, units[u].name)) {
            fits = fits && !__builtin_mul_overflow(v, units[u].factor, &v);
            *out = fits ? v : *out;
            return fits ? MEMORY_FITS : MEMORY_TOO_LARGE;
        }
    }
    return MEMORY_NONE;
}

bool option_parse_memory(struct bk_span s, int64_t *out)
{
    return read_memory(s, out) == MEMORY_FITS;
}

static bool parse_seconds(struct bk_span s, int64_t *out)
{
    static const struct {
        char name;
        int64_t factor;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    int64_t factor = 1;
    if (s.len > 1) {
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            if (tolower(s.data[s.len - 1]) == units[u].name) {
                factor = units[u].factor;
                s.len--;
                break;
            }
        }
    }
    int64_t v = 0;
    if (!bk_parse_i64(s, &v) || __builtin_mul_overflow(v, factor, &v)) {
        return false;
    }
    *out = v;
    return true;
}

static bool parse_octal(struct bk_span s, int64_t *out)
{
    int64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '7' || v > INT64_MAX / 8 - 8) {
            return false;
        }
        v = v * 8 + (s.data[i] - '0');
    }
    *out = v;
    return s.len > 0;
}

static bool parse_percent(struct bk_span s, int64_t *out, struct bk_buf *why)
{
    int64_t v = 0;
    bool ok = true;
    if (s.len > 1 && s.data[s.len - 1] == '%') {
        ok = bk_parse_i64(bk_span_of(s.data, s.len - 1), &v) && v >= 0;
        if (ok && v > 100) {
            bk_buf_printf(why, "percentage argument must be less or equal to 100");
            return false;
        }
        v = -v;
    } else {
        ok = option_parse_memory(s, &v);
    }
    if (!ok) {
        bk_buf_printf(why, "argument must be a memory or percent value");
        return false;
    }
    *out = v;
    return true;
}

static bool in_range(const struct option_row *row, int64_t v, struct bk_buf *why)
{
    if (v >= row->min && v <= row->max) {
        return true;
    }
    if (row->kind == OPTION_KIND_OCTAL) {
        bk_buf_printf(why, "argument must be between %llo and %llo inclusive",
                      (unsigned long long)row->min, (unsigned long long)row->max);
    } else {
        bk_buf_printf(why, "argument must be between %lld and %lld inclusive", (long long)row->min,
                      (long long)row->max);
    }
    return false;
}

static bool parse_number(const struct option_row *row, struct bk_span s, int64_t *out,
                         struct bk_buf *why)
{
    int64_t v = 0;
    bool ok = true;
    const char *text = "argument couldn't be parsed into an integer";
    switch (row->kind) {
    case OPTION_KIND_MEMORY:
        /* A number too large is out of the option's range: Redis's text says that, not that it is
         * no number. */
        v = -1;
        ok = read_memory(s, &v) != MEMORY_NONE;
        text = "argument must be a memory value";
        break;
    case OPTION_KIND_SECONDS:
        ok = parse_seconds(s, &v);
        text = "argument must be a time in seconds, or with the unit s, m, h, d or w";
        break;
    case OPTION_KIND_OCTAL:
        ok = parse_octal(s, &v);
        text = "argument couldn't be parsed as an octal number";
        break;
    case OPTION_KIND_PERCENT:
        ok = parse_percent(s, &v, why);
        text = "";
        break;
    default:
        ok = bk_parse_i64(s, &v);
        break;
    }
    if (!ok) {
        bk_buf_printf(why, "%s", text);
        return false;
    }
    if (!in_range(row, v, why)) {
        return false;
    }
    *out = v;
    return true;
}

/* ---- Other kinds ---- */

static bool parse_bool(struct bk_span s, int64_t *out, struct bk_buf *why)
{
    bool yes = bk_span_eq_nocase(s, "yes");
    if (!yes && !bk_span_eq_nocase(s, "no")) {
        bk_buf_printf(why, "argument must be 'yes' or 'no'");
        return false;
    }
    *out = yes;
    return true;
}

/* The i-th choice; len 0 past the end. */
static struct bk_span choice_at(const char *choices, int64_t i)
{
    while (i > 0 && choices != NULL) {
        choices = strchr(choices, '|');
        choices = choices != NULL ? choices + 1 : NULL;
        i--;
    }
    return choices != NULL ? bk_span_of(choices, strcspn(choices, "|")) : (struct bk_span){NULL, 0};
}

static bool parse_choice(const char *choices, struct bk_span s, int64_t *out, struct bk_buf *why)
{
    for (int64_t i = 0; choice_at(choices, i).len > 0; i++) {
        struct bk_span c = choice_at(choices, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)c.len, (const char *)c.data);
        if (bk_span_eq_nocase(s, name)) {
            *out = i;
            return true;
        }
    }
    bk_buf_printf(why, "argument(s) must be one of the following: ");
    for (const char *p = choices; *p != '\0'; p++) {
        bk_buf_append(why, *p == '|' ? ", " : p, *p == '|' ? 2 : 1);
    }
    return false;
}

/* What single options do with a value that their kind allows. */
static bool adjust(enum option_id id, int64_t *num, struct bk_buf *why)
{
    switch (id) {
    case OPTION_HZ: /* Redis takes any and runs with what it can */
        *num = *num < HZ_MIN ? HZ_MIN : *num > HZ_MAX ? HZ_MAX : *num;
        return true;
    case OPTION_OOM_SCORE_ADJ: { /* "relative" is an older word for "yes" */
        int64_t relative = 0;
        if (parse_choice(option_rows[id].choices, bk_span_str("relative"), &relative, why) &&
            *num == relative) {
            *num = 1;
        }
        return true;
    }
    case OPTION_ACTIVEDEFRAG: /* needs Redis's own jemalloc, as in Debian's build of Redis */
        if (*num != 0) {
            bk_buf_printf(why, "Active defragmentation cannot be enabled: it requires a Redis "
                               "server compiled with a "
                               "modified Jemalloc like the one shipped by default with the Redis "
                               "source distribution");
            return false;
        }
        return true;
    default:
        return true;
    }
}

static bool parse_text(const struct option_row *row, const struct option_value *old,
                       const struct option_words *words, struct option_value *out,
                       struct bk_buf *why)
{
    struct bk_buf text = {0};
    bool ok = true;
    if (row->kind == OPTION_KIND_LIST) {
        ok = row->list->parse(old, words, &text, why);
    } else {
        ok = row->check == NULL || row->check(words->argv[0], why);
        bk_buf_append(&text, words->argv[0].data, words->argv[0].len);
    }
    if (ok) {
        set_text(out, bk_buf_span(&text));
        if (row->kind == OPTION_KIND_LIST && row->list->num != NULL) {
            out->num = row->list->num(words);
        }
    }
    bk_buf_fini(&text);
    return ok;
}

bool option_parse(enum option_id id, const struct option_value *old,
                  const struct option_words *words, struct option_value *out, struct bk_buf *why)
{
    const struct option_row *row = &option_rows[id];
    if ((row->flags & OPTION_MULTI) == 0 && words->argc != 1) {
        bk_buf_printf(why, "wrong number of arguments");
        return false;
    }
    int64_t num = 0;
    bool ok = true;
    switch (row->kind) {
    case OPTION_KIND_TEXT:
    case OPTION_KIND_LIST:
        return parse_text(row, old, words, out, why);
    case OPTION_KIND_BOOL:
        ok = parse_bool(words->argv[0], &num, why);
        break;
    case OPTION_KIND_ENUM:
        ok = parse_choice(row->choices, words->argv[0], &num, why);
        break;
    default:
        ok = parse_number(row, words->argv[0], &num, why);
        break;
    }
    ok = ok && adjust(id, &num, why);
    if (ok) {
        out->num = num;
    }
    return ok;
}

/* ---- Defaults ---- */

size_t option_split_spaces(struct bk_span value, struct bk_span *argv, size_t max)
{
    size_t n = 0;
    size_t start = 0;
    if (value.len == 0) {
        return 0;
    }
    for (size_t i = 0; i <= value.len; i++) {
        if (i == value.len || value.data[i] == ' ') {
            if (n < max) {
                argv[n] = bk_span_of(value.data + start, i - start);
            }
            n++;
            start = i + 1;
        }
    }
    return n;
}

static void default_of(enum option_id id, struct option_value *out)
{
    const struct option_row *row = &option_rows[id];
    struct bk_span argv[16];
    struct option_words words = {argv, 1, false};
    struct option_value empty = {0};
    argv[0] = bk_span_str(row->def);
    if ((row->flags & OPTION_MULTI) != 0) {
        words.argc = option_split_spaces(bk_span_str(row->def), argv, sizeof argv / sizeof argv[0]);
    }
    struct bk_buf why = {0};
    bool ok = row->flags & OPTION_EMPTY_UNSET && row->def[0] == '\0';
    if (ok) {
        set_text(out, bk_span_str(""));
    } else {
        ok = option_parse(id, &empty, &words, out, &why);
    }
    bk_buf_fini(&why);
    BK_ASSERT(ok);
    if (id == OPTION_IO_THREADS) {
        long most = sysconf(_SC_NPROCESSORS_ONLN) - 1; /* one for the log, merges and the kernel */
        out->num = most < 1 ? 1 : most > IO_THREADS_DEFAULT_MAX ? IO_THREADS_DEFAULT_MAX : most;
    }
}

void options_init(struct options *o)
{
    memset(o, 0, sizeof *o);
    for (int id = 0; id < OPTION_COUNT; id++) {
        default_of((enum option_id)id, &o->values[id]);
    }
}

void options_fini(struct options *o)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        option_value_fini(&o->values[id]);
    }
}

void options_copy(struct options *to, const struct options *from)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        option_value_copy(&to->values[id], &from->values[id]);
    }
}

bool option_is_default(enum option_id id, const struct option_value *v)
{
    struct option_value def = {0};
    default_of(id, &def);
    bool same = def.num == v->num && def.len == v->len &&
                (def.len == 0 || memcmp(def.text, v->text, def.len) == 0);
    option_value_fini(&def);
    return same;
}

/* ---- Writing ---- */

void option_format(enum option_id id, const struct option_value *v, struct bk_buf *out)
{
    const struct option_row *row = &option_rows[id];
    struct bk_span c = {NULL, 0};
    switch (row->kind) {
    case OPTION_KIND_BOOL:
        bk_buf_printf(out, "%s", v->num != 0 ? "yes" : "no");
        break;
    case OPTION_KIND_OCTAL:
        bk_buf_printf(out, "%llo", (unsigned long long)v->num);
        break;
    case OPTION_KIND_ENUM:
        c = choice_at(row->choices, v->num);
        bk_buf_append(out, c.data, c.len);
        break;
    case OPTION_KIND_TEXT:
    case OPTION_KIND_LIST:
        bk_buf_append(out, v->text, v->len);
        break;
    case OPTION_KIND_PERCENT:
        if (v->num < 0) {
            bk_buf_printf(out, "%lld%%", -(long long)v->num);
            break;
        }
        bk_buf_printf(out, "%lld", (long long)v->num);
        break;
    default:
        bk_buf_printf(out, "%lld", (long long)v->num);
        break;
    }
}

void option_format_memory(struct bk_buf *out, int64_t bytes)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    int u = 0;
    while (u < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        u++;
    }
    bk_buf_printf(out, "%lld%s", (long long)bytes, units[u]);
}

void option_quote(struct bk_buf *out, struct bk_span bytes)
{
    static const char plain[] = "\n\r\t\a\b\"\\";
    static const char escaped[] = "nrtab\"\\";
    bk_buf_append(out, "\"", 1);
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        const char *at = c != 0 ? strchr(plain, c) : NULL;
        if (at != NULL) {
            bk_buf_printf(out, "\\%c", escaped[at - plain]);
        } else if (c >= ' ' && c <= '~') {
            bk_buf_append(out, &c, 1);
        } else {
            bk_buf_printf(out, "\\x%02x", c);
        }
    }
    bk_buf_append(out, "\"", 1);
}

void option_lines(enum option_id id, const struct option_value *v, struct bk_buf *out)
{
    const struct option_row *row = &option_rows[id];
    if ((row->flags & OPTION_EMPTY_UNSET) != 0 && v->len == 0) {
        return;
    }
    if (row->kind == OPTION_KIND_LIST) {
        row->list->lines(row->name, v, out);
        return;
    }
    bk_buf_printf(out, "%s ", row->name);
    if (row->kind == OPTION_KIND_TEXT) {
        option_quote(out, bk_span_of(v->text, v->len));
    } else if (row->kind == OPTION_KIND_MEMORY ||
               (row->kind == OPTION_KIND_PERCENT && v->num >= 0)) {
        option_format_memory(out, v->num);
    } else {
        option_format(id, v, out);
    }
    bk_buf_append(out, "\n", 1);
}

/* ---- Values in use ---- */

bool option_bool(const struct options *o, enum option_id id)
{
    BK_ASSERT(option_rows[id].kind == OPTION_KIND_BOOL);
    return o->values[id].num != 0;
}

int64_t option_num(const struct options *o, enum option_id id)
{
    BK_ASSERT(option_rows[id].kind != OPTION_KIND_TEXT && option_rows[id].kind != OPTION_KIND_LIST);
    return o->values[id].num;
}

const char *option_text(const struct options *o, enum option_id id)
{
    BK_ASSERT(o->values[id].text != NULL);
    return o->values[id].text;
}

const char *option_choice(const struct options *o, enum option_id id, char *buf, size_t size)
{
    struct bk_span c = choice_at(option_rows[id].choices, o->values[id].num);
    snprintf(buf, size, "%.*s", (int)c.len, (const char *)c.data);
    return buf;
}
