/* SPDX-License-Identifier: MIT */
/*
 * assert.h - facts about our own code. Never for bytes from disk or network: those are errors.
 *
 * BK_ASSERT stays in release builds, so it is for cheap facts; BK_ASSERT_SLOW is for walks and is
 * compiled in with BK_DEBUG only.
 */
#ifndef BK_BASE_ASSERT_H
#define BK_BASE_ASSERT_H

/* Prints the fact with its place to stderr, calls the panic hook, aborts. */
_Noreturn void bk_assert_failed(const char *fact, const char *file, int line);

/* Called once before abort, to dump what helps to find the cause; may be NULL. Set before threads
 * start. */
void bk_assert_set_hook(void (*hook)(void));

#define BK_ASSERT(fact) ((fact) ? (void)0 : bk_assert_failed(#fact, __FILE__, __LINE__))
#ifdef BK_DEBUG
#define BK_ASSERT_SLOW(fact) BK_ASSERT(fact)
#else
#define BK_ASSERT_SLOW(fact) ((void)sizeof(fact))
#endif
#define BK_STATIC_ASSERT(fact, why) _Static_assert(fact, why)
#define BK_UNREACHABLE(why) bk_assert_failed("unreachable: " why, __FILE__, __LINE__)

#endif
