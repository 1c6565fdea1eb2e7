/* SPDX-License-Identifier: MIT */
/* report.c - how the tool says that something went wrong. */
#include "tools/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int tool_fail(const char *fmt, ...)
{
    va_list ap;
    fputs("bitkv: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return TOOL_ERROR;
}

int tool_fail_err(const struct bk_error *err)
{
    char text[600];
    bk_error_format(err, text, sizeof text);
    return tool_fail("%s", text);
}

int tool_output_end(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        return tool_fail("cannot write to standard output: %s", strerror(errno));
    }
    return status;
}
