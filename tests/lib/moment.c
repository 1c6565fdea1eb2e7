/* SPDX-License-Identifier: MIT */
/* moment.c - see moment.h. */
#include "lib/moment.h"

#include <time.h>

void moment_pass(uint64_t us)
{
    const struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    nanosleep(&t, NULL);
}
