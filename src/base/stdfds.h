/* SPDX-License-Identifier: MIT */
/* stdfds.h - descriptors 0, 1 and 2, which a program may be started without. */
#ifndef BK_BASE_STDFDS_H
#define BK_BASE_STDFDS_H

/* Opens /dev/null for those that are closed, so that no file that is opened later gets such a
 * number, and with it what is meant for standard output or error. Each the wrong way round: whoever
 * reads or writes it is told so (EBADF). First in main(). Returns 0, or -1 with errno: one of them
 * stays closed, and nothing should be opened. */
int bk_stdfds_hold(void);

#endif
