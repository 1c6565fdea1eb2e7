/* SPDX-License-Identifier: MIT */
/*
 * fuzz_engine_ops.c - operations from the input on a stepped store over the simulated disk, each
 * compared with the model, with crashes, faults, clean stops and restarts in between.
 */
#include "base/assert.h"
#include "lib/rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS_MAX 400u

static void hold(const struct rig *r, bool promise)
{
    if (!promise) {
        fprintf(stderr, "%s\n", r->why);
        BK_ASSERT(promise);
    }
}

static void crash(struct rig *r, enum simdisk_kind kind)
{
    simdisk_fail(r->disk, 0, 0, 0, 0);
    simdisk_noise(r->disk, 0);
    simdisk_cut(r->disk, 0);
    rig_crash(r, kind);
    hold(r, rig_reopen(r));
}

static void stop_and_start(struct rig *r)
{
    simdisk_cut(r->disk, 0);
    simdisk_fail(r->disk, 0, 0, 0, 0);
    if (simdisk_dead(r->disk)) {
        crash(r, SIMDISK_POWER);
        return;
    }
    hold(r, rig_close(r) == BK_OK);
    hold(r, rig_open(r) == BK_OK);
    hold(r, rig_same(r));
}

/* The byte chooses what happens; with the one behind it, it also turns the random numbers that the
 * operation uses. */
static void one_op(struct rig *r, uint8_t what, uint8_t turn)
{
    r->rng.state += (uint64_t)what << 8 | turn;
    if (what < 210) {
        hold(r, rig_random_op(r));
    } else if (what < 220) {
        crash(r, SIMDISK_POWER);
    } else if (what < 226) {
        crash(r, SIMDISK_KILL);
    } else if (what < 236) {
        simdisk_cut(r->disk, 1 + turn);
    } else if (what < 240) {
        stop_and_start(r);
    } else if (what < 244) {
        simdisk_noise(r->disk, turn % 40);
    } else if (what < 250) {
        simdisk_fail(r->disk,
                     1u << turn % 16 &
                         (SIMDISK_WRITE | SIMDISK_ALLOCATE | SIMDISK_OPEN | SIMDISK_SYNC_DIR),
                     1 + turn / 16, 1 + turn % 3, turn % 2 == 0 ? EIO : ENOSPC);
    } else if (!simdisk_dead(r->disk)) {
        simdisk_fail(r->disk, 0, 0, 0, 0);
        simclock_advance_ms(&r->clock, 5000);
        hold(r, rig_sync(r));
        hold(r, simdisk_dead(r->disk) || (rig_same(r) && rig_check(r)) || simdisk_dead(r->disk));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    struct rig r;
    rig_init(&r, data[0], (enum bk_sync)(data[1] % 3));
    r.opt.max_file_bytes = (uint64_t)4096 << data[2] % 6;
    r.opt.log_buffer_bytes = (uint64_t)65536 << data[3] % 4;
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    hold(&r, rig_reopen(&r));
    for (size_t i = 4; i + 1 < size && i < 4 + 2 * OPS_MAX; i += 2) {
        one_op(&r, data[i], data[i + 1]);
    }
    crash(&r, SIMDISK_POWER);
    rig_fini(&r);
    return 0;
}
