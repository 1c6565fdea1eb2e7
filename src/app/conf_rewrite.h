/* SPDX-License-Identifier: MIT */
/*
 * conf_rewrite.h - CONFIG REWRITE: the file as it stands, with the lines of options that have
 * changed.
 *
 * Comments, order and lines that are no options stay. Options that are not mentioned and not at
 * their default go to the end, under a comment that says so. Included files are not changed: what
 * one would set otherwise goes behind the last include.
 */
#ifndef BK_APP_CONF_REWRITE_H
#define BK_APP_CONF_REWRITE_H

#include "app/option.h"
#include "base/error.h"

/* Pure: the new contents for the old ones, as though included files set no option. */
void conf_rewrite_text(const struct options *o, struct bk_span old, struct bk_buf *out);

/* Replaces the file: writes beside it, syncs, renames, syncs the directory. BK_EIO with the reason,
 * and the file as it was, when it is no regular file or an included file cannot be read. */
BK_MUST_USE int conf_rewrite_file(const struct options *o, const char *path, struct bk_error *err);

#endif
