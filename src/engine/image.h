/* SPDX-License-Identifier: MIT */
/*
 * image.h - KEYDIR, the index image: all keydirs as a clean close left them, so that the next open
 * reads no data.
 *
 * It counts only if the manifest and the files are exactly those it names, and only once: an open
 * removes it, directory synced, before it changes anything. Whatever of it does not check means
 * that it is not there.
 */
#ifndef BK_ENGINE_IMAGE_H
#define BK_ENGINE_IMAGE_H

#include "engine/db_private.h"
#include "engine/recover.h"

/* After a close that committed and sealed everything, before anything is freed. BK_NOTFOUND: this
 * store gets none, since the next start is to look at its files. */
BK_MUST_USE int bki_image_write(struct bk_db *db, struct bk_error *err);

/* Fills keydirs, address pages and byte counts, and the log's map; the files are open. BK_NOTFOUND:
 * there is none that fits, and nothing has changed. */
BK_MUST_USE int bki_image_load(struct recover *r, struct bk_error *err);

/* Nothing of an image is left in the directory, also after a power cut. */
BK_MUST_USE int bki_image_remove(struct bk_db *db, struct bk_error *err);

#endif
