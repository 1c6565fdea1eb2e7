/* SPDX-License-Identifier: MIT */
/* keys.c - get, put, del, keys: single keys from the command line. */
#include "tools/input.h"
#include "tools/progress.h"
#include "tools/store.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/glob.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All of standard input. */
static int read_stdin(size_t max, const char *what, struct bk_buf *out)
{
    struct tool_input in = {.f = stdin};
    int rc = tool_input_all(&in, max, out);
    if (rc == BK_ETOOBIG) {
        return tool_fail("the %s is longer than %zu bytes", what, max);
    }
    return rc == BK_OK ? TOOL_OK : tool_fail("cannot read standard input");
}

/* A key as the options say it stands on the command line, or all of standard input. */
static int key_of(const struct tool_args *a, const char *text, struct bk_buf *out)
{
    out->len = 0;
    bk_buf_reserve(out, 1);
    if (text == NULL) {
        return read_stdin(BK_KEY_MAX, "key", out);
    }
    if (a->hex) {
        return tool_hex_decode(text, out) ? TOOL_OK : tool_fail("not a key in hex: %s", text);
    }
    bk_buf_append(out, text, strlen(text));
    return TOOL_OK;
}

int tool_get(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct bk_buf key = {0};
    struct bk_item item = {0};
    struct bk_error err = {0};
    int status = key_of(a, a->stdin_key ? NULL : a->argv[0], &key);
    if (status == TOOL_OK) {
        status = tool_store_open(&s, a->dir, TOOL_READ);
    }
    if (status == TOOL_OK) {
        struct tool_record r = {.num = a->db, .key = bk_buf_span(&key)};
        int rc = tool_store_get(&s, &r, &item, &err);
        if (rc == BK_OK) {
            fwrite(r.value.data, 1, r.value.len, stdout);
            if (isatty(STDOUT_FILENO) == 1) {
                putchar('\n');
            }
        } else if (rc == BK_NOTFOUND) {
            status = TOOL_NO;
        } else {
            tool_fail_err(&err);
            status = rc == BK_CORRUPT ? TOOL_NO : TOOL_ERROR;
        }
        status = tool_output_end(status);
    }
    bk_item_fini(&item);
    bk_buf_fini(&key);
    return tool_store_close(&s, status);
}

int tool_put(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct bk_buf key = {0};
    struct bk_buf value = {0};
    struct bk_error err = {0};
    /* With the key on standard input the value stands where the key would. */
    const char *text = a->stdin_key ? a->argv[0] : a->argc > 1 ? a->argv[1] : NULL;
    if (a->stdin_key && a->argc != 1) {
        return tool_fail("with --stdin-key put takes DIR and VALUE");
    }
    int status = key_of(a, a->stdin_key ? NULL : a->argv[0], &key);
    if (status == TOOL_OK && text != NULL) {
        bk_buf_append(&value, text, strlen(text));
    } else if (status == TOOL_OK) {
        status = read_stdin(BK_VALUE_MAX, "value", &value);
    }
    if (status == TOOL_OK) {
        status = tool_store_open(&s, a->dir, TOOL_CREATE);
    }
    if (status == TOOL_OK) {
        struct tool_record r = {.num = a->db,
                                .key = bk_buf_span(&key),
                                .value = bk_buf_span(&value),
                                .expire_ms = a->expire_ms};
        int rc = tool_store_put(&s, &r, &err);
        status = rc == BK_OK ? TOOL_OK : tool_fail_err(&err);
    }
    bk_buf_fini(&key);
    bk_buf_fini(&value);
    return tool_store_close(&s, status);
}

/* Whether there was such a key; one that has expired is gone either way. */
static int delete_one(struct tool_store *s, uint32_t num, struct bk_span key, bool *was_there)
{
    struct bk_item item = {0};
    struct bk_error err = {0};
    struct bk_key k;
    bk_key_init(s->db, &k, key.data, key.len);
    bk_locate(s->db, &num, &k, 1, &item);
    *was_there = item.at != 0 &&
                 (item.expire_ms == 0 || item.expire_ms > bk_clock_wall_ms(&bk_clock_system));
    bk_item_fini(&item);
    int rc = bk_delete(s->db, num, key);
    if (rc == BK_OK || rc == BK_NOTFOUND) {
        return TOOL_OK;
    }
    return bk_write_state(s->db, &err) != BK_OK ? tool_fail_err(&err)
                                                : tool_fail("the key could not be deleted");
}

int tool_del(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct bk_buf key = {0};
    int keys = a->stdin_key ? 1 : a->argc;
    int deleted = 0;
    if (a->stdin_key && a->argc > 0) {
        return tool_fail("with --stdin-key del takes DIR alone");
    }
    int status = key_of(a, a->stdin_key ? NULL : a->argv[0], &key);
    if (status == TOOL_OK) {
        status = tool_store_open(&s, a->dir, TOOL_WRITE);
    }
    for (int i = 0; status == TOOL_OK && i < keys; i++) {
        bool there = false;
        status = i == 0 ? TOOL_OK : key_of(a, a->argv[i], &key);
        if (status == TOOL_OK) {
            status = delete_one(&s, a->db, bk_buf_span(&key), &there);
            deleted += there;
        }
    }
    status = tool_store_close(&s, status);
    bk_buf_fini(&key);
    if (status == TOOL_OK) {
        printf("%d\n", deleted);
        status = tool_output_end(deleted > 0 ? TOOL_OK : TOOL_NO);
    }
    return status;
}

struct listing {
    const struct tool_args *a;
    struct bk_span pattern;
};

static int list_key(void *arg, const struct tool_record *r, int rc, const struct bk_error *err)
{
    const struct listing *l = arg;
    (void)rc;
    (void)err;
    bool all = l->pattern.len == 1 && l->pattern.data[0] == '*'; /* an empty key too */
    if (!all && !bk_glob(l->pattern, r->key, false)) {
        return TOOL_OK;
    }
    if (l->a->null) {
        fwrite(r->key.data, 1, r->key.len, stdout);
    } else if (l->a->hex) {
        tool_text_hex(stdout, r->key);
    } else {
        tool_text_escaped(stdout, r->key);
    }
    putchar(l->a->null ? '\0' : '\n');
    return ferror(stdout) != 0 ? TOOL_ERROR : TOOL_OK;
}

int tool_keys(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_progress p = {0};
    struct listing l = {a, bk_span_str(a->argc > 0 ? a->argv[0] : "*")};
    struct tool_walk w = {
        .store = &s, .num = a->db, .done = &p.counts.keys, .each = list_key, .arg = &l};
    int status = tool_store_open(&s, a->dir, TOOL_READ);
    if (status != TOOL_OK) {
        return status;
    }
    if (isatty(STDOUT_FILENO) != 1) { /* there the list itself shows how it goes on */
        tool_progress_begin(&p, "Listing", TOOL_KEYS);
        atomic_store(&p.keys_total, bk_count(s.db, a->db));
    }
    status = tool_output_end(tool_store_walk(&w));
    tool_progress_end(&p);
    return tool_store_close(&s, status);
}
