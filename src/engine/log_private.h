/* SPDX-License-Identifier: MIT */
/* log_private.h - what the files of the log share: log.c appends, log_write.c writes, log_step.c
 * syncs, log_room.c makes room, log_zero.c prepares it. */
#ifndef BK_ENGINE_LOG_PRIVATE_H
#define BK_ENGINE_LOG_PRIVATE_H

#include "engine/log.h"

static inline uint64_t load(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_acquire);
}

static inline void store(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, n, memory_order_release);
}

static inline void count(_Atomic uint64_t *v, uint64_t n)
{
    atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

/* The same for a counter that only the holder of log->mu writes: no locked instruction. */
static inline void count_locked(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline int64_t now_us(const struct bki_log *log)
{
    return bk_clock_mono_us(log->files->clock);
}

static inline bool sync_always(const struct bki_log *log)
{
    return atomic_load_explicit(&log->sync, memory_order_relaxed) == BK_SYNC_ALWAYS;
}

/* Writes all that is buffered. False: nothing can be written at the moment. */
bool bki_log_write_out(struct bki_log *log) BK_REQUIRES(log->write_mu);
/* After a wish, or when write_mu was held: writes what is wished and wakes who waits for it. Tells
 * that the first write took what since started_us, unless that is negative. */
void bki_log_serve(struct bki_log *log, enum bk_took what, int64_t started_us)
    BK_EXCLUDES(log->write_mu);
/* Moves committed on and gives back the buffer before it. */
void bki_log_commit_locked(struct bki_log *log, uint64_t pos) BK_REQUIRES(log->mu);
/* A write or sync failed. What is not committed will be undone under the key locks, by
 * bki_log_discard's caller. */
void bki_log_fail(struct bki_log *log, const struct bk_error *err);
/* Makes the next file, or room in it or in the active one. True: it did something. */
bool bki_log_make_room(struct bki_log *log);
/* The first file of a log, as long as the disk has room for one. */
BK_MUST_USE int bki_log_first_file(struct bki_log *log, struct bki_file **fresh,
                                   struct bk_error *err);
/* Making something failed, as err says: no other try for a moment. */
void bki_log_retry_later(struct bki_log *log, const struct bk_error *err);
/* A record of need bytes found no room on disk, and neither would others. */
void bki_log_set_full_locked(struct bki_log *log, uint64_t need, const struct bk_error *why);
/* With always, writes zeros ahead of the log's end where that makes syncs cheaper. False: that
 * failed, and so would a write; the log has failed. The sync thread's. */
bool bki_log_zero_ahead(struct bki_log *log) BK_REQUIRES(log->write_mu);
/* As many writes wait for the next sync as the last one took. */
bool bki_log_gathered_locked(const struct bki_log *log) BK_REQUIRES(log->mu);
/* Tells how long it is since started_us, by now_us. Without any lock, as wake. */
void bki_log_took(struct bki_log *log, enum bk_took what, int64_t started_us);

#endif
