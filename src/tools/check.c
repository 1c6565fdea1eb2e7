/* SPDX-License-Identifier: MIT */
/* check.c - check: every byte of a store. */
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/verify.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

static void print_finding(void *arg, const struct bk_finding *f)
{
    struct tool_damage *d = arg;
    d->places++;
    d->loss = d->loss || f->loss;
    printf("%s", f->file[0] == '\0' ? "index" : f->file);
    if (f->offset > 0 || f->bytes > 0) {
        printf(", offset %" PRIu64, f->offset);
    }
    if (f->bytes > 0) {
        printf(", %" PRIu64 " bytes", f->bytes);
    }
    printf(": %s", f->what);
    if (f->has_key && f->num != UINT32_MAX) {
        printf(" (db %" PRIu32 ", key ", f->num);
        tool_text_escaped(stdout, f->key);
        putchar(')');
    }
    putchar('\n');
}

int tool_verify(struct tool_store *s, struct tool_damage *out)
{
    struct tool_progress p;
    struct bk_error err = {0};
    *out = (struct tool_damage){0};
    tool_progress_begin(&p, "Checking", TOOL_BYTES);
    int rc = bk_verify(s->db, print_finding, out, &p.counts, &err);
    tool_progress_end(&p);
    return rc == BK_OK ? TOOL_OK : tool_fail_err(&err);
}

int tool_check(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_damage d = {0};
    struct bk_stats stats;
    bk_log_set_level(BK_LOG_NOTHING); /* the list tells all, and in one form */
    int status = tool_store_open(&s, a->dir, TOOL_READ);
    if (status == TOOL_OK) {
        status = tool_verify(&s, &d);
    }
    if (status == TOOL_OK && d.places == 0) {
        bk_stats_get(s.db, &stats);
        printf("no damage: %" PRIu64 " keys, %" PRIu64 " data files, %" PRIu64 " bytes\n",
               stats.keys, stats.files, stats.file_bytes);
    } else if (status == TOOL_OK) {
        tool_fail("%" PRIu64 " places do not check%s", d.places,
                  d.loss ? "" : "; nothing that counts is lost");
        status = TOOL_NO;
    }
    return tool_store_close(&s, tool_output_end(status));
}
