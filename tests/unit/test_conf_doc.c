/* SPDX-License-Identifier: MIT */
/*
 * bitkv.conf against the table of options: it sets every option that has an effect to its default,
 * and the text above an option names its range, its choices, and whether CONFIG SET changes it.
 */
#include "app/conf_load.h"
#include "app/conf_words.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The file, and for each option the paragraph that mentions it. */
struct doc {
    struct bk_buf text;
    struct bk_span paragraph[OPTION_COUNT];
};

static struct doc doc;

static bool in_paragraph(enum option_id id, const char *word)
{
    struct bk_span p = doc.paragraph[id];
    return p.len > 0 && memmem(p.data, p.len, word, strlen(word)) != NULL;
}

/* The option of a line; a computed one may stand as a comment, "# io-threads 4". */
static enum option_id option_of(struct bk_span line)
{
    static struct conf_words words;
    bool comment = line.len > 2 && line.data[0] == '#';
    struct bk_span rest = comment ? bk_span_of(line.data + 2, line.len - 2) : line;
    enum option_id id = OPTION_COUNT;
    if (rest.len > 0 && conf_words_split(&words, rest) == CONF_WORDS_OK && words.argc > 0) {
        id = option_find(words.argv[0]);
    }
    bool computed = id != OPTION_COUNT && (option_rows[id].flags & OPTION_COMPUTED) != 0;
    return comment && !(computed && words.argc == 2) ? OPTION_COUNT : id;
}

static void note_paragraph(struct bk_span p)
{
    struct bk_span rest = p;
    while (rest.len > 0) {
        const uint8_t *eol = memchr(rest.data, '\n', rest.len);
        size_t len = eol != NULL ? (size_t)(eol - rest.data) + 1 : rest.len;
        enum option_id id = option_of(conf_trim(bk_span_of(rest.data, len)));
        if (id != OPTION_COUNT) {
            doc.paragraph[id] = p;
        }
        rest = bk_span_of(rest.data + len, rest.len - len);
    }
}

static int setup(void **state)
{
    (void)state;
    struct bk_buf why = {0};
    if (!conf_files_system.read(NULL, "bitkv.conf", &doc.text, &why)) {
        fail_msg("bitkv.conf: %.*s (tests run at the top of the tree)", (int)why.len,
                 (const char *)why.data);
    }
    struct bk_span rest = bk_buf_span(&doc.text);
    while (rest.len > 0) {
        const uint8_t *end = memmem(rest.data, rest.len, "\n\n", 2);
        size_t len = end != NULL ? (size_t)(end - rest.data) + 2 : rest.len;
        note_paragraph(bk_span_of(rest.data, len));
        rest = bk_span_of(rest.data + len, rest.len - len);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bk_buf_fini(&doc.text);
    return 0;
}

static void test_conf_doc__starting_with_it__equals_starting_with_none(void **state)
{
    (void)state;
    struct conf c;
    struct bk_buf problem = {0};
    conf_init(&c);
    if (!conf_load_text(&c, &conf_files_system, "bitkv.conf", bk_buf_span(&doc.text), &problem)) {
        fail_msg("%.*s", (int)problem.len, (const char *)problem.data);
    }
    assert_int_equal(c.notes.len, 0);
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (!option_is_default((enum option_id)id, &c.options.values[id])) {
            fail_msg("bitkv.conf sets %s to something else than its default", option_rows[id].name);
        }
    }
    conf_fini(&c);
}

static void test_conf_doc__options_with_an_effect__and_no_others__have_a_line(void **state)
{
    (void)state;
    for (int id = 0; id < OPTION_COUNT; id++) {
        if ((option_rows[id].doc != NULL) != (doc.paragraph[id].len > 0)) {
            fail_msg("%s: %s in bitkv.conf", option_rows[id].name,
                     option_rows[id].doc != NULL ? "missing" : "has no effect, but has a line");
        }
    }
}

static void test_conf_doc__text_of_an_option__says_whether_it_is_live(void **state)
{
    (void)state;
    for (int id = 0; id < OPTION_COUNT; id++) {
        bool live = (option_rows[id].flags & OPTION_LIVE) != 0;
        if (option_rows[id].doc != NULL && live != in_paragraph((enum option_id)id, "Live.")) {
            fail_msg("%s: the text in bitkv.conf and the table differ on Live",
                     option_rows[id].name);
        }
    }
}

static void format_bound(const struct option_row *row, int64_t v, char *out, size_t size)
{
    struct bk_buf text = {0};
    if (row->kind == OPTION_KIND_MEMORY) {
        option_format_memory(&text, v);
    } else {
        bk_buf_printf(&text, row->kind == OPTION_KIND_OCTAL ? "%llo" : "%lld", (long long)v);
    }
    snprintf(out, size, "%.*s", (int)text.len, (const char *)text.data);
    bk_buf_fini(&text);
}

static void test_conf_doc__text_of_a_number__names_its_range(void **state)
{
    (void)state;
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *row = &option_rows[id];
        char low[32];
        char high[32];
        format_bound(row, row->min, low, sizeof low);
        format_bound(row, row->max, high, sizeof high);
        bool number = row->kind != OPTION_KIND_BOOL && row->kind != OPTION_KIND_ENUM &&
                      row->kind != OPTION_KIND_TEXT && row->kind != OPTION_KIND_LIST;
        bool bounded = row->max != INT_MAX && row->max != UINT_MAX && row->max != INT64_MAX;
        if (row->doc == NULL || !number) {
            continue;
        }
        if (!in_paragraph((enum option_id)id, low)) {
            fail_msg("%s: the text in bitkv.conf does not name %s", row->name, low);
        }
        if (bounded && !in_paragraph((enum option_id)id, high)) {
            fail_msg("%s: the text in bitkv.conf does not name %s", row->name, high);
        }
    }
}

static void test_conf_doc__text_of_a_choice__names_every_one(void **state)
{
    (void)state;
    for (int id = 0; id < OPTION_COUNT; id++) {
        const char *c = option_rows[id].doc != NULL ? option_rows[id].choices : NULL;
        while (c != NULL && *c != '\0') {
            char word[64];
            size_t len = strcspn(c, "|");
            snprintf(word, sizeof word, "%.*s", (int)len, c);
            /* local1 and its like stand between the two that are named */
            if (strncmp(word, "local", 5) != 0 && !in_paragraph((enum option_id)id, word)) {
                fail_msg("%s: the text in bitkv.conf does not name %s", option_rows[id].name, word);
            }
            c += len + (c[len] == '|');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf_doc__starting_with_it__equals_starting_with_none),
        cmocka_unit_test(test_conf_doc__options_with_an_effect__and_no_others__have_a_line),
        cmocka_unit_test(test_conf_doc__text_of_an_option__says_whether_it_is_live),
        cmocka_unit_test(test_conf_doc__text_of_a_number__names_its_range),
        cmocka_unit_test(test_conf_doc__text_of_a_choice__names_every_one),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
