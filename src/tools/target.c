/* SPDX-License-Identifier: MIT */
/* target.c - see target.h. */
#include "tools/target.h"

#include "tools/tool.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int no_name(const char *path)
{
    return tool_fail("not a name for a directory: %s", path);
}

static bool is_dots(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash == NULL ? path : slash + 1;
    return strcmp(last, ".") == 0 || strcmp(last, "..") == 0;
}

int tool_target_name(const char *path, char out[TOOL_PATH_SIZE])
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if (n == 0 || n >= TOOL_PATH_SIZE) {
        return no_name(path);
    }
    memcpy(out, path, n);
    out[n] = '\0';
    if (!is_dots(out)) {
        return TOOL_OK;
    }
    char *real = realpath(out, NULL);
    if (real == NULL) {
        return tool_fail("cannot find %s: %s", path, strerror(errno));
    }
    n = strlen(real);
    int status = n < TOOL_PATH_SIZE ? TOOL_OK : no_name(path);
    if (status == TOOL_OK) {
        memcpy(out, real, n + 1);
    }
    free(real);
    return status;
}

/* Whether the directory, or one above it, is st's; real is its real path, and used up. -1 with
 * errno: one cannot be looked at. */
static int is_below(char *real, const struct stat *st)
{
    struct stat up;
    for (;;) {
        if (stat(real, &up) != 0) {
            return -1;
        }
        if (up.st_dev == st->st_dev && up.st_ino == st->st_ino) {
            return 1;
        }
        char *slash = strrchr(real, '/');
        if (slash == NULL || slash[1] == '\0') {
            return 0;
        }
        slash[slash == real] = '\0';
    }
}

int tool_target_outside(const char *path, const char *dir)
{
    char copy[TOOL_PATH_SIZE];
    struct stat st;
    snprintf(copy, sizeof copy, "%s", path);
    char *real = realpath(dirname(copy), NULL);
    if (real == NULL) {
        return tool_fail("cannot make %s: %s", path, strerror(errno));
    }
    int below = stat(dir, &st) == 0 ? is_below(real, &st) : 0; /* who opens dir, tells */
    int why = errno;
    free(real);
    if (below < 0) {
        return tool_fail("cannot look at what %s would lie in: %s", path, strerror(why));
    }
    return below ? tool_fail("%s would lie in %s, which is only read", path, dir) : TOOL_OK;
}
