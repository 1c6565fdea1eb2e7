/* SPDX-License-Identifier: MIT */
/*
 * option.h - the options of the server: what each one is called, which values it takes, and how a
 * value is written. Pure: no files, no sockets, no effect. The rows are in option_rows.inc.
 *
 * A struct options belongs to whoever made it; nothing here locks.
 */
#ifndef BK_APP_OPTION_H
#define BK_APP_OPTION_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_WORDS_MAX 1024u /* words of one line or value */
#define OPTION_BIND_MAX 16u    /* addresses, as Redis */

enum option_id {
#define OPTION_ROW(id) OPTION_##id,
#define BOOL(id, ...) OPTION_ROW(id)
#define INT(id, ...) OPTION_ROW(id)
#define OCTAL(id, ...) OPTION_ROW(id)
#define MEMORY(id, ...) OPTION_ROW(id)
#define PERCENT(id, ...) OPTION_ROW(id)
#define SECONDS(id, ...) OPTION_ROW(id)
#define ENUM(id, ...) OPTION_ROW(id)
#define TEXT(id, ...) OPTION_ROW(id)
#define LIST(id, ...) OPTION_ROW(id)
#include "app/option_rows.inc"
#include "app/option_rows_end.inc"
    OPTION_COUNT
};

enum option_kind {
    OPTION_KIND_BOOL,
    OPTION_KIND_INT,
    OPTION_KIND_OCTAL,
    OPTION_KIND_MEMORY,
    OPTION_KIND_PERCENT, /* memory, or -1 .. -100 for a percentage */
    OPTION_KIND_SECONDS,
    OPTION_KIND_ENUM,
    OPTION_KIND_TEXT,
    OPTION_KIND_LIST
};

enum option_flag {
    OPTION_LIVE = 1 << 0,        /* CONFIG SET may change it */
    OPTION_MULTI = 1 << 1,       /* takes several words */
    OPTION_ADDS = 1 << 2,        /* a second line adds to the first */
    OPTION_SECRET = 1 << 3,      /* never logged */
    OPTION_HIDDEN = 1 << 4,      /* CONFIG GET shows it by its full name only */
    OPTION_PROTECTED = 1 << 5,   /* CONFIG SET only with enable-protected-configs */
    OPTION_EMPTY_UNSET = 1 << 6, /* empty: CONFIG REWRITE leaves the line out */
    OPTION_COMPUTED = 1 << 7     /* the default depends on the machine */
};

/* All zero is an empty value. */
struct option_value {
    int64_t num; /* bool, number, memory, seconds; enum: place among the choices */
    char *text;  /* owned, NUL-terminated; text, and lists in CONFIG GET's form; NULL for the other
                    kinds */
    size_t len;
};

/* The words of a new value. */
struct option_words {
    const struct bk_span *argv; /* borrowed */
    size_t argc;
    bool add; /* a further line of an OPTION_ADDS option */
};

/* How a list is read and written back. */
struct option_list {
    /* Appends the new value in CONFIG GET's form; false with the reason in *why. */
    bool (*parse)(const struct option_value *old, const struct option_words *words,
                  struct bk_buf *out, struct bk_buf *why);
    /* Appends the lines of a configuration file, each with its '\n'. force_all: also those that say
     * the default. */
    void (*lines)(const char *name, const struct option_value *v, struct bk_buf *out);
    /* What num becomes, for those who put the option to use; NULL: 0. */
    int64_t (*num)(const struct option_words *words);
};

struct option_row {
    const char *name;
    const char *alias; /* Redis's older name; or NULL */
    enum option_kind kind;
    unsigned flags; /* enum option_flag */
    int64_t min, max;
    const char *def;                                         /* as a line of a file would say it */
    const char *choices;                                     /* enum: "always|no" */
    bool (*check)(struct bk_span value, struct bk_buf *why); /* text; may be NULL */
    const struct option_list *list;
    const char *doc; /* NULL: no effect here */
};

extern const struct option_row option_rows[OPTION_COUNT];

struct options {
    struct option_value values[OPTION_COUNT];
};

void options_init(struct options *o); /* every option at its default */
void options_fini(struct options *o);
void options_copy(struct options *to,
                  const struct options *from); /* to is initialised, or all zero */

/* The row by name or alias, in any case; OPTION_COUNT when there is none. */
enum option_id option_find(struct bk_span name);

/* Reads words as a new value. On failure *out is untouched and *why says, as Redis does, what is
 * wrong. old is the value so far; out may be old. */
bool option_parse(enum option_id id, const struct option_value *old,
                  const struct option_words *words, struct option_value *out, struct bk_buf *why);
void option_value_fini(struct option_value *v);
void option_value_copy(struct option_value *to,
                       const struct option_value *from); /* frees what to held */

/* Appends the value as CONFIG GET shows it. */
void option_format(enum option_id id, const struct option_value *v, struct bk_buf *out);
/* Appends the lines of a configuration file that say this value; none for an unset EMPTY_UNSET
 * option. */
void option_lines(enum option_id id, const struct option_value *v, struct bk_buf *out);
/* The value is what it would be if nobody had set it. */
bool option_is_default(enum option_id id, const struct option_value *v);
/* "5gb", "64kb", "100": the shortest exact form with units. */
void option_format_memory(struct bk_buf *out, int64_t bytes);
/* Appends bytes in double quotes with escapes, as a configuration file needs them. */
void option_quote(struct bk_buf *out, struct bk_span bytes);

/* Values of options, for those who put them to use. */
bool option_bool(const struct options *o, enum option_id id);
int64_t option_num(const struct options *o, enum option_id id);
const char *option_text(const struct options *o,
                        enum option_id id); /* borrowed until the option changes */
const char *option_choice(const struct options *o, enum option_id id, char *buf, size_t size);

/* client-output-buffer-limit, taken apart. */
enum option_client_class {
    OPTION_CLASS_NORMAL,
    OPTION_CLASS_REPLICA,
    OPTION_CLASS_PUBSUB,
    OPTION_CLASSES
};
struct option_output_limit {
    uint64_t hard_bytes, soft_bytes, soft_seconds;
};
void option_output_limits(const struct option_value *v,
                          struct option_output_limit out[OPTION_CLASSES]);

/* Splits at single spaces and calls each(); the number of words is returned, at most max are
 * stored. */
size_t option_split_spaces(struct bk_span value, struct bk_span *argv, size_t max);

/* "1k", "5gb": Redis's units, k = 1000, kb = 1024, in any case. False also when it does not fit. */
bool option_parse_memory(struct bk_span s, int64_t *out);

#endif
