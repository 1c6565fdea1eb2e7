/* SPDX-License-Identifier: MIT */
/* info_store.c - INFO's sections on data and work done: persistence, stats, keyspace, commandstats,
 * bitkv. */
#include "app/info.h"

#include <inttypes.h>
#include <stdlib.h>

/* Redis's figures, over the bytes of what is read. */
static void lines_loading(struct info *i)
{
    const struct app_loading *l = &i->a->loading;
    uint64_t total = atomic_load(&l->progress.bytes_total);
    uint64_t done = atomic_load(&l->progress.bytes_done);
    uint64_t left = total > done ? total - done : 0;
    int64_t now_ms = i->now_ms > l->started_ms ? i->now_ms : l->started_ms;
    uint64_t elapsed = (uint64_t)(now_ms - l->started_ms) / 1000;
    info_num(i, "loading_start_time", (uint64_t)l->started_ms / 1000);
    info_num(i, "loading_total_bytes", total);
    info_num(i, "loading_rdb_used_mem", 0);
    info_num(i, "loading_loaded_bytes", done);
    info_line(i, "loading_loaded_perc", "%.2f",
              total > 0 ? (double)done * 100.0 / (double)total : 0.0);
    /* As in Redis one second when there is nothing to tell it from. */
    info_num(i, "loading_eta_seconds", elapsed == 0 ? 1 : elapsed * left / (done + 1));
}

/* Redis's names: here they tell of snapshots. */
static void lines_rdb(struct info *i)
{
    const struct snapshots_info *s = &i->snapshots;
    int64_t current_s = s->running ? (i->now_ms - s->started_ms) / 1000 : -1;
    int64_t took_s = s->last_took_ms < 0 ? -1 : s->last_took_ms / 1000;
    info_num(i, "rdb_changes_since_last_save",
             i->store.changes > s->changes ? i->store.changes - s->changes : 0);
    info_num(i, "rdb_bgsave_in_progress", s->running);
    info_num(i, "rdb_last_save_time", (uint64_t)s->last_save_ms / 1000);
    info_line(i, "rdb_last_bgsave_status", "%s", s->last_ok ? "ok" : "err");
    info_line(i, "rdb_last_bgsave_time_sec", "%" PRId64, took_s);
    info_line(i, "rdb_current_bgsave_time_sec", "%" PRId64, current_s);
    info_num(i, "rdb_saves", s->saves);
}

void info_persistence(struct info *i)
{
    struct bk_error err = {0};
    bool writable = app_write_state(i->a, &err) == BK_OK;
    info_num(i, "loading", i->loading);
    info_num(i, "async_loading", 0);
    lines_rdb(i);
    info_num(i, "aof_enabled", 1);
    struct bk_merge_status merge = {0};
    if (app_db(i->a) != NULL) {
        bk_merge_status(app_db(i->a), &merge);
    }
    info_num(i, "aof_rewrite_in_progress", merge.state != BK_MERGE_IDLE);
    info_num(i, "aof_rewrite_scheduled", 0);
    info_line(i, "aof_last_rewrite_time_sec", "-1");
    info_line(i, "aof_current_rewrite_time_sec", "-1");
    info_line(i, "aof_last_bgrewrite_status", "ok");
    info_line(i, "aof_last_write_status", "%s", writable ? "ok" : "err");
    info_num(i, "aof_current_size", i->store.file_bytes);
    info_num(i, "aof_base_size", i->store.file_bytes);
    info_num(i, "aof_pending_rewrite", 0);
    info_num(i, "aof_buffer_length", i->store.log_buffer_used);
    info_num(i, "aof_pending_bio_fsync", i->store.synced_pos < i->store.written_pos);
    info_num(i, "aof_delayed_fsync", i->store.sync_waits - atomic_load(&i->a->delayed_base));
    if (i->loading) {
        lines_loading(i);
    }
}

