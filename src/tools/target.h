/* SPDX-License-Identifier: MIT */
/* target.h - the names of directories that a verb is to make. */
#ifndef BK_TOOLS_TARGET_H
#define BK_TOOLS_TARGET_H

#define TOOL_PATH_SIZE 4096u

/* The name of a directory as others are made of it, by appending: without slashes at its end, and
 * real where it ends in "." or "..". TOOL_OK, or TOOL_ERROR with the reason on standard error. */
int tool_target_name(const char *path, char out[TOOL_PATH_SIZE]);

/* Whether a directory of that name can be made, and beside what is only read: what would lie in
 * dir, or in a directory below it, is refused. Results as above. */
int tool_target_outside(const char *path, const char *dir);

#endif
