/* SPDX-License-Identifier: MIT */
/* engine_test.h - what all engine tests share: cmocka in its order of includes, and checks that say
 * why. */
#ifndef BK_TESTS_ENGINE_TEST_H
#define BK_TESTS_ENGINE_TEST_H

#include "base/log.h"
#include "engine/bitkv.h"
#include "lib/rig.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A promise of the rig's store; fails the test with the reason. */
#define RIG_TRUE(r, call)                                             \
    do {                                                              \
        if (!(call)) {                                                \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, (r)->why); \
            fail();                                                   \
        }                                                             \
    } while (0)

/* A call that must answer BK_OK, with the detail when it does not. */
#define BK_SUCCEEDS(call, err)                                                                \
    do {                                                                                      \
        int bk_rc_ = (call);                                                                  \
        if (bk_rc_ != BK_OK) {                                                                \
            char bk_text_[600];                                                               \
            bk_error_format(&(err), bk_text_, sizeof(bk_text_));                              \
            print_error("%s:%d: %s = %d: %s\n", __FILE__, __LINE__, #call, bk_rc_, bk_text_); \
            fail();                                                                           \
        }                                                                                     \
    } while (0)

/* BITKV_LONG=1 makes the long tests longer by this factor. */
static inline unsigned long_factor(void)
{
    const char *s = getenv("BITKV_LONG");
    return s != NULL && s[0] != '\0' && s[0] != '0' ? 50u : 1u;
}

/* The store's log lines say nothing about a test that passes. */
static inline void quiet_log(void)
{
    bk_log_set_level(getenv("BITKV_TRACE") != NULL ? BK_LOG_DEBUG : BK_LOG_NOTHING);
}

/* A test's own store, of a simulated disk; not open yet. For a setup function of cmocka. */
static inline struct rig *set_rig_up(void **state, uint64_t seed, enum bk_sync sync)
{
    struct rig *r = malloc(sizeof(*r));
    rig_init(r, seed, sync);
    *state = r;
    return r;
}

static inline int teardown_rig(void **state)
{
    struct rig *r = *state;
    rig_fini(r);
    free(r);
    return 0;
}

/* Bytes that name their place, so that a shifted or mixed value shows. */
static inline void pattern_fill(uint8_t *p, size_t len, uint64_t id)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)((id * 131 + i / 8 * 7 + i) & 0xff);
    }
}

#endif
