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

int tool_target_outside(const char *path, const char *dir)
{
    char copy[TOOL_PATH_SIZE];
    struct stat up;
    struct stat st;
    snprintf(copy, sizeof copy, "%s", path);
    const char *parent = dirname(copy);
    if (stat(parent, &up) != 0) {
        return tool_fail("cannot make %s: %s", path, strerror(errno));
    }
    if (stat(dir, &st) == 0 && up.st_dev == st.st_dev && up.st_ino == st.st_ino) {
        return tool_fail("%s would lie in %s, which is only read", path, dir);
    }
    return TOOL_OK;
}
