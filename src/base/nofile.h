/* SPDX-License-Identifier: MIT */
/* nofile.h - how many files this process may have open. */
#ifndef BK_BASE_NOFILE_H
#define BK_BASE_NOFILE_H

#include <stdint.h>

/* Raises the soft limit to wanted, or as near to it as the hard one allows; that one is an
 * administrator's word, and stays. Never lowers it: wanted 0 only asks. Returns the limit as it is
 * then; 0 with errno: it cannot be told. */
uint64_t bk_nofile_raise(uint64_t wanted);

#endif
