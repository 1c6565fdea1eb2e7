/* SPDX-License-Identifier: MIT */
/* dirlist.c - see dirlist.h. */
#include "lib/dirlist.h"

#include "base/checksum.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int ok, const char *path)
{
    if (!ok) {
        perror(path);
        abort();
    }
}

static uint32_t crc_of(const char *path)
{
    static char bytes[65536];
    uint32_t crc = 0;
    size_t got;
    FILE *f = fopen(path, "r");
    must(f != NULL, path);
    while ((got = fread(bytes, 1, sizeof bytes, f)) > 0) {
        crc = bk_crc32c(crc, bytes, got);
    }
    fclose(f);
    return crc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* a row begins with its name */
}

void dirlist_read(struct dirlist *l, const char *path)
{
    struct stat st;
    struct dirent *e;
    char name[1024];
    *l = (struct dirlist){0};
    must(stat(path, &st) == 0, path);
    l->changed = st.st_mtim;
    DIR *d = opendir(path);
    must(d != NULL, path);
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        must(l->n < DIRLIST_MAX, "too many names");
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        must(stat(name, &st) == 0, name);
        snprintf(l->row[l->n].name, sizeof l->row[l->n].name, "%.63s", e->d_name);
        l->row[l->n].size = (uint64_t)st.st_size;
        l->row[l->n].inode = (uint64_t)st.st_ino;
        l->row[l->n].modified = st.st_mtim;
        l->row[l->n].crc = S_ISREG(st.st_mode) ? crc_of(name) : 0;
        l->n++;
    }
    closedir(d);
    qsort(l->row, l->n, sizeof l->row[0], by_name);
}

const char *dirlist_difference(const struct dirlist *a, const struct dirlist *b)
{
    for (unsigned i = 0; i < a->n && i < b->n; i++) {
        if (memcmp(&a->row[i], &b->row[i], sizeof a->row[i]) != 0) {
            return a->row[i].name;
        }
    }
    if (a->n != b->n) {
        return "one more or one less";
    }
    return memcmp(&a->changed, &b->changed, sizeof a->changed) == 0 ? "" : "the directory itself";
}
