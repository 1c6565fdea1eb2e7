/* SPDX-License-Identifier: MIT */
/*
 * smallfs.h - a small file system of a test's own: a tmpfs, or ext4 in a file. Seen by the test and
 * the processes that it starts alone; it is gone with the last of them.
 */
#ifndef BK_TESTS_SMALLFS_H
#define BK_TESTS_SMALLFS_H

#include <stdbool.h>
#include <stdint.h>

enum smallfs_kind { SMALLFS_TMPFS, SMALLFS_EXT4 };

/* Gives this process mounts of its own: as root, or in a user namespace of its own. Before any
 * thread is started. False: why, static, says what was refused. */
bool smallfs_enter(const char **why);
/* Mounts one of size bytes on dir, which is there. scratch: a directory on a larger file system for
 * the image. False: why. */
bool smallfs_mount(enum smallfs_kind kind, const char *dir, uint64_t size, const char *scratch,
                   const char **why);
void smallfs_unmount(const char *dir);
/* Bytes that users may still write on the file system of path. */
uint64_t smallfs_free(const char *path);

#endif
