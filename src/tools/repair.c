/* SPDX-License-Identifier: MIT */
/*
 * repair.c - repair: what can be read of a store, in a new one beside it. The old one is only read.
 *
 * The new store is made under a name of its own and renamed when it is whole, synced and checked:
 * so what bears the last name is never half a store.
 */
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/verify.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct repairing {
    const char *dir;
    char to[TOOL_PATH_SIZE], tmp[TOOL_PATH_SIZE];
    struct tool_store from, into;
    uint64_t copied, lost;
};

static int name_copies(struct repairing *r, const struct tool_args *a)
{
    struct stat st;
    char name[TOOL_PATH_SIZE];
    int status = tool_target_name(a->argc > 0 ? a->argv[0] : a->dir, name);
    if (status != TOOL_OK) {
        return status;
    }
    int wrote = snprintf(r->to, sizeof r->to, "%s%s", name, a->argc > 0 ? "" : ".repaired");
    int more = snprintf(r->tmp, sizeof r->tmp, "%s.tmp", r->to);
    if ((size_t)wrote >= sizeof r->to || (size_t)more >= sizeof r->tmp) {
        return tool_fail("the name is too long: %s", name);
    }
    if (lstat(r->to, &st) == 0 || errno != ENOENT) {
        return tool_fail("%s is there already", r->to);
    }
    if (lstat(r->tmp, &st) == 0 || errno != ENOENT) {
        return tool_fail("%s is there, of a repair that was cut off: remove it", r->tmp);
    }
    return tool_target_outside(r->to, a->dir);
}

static int copy_record(void *arg, const struct tool_record *rec, int rc, const struct bk_error *err)
{
    struct repairing *r = arg;
    struct bk_error failed = {0};
    if (rc == BK_CORRUPT || rc == BK_EIO) { /* damaged, or in sectors that cannot be read */
        printf("lost: db %" PRIu32 ", key ", rec->num);
        tool_text_escaped(stdout, rec->key);
        putchar('\n');
        r->lost++;
        return TOOL_OK;
    }
    if (rc != BK_OK) {
        return tool_fail_err(err);
    }
    r->copied++;
    return tool_store_put(&r->into, rec, &failed) == BK_OK ? TOOL_OK : tool_fail_err(&failed);
}

static int copy_all(struct repairing *r)
{
    struct tool_progress p;
    struct bk_stats stats;
    struct tool_walk w = {
        .store = &r->from, .values = true, .done = &p.counts.keys, .each = copy_record, .arg = r};
    int status = tool_store_open(&r->into, r->tmp, TOOL_BULK);
    if (status != TOOL_OK) {
        return status;
    }
    bk_stats_get(r->from.db, &stats);
    tool_progress_begin(&p, "Copying", TOOL_KEYS);
    atomic_store(&p.keys_total, stats.keys);
    status = tool_store_walk_all(&w);
    tool_progress_end(&p);
    return tool_store_close(&r->into, status);
}

/* What was written is read back before it gets its name. */
static int check_copy(struct repairing *r)
{
    struct tool_damage d;
    int status = tool_store_open(&r->into, r->tmp, TOOL_READ);
    if (status != TOOL_OK) {
        return status;
    }
    status = tool_verify(&r->into, &d);
    if (status == TOOL_OK && d.places > 0) {
        status = tool_fail("what was written to %s does not check: is the disk at fault?", r->tmp);
    }
    return tool_store_close(&r->into, status);
}

static int take_name(const struct repairing *r)
{
    char parent[TOOL_PATH_SIZE];
    snprintf(parent, sizeof parent, "%s", r->to);
    if (rename(r->tmp, r->to) != 0) {
        return tool_fail("cannot rename %s: %s", r->tmp, strerror(errno));
    }
    int fd = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    return failed ? tool_fail("cannot sync the directory of %s: %s", r->to, strerror(why))
                  : TOOL_OK;
}

static int repair(struct repairing *r, struct tool_damage *d)
{
    int status = tool_verify(&r->from, d);
    if (status == TOOL_OK) {
        status = copy_all(r);
    }
    if (status == TOOL_OK) {
        status = check_copy(r);
    }
    return status == TOOL_OK ? take_name(r) : status;
}

int tool_repair(const struct tool_args *a)
{
    struct repairing r = {.dir = a->dir};
    struct tool_damage d = {0};
    bk_log_set_level(BK_LOG_NOTHING); /* the list tells all, and in one form */
    int status = name_copies(&r, a);
    if (status == TOOL_OK) {
        status = tool_store_open(&r.from, a->dir, TOOL_READ);
    }
    if (status != TOOL_OK) {
        return status;
    }
    status = tool_store_close(&r.from, repair(&r, &d));
    if (status == TOOL_OK) {
        printf("%s: %" PRIu64 " keys copied, %" PRIu64 " lost\n", r.to, r.copied, r.lost);
        status = d.loss || r.lost > 0 ? TOOL_NO : TOOL_OK;
    }
    return tool_output_end(status);
}
