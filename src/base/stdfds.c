/* SPDX-License-Identifier: MIT */
/* stdfds.c - see stdfds.h. */
#include "base/stdfds.h"

#include "base/assert.h"

#include <fcntl.h>
#include <unistd.h>

int bk_stdfds_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (got < 0) {
            return -1;
        }
        BK_ASSERT(got == fd); /* the lowest free number: those below are taken by now */
    }
    return 0;
}
