/* SPDX-License-Identifier: MIT */
/* dir.h - directories as a whole: made and renamed for good, looked into, removed. */
#ifndef BK_ENGINE_DIR_H
#define BK_ENGINE_DIR_H

#include "base/error.h"
#include "engine/io.h"

#include <stdbool.h>
#include <stddef.h>

/* A new directory is only there for good once its parent knows it; also when it is there already,
 * since an earlier start may have died in between. */
BK_MUST_USE int bki_dir_make(const struct bk_io *io, const char *dir, struct bk_error *err);

/* A directory that was not there, or was empty: all that lies in it from here on is the caller's.
 * BK_EINVAL: something else has that name. */
BK_MUST_USE int bki_dir_make_new(const struct bk_io *io, const char *dir, struct bk_error *err);

/* Renames a directory that holds all it is to hold, for good; to may be there if it is empty,
 * otherwise BK_EINVAL. After a failure it has its old name, as far as that can be. */
BK_MUST_USE int bki_dir_rename(const struct bk_io *io, const char *from, const char *to,
                               struct bk_error *err);

/* Calls each() for every name in it. A directory that is not there fails as any other error. */
BK_MUST_USE int bki_dir_list(const struct bk_io *io, const char *dir,
                             void (*each)(void *arg, const char *name), void *arg,
                             struct bk_error *err);

/* How many names lie in it. BK_NOTFOUND: it is not there. */
BK_MUST_USE int bki_dir_count(const struct bk_io *io, const char *dir, size_t *n,
                              struct bk_error *err);

/* BK_EINVAL: its MANIFEST is of another program, and so no store lies in it. */
BK_MUST_USE int bki_dir_refuse_other(const struct bk_io *io, const char *dir, struct bk_error *err);

/* BK_OK: what lies in it has names that a store gives. BK_EINVAL: something else does too. */
BK_MUST_USE int bki_dir_own(const struct bk_io *io, const char *dir, struct bk_error *err);

/* Takes its LOCK, to read only if shared. *lock: for unlock; after a failure a negative errno
 * value. BK_ELOCKED: by whom it is held, as far as that can be known. */
BK_MUST_USE int bki_dir_lock(const struct bk_io *io, const char *dir, bool shared, int *lock,
                             struct bk_error *err);

/* Removes the files in it, its MANIFEST first, so that what is left of it is no store, and then
 * itself. BK_OK when it is not there. */
BK_MUST_USE int bki_dir_remove(const struct bk_io *io, const char *dir, struct bk_error *err);

#endif
