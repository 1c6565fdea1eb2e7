/* SPDX-License-Identifier: MIT */
/* eqjudge.c - the rules of comparison. */
#include "lib/eqjudge.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NEAR_S 2
#define NEAR_MS 3000
#define FIELDS_MAX 256

/* A run of elements that stay together when sorted. */
struct group {
    struct raw first;
    struct raw all;
};

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a;
    const struct group *y = b;
    int rc = raw_compare(x->first, y->first);

    return rc != 0 ? rc : raw_compare(x->all, y->all);
}

struct raw eq_sorted(struct raw reply, size_t step, bool unique)
{
    size_t n = raw_elements(reply, NULL, 0);
    struct raw *e = calloc(n + 1, sizeof(*e));
    struct group *g = calloc(n + 1, sizeof(*g));
    char *out = malloc(reply.len + 32);
    size_t groups = 0;
    size_t at;

    if (e == NULL || g == NULL || out == NULL) {
        abort();
    }
    raw_elements(reply, e, n);
    for (size_t i = 0; i + step <= n; i += step) {
        size_t len = 0;
        for (size_t j = 0; j < step; j++) {
            len += e[i + j].len;
        }
        g[groups++] = (struct group){e[i], {e[i].data, len}};
    }
    qsort(g, groups, sizeof(*g), compare_groups);
    if (unique) {
        size_t kept = 0;
        for (size_t i = 0; i < groups; i++) {
            if (kept == 0 || !raw_equal(g[i].all, g[kept - 1].all)) {
                g[kept++] = g[i];
            }
        }
        groups = kept;
    }
    at = (size_t)snprintf(out, 32, "*%zu\r\n", groups * step);
    for (size_t i = 0; i < groups; i++) {
        memcpy(out + at, g[i].all.data, g[i].all.len);
        at += g[i].all.len;
    }
    free(e);
    free(g);
    return (struct raw){out, at};
}

static const char *judge_sorted(struct raw theirs, struct raw ours, size_t step)
{
    struct raw a = eq_sorted(theirs, step, false);
    struct raw b = eq_sorted(ours, step, false);
    bool same = raw_is_aggregate(theirs) && raw_is_aggregate(ours) &&
                theirs.data[0] == ours.data[0] && raw_equal(a, b);

    free((void *)(uintptr_t)a.data);
    free((void *)(uintptr_t)b.data);
    return same ? NULL : "other elements, whatever their order";
}

/* Is there a pair with this name in the reply? */
static bool has_name(const struct raw *elements, size_t n, struct raw name)
{
    bool found = false;

    for (size_t i = 0; i < n && !found; i += 2) {
        found = raw_equal(elements[i], name);
    }
    return found;
}

static const char *judge_names(struct raw theirs, struct raw ours)
{
    static struct raw a[2048];
    static struct raw b[2048];
    static char why[160];
    size_t na = raw_elements(theirs, a, 2048);
    size_t nb = raw_elements(ours, b, 2048);
    size_t missing = 0;
    size_t at = 0;

    for (size_t i = 0; i < na; i += 2) {
        if (!has_name(b, nb, a[i])) {
            struct raw name = raw_text(a[i]);
            if (missing++ < 4 && at < 100) {
                at +=
                    (size_t)snprintf(why + at, sizeof(why) - at, " %.*s", (int)name.len, name.data);
            }
        }
    }
    if (missing == 0) {
        return theirs.data[0] == ours.data[0] ? NULL : "another type";
    }
    snprintf(why + at, sizeof(why) - at, " (%zu names) missing", missing);
    return why;
}

static const char *judge_near(struct raw theirs, struct raw ours, long long distance)
{
    long long a;
    long long b;

    if (theirs.data[0] != ':' || ours.data[0] != ':') {
        return "not two numbers";
    }
    a = strtoll(theirs.data + 1, NULL, 10);
    b = strtoll(ours.data + 1, NULL, 10);
    if (a == b || (a > 1000 && b > 1000 && llabs(a - b) <= distance)) {
        return NULL;
    }
    return "too far apart";
}

