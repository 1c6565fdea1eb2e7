/* SPDX-License-Identifier: MIT */
/* moment.h - lets time pass up to a moment drawn at random, at which a test kills a server. For
 * waiting until something has happened there are the replies of the server. */
#ifndef BK_TESTS_MOMENT_H
#define BK_TESTS_MOMENT_H

#include <stdint.h>

void moment_pass(uint64_t us);

#endif
