/* SPDX-License-Identifier: MIT */
/* reader.c - what the readers of all formats share. */
#include "tools/format.h"

#include <inttypes.h>
#include <stdarg.h>

void tool_reader_fini(struct tool_reader *rd)
{
    bk_buf_fini(&rd->line);
    bk_buf_fini(&rd->key);
    bk_buf_fini(&rd->value);
    bk_buf_fini(&rd->word);
}

int tool_reader_bad(struct tool_reader *rd, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(rd->why, sizeof rd->why, "line %" PRIu64 ": ", rd->in.line);
    va_start(ap, fmt);
    vsnprintf(rd->why + n, sizeof rd->why - (size_t)n, fmt, ap);
    va_end(ap);
    return BK_EINVAL;
}
