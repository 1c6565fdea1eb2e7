/* SPDX-License-Identifier: MIT */
/*
 * conf_load.h - where options come from: command line over environment (BITKV_PORT and so on) over
 * file over default.
 *
 * Everything here runs before any thread. A failure leaves the whole message for the user in
 * problem, in Redis's form, naming file and line, variable, or option.
 */
#ifndef BK_APP_CONF_LOAD_H
#define BK_APP_CONF_LOAD_H

#include "app/option.h"

#define CONF_FILE_BYTES_MAX ((size_t)16 << 20)
#define CONF_INCLUDE_DEPTH_MAX 16

/* Reads a whole file; "-" is standard input. False with the reason (one line) in *why. A test can
 * be the disk. */
struct conf_files {
    bool (*read)(void *arg, const char *path, struct bk_buf *out, struct bk_buf *why);
    /* Calls each() for every file that the pattern matches, in order; none: not called. */
    bool (*glob)(void *arg, const char *pattern, bool (*each)(void *each_arg, const char *path),
                 void *each_arg);
    void *arg; /* borrowed */
};
extern const struct conf_files conf_files_system;

enum conf_action { CONF_RUN, CONF_HELP, CONF_VERSION };

struct conf {
    struct options options;
    enum conf_action action;
    char *file;          /* owned, absolute; NULL: none was given */
    struct bk_buf notes; /* lines for the log, each ended by '\n': what was set and has no effect */
};

void conf_init(struct conf *c); /* defaults */
void conf_fini(struct conf *c);

/* All sources in order. env may be NULL. */
bool conf_load(struct conf *c, const struct conf_files *files, int argc, char *const *argv,
               char *const *env, struct bk_buf *problem);

/* The lines of one file; name is for messages. */
bool conf_load_text(struct conf *c, const struct conf_files *files, const char *name,
                    struct bk_span text, struct bk_buf *problem);

#endif
