/* SPDX-License-Identifier: MIT */
/* io_readonly.h - a disk that is only read, in front of one that could be written: what a store
 * opened with read_only sees. */
#ifndef BK_ENGINE_IO_READONLY_H
#define BK_ENGINE_IO_READONLY_H

#include "engine/io.h"

/* Files are opened for reading whatever is asked for, the lock is shared with other readers, and
 * syncs and removals answer 0 and do nothing, so that a recovery runs as it always does. What would
 * create or write answers -EROFS. under: borrowed as long as *out is used. */
void bki_io_readonly(struct bk_io *out, const struct bk_io *under);

#endif