/* The next line of text; false at its end. */
static bool next_line(struct raw *text, struct raw *line)
{
    const char *end = text->len == 0 ? NULL : memchr(text->data, '\n', text->len);
    size_t len = end == NULL ? text->len : (size_t)(end - text->data);

    if (text->len == 0) {
        return false;
    }
    *line = (struct raw){text->data, len};
    text->data += end == NULL ? len : len + 1;
    text->len -= end == NULL ? len : len + 1;
    while (line->len > 0 && line->data[line->len - 1] == '\r') {
        line->len--;
    }
    return true;
}

static bool has_line(struct raw text, struct raw wanted, size_t upto)
{
    struct raw line;

    while (next_line(&text, &line)) {
        if (line.len >= upto && wanted.len >= upto && memcmp(line.data, wanted.data, upto) == 0 &&
            (upto < wanted.len || line.len == wanted.len)) {
            return true;
        }
    }
    return false;
}

/* Every section of Redis, and every line of its section Keyspace up to the average time to live. */
static const char *judge_info(struct raw theirs, struct raw ours)
{
    static char why[160];
    struct raw text = raw_text(theirs);
    struct raw line;

    if (theirs.data[0] != ours.data[0]) {
        return "another type";
    }
    while (next_line(&text, &line)) {
        const char *avg = line.len > 2 && line.data[0] == 'd' && line.data[1] == 'b' &&
                                  isdigit((unsigned char)line.data[2])
                              ? memmem(line.data, line.len, "avg_ttl", 7)
                              : NULL;
        size_t upto = avg == NULL ? line.len : (size_t)(avg - line.data);
        bool section = line.len > 1 && line.data[0] == '#' && !raw_is(line, "# Modules");
        if ((section || avg != NULL) && !has_line(raw_text(ours), line, upto)) {
            snprintf(why, sizeof(why), "no line %.*s", (int)line.len, line.data);
            return why;
        }
    }
    return NULL;
}

/* "id=3 addr=... " -> "id addr ..." of the first line, in out. */
static void field_names(struct raw reply, char *out, size_t out_len)
{
    struct raw text = raw_text(reply);
    struct raw line = {"", 0};
    size_t at = 0;
    bool in_name = true;

    (void)next_line(&text, &line);
    for (size_t i = 0; i < line.len && at + 1 < out_len; i++) {
        if (line.data[i] == '=') {
            in_name = false;
        } else if (line.data[i] == ' ') {
            in_name = true;
            out[at++] = ' ';
        } else if (in_name) {
            out[at++] = line.data[i];
        }
    }
    out[at] = '\0';
}

static const char *judge_fields(struct raw theirs, struct raw ours)
{
    char a[1024];
    char b[1024];

    field_names(theirs, a, sizeof(a));
    field_names(ours, b, sizeof(b));
    return theirs.data[0] == ours.data[0] && strcmp(a, b) == 0 ? NULL : "other fields";
}

static const char *judge_hello(struct raw theirs, struct raw ours)
{
    struct raw a[64];
    struct raw b[64];
    size_t n = raw_elements(theirs, a, 64);
    bool id = false;

    if (theirs.data[0] != ours.data[0] || raw_elements(ours, b, 64) != n) {
        return "another type or length";
    }
    for (size_t i = 0; i < n; i++) {
        if (id ? !raw_same_shape(a[i], b[i]) : !raw_equal(a[i], b[i])) {
            return "another name or value";
        }
        id = raw_is(raw_text(a[i]), "id");
    }
    return NULL;
}

/* ---- COMMAND INFO and DOCS ---- */

/* The whole reply with each list of subcommands sorted. */
struct canon {
    char *data; /* owned */
    size_t len, cap;
    struct raw other; /* borrowed; subcommands that it does not name are left out */
};

static void canon_add(struct canon *c, struct raw bytes)
{
    if (c->len + bytes.len > c->cap) {
        c->cap = (c->len + bytes.len) * 2;
        c->data = realloc(c->data, c->cap);
        if (c->data == NULL) {
            abort();
        }
    }
    memcpy(c->data + c->len, bytes.data, bytes.len);
    c->len += bytes.len;
}

