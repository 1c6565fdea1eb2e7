/* SPDX-License-Identifier: MIT */
/*
 * option_list.c - options whose value is a list of words with a meaning of its own, and checks of
 * single texts.
 *
 * A list is kept in the form in which CONFIG GET shows it; lines() writes it back as lines of a
 * file.
 */
#include "app/option_check.h"
#include "engine/bitkv.h"
#include "base/num.h"
#include "command/notify.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define OOM_VALUES 3
#define OOM_MAX 2000

static bool no(struct bk_buf *why, const char *text)
{
    bk_buf_printf(why, "%s", text);
    return false;
}

static void append_word(struct bk_buf *out, size_t start, struct bk_span word)
{
    if (out->len > start) {
        bk_buf_append(out, " ", 1);
    }
    bk_buf_append(out, word.data, word.len);
}

/* A word that reads back as itself without quotes. */
static bool plain_word(struct bk_span word)
{
    for (size_t i = 0; i < word.len; i++) {
        uint8_t c = word.data[i];
        if (!isgraph(c) || c == '"' || c == '\'' || c == '\\') {
            return false;
        }
    }
    return word.len > 0;
}

static void one_line(const char *name, const struct option_value *v, struct bk_buf *out)
{
    struct bk_span argv[OPTION_WORDS_MAX];
    size_t n = option_split_spaces(bk_span_of(v->text, v->len), argv, OPTION_WORDS_MAX);
    bk_buf_printf(out, "%s", name);
    for (size_t i = 0; i < n && i < OPTION_WORDS_MAX; i++) {
        bk_buf_append(out, " ", 1);
        if (plain_word(argv[i])) {
            bk_buf_append(out, argv[i].data, argv[i].len);
        } else {
            option_quote(out, argv[i]);
        }
    }
    bk_buf_printf(out, "%s\n", n == 0 ? " \"\"" : "");
}

/* Values are kept with one space between their words, so a word must be one. */
static bool is_word(struct bk_span s)
{
    return s.len > 0 && memchr(s.data, ' ', s.len) == NULL;
}

static bool only_empty(const struct option_words *words)
{
    return words->argc == 1 && words->argv[0].len == 0;
}

/* ---- bind ---- */

static bool bind_parse(const struct option_value *old, const struct option_words *words,
                       struct bk_buf *out, struct bk_buf *why)
{
    (void)old;
    if (words->argc > OPTION_BIND_MAX) {
        return no(why, "Too many bind addresses specified.");
    }
    for (size_t i = 0; i < words->argc && !only_empty(words); i++) {
        if (!is_word(words->argv[i])) {
            return no(why, "Failed to bind to specified addresses.");
        }
        append_word(out, 0, words->argv[i]);
    }
    return true;
}

const struct option_list option_list_bind = {bind_parse, one_line, NULL};

/* ---- client-output-buffer-limit ---- */

static int client_class(struct bk_span s)
{
    static const struct {
        const char *name;
        int class;
    } names[] = {{"normal", OPTION_CLASS_NORMAL},
                 {"slave", OPTION_CLASS_REPLICA},
                 {"replica", OPTION_CLASS_REPLICA},
                 {"pubsub", OPTION_CLASS_PUBSUB}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bk_span_eq_nocase(s, names[i].name)) {
            return names[i].class;
        }
    }
    return -1;
}

static const char *const class_names[OPTION_CLASSES] = {"normal", "slave", "pubsub"};

void option_output_limits(const struct option_value *v,
                          struct option_output_limit out[OPTION_CLASSES])
{
    memset(out, 0, OPTION_CLASSES * sizeof *out);
    struct bk_span argv[4 * OPTION_CLASSES];
    size_t n = option_split_spaces(bk_span_of(v->text, v->len), argv, 4 * OPTION_CLASSES);
    for (size_t i = 0; i + 4 <= n && i < 4 * OPTION_CLASSES; i += 4) {
        int class = client_class(argv[i]);
        struct option_output_limit *l = &out[class < 0 ? 0 : class];
        int64_t hard = 0;
        int64_t soft = 0;
        bool ok = option_parse_memory(argv[i + 1], &hard) &&
                  option_parse_memory(argv[i + 2], &soft) &&
                  bk_parse_u64(argv[i + 3], &l->soft_seconds);
        if (ok && class >= 0) {
            l->hard_bytes = (uint64_t)hard;
            l->soft_bytes = (uint64_t)soft;
        }
    }
}

