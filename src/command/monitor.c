/* SPDX-License-Identifier: MIT */
/* monitor.c - MONITOR: every command that any client runs, as a line for those who ask. */
#include "command/args.h"
#include "command/exec_private.h"
#include "command/table.h"

#include <string.h>
#include <time.h>

/* Redis's escapes, in double quotes. */
static void add_quoted(struct bk_buf *out, struct bk_span arg)
{
    static const char named[] = "\n\r\t\a\b";
    static const char letters[] = "nrtab";
    bk_buf_append(out, "\"", 1);
    for (size_t i = 0; i < arg.len; i++) {
        uint8_t b = arg.data[i];
        const char *at = b != '\0' ? strchr(named, b) : NULL;
        if (b == '\\' || b == '"') {
            bk_buf_printf(out, "\\%c", b);
        } else if (at != NULL) {
            bk_buf_printf(out, "\\%c", letters[at - named]);
        } else if (b >= 0x20 && b < 0x7f) {
            bk_buf_append(out, &b, 1);
        } else {
            bk_buf_printf(out, "\\x%02x", b);
        }
    }
    bk_buf_append(out, "\"", 1);
}

void monitor_feed(const struct command_ctx *c, uint32_t db)
{
    struct bk_buf line = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    bk_buf_printf(&line, "%lld.%06ld [%u ", (long long)now.tv_sec, now.tv_nsec / 1000, db);
    size_t prefix = line.len;
    bk_buf_append(&line, "]", 1);
    for (int i = 0; i < c->cmd->argc; i++) {
        bk_buf_append(&line, " ", 1);
        add_quoted(&line, exec_is_secret(c, i) ? bk_span_str("(redacted)") : c->cmd->argv[i].bytes);
    }
    c->ops->pubsub->monitored(c->ops->pubsub->arg, c->session, bk_buf_span(&line), prefix);
    bk_buf_fini(&line);
}

/* A second one is not answered: so does Redis, which takes the client for a replica. */
static void monitor_run(struct command_ctx *c)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    if (c->exec->in_multi) {
        resp_write_error(c->reply, "ERR MONITOR isn't allowed for DENY BLOCKING client");
    } else if (ops->monitor(ops->arg, c->session)) {
        resp_write_ok(c->reply);
    }
}

const struct command_row command_rows_monitor[] = {
    {.name = "monitor",
     .arity = 1,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS,
     .run = monitor_run},
    {.name = NULL},
};
