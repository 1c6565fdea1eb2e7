/* SPDX-License-Identifier: MIT */
/* info.h - the sections of INFO. Private to info*.c. */
#ifndef BK_APP_INFO_H
#define BK_APP_INFO_H

#include "app/app.h"

/* What the sections are written from, gathered once for a call. */
struct info {
    struct app *a;
    struct bk_buf *out;
    struct options options; /* a copy */
    struct bk_stats store;
    struct net_stats net;
    struct exec_totals commands;
    struct snapshots_info snapshots;
    int64_t now_ms;
    bool loading; /* there is no store yet */
};

void info_server(struct info *i);
void info_clients(struct info *i);
void info_memory(struct info *i);
void info_persistence(struct info *i);
void info_stats(struct info *i);
void info_replication(struct info *i);
void info_cpu(struct info *i);
void info_commandstats(struct info *i);
void info_errorstats(struct info *i);
void info_latencystats(struct info *i);
void info_keyspace(struct info *i);
void info_bitkv(struct info *i);
void info_merge(struct info *i);

/* One line "name:...\r\n". */
void info_line(struct info *i, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void info_num(struct info *i, const char *name, uint64_t v);
void info_human(struct info *i, const char *name, uint64_t bytes); /* "1.50M", under name_human */

#endif
