/* SPDX-License-Identifier: MIT */
/* app_merge.c - the merge as operators see it, and its pace beside the clients. */
#include "app/info.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Pace ---- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t median(const uint64_t *values, size_t n)
{
    uint64_t sorted[APP_PACE_SECONDS];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_size);
    return sorted[n / 2];
}

/* Once a second: the loops' p99 tick time of that second against its median of the last minute.
 * Twice as long: the clients are slowed down, so the merge goes slower. */
void app_merge_pace(struct app *a)
{
    struct app_pace *p = &a->pace;
    struct net_stats now;
    struct net_stats second = {0};
    if (app_db(a) == NULL || ++p->calls % 10 != 0) {
        return;
    }
    net_stats_get(a->net, &now);
    for (size_t i = 0; i < NET_TICK_BUCKETS; i++) {
        /* CONFIG RESETSTAT sets the counters back. */
        uint64_t before = p->before[i] <= now.tick_us[i] ? p->before[i] : 0;
        second.tick_us[i] = now.tick_us[i] - before;
        second.ticks += second.tick_us[i];
        p->before[i] = now.tick_us[i];
    }
    if (second.ticks < 100) {
        return; /* too few to tell anything */
    }
    uint64_t p99 = net_stats_tick_percentile(&second, 0.99);
    size_t n = p->n < APP_PACE_SECONDS ? p->n : APP_PACE_SECONDS;
    bool slow = n >= 5 && p99 > 2 * median(p->p99, n);
    p->p99[p->n++ % APP_PACE_SECONDS] = p99;
    bk_merge_slow(app_db(a), slow);
}

/* ---- Sight ---- */

static const char *state_name(enum bk_merge_state s)
{
    static const char *const names[] = {"idle", "plan",  "copy",   "sync",  "log",
                                        "edit", "swing", "retire", "paused"};
    return names[s];
}

static uint64_t percent(const struct bk_merge_status *s)
{
    bool over = s->state == BK_MERGE_IDLE || s->bytes_total == 0;
    uint64_t done = s->bytes_done < s->bytes_total ? s->bytes_done : s->bytes_total;
    return over ? 0 : done * 100 / s->bytes_total;
}

void app_merge_lines(struct app *a, struct bk_buf *out)
{
    struct bk_merge_status s = {0};
    struct bk_stats store = {0};
    if (app_db(a) != NULL) {
        bk_merge_status(app_db(a), &s);
        bk_stats_get(app_db(a), &store);
    }
    int64_t now = bk_clock_wall_ms(&bk_clock_system);
    uint64_t took =
        s.state != BK_MERGE_IDLE && now > s.started_ms ? (uint64_t)(now - s.started_ms) : 0;
    uint64_t left = s.bytes_total > s.bytes_done ? s.bytes_total - s.bytes_done : 0;
    double user = store.write_bytes > 0 ? (double)store.write_bytes : 1;
    bk_buf_printf(out, "merge_state:%s\r\n", state_name(s.state));
    bk_buf_printf(out, "merge_paused:%d\r\n", s.paused);
    bk_buf_printf(out, "merge_reason:%s\r\n", s.state == BK_MERGE_IDLE ? "" : s.why);
    bk_buf_printf(out, "merge_files_in:%" PRIu64 "\r\n", s.files_in);
    bk_buf_printf(out, "merge_files_out:%" PRIu64 "\r\n", s.files_out);
    bk_buf_printf(out, "merge_bytes_total:%" PRIu64 "\r\n", s.bytes_total);
    bk_buf_printf(out, "merge_bytes_done:%" PRIu64 "\r\n", s.bytes_done);
    bk_buf_printf(out, "merge_progress_perc:%" PRIu64 "\r\n", percent(&s));
    bk_buf_printf(out, "merge_rate_limit:%" PRIu64 "\r\n", s.rate);
    bk_buf_printf(out, "merge_rate:%" PRIu64 "\r\n", took > 0 ? s.bytes_done * 1000 / took : 0);
    bk_buf_printf(out, "merge_eta_seconds:%" PRIu64 "\r\n",
                  took > 0 && s.bytes_done > 0 ? left * took / s.bytes_done / 1000 : 0);
    bk_buf_printf(out, "merge_runs:%" PRIu64 "\r\n", s.runs);
    bk_buf_printf(out, "merge_aborted:%" PRIu64 "\r\n", s.aborted);
    bk_buf_printf(out, "merge_last_time_ms:%" PRId64 "\r\n", s.last_ms);
    bk_buf_printf(out, "merge_last_error:%s\r\n", s.last_error);
    bk_buf_printf(out, "merge_bytes_read:%" PRIu64 "\r\n", s.bytes_read);
    bk_buf_printf(out, "merge_bytes_written:%" PRIu64 "\r\n", s.bytes_written);
    bk_buf_printf(out, "merge_bytes_reclaimed:%" PRIu64 "\r\n", s.bytes_reclaimed);
    bk_buf_printf(out, "merge_bytes_reclaimable:%" PRIu64 "\r\n", s.reclaimable);
    bk_buf_printf(out, "merge_lost_races:%" PRIu64 "\r\n", s.lost_races);
    bk_buf_printf(out, "merge_damaged_markers:%" PRIu64 "\r\n", s.markers);
    bk_buf_printf(out, "write_amplification:%.2f\r\n", 1 + (double)s.bytes_written / user);
}

static void file_line(void *arg, const struct bk_file_info *f)
{
    static const char *const states[] = {"active", "rotated", "sealed", "next"};
    struct bk_buf *out = arg;
    int64_t age = bk_clock_wall_ms(&bk_clock_system) - f->created_ms;
    bk_buf_printf(out,
                  "id=%" PRIu64 " rank=%" PRIu64 " state=%s size=%" PRIu64 " live=%" PRIu64
                  " dead=%" PRIu64 " guards=%" PRIu64 " age=%" PRId64 " records=%" PRIu64
                  " hint=%d merge=\"%s\"\n",
                  f->id, f->rank, states[f->state], f->size, f->live_bytes, f->dead_bytes,
                  f->guard_bytes, age > 0 ? age / 1000 : 0, f->records, f->hinted, f->reason);
}

void app_file_lines(struct app *a, struct bk_buf *out)
{
    if (app_db(a) != NULL) {
        bk_files(app_db(a), file_line, out);
    }
}

/* A key may be any bytes: what does not print, and what would end the word, is told as \xHH. */
static void write_key(struct bk_buf *out, struct bk_span key)
{
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.data[i];
        bool plain = c > ' ' && c < 0x7f && c != '"' && c != '\\';
        bk_buf_printf(out, plain ? "%c" : "\\x%02x", c);
    }
}

static void damage_line(void *arg, const struct bk_damage *d)
{
    struct bk_buf *out = arg;
    bk_buf_printf(out, "file=%s offset=%" PRIu64 " bytes=%" PRIu64 " lost=%s what=\"%s\"", d->file,
                  d->offset, d->bytes, d->in_data ? "yes" : "no", d->what);
    if (d->database >= 0) {
        bk_buf_printf(out, " db=%" PRId64, d->database);
    }
    if (d->key_known) {
        bk_buf_printf(out, " key=\"");
        write_key(out, d->key);
        bk_buf_printf(out, "\"%s", d->key_len > d->key.len ? "..." : "");
    }
    bk_buf_printf(out, "\n");
}

void app_damage_lines(struct app *a, struct bk_buf *out)
{
    if (app_db(a) != NULL) {
        bk_damages(app_db(a), damage_line, out);
    }
}

void info_merge(struct info *i)
{
    app_merge_lines(i->a, i->out);
}