static bool limits_parse(const struct option_value *old, const struct option_words *words,
                         struct bk_buf *out, struct bk_buf *why)
{
    struct option_output_limit limits[OPTION_CLASSES];
    option_output_limits(old, limits); /* classes that are not named keep what they have */
    if (words->argc % 4 != 0) {
        return no(why, "Wrong number of arguments in buffer limit configuration.");
    }
    for (size_t i = 0; i < words->argc; i += 4) {
        int class = client_class(words->argv[i]);
        if (class < 0) {
            return no(why, "Invalid client class specified in buffer limit configuration.");
        }
        int64_t hard = 0;
        int64_t soft = 0;
        int64_t seconds = 0;
        if (!option_parse_memory(words->argv[i + 1], &hard) ||
            !option_parse_memory(words->argv[i + 2], &soft) ||
            !bk_parse_i64(words->argv[i + 3], &seconds) || seconds < 0) {
            return no(why,
                      "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        }
        limits[class] =
            (struct option_output_limit){(uint64_t)hard, (uint64_t)soft, (uint64_t)seconds};
    }
    for (int c = 0; c < OPTION_CLASSES; c++) {
        bk_buf_printf(out, "%s%s %llu %llu %llu", c > 0 ? " " : "", class_names[c],
                      (unsigned long long)limits[c].hard_bytes,
                      (unsigned long long)limits[c].soft_bytes,
                      (unsigned long long)limits[c].soft_seconds);
    }
    return true;
}

static void limits_lines(const char *name, const struct option_value *v, struct bk_buf *out)
{
    struct option_output_limit limits[OPTION_CLASSES];
    option_output_limits(v, limits);
    for (int c = 0; c < OPTION_CLASSES; c++) {
        bk_buf_printf(out, "%s %s ", name, c == OPTION_CLASS_REPLICA ? "replica" : class_names[c]);
        option_format_memory(out, (int64_t)limits[c].hard_bytes);
        bk_buf_append(out, " ", 1);
        option_format_memory(out, (int64_t)limits[c].soft_bytes);
        bk_buf_printf(out, " %llu\n", (unsigned long long)limits[c].soft_seconds);
    }
}

const struct option_list option_list_output_limits = {limits_parse, limits_lines, NULL};

/* ---- save ---- */

static bool save_parse(const struct option_value *old, const struct option_words *words,
                       struct bk_buf *out, struct bk_buf *why)
{
    size_t argc = only_empty(words) ? 0 : words->argc;
    if (argc % 2 != 0) {
        return no(why, "Invalid save parameters");
    }
    if (words->add) {
        bk_buf_append(out, old->text, old->len);
    }
    for (size_t i = 0; i < argc; i++) {
        int64_t v = 0;
        if (!bk_parse_i64(words->argv[i], &v) || v > INT_MAX || v < (i % 2 == 0 ? 1 : 0)) {
            return no(why, "Invalid save parameters");
        }
        append_word(out, 0, words->argv[i]);
    }
    return true;
}

static void save_lines(const char *name, const struct option_value *v, struct bk_buf *out)
{
    struct bk_span argv[OPTION_WORDS_MAX];
    size_t n = option_split_spaces(bk_span_of(v->text, v->len), argv, OPTION_WORDS_MAX);
    for (size_t i = 0; i + 1 < n && i + 1 < OPTION_WORDS_MAX; i += 2) {
        bk_buf_printf(out, "%s %.*s %.*s\n", name, (int)argv[i].len, (const char *)argv[i].data,
                      (int)argv[i + 1].len, (const char *)argv[i + 1].data);
    }
    if (n == 0) {
        bk_buf_printf(out, "%s \"\"\n", name);
    }
}

const struct option_list option_list_save = {save_parse, save_lines, NULL};

/* ---- oom-score-adj-values ---- */

static bool oom_parse(const struct option_value *old, const struct option_words *words,
                      struct bk_buf *out, struct bk_buf *why)
{
    (void)old;
    if (words->argc != OOM_VALUES) {
        return no(why, "wrong number of arguments");
    }
    for (size_t i = 0; i < OOM_VALUES; i++) {
        int64_t v = 0;
        if (!bk_parse_i64(words->argv[i], &v) || v < -OOM_MAX || v > OOM_MAX) {
            return no(why,
                      "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
        }
        append_word(out, 0, words->argv[i]);
    }
    return true;
}

const struct option_list option_list_oom = {oom_parse, one_line, NULL};

/* ---- notify-keyspace-events ---- */

static bool notify_parse(const struct option_value *old, const struct option_words *words,
                         struct bk_buf *out, struct bk_buf *why)
{
    static const char all[] =
        "g$lshzxetd"; /* what 'A' stands for; 'n' is shown behind them, the others last */
    static const char known[] = "g$lshzxetdnKEm";
    (void)old;
    if (words->argc != 1) {
        return no(why, "wrong number of arguments");
    }
    bool set[sizeof known] = {false};
    for (size_t i = 0; i < words->argv[0].len; i++) {
        char c = (char)words->argv[0].data[i];
        const char *at = c != '\0' ? strchr(known, c) : NULL;
        if (c == 'A') {
            memset(set, 1, sizeof all - 1);
        } else if (at != NULL) {
            set[at - known] = true;
        } else {
            return no(why, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        }
    }
    size_t i = 0;
    if (memchr(set, false, sizeof all - 1) == NULL) {
        bk_buf_append(out, "A", 1);
        i = sizeof all; /* with 'A', Redis does not show 'n' */
    }
    for (; i < sizeof known - 1; i++) {
        if (set[i]) {
            bk_buf_append(out, &known[i], 1);
        }
    }
    return true;
}

/* With the 'n' that is not shown, so that a restart does not lose it. */
static void notify_lines(const char *name, const struct option_value *v, struct bk_buf *out)
{
    struct bk_buf letters = {0};
    bk_buf_append(&letters, v->text, v->len);
    if ((v->num & NOTIFY_NEW) != 0 && (v->len == 0 || memchr(v->text, 'n', v->len) == NULL)) {
        bk_buf_append(&letters, "n", 1);
    }
    bk_buf_printf(out, "%s ", name);
    option_quote(out, bk_buf_span(&letters));
    bk_buf_append(out, "\n", 1);
    bk_buf_fini(&letters);
}

/* From the letters as they came: 'A' hides 'n' in what is shown, but does not take it away. */
static int64_t notify_num(const struct option_words *words)
{
    return notify_classes(words->argv[0]);
}

const struct option_list option_list_notify = {notify_parse, notify_lines, notify_num};

/* ---- replicaof ---- */

static bool replicaof_parse(const struct option_value *old, const struct option_words *words,
                            struct bk_buf *out, struct bk_buf *why)
{
    (void)old;
    if (words->argc != 2) {
        return no(why, "wrong number of arguments");
    }
    if (bk_span_eq_nocase(words->argv[0], "no") && bk_span_eq_nocase(words->argv[1], "one")) {
        return true;
    }
    int64_t port = 0;
    if (!bk_parse_i64(words->argv[1], &port) || port < 0 || port > 65535) {
        return no(why, "Invalid master port");
    }
    if (!is_word(words->argv[0])) {
        return no(why, "Invalid master host");
    }
    append_word(out, 0, words->argv[0]);
    append_word(out, 0, words->argv[1]);
    return true;
}

const struct option_list option_list_replicaof = {replicaof_parse, one_line, NULL};

/* ---- shutdown-on-sigterm, shutdown-on-sigint ---- */

static bool shutdown_parse(const struct option_value *old, const struct option_words *words,
                           struct bk_buf *out, struct bk_buf *why)
{
    static const char *const names[] = {"default", "save", "nosave", "now", "force"};
    enum { NAMES = sizeof names / sizeof names[0] };
    bool set[NAMES] = {false};
    (void)old;
    for (size_t w = 0; w < words->argc; w++) {
        size_t i = 0;
        while (i < NAMES && !bk_span_eq_nocase(words->argv[w], names[i])) {
            i++;
        }
        if (i == NAMES) {
            return no(
                why, "argument(s) must be one of the following: default, save, nosave, now, force");
        }
        set[i] = true;
    }
    if (set[1] && set[2]) {
        return no(why, "shutdown options SAVE and NOSAVE can't be used simultaneously");
    }
    for (size_t i = 1; i < NAMES; i++) {
        if (set[i]) {
            append_word(out, 0, bk_span_str(names[i]));
        }
    }
    if (out->len == 0) {
        bk_buf_printf(out, "default");
    }
    return true;
}

const struct option_list option_list_shutdown = {shutdown_parse, one_line, NULL};

/* ---- latency-tracking-info-percentiles ---- */

static bool percentile_append(struct bk_span s, struct bk_buf *out, struct bk_buf *why)
{
    char text[64];
    char *end = text;
    double v = 0;
    if (s.len > 0 && s.len < sizeof text && !isspace(s.data[0])) {
        memcpy(text, s.data, s.len);
        text[s.len] = '\0';
        v = strtod(text, &end);
    }
    if (end == text || (size_t)(end - text) != s.len || v != v) {
        return no(why, "Invalid latency-tracking-info-percentiles parameters");
    }
    if (v < 0.0 || v > 100.0) {
        return no(why,
                  "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
    }
    int n = snprintf(text, sizeof text, "%f", v);
    while (n > 0 && text[n - 1] == '0') {
        n--;
    }
    if (n > 0 && text[n - 1] == '.') {
        n--;
    }
    append_word(out, 0, bk_span_of(text, (size_t)n));
    return true;
}

static bool percentiles_parse(const struct option_value *old, const struct option_words *words,
                              struct bk_buf *out, struct bk_buf *why)
{
    (void)old;
    for (size_t i = 0; i < words->argc && !only_empty(words); i++) {
        if (!percentile_append(words->argv[i], out, why)) {
            return false;
        }
    }
    return true;
}

const struct option_list option_list_percentiles = {percentiles_parse, one_line, NULL};

/* ---- Checks of texts ---- */

static bool has_slash(struct bk_span s)
{
    return memchr(s.data, '/', s.len) != NULL;
}

bool option_check_dir(struct bk_span value, struct bk_buf *why)
{
    return value.len > 0 || no(why, "dir can't be empty");
}

bool option_check_window(struct bk_span value, struct bk_buf *why)
{
    char text[64];
    bool fits = value.len < sizeof text;
    if (fits) {
        memcpy(text, value.data, value.len);
        text[value.len] = '\0';
    }
    return (fits && bk_merge_window_valid(text)) ||
           no(why, "merge-window must be two times of day, like 22:00-06:00");
}

bool option_check_hostname(struct bk_span value, struct bk_buf *why)
{
    if (value.len >= 256) {
        return no(why, "Hostnames must be less than 256 characters");
    }
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (!isalnum(c) && c != '-' && c != '.') {
            return no(why, "Hostnames may only contain alphanumeric characters, hyphens or dots");
        }
    }
    return true;
}

bool option_check_dbfilename(struct bk_span value, struct bk_buf *why)
{
    return value.len == 0 || !has_slash(value) ||
           no(why, "dbfilename can't be a path, just a filename");
}

bool option_check_appendfilename(struct bk_span value, struct bk_buf *why)
{
    if (value.len == 0) {
        return no(why, "appendfilename can't be empty");
    }
    return !has_slash(value) || no(why, "appendfilename can't be a path, just a filename");
}

bool option_check_appenddirname(struct bk_span value, struct bk_buf *why)
{
    if (value.len == 0) {
        return no(why, "appenddirname can't be empty");
    }
    return !has_slash(value) || no(why, "appenddirname can't be a path, just a dirname");
}

bool option_check_proc_title(struct bk_span value, struct bk_buf *why)
{
    static const char *const known[] = {"title",    "listen-addr", "server-mode", "port",
                                        "tls-port", "unixsocket",  "config-file"};
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != '{') {
            continue;
        }
        const uint8_t *end = memchr(value.data + i, '}', value.len - i);
        bool found = false;
        for (size_t k = 0; end != NULL && k < sizeof known / sizeof known[0]; k++) {
            found = found ||
                    bk_span_eq(bk_span_of(value.data + i + 1, (size_t)(end - value.data) - i - 1),
                               bk_span_str(known[k]));
        }
        if (!found) {
            return no(why, "template format is invalid or contains unknown variables");
        }
    }
    return true;
}
