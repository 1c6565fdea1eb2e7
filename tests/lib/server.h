/* SPDX-License-Identifier: MIT */
/*
 * server.h - a bitkv-server (or redis-server) of a test: started in a directory of its own on a
 * free loopback port, stopped by its pid, and never left behind, whatever happens to the test.
 *
 * The program is $BITKV_SERVER, else the one that was built together with the test. What the server
 * prints lands in dir/log and is shown when a start fails.
 */
#ifndef BK_TESTS_SERVER_H
#define BK_TESTS_SERVER_H

#include "lib/respc.h"
#include "lib/tmpdir.h"

#include <stdbool.h>
#include <sys/types.h>

#define SERVER_OPTIONS_MAX 32

struct server {
    /* Set by the caller; all zero is a bitkv-server with its defaults. */
    bool redis;       /* redis-server instead: without files */
    bool no_wait;     /* do not wait until PING is answered */
    long fd_limit;    /* RLIMIT_NOFILE, soft and hard; 0: as it is */
    const char *conf; /* a configuration file, in front of all options; NULL: none */
    const char *host; /* NULL: 127.0.0.1; what it binds and where it is asked for PING */
    const char *options[SERVER_OPTIONS_MAX]; /* "--maxclients", "5", ...; NULL ends them; borrowed
                                                until the stop */
    /* Set by server_start. */
    pid_t pid; /* 0 while it does not run */
    int port;
    struct tmpdir dir; /* kept over restarts, removed by server_fini */
};

/* Starts it and waits until it answers; a second start uses the same directory. False: it does not
 * come up, and why stands on stderr. */
bool server_start(struct server *s);
struct respc *server_connect(const struct server *s); /* NULL with errno */
/* SIGTERM; waits for the end. The exit status, or -signal, or -1000 when it did not end and was
 * killed. */
int server_stop(struct server *s);
/* sig; waits for the end as server_stop does. */
int server_signal(struct server *s, int sig);
/* Waits for an end that somebody else has caused. */
int server_wait(struct server *s);
/* Kills it if it runs, and removes the directory. */
void server_fini(struct server *s);

/* "VmRSS:" and the like of /proc/PID/status, in KiB; -1 when it cannot be read. */
long server_memory_kib(const struct server *s, const char *field);
/* Descriptors that it has open. */
long server_descriptors(const struct server *s);
/* Of them: data files of a store, those that have been removed, and others. */
struct server_files {
    unsigned data, deleted, other;
};
struct server_files server_open_files(const struct server *s);
/* A TCP port of 127.0.0.1 that nobody listens on now. */
int server_free_port(void);
/* Prints the last lines of dir/log to stderr. */
void server_show_log(const struct server *s);
/* dir/log contains text. */
bool server_log_has(const struct server *s, const char *text);

#endif
