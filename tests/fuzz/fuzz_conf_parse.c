/* SPDX-License-Identifier: MIT */
/*
 * fuzz_conf_parse.c - any text is either refused with a message, or loads to options that a rewrite
 * of that text keeps: reading back what CONFIG REWRITE writes gives the same values, and a second
 * rewrite changes nothing.
 */
#include "app/conf_load.h"
#include "app/conf_rewrite.h"
#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nothing outside the input is read. */
static bool no_read(void *arg, const char *path, struct bk_buf *out, struct bk_buf *why)
{
    (void)arg;
    (void)path;
    (void)out;
    bk_buf_printf(why, "no files here");
    return false;
}

static bool no_glob(void *arg, const char *pattern, bool (*each)(void *each_arg, const char *path),
                    void *each_arg)
{
    (void)arg;
    (void)pattern;
    (void)each;
    (void)each_arg;
    return true;
}

static const struct conf_files none = {no_read, no_glob, NULL};

static bool same_value(const struct option_value *a, const struct option_value *b)
{
    return a->num == b->num && a->len == b->len &&
           (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

static void check_rewrite(struct conf *c, struct bk_span text)
{
    struct bk_buf once = {0};
    struct bk_buf twice = {0};
    struct bk_buf problem = {0};
    struct conf back;
    conf_init(&back);
    conf_rewrite_text(&c->options, text, &once);
    bool loads = conf_load_text(&back, &none, "rewritten", bk_buf_span(&once), &problem);
    BK_ASSERT(loads);
    for (int id = 0; id < OPTION_COUNT; id++) {
        BK_ASSERT(same_value(&c->options.values[id], &back.options.values[id]));
    }
    conf_rewrite_text(&back.options, bk_buf_span(&once), &twice);
    BK_ASSERT(bk_span_eq(bk_buf_span(&once), bk_buf_span(&twice)));
    bk_buf_fini(&once);
    bk_buf_fini(&twice);
    bk_buf_fini(&problem);
    conf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf c;
    struct bk_buf problem = {0};
    struct bk_span text = {data, size};
    conf_init(&c);
    if (conf_load_text(&c, &none, "input", text, &problem)) {
        BK_ASSERT(problem.len == 0);
        check_rewrite(&c, text);
    } else {
        BK_ASSERT(problem.len > 0);
    }
    bk_buf_fini(&problem);
    conf_fini(&c);
    return 0;
}