static bool has_bar(struct raw element)
{
    struct raw text = raw_text(element);

    return text.len > 0 && memchr(text.data, '|', text.len) != NULL;
}

/* 0: no list of subcommands; 1: each element begins with its name (INFO); 2: names and values
 * (DOCS). */
static size_t subcommand_step(const struct raw *e, size_t n)
{
    struct raw first;

    if (n == 0) {
        return 0;
    }
    if (!raw_is_aggregate(e[0])) {
        return n % 2 == 0 && has_bar(e[0]) && raw_is_aggregate(e[1]) ? 2 : 0;
    }
    return raw_elements(e[0], &first, 1) > 0 && has_bar(first) ? 1 : 0;
}

static bool named_by(struct raw other, struct raw element, size_t step)
{
    struct raw name = element;

    if (step == 1) {
        raw_elements(element, &name, 1);
    }
    return memmem(other.data, other.len, name.data, name.len) != NULL;
}

/* Elements of a reply are at most EQ_ELEMENTS_MAX: COMMAND asks for few commands at a time. */
#define EQ_ELEMENTS_MAX 128

static void canon_reply(struct canon *c, struct raw reply)
{
    struct raw e[EQ_ELEMENTS_MAX];
    size_t n = raw_elements(reply, e, EQ_ELEMENTS_MAX);
    struct raw sorted = {NULL, 0};
    char head[32];
    size_t step;
    size_t kept = 0;

    if (!raw_is_aggregate(reply) || n > EQ_ELEMENTS_MAX) {
        canon_add(c, reply);
        return;
    }
    step = subcommand_step(e, n);
    if (step > 0) {
        sorted = eq_sorted(reply, step, false);
        raw_elements(sorted, e, EQ_ELEMENTS_MAX);
        for (size_t i = 0; i + step <= n; i += step) {
            if (named_by(c->other, e[i], step)) {
                memmove(&e[kept], &e[i], step * sizeof(e[0]));
                kept += step;
            }
        }
        n = kept;
    }
    canon_add(
        c, (struct raw){head, (size_t)snprintf(head, sizeof(head), "%c%zu\r\n", reply.data[0], n)});
    for (size_t i = 0; i < n; i++) {
        canon_reply(c, e[i]);
    }
    free((void *)(uintptr_t)sorted.data);
}

static const char *judge_command(struct raw theirs, struct raw ours)
{
    struct canon a = {.other = ours};
    struct canon b = {.other = theirs};
    bool same;

    canon_reply(&a, theirs);
    canon_reply(&b, ours);
    same = raw_equal((struct raw){a.data, a.len}, (struct raw){b.data, b.len});
    free(a.data);
    free(b.data);
    return same ? NULL
                : "other bytes (even with subcommands sorted, and those left out that only one "
                  "side has)";
}

const char *eq_judge(const struct eq_cmd *cmd, struct raw theirs, struct raw ours)
{
    if (raw_equal(theirs, ours)) {
        return NULL;
    }
    if (theirs.len == 0 || ours.len == 0) {
        return "no reply";
    }
    if (raw_is_error(theirs) || raw_is_error(ours)) {
        return "other bytes";
    }
    switch (cmd->rule) {
    case EQ_SHAPE:
        return raw_same_shape(theirs, ours) ? NULL : "another shape";
    case EQ_SET:
        return judge_sorted(theirs, ours, 1);
    case EQ_PAIRS:
        return judge_sorted(theirs, ours, 2);
    case EQ_NAMES:
        return judge_names(theirs, ours);
    case EQ_NEAR_S:
        return judge_near(theirs, ours, NEAR_S);
    case EQ_NEAR_MS:
        return judge_near(theirs, ours, NEAR_MS);
    case EQ_INFO:
        return judge_info(theirs, ours);
    case EQ_FIELDS:
        return judge_fields(theirs, ours);
    case EQ_HELLO:
        return judge_hello(theirs, ours);
    case EQ_COMMAND:
        return judge_command(theirs, ours);
    default:
        return "other bytes";
    }
}
