/* SPDX-License-Identifier: MIT */
/* info_server.c - INFO's sections on the process: server, clients, memory, cpu, replication. */
#include "app/info.h"

#include "app/memory.h"
#include "app/version.h"
#include "base/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SECONDS_A_DAY 86400

static void line_executable(struct info *i)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    info_line(i, "executable", "%s", path);
}

void info_server(struct info *i)
{
    struct utsname os = {0};
    uint64_t up = (uint64_t)(bk_clock_mono_us(&bk_clock_system) - i->a->started_us) / 1000000;
    uname(&os);
    info_line(i, "redis_version", "%s", BITKV_REDIS_VERSION);
    info_line(i, "bitkv_version", "%s", BITKV_VERSION);
    info_line(i, "redis_mode", "standalone");
    info_line(i, "os", "%s %s %s", os.sysname, os.release, os.machine);
    info_line(i, "arch_bits", "%zu", sizeof(void *) * CHAR_BIT);
    info_line(i, "monotonic_clock", "POSIX clock_gettime");
    info_line(i, "multiplexing_api", "epoll");
    info_line(i, "atomicvar_api", "c11-builtin");
#if defined(__GNUC__) && !defined(__clang__)
    info_line(i, "gcc_version", "%d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
    info_line(i, "gcc_version", "0.0.0");
#endif
    info_num(i, "process_id", (uint64_t)getpid());
    info_line(i, "process_supervised", "%s", i->a->supervised);
    info_line(i, "run_id", "%s", i->a->run_id);
    info_num(i, "tcp_port", (uint64_t)option_num(&i->options, OPTION_PORT));
    info_num(i, "server_time_usec", (uint64_t)i->now_ms * 1000);
    info_num(i, "uptime_in_seconds", up);
    info_num(i, "uptime_in_days", up / SECONDS_A_DAY);
    info_num(i, "hz", (uint64_t)option_num(&i->options, OPTION_HZ));
    info_num(i, "configured_hz", (uint64_t)option_num(&i->options, OPTION_HZ));
    line_executable(i);
    info_line(i, "config_file", "%s", i->a->conf_file != NULL ? i->a->conf_file : "");
    info_num(i, "io_threads_active", net_loops(i->a->net) > 1);
}

void info_clients(struct info *i)
{
    info_num(i, "connected_clients", i->net.connected);
    info_num(i, "cluster_connections", 0);
    info_num(i, "maxclients", (uint64_t)option_num(&i->options, OPTION_MAXCLIENTS));
    info_num(i, "client_recent_max_input_buffer", i->net.input_buffer_max);
    info_num(i, "client_recent_max_output_buffer", i->net.output_buffer_max);
    info_num(i, "blocked_clients", i->net.blocked);
    info_num(i, "tracking_clients", i->net.tracking_clients);
    info_num(i, "clients_in_timeout_table", 0);
}

void info_memory(struct info *i)
{
    struct memory_figures m;
    char policy[32];
    char allocator[64];
    uint64_t rss = memory_rss();
    uint64_t peak = atomic_load(&i->a->memory.peak);
    memory_figures(&m);
    peak = peak > m.allocated ? peak : m.allocated;
    uint64_t overhead = i->store.keydir_bytes + i->store.cache_used + i->net.clients_memory;
    info_human(i, "used_memory", m.allocated);
    info_human(i, "used_memory_rss", rss);
    info_human(i, "used_memory_peak", peak);
    info_line(i, "used_memory_peak_perc", "%.2f%%",
              (double)m.allocated / (double)(peak > 0 ? peak : 1) * 100.0);
    info_num(i, "used_memory_overhead", overhead);
    info_num(i, "allocator_allocated", m.allocated);
    info_num(i, "allocator_active", m.active);
    info_num(i, "allocator_resident", m.resident);
    info_human(i, "total_system_memory", memory_system_total());
    info_human(i, "maxmemory", (uint64_t)option_num(&i->options, OPTION_MAXMEMORY));
    info_line(i, "maxmemory_policy", "%s",
              option_choice(&i->options, OPTION_MAXMEMORY_POLICY, policy, sizeof policy));
    info_num(i, "mem_counted_for_maxmemory", atomic_load(&i->a->memory.counted));
    info_line(i, "allocator_frag_ratio", "%.2f",
              (double)m.active / (double)(m.allocated > 0 ? m.allocated : 1));
    info_num(i, "allocator_frag_bytes", m.active > m.allocated ? m.active - m.allocated : 0);
    info_line(i, "mem_fragmentation_ratio", "%.2f",
              (double)rss / (double)(m.allocated > 0 ? m.allocated : 1));
    info_line(i, "mem_fragmentation_bytes", "%" PRId64, (int64_t)rss - (int64_t)m.allocated);
    info_num(i, "mem_clients_normal", i->net.clients_memory);
    info_num(i, "mem_aof_buffer", i->store.log_buffer_used);
    info_line(i, "mem_allocator", "%s", memory_allocator(allocator, sizeof allocator));
    info_num(i, "active_defrag_running", 0);
    info_num(i, "lazyfree_pending_objects", 0);
    info_num(i, "lazyfreed_objects", 0);
}

static void line_time(struct info *i, const char *name, struct timeval t)
{
    info_line(i, name, "%ld.%06ld", (long)t.tv_sec, (long)t.tv_usec);
}

void info_cpu(struct info *i)
{
    struct rusage self = {0};
    struct rusage children = {0};
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    line_time(i, "used_cpu_sys", self.ru_stime);
    line_time(i, "used_cpu_user", self.ru_utime);
    line_time(i, "used_cpu_sys_children", children.ru_stime);
    line_time(i, "used_cpu_user_children", children.ru_utime);
}

void info_replication(struct info *i)
{
    info_line(i, "role", "master");
    info_num(i, "connected_slaves", 0);
    info_line(i, "master_failover_state", "no-failover");
    info_line(i, "master_replid", "%s", i->a->run_id);
    info_line(i, "master_replid2", "%040d", 0);
    info_num(i, "master_repl_offset", 0);
    info_line(i, "second_repl_offset", "-1");
    info_num(i, "repl_backlog_active", 0);
    info_num(i, "repl_backlog_size", (uint64_t)option_num(&i->options, OPTION_REPL_BACKLOG_SIZE));
    info_num(i, "repl_backlog_first_byte_offset", 0);
    info_num(i, "repl_backlog_histlen", 0);
}