void info_stats(struct info *i)
{
    info_num(i, "total_connections_received", i->net.connections_received);
    info_num(i, "total_commands_processed", i->net.commands);
    info_num(i, "instantaneous_ops_per_sec", i->net.ops_per_sec);
    info_num(i, "total_net_input_bytes", i->net.input_bytes);
    info_num(i, "total_net_output_bytes", i->net.output_bytes);
    info_num(i, "total_net_repl_input_bytes", 0);
    info_num(i, "total_net_repl_output_bytes", 0);
    info_line(i, "instantaneous_input_kbps", "%.2f", (double)i->net.input_bytes_per_sec / 1024.0);
    info_line(i, "instantaneous_output_kbps", "%.2f", (double)i->net.output_bytes_per_sec / 1024.0);
    info_num(i, "rejected_connections", i->net.connections_rejected);
    info_num(i, "sync_full", 0);
    info_num(i, "sync_partial_ok", 0);
    info_num(i, "sync_partial_err", 0);
    info_num(i, "expired_keys", i->store.expired - atomic_load(&i->a->expired_base));
    info_line(i, "expired_stale_perc", "0.00");
    info_num(i, "expired_time_cap_reached_count", i->net.expire_capped);
    info_num(i, "evicted_keys", atomic_load(&i->a->memory.evicted));
    info_num(i, "evicted_clients", 0);
    info_num(i, "keyspace_hits", i->commands.keyspace_hits);
    info_num(i, "keyspace_misses", i->commands.keyspace_misses);
    info_num(i, "pubsub_channels", i->net.topics[TOPIC_CHANNEL]);
    info_num(i, "pubsub_patterns", i->net.topics[TOPIC_PATTERN]);
    info_num(i, "pubsubshard_channels", i->net.topics[TOPIC_SHARD]);
    info_num(i, "latest_fork_usec", 0);
    info_num(i, "total_forks", 0);
    info_num(i, "migrate_cached_sockets", 0);
    info_num(i, "tracking_total_keys", i->net.tracking_keys);
    info_num(i, "tracking_total_items", i->net.tracking_items);
    info_num(i, "tracking_total_prefixes", i->net.tracking_prefixes);
    info_num(i, "unexpected_error_replies", 0);
    info_num(i, "total_error_replies", i->commands.errors);
}

void info_commandstats(struct info *i)
{
    size_t n = 0;
    struct exec *const *all = net_execs(i->a->net, &n);
    exec_commandstats(all, n, i->out);
}

void info_errorstats(struct info *i)
{
    size_t n = 0;
    struct exec *const *all = net_execs(i->a->net, &n);
    exec_errorstats(all, n, i->out);
}

void info_latencystats(struct info *i)
{
    size_t n = 0;
    struct exec *const *all = net_execs(i->a->net, &n);
    struct bk_buf percentiles = {0};
    if (!option_bool(&i->options, OPTION_LATENCY_TRACKING)) {
        return;
    }
    option_format(OPTION_LATENCY_PERCENTILES, &i->options.values[OPTION_LATENCY_PERCENTILES],
                  &percentiles);
    exec_latencystats(all, n, bk_buf_span(&percentiles), i->out);
    bk_buf_fini(&percentiles);
}

void info_keyspace(struct info *i)
{
    uint32_t databases = i->loading ? 0 : ks_databases(i->a->ks);
    for (uint32_t db = 0; db < databases; db++) {
        uint64_t keys = ks_count(i->a->ks, db);
        if (keys > 0) {
            bk_buf_printf(i->out,
                          "db%" PRIu32 ":keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n", db,
                          keys, ks_count_expiring(i->a->ks, db));
        }
    }
}

static void lines_files(struct info *i)
{
    const struct bk_stats *s = &i->store;
    info_line(i, "dir", "%s", option_text(&i->options, OPTION_DIR));
    info_num(i, "files", s->files);
    info_num(i, "file_bytes", s->file_bytes);
    info_num(i, "live_bytes", s->live_bytes);
    info_num(i, "dead_bytes", s->dead_bytes);
    info_num(i, "guard_bytes", s->guard_bytes);
    info_num(i, "pages_used", s->pages_used);
    info_num(i, "pages_total", s->pages_total);
    info_num(i, "rotations", s->rotations);
    info_num(i, "keys", s->keys);
    info_num(i, "expiring", s->expiring);
    info_num(i, "keydir_bytes", s->keydir_bytes);
    info_num(i, "keydir_moved_max", s->keydir_moved_max);
}

