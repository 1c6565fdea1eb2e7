/* SPDX-License-Identifier: MIT */
/* tmpdir.h - a directory of one test, removed with all that is in it. */
#ifndef BK_TESTS_TMPDIR_H
#define BK_TESTS_TMPDIR_H

#include <stddef.h>

struct tmpdir {
    char path[128];
};

/* Made under $TMPDIR or /tmp; ends the program when that fails. */
void tmpdir_make(struct tmpdir *d, const char *name);
void tmpdir_remove(struct tmpdir *d);
/* Removes a directory tree; what is not there is no error. */
void tmpdir_remove_tree(const char *path);
/* "path/name" in out. */
void tmpdir_join(const struct tmpdir *d, const char *name, char *out, size_t out_len);

#endif
