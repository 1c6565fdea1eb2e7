/* SPDX-License-Identifier: MIT */
/* conf_words.c - the quoting rules of a configuration file. */
#include "app/conf_words.h"

#include <ctype.h>
#include <string.h>

/* A place in the line, and where decoded bytes go. */
struct scan {
    const uint8_t *p, *end;
    struct bk_buf *out;
};

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (uint8_t)tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* s->p is behind a backslash inside double quotes, and not at the end. */
static void scan_escape(struct scan *s)
{
    static const char names[] = "nrtba";
    static const char bytes[] = "\n\r\t\b\a";
    uint8_t c = *s->p;
    if (c == 'x' && s->end - s->p >= 3 && hex_value(s->p[1]) >= 0 && hex_value(s->p[2]) >= 0) {
        c = (uint8_t)(hex_value(s->p[1]) * 16 + hex_value(s->p[2]));
        s->p += 2;
    } else {
        const char *at = strchr(names, c);
        c = at != NULL ? (uint8_t)bytes[at - names] : c;
    }
    bk_buf_append(s->out, &c, 1);
    s->p++;
}

/* s->p is behind an opening quote. True: the quote was closed, and nothing but a space or the end
 * follows. */
static bool scan_quoted(struct scan *s, uint8_t quote)
{
    while (s->p < s->end) {
        uint8_t c = *s->p++;
        if (c == quote) {
            return s->p == s->end || isspace(*s->p);
        }
        if (c == '\\' && s->p < s->end && quote == '"') {
            scan_escape(s);
        } else if (c == '\\' && s->p < s->end && *s->p == '\'') {
            bk_buf_append(s->out, s->p++, 1);
        } else {
            bk_buf_append(s->out, &c, 1);
        }
    }
    return false;
}

static bool ends_word(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool scan_word(struct scan *s)
{
    while (s->p < s->end && !ends_word(*s->p)) {
        uint8_t c = *s->p++;
        if (c == '"' || c == '\'') {
            return scan_quoted(s, c);
        }
        bk_buf_append(s->out, &c, 1);
    }
    return true;
}

enum conf_words_result conf_words_split(struct conf_words *w, struct bk_span line)
{
    const uint8_t *nul = line.len > 0 ? memchr(line.data, '\0', line.len) : NULL;
    struct scan s = {line.data, nul != NULL ? nul : line.data + line.len, &w->bytes};
    w->argc = 0;
    w->bytes.len = 0;
    /* What is decoded is never longer than the line, so the words stay where they are. */
    bk_buf_reserve(&w->bytes, line.len + 1);
    for (;;) {
        while (s.p < s.end && isspace(*s.p)) {
            s.p++;
        }
        if (s.p == s.end) {
            return CONF_WORDS_OK;
        }
        if (w->argc == OPTION_WORDS_MAX) {
            return CONF_WORDS_TOO_MANY;
        }
        size_t start = w->bytes.len;
        if (!scan_word(&s)) {
            return CONF_WORDS_UNBALANCED;
        }
        w->argv[w->argc++] = bk_span_of(w->bytes.data + start, w->bytes.len - start);
    }
}

void conf_words_fini(struct conf_words *w)
{
    bk_buf_fini(&w->bytes);
    w->argc = 0;
}

struct bk_span conf_take_line(struct bk_span *text)
{
    const uint8_t *eol = text->len > 0 ? memchr(text->data, '\n', text->len) : NULL;
    struct bk_span line = {text->data, eol != NULL ? (size_t)(eol - text->data) : text->len};
    size_t taken = eol != NULL ? line.len + 1 : line.len;
    *text = bk_span_of(text->data + taken, text->len - taken);
    return line;
}

struct bk_span conf_trim(struct bk_span line)
{
    while (line.len > 0 && (ends_word(line.data[0]))) {
        line.data++;
        line.len--;
    }
    while (line.len > 0 && ends_word(line.data[line.len - 1])) {
        line.len--;
    }
    return line;
}
