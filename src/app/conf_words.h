/* SPDX-License-Identifier: MIT */
/*
 * conf_words.h - a line of a configuration file to words, quoted as Redis does: "..." with \n \r \t
 * \b \a \xHH and \anything, '...' with \' alone; a closing quote must be followed by a space or the
 * end. Pure.
 */
#ifndef BK_APP_CONF_WORDS_H
#define BK_APP_CONF_WORDS_H

#include "app/option.h"

struct conf_words {
    size_t argc;
    struct bk_span argv[OPTION_WORDS_MAX]; /* inside bytes */
    struct bk_buf bytes;                   /* owned */
};

enum conf_words_result { CONF_WORDS_OK, CONF_WORDS_UNBALANCED, CONF_WORDS_TOO_MANY };

/* Fills *w, which is initialised (all zero) or used before; a NUL byte ends the line. */
enum conf_words_result conf_words_split(struct conf_words *w, struct bk_span line);
void conf_words_fini(struct conf_words *w);

/* Takes the first line off the text; its end is not part of it. */
struct bk_span conf_take_line(struct bk_span *text);
/* Without spaces, tabs and line ends at both sides. */
struct bk_span conf_trim(struct bk_span line);

#endif
