/* SPDX-License-Identifier: MIT */
/* reclaim_rig.h - what the tests of look-ups without a lock begin and end with. */
#ifndef TESTS_UNIT_RECLAIM_RIG_H
#define TESTS_UNIT_RECLAIM_RIG_H

#include "engine/reclaim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static inline struct bki_reclaim *reclaim_new(void)
{
    struct bki_reclaim *r = aligned_alloc(64, sizeof *r);
    assert_non_null(r);
    bki_reclaim_init(r);
    return r;
}

static inline void reclaim_free(struct bki_reclaim *r)
{
    bki_reclaim_fini(r);
    free(r);
}

#endif
