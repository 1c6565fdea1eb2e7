/* SPDX-License-Identifier: MIT */
/* copy.c - dump and load: a store as text, and back. */
#include "tools/format.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- dump ---- */

struct dumping {
    enum tool_format format;
    int64_t selected; /* RESP: the database that the last command was for */
    uint64_t left_out;
};

static int leave_out(struct dumping *d, const struct tool_record *r, const char *why)
{
    fprintf(stderr, "bitkv: left out: db %" PRIu32 ", key ", r->num);
    tool_text_escaped(stderr, r->key);
    fprintf(stderr, ": %s\n", why);
    d->left_out++;
    return TOOL_OK;
}

static int dump_record(void *arg, const struct tool_record *r, int rc, const struct bk_error *err)
{
    struct dumping *d = arg;
    if (rc == BK_CORRUPT || rc == BK_EIO) {
        return leave_out(d, r,
                         rc == BK_EIO ? "its record cannot be read" : "its record is damaged");
    }
    if (rc != BK_OK) {
        return tool_fail_err(err);
    }
    if (d->format == TOOL_JSON) {
        rc = tool_json_write(stdout, r);
    } else {
        rc = tool_resp_write(stdout, r, &d->selected);
    }
    if (ferror(stdout) != 0) {
        return TOOL_ERROR;
    }
    return rc == BK_OK ? TOOL_OK : leave_out(d, r, "this format has no form for it");
}

int tool_dump(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_progress p;
    struct dumping d = {.format = a->format, .selected = -1};
    struct bk_stats stats;
    struct tool_walk w = {.store = &s,
                          .num = a->db,
                          .values = true,
                          .done = &p.counts.keys,
                          .each = dump_record,
                          .arg = &d};
    int status = tool_store_open(&s, a->dir, TOOL_READ);
    if (status != TOOL_OK) {
        return status;
    }
    bk_stats_get(s.db, &stats);
    tool_progress_begin(&p, "Dumping", TOOL_KEYS);
    atomic_store(&p.keys_total, a->db_given ? bk_count(s.db, a->db) : stats.keys);
    status = a->db_given ? tool_store_walk(&w) : tool_store_walk_all(&w);
    tool_progress_end(&p);
    if (status == TOOL_OK && d.left_out > 0) {
        tool_fail("%" PRIu64 " records were left out", d.left_out);
        status = TOOL_NO;
    }
    if (status == TOOL_OK && stats.damaged_records > 0) {
        tool_fail("the store is damaged, something may be missing: see bitkv check");
        status = TOOL_NO;
    }
    return tool_store_close(&s, tool_output_end(status));
}

/* ---- load ---- */

static int load_all(struct tool_store *s, struct tool_reader *rd, enum tool_format format)
{
    struct bk_error err = {0};
    int rc;
    int status = TOOL_OK;
    while ((rc = format == TOOL_JSON ? tool_json_read(rd) : tool_resp_read(rd)) == BK_OK) {
        rc = tool_store_put(s, &rd->r, &err);
        if (rc != BK_OK) {
            status = tool_fail_err(&err);
            break;
        }
        rd->reads++;
    }
    if (rc == BK_EINVAL && status == TOOL_OK) {
        status = tool_fail("%s", rd->why);
    } else if (rc == BK_EIO && status == TOOL_OK) {
        status = tool_fail("cannot read standard input: %s", strerror(errno));
    }
    return status;
}

int tool_load(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct tool_progress p;
    struct stat st;
    struct tool_reader rd = {.in = {.f = stdin, .count = &p.counts.bytes_done}};
    int status = tool_store_open(&s, a->dir, TOOL_BULK);
    if (status != TOOL_OK) {
        return status;
    }
    tool_progress_begin(&p, "Loading", TOOL_BYTES);
    if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
        atomic_store(&p.counts.bytes_total, (uint64_t)st.st_size);
    }
    status = load_all(&s, &rd, a->format);
    tool_progress_end(&p);
    int closed = tool_store_close(&s, TOOL_OK);
    if (closed != TOOL_OK) {
        status = tool_fail("not everything that was read is in %s", a->dir);
    } else if (status != TOOL_OK) {
        tool_fail("%" PRIu64 " records before were loaded, nothing behind them", rd.reads);
    } else {
        printf("%" PRIu64 "\n", rd.reads);
        status = tool_output_end(status);
    }
    tool_reader_fini(&rd);
    return status;
}
