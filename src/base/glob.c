/* SPDX-License-Identifier: MIT */
/*
 * glob.c - Redis's pattern language, oddities included (an unclosed class ends with the pattern,
 * bytes in a range compare as signed, a lone backslash at the end is itself).
 *
 * No recursion: every part but '*' takes exactly one byte, so if the parts after a star do not fit
 * anywhere, no earlier star can help, and it is enough to remember the last one.
 */
#include "base/glob.h"

/* Both cursors; the pattern reads as NUL behind its end, as Redis's strings do. */
struct glob {
    struct bk_span pattern;
    size_t p;
    bool nocase;
};

static char at(const struct glob *g, size_t i)
{
    return i < g->pattern.len ? (char)g->pattern.data[i] : '\0';
}

static int fold(const struct glob *g, char c)
{
    return g->nocase && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool in_range(const struct glob *g, char first, char last, char c)
{
    int low = fold(g, first < last ? first : last);
    int high = fold(g, first < last ? last : first);
    int v = fold(g, c);
    return v >= low && v <= high;
}

/* g->p stands behind '['; leaves it behind the class's last byte. */
static bool match_class(struct glob *g, char c)
{
    bool negate = at(g, g->p) == '^';
    bool match = false;
    bool open = true;
    g->p += negate ? 1 : 0;
    while (open) {
        size_t left = g->pattern.len - g->p;
        char first = at(g, g->p);
        if (left >= 2 && first == '\\') {
            match = match || at(g, g->p + 1) == c;
            g->p += 2;
        } else if (left == 0) {
            open = false;
        } else if (first == ']') {
            g->p++;
            open = false;
        } else if (left >= 3 && at(g, g->p + 1) == '-') {
            match = match || in_range(g, first, at(g, g->p + 2), c);
            g->p += 3;
        } else {
            match = match || fold(g, first) == fold(g, c);
            g->p++;
        }
    }
    return match != negate;
}

/* One part of the pattern that is no star, against one byte. */
static bool match_one(struct glob *g, char c)
{
    bool match;
    char first = at(g, g->p++);
    switch (first) {
    case '?':
        match = true;
        break;
    case '[':
        match = match_class(g, c);
        break;
    case '\\':
        if (g->p < g->pattern.len) {
            first = at(g, g->p++);
        }
        match = fold(g, first) == fold(g, c);
        break;
    default:
        match = fold(g, first) == fold(g, c);
        break;
    }
    return match;
}

static void skip_stars(struct glob *g)
{
    while (g->p < g->pattern.len && g->pattern.data[g->p] == '*') {
        g->p++;
    }
}

bool bk_glob(struct bk_span pattern, struct bk_span text, bool nocase)
{
    struct glob g = {.pattern = pattern, .nocase = nocase};
    size_t t = 0;
    size_t star_p = 0; /* behind the last star; 0 = none yet */
    size_t star_t = 0; /* where the text stood for it */
    bool possible = true;
    while (possible && t < text.len) {
        if (g.p < pattern.len && pattern.data[g.p] == '*') {
            skip_stars(&g);
            star_p = g.p;
            star_t = t;
            if (g.p == pattern.len) {
                t = text.len;
            }
        } else if (g.p < pattern.len && match_one(&g, (char)text.data[t])) {
            t++;
        } else if (star_p != 0) {
            g.p = star_p;
            t = ++star_t;
        } else {
            possible = false;
        }
    }
    if (text.len != 0) {
        skip_stars(&g);
    }
    return possible && g.p == pattern.len;
}
