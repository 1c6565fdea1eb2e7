/* SPDX-License-Identifier: MIT */
/* maintain.c - merge, snapshot, restore. */
#include "tools/progress.h"
#include "tools/store.h"
#include "tools/target.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdio.h>

/* Step by step, so that the end is known: no run stands, and no step has anything left to do. A run
 * that was taken back would be tried for ever. */
static void merge_all(struct tool_store *s, struct tool_progress *p, struct bk_merge_status *m)
{
    bool more = true;
    bk_merge(s->db, BK_MERGE_NOW);
    while (more) {
        more = bk_step(s->db);
        bk_merge_status(s->db, m);
        atomic_store(&p->counts.bytes_total, m->bytes_total);
        atomic_store(&p->counts.bytes_done, m->bytes_done);
        if (!more && m->state != BK_MERGE_IDLE) {
            tool_store_breathe(s);
            more = true;
        }
        more = more && m->aborted == 0;
    }
}

int tool_merge(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_progress p;
    struct bk_merge_status m;
    int status = tool_store_open(&s, a->dir, TOOL_STEPPED);
    if (status != TOOL_OK) {
        return status;
    }
    tool_progress_begin(&p, "Merging", TOOL_BYTES);
    merge_all(&s, &p, &m);
    tool_progress_end(&p);
    if (m.aborted > 0) {
        status = tool_fail("a merge was taken back: %s", m.last_error);
    } else if (m.withheld > 0) {
        status = tool_fail("%" PRIu64 " bytes more could be reclaimed, but there is no room for "
                           "what is to be kept, or a file has no hint or cannot be read",
                           m.withheld);
    }
    status = tool_store_close(&s, status);
    printf("runs:%" PRIu64 "\nreclaimed_bytes:%" PRIu64 "\n", m.runs, m.bytes_reclaimed);
    return tool_output_end(status);
}

int tool_snapshot(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_progress p;
    struct bk_error err = {0};
    struct bk_snapshot_result r = {0};
    char dest[TOOL_PATH_SIZE];
    int status = tool_target_name(a->argv[0], dest);
    if (status == TOOL_OK) {
        status = tool_store_open(&s, a->dir, TOOL_WRITE);
    }
    if (status != TOOL_OK) {
        return status;
    }
    tool_progress_begin(&p, "Copying", TOOL_BYTES);
    int rc = bk_snapshot(s.db, dest, &r, &p.counts, &err);
    tool_progress_end(&p);
    status = tool_store_close(&s, rc == BK_OK ? TOOL_OK : tool_fail_err(&err));
    if (status == TOOL_OK) {
        printf("files:%" PRIu64 "\nbytes:%" PRIu64 "\ncopied_bytes:%" PRIu64 "\n", r.files, r.bytes,
               r.copied_bytes);
        status = tool_output_end(status);
    }
    return status;
}

int tool_restore(const struct tool_args *a)
{
    struct tool_progress p;
    struct bk_error err = {0};
    char dir[TOOL_PATH_SIZE];
    int status = tool_target_name(a->argv[0], dir);
    if (status == TOOL_OK) {
        status = tool_target_outside(dir, a->dir);
    }
    if (status != TOOL_OK) {
        return status;
    }
    tool_progress_begin(&p, "Restoring", TOOL_BYTES);
    int rc = bk_restore(NULL, a->dir, dir, &p.counts, &err);
    tool_progress_end(&p);
    return rc == BK_OK ? TOOL_OK : tool_fail_err(&err);
}
