/* SPDX-License-Identifier: MIT */
/* conf_files.c - configuration files on disk. */
#include "app/conf_load.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <unistd.h>

static bool read_all(int fd, struct bk_buf *out, struct bk_buf *why)
{
    for (;;) {
        ssize_t n = read(fd, bk_buf_reserve(out, 4096), 4096);
        if (n == 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            bk_buf_printf(why, "%s", strerror(errno));
            return false;
        }
        out->len += n > 0 ? (size_t)n : 0;
        if (out->len > CONF_FILE_BYTES_MAX) {
            bk_buf_printf(why, "larger than 16 MiB");
            return false;
        }
    }
}

static bool system_read(void *arg, const char *path, struct bk_buf *out, struct bk_buf *why)
{
    (void)arg;
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, out, why);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        bk_buf_printf(why, "%s", strerror(errno));
        return false;
    }
    bool ok = read_all(fd, out, why);
    close(fd);
    return ok;
}

static bool system_glob(void *arg, const char *pattern,
                        bool (*each)(void *each_arg, const char *path), void *each_arg)
{
    (void)arg;
    glob_t found = {0};
    bool ok = true;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; ok && i < found.gl_pathc; i++) {
            ok = each(each_arg, found.gl_pathv[i]);
        }
    }
    globfree(&found);
    return ok;
}

const struct conf_files conf_files_system = {system_read, system_glob, NULL};
