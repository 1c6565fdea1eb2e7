/* SPDX-License-Identifier: MIT */
/* reply.c - trees of replies: free, compare, print (respc.h). */
#include "lib/respc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 200 /* bytes of a string, elements of an aggregate */

void reply_free(struct reply **r)
{
    if (*r == NULL) {
        return;
    }
    for (size_t i = 0; i < (*r)->elems; i++) {
        reply_free(&(*r)->elem[i]);
    }
    free((*r)->elem);
    free((*r)->text);
    free(*r);
    *r = NULL;
}

bool reply_equal(const struct reply *a, const struct reply *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (a->type != b->type || a->null != b->null || a->len != b->len || a->elems != b->elems) {
        return false;
    }
    if (a->len > 0 && memcmp(a->text, b->text, a->len) != 0) {
        return false;
    }
    for (size_t i = 0; i < a->elems; i++) {
        if (!reply_equal(a->elem[i], b->elem[i])) {
            return false;
        }
    }
    return true;
}

static void format_text(const struct reply *r, struct bk_buf *out)
{
    for (size_t i = 0; i < r->len && i < SHOWN_MAX; i++) {
        unsigned char ch = (unsigned char)r->text[i];
        bk_buf_printf(out, isprint(ch) && ch != '\\' && ch != '"' ? "%c" : "\\x%02x", ch);
    }
    if (r->len > SHOWN_MAX) {
        bk_buf_printf(out, "... %zu bytes", r->len);
    }
}

static void format_at(const struct reply *r, struct bk_buf *out)
{
    if (r == NULL) {
        bk_buf_printf(out, "no reply");
    } else if (r->null) {
        bk_buf_printf(out, "%cnull", r->type);
    } else if (r->text != NULL) {
        bk_buf_printf(out, r->type == '$' ? "$\"" : "%c", r->type);
        format_text(r, out);
        bk_buf_printf(out, r->type == '$' ? "\"" : "%s", "");
    } else {
        bk_buf_printf(out, "%c%zu [", r->type, r->elems);
        for (size_t i = 0; i < r->elems && i < SHOWN_MAX; i++) {
            bk_buf_append(out, " ", i > 0 ? 1 : 0);
            format_at(r->elem[i], out);
        }
        bk_buf_printf(out, "%s]", r->elems > SHOWN_MAX ? " ..." : "");
    }
}

void reply_format(const struct reply *r, struct bk_buf *out)
{
    format_at(r, out);
    *bk_buf_reserve(out, 1) = '\0';
}

void reply_print(const struct reply *r, FILE *to)
{
    struct bk_buf line = {0};
    reply_format(r, &line);
    fprintf(to, "%s\n", (char *)line.data);
    bk_buf_fini(&line);
}

const struct reply *reply_get(const struct reply *r, const char *key)
{
    for (size_t i = 0; r != NULL && i + 1 < r->elems; i += 2) {
        const struct reply *name = r->elem[i];
        if (name->text != NULL && strcmp(name->text, key) == 0) {
            return r->elem[i + 1];
        }
    }
    return NULL;
}
