/* SPDX-License-Identifier: MIT */
/* dirlist.h - what a directory looks like from outside: to show that nobody has touched it. */
#ifndef BK_TESTS_DIRLIST_H
#define BK_TESTS_DIRLIST_H

#include <stdint.h>
#include <sys/stat.h>

#define DIRLIST_MAX 64u

struct dirlist {
    unsigned n;
    struct timespec changed; /* the directory itself */
    struct {
        char name[64];
        uint64_t size, inode;
        struct timespec modified;
        uint32_t crc;   /* of the bytes of a file */
    } row[DIRLIST_MAX]; /* by name */
};

/* Ends the program when it cannot be read. */
void dirlist_read(struct dirlist *l, const char *path);
/* "" or the first name that differs. */
const char *dirlist_difference(const struct dirlist *a, const struct dirlist *b);

#endif