static void lines_log(struct info *i)
{
    char mode[16];
    const struct bk_stats *s = &i->store;
    struct bk_error err = {0};
    char reason[512] = "none";
    if (app_write_state(i->a, &err) != BK_OK) {
        bk_error_format(&err, reason, sizeof reason);
    }
    info_line(i, "appendfsync", "%s",
              option_choice(&i->options, OPTION_APPENDFSYNC, mode, sizeof mode));
    info_line(i, "write_error", "%s", reason);
    info_num(i, "tail_pos", s->tail_pos);
    info_num(i, "written_pos", s->written_pos);
    info_num(i, "synced_pos", s->synced_pos);
    info_num(i, "committed_pos", s->committed_pos);
    info_num(i, "appends", s->appends);
    info_num(i, "batches", s->batches);
    info_num(i, "writes", s->writes);
    info_num(i, "write_bytes", s->write_bytes);
    info_num(i, "write_errors", s->write_errors);
    info_num(i, "undone", s->undone);
    info_num(i, "syncs", s->syncs);
    info_num(i, "sync_us_total", s->sync_us_total);
    info_num(i, "sync_us_max", s->sync_us_max);
    info_num(i, "sync_waits", s->sync_waits);
    info_num(i, "log_buffer_used", s->log_buffer_used);
    info_num(i, "log_full", s->log_full);
}

static void lines_reads(struct info *i)
{
    const struct bk_stats *s = &i->store;
    info_num(i, "disk_reads", s->disk_reads);
    info_num(i, "disk_read_bytes", s->disk_read_bytes);
    info_num(i, "disk_reads_handed", s->disk_reads_handed);
    info_num(i, "disk_reads_pending", s->disk_reads_pending);
    info_num(i, "buffer_reads", s->buffer_reads);
    info_num(i, "cache_hits", s->cache_hits);
    info_num(i, "cache_misses", s->cache_misses);
    info_num(i, "cache_used", s->cache_used);
    info_num(i, "damaged_records", s->damaged_records);
    info_num(i, "damaged_bytes", s->damaged_bytes);
    info_num(i, "damaged_indexes", s->damaged_indexes);
    info_num(i, "tail_bytes_cut", s->tail_bytes_cut);
    info_num(i, "recover_us", s->recover_us);
    info_num(i, "recovered_records", s->recovered_records);
}

static void lines_loops(struct info *i)
{
    const struct net_stats *n = &i->net;
    info_num(i, "io_threads", net_loops(i->a->net));
    info_num(i, "ticks", n->ticks);
    info_num(i, "tick_us_total", n->tick_us_total);
    info_num(i, "tick_us_max", n->tick_us_max);
    info_num(i, "tick_ran_us_max", n->tick_ran_us_max);
    info_num(i, "tick_us_p50", net_stats_tick_percentile(n, 0.5));
    info_num(i, "tick_us_p99", net_stats_tick_percentile(n, 0.99));
    info_num(i, "tick_us_p999", net_stats_tick_percentile(n, 0.999));
    info_num(i, "clients_parked", n->parked);
    info_num(i, "clients_reading", n->reading);
    info_num(i, "clients_waiting_for_commit", n->replies_waiting);
    info_num(i, "clients_closed_output_limit", n->connections_killed_obuf);
    info_num(i, "clients_closed_query_limit", n->connections_killed_query);
    info_num(i, "clients_closed_idle", n->connections_timed_out);
    info_num(i, "accept_errors", n->accept_errors);
    info_num(i, "misconf_replies", n->misconf_replies);
}

static void lines_snapshots(struct info *i)
{
    const struct snapshots_info *s = &i->snapshots;
    info_num(i, "snapshots", s->kept);
    info_num(i, "snapshot_bytes", s->kept_bytes);
    info_num(i, "snapshot_pinned_bytes", s->pinned_bytes);
    info_line(i, "snapshot_last_name", "%s", s->last_name[0] != '\0' ? s->last_name : "none");
    info_num(i, "snapshot_last_files", s->last.files);
    info_num(i, "snapshot_last_bytes", s->last.bytes);
    info_num(i, "snapshot_last_copied_bytes", s->last.copied_bytes);
    info_num(i, "snapshot_last_us", s->last.took_us);
    info_line(i, "snapshot_last_error", "%s", s->last_error[0] != '\0' ? s->last_error : "none");
}

void info_bitkv(struct info *i)
{
    lines_files(i);
    lines_log(i);
    lines_reads(i);
    lines_snapshots(i);
    lines_loops(i);
}
