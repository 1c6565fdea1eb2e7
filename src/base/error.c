/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int bk_error_set(struct bk_error *err, int code, int sys_errno, const char *path, uint64_t offset,
                 const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    err->code = code;
    err->sys_errno = sys_errno;
    err->offset = offset;
    snprintf(err->path, sizeof err->path, "%s", path == NULL ? "" : path);

    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

void bk_error_format(const struct bk_error *err, char *buf, unsigned long buf_len)
{
    const char *reason = err->sys_errno != 0 ? strerror(err->sys_errno) : NULL;
    snprintf(buf, buf_len, "%s%s%s%s%s%s", err->text, err->path[0] != '\0' ? " (" : "", err->path,
             err->path[0] != '\0' ? ")" : "", reason != NULL ? ": " : "",
             reason != NULL ? reason : "");
}
