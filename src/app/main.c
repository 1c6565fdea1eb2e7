/* SPDX-License-Identifier: MIT */
/*
 * main.c - bitkv-server: reads options, sets the modules up in order, runs, takes them down in
 * reverse.
 *
 * Up: options, log, background, signals, limits, listeners and loops (which answer -LOADING),
 * store. Down: the snapshot that is being made fails, loops (no command runs from then on),
 * transfers, snapshots, keyspace, store (everything synced), the rest.
 */
#include "app/app.h"
#include "app/memory.h"
#include "app/process.h"
#include "app/usage.h"
#include "app/version.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stdfds.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LOG_EVERY_US 1000000

extern char **environ;

/* What main() holds beside the modules. */
struct run {
    struct app app;
    int signal_fd;
    int detach_fd; /* -1: in the foreground */
    enum process_supervisor supervisor;
    bool pid_written;
};

/* A start that fails says why where somebody looks: in the log, and on stderr if the log goes
 * elsewhere. */
static bool start_failed(struct run *r, const char *what, const struct bk_error *err)
{
    char text[512];
    bk_error_format(err, text, sizeof text);
    bk_log(BK_LOG_WARNING, "%s: %s", what, text);
    if (option_text(&r->app.options, OPTION_LOGFILE)[0] != '\0') {
        fprintf(stderr, "bitkv-server: %s: %s\n", what, text);
    }
    return false;
}

static bool system_failed(struct run *r, const char *what)
{
    struct bk_error err = {0};
    bk_ignore(bk_error_set(&err, BK_EIO, errno, "", 0, "%s", "system call failed"),
              "err is what we want");
    return start_failed(r, what, &err);
}

/* ---- Up ---- */

static void log_notes(const struct bk_buf *notes)
{
    for (size_t at = 0; at < notes->len;) {
        const char *line = (const char *)notes->data + at;
        const char *eol = memchr(line, '\n', notes->len - at);
        size_t len = eol != NULL ? (size_t)(eol - line) : notes->len - at;
        bk_log(BK_LOG_NOTICE, "%.*s", (int)len, line);
        at += len + 1;
    }
}

static bool setup_log(struct run *r, const struct conf *conf)
{
    const struct options *o = &r->app.options;
    if (app_log_setup(o) != 0) {
        fprintf(stderr,
                "\n*** FATAL CONFIG FILE ERROR (bitkv %s) ***\nCan't open the log file: %s\n",
                BITKV_VERSION, strerror(errno));
        return false;
    }
    bk_log(BK_LOG_WARNING, "bitkv is starting");
    bk_log(BK_LOG_WARNING, "bitkv version=%s, bits=%zu, pid=%ld, just started", BITKV_VERSION,
           sizeof(void *) * 8, (long)getpid());
    bk_log(BK_LOG_WARNING, conf->file != NULL
                               ? "Configuration loaded"
                               : "No config file: defaults, the environment and the command line");
    log_notes(&conf->notes);
    return true;
}

static bool setup_process(struct run *r)
{
    struct app *a = &r->app;
    r->signal_fd = process_signals();
    a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->signal_fd < 0 || a->wake_fd < 0) {
        return system_failed(r, "Could not set up signals");
    }
    uint64_t wanted = (uint64_t)option_num(&a->options, OPTION_MAXCLIENTS);
    uint64_t possible = process_raise_files(wanted, option_text(&a->options, OPTION_DIR));
    if (possible == 0) {
        errno = EMFILE;
        return system_failed(r, "The limit of open files ('ulimit -n') leaves no room for clients");
    }
    if (possible < wanted) {
        bk_log(BK_LOG_WARNING,
               "The limit of open files leaves room for %" PRIu64
               " clients: maxclients has been reduced from %" PRIu64
               ". If you need more, increase 'ulimit -n'.",
               possible, wanted);
        a->options.values[OPTION_MAXCLIENTS].num = (int64_t)possible;
    }
    return true;
}

static void make_run_id(char id[APP_RUN_ID_LEN + 1])
{
    unsigned char bytes[APP_RUN_ID_LEN / 2] = {0};
    ssize_t n = getrandom(bytes, sizeof bytes, 0);
    if (n < 0) { /* only its looks suffer */
        uint64_t now = (uint64_t)bk_clock_wall_ms(&bk_clock_system);
        memcpy(bytes, &now, sizeof now);
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
}

/* The store itself logs what it read; here is what an operator must not miss. */
static void log_recovery(struct app *a)
{
    struct bk_stats s;
    app_stats(a, &s);
    if (s.tail_bytes_cut > 0) {
        bk_log(BK_LOG_NOTICE,
               "%" PRIu64
               " bytes behind the last sync were not whole after the machine's restart: cut",
               s.tail_bytes_cut);
    }
    if (s.damaged_records > 0 || s.damaged_bytes > 0) {
        bk_log(BK_LOG_WARNING,
               "DAMAGE: %" PRIu64 " places, %" PRIu64
               " bytes do not check; the rest is served. BITKV DAMAGE lists them",
               s.damaged_records, s.damaged_bytes);
    }
}

static bool start_loops(struct run *r)
{
    struct app *a = &r->app;
    const char *bind[OPTION_BIND_MAX];
    struct bk_buf store = {0};
    struct bk_error err = {0};
    struct net_config cfg = {0};
    app_listen(&a->options, &cfg.listen, bind, &store);
    app_net_tunables(&a->options, &cfg.tunables);
    int rc = net_start(a->net, &cfg, a->ks, &a->ops, &a->store_ops, &err);
    bk_buf_fini(&store);
    return rc == BK_OK || start_failed(r, "Could not listen", &err);
}

static bool setup_modules(struct run *r)
{
    struct app *a = &r->app;
    struct bk_error err = {0};
    int64_t threads = option_num(&a->options, OPTION_IO_THREADS);
    unsigned loops = threads > NET_LOOPS_MAX ? NET_LOOPS_MAX : (unsigned)threads;
    if (net_new(&a->net, loops, &err) != BK_OK) {
        return start_failed(r, "Could not set up the loops", &err);
    }
    app_snapshots_new(a);
    app_transfers_new(a);
    a->ks = ks_new(NULL, (uint32_t)option_num(&a->options, OPTION_DATABASES));
    a->timing = timing_new();
    app_server_ops(a);
    app_store_ops(a);
    bk_mutex_lock(&a->mu);
    app_apply_atomics(a);
    app_apply_timing(a);
    app_memory_sample_locked(a);
    bk_mutex_unlock(&a->mu);
    return start_loops(r);
}

static void say_ready(struct run *r)
{
    const struct options *o = &r->app.options;
    const char *pidfile = option_text(o, OPTION_PIDFILE); /* no client can change it */
    r->pid_written = pidfile[0] != '\0' && process_write_pid(pidfile);
    bk_mutex_lock(&r->app.mu);
    int64_t port = option_num(o, OPTION_PORT);
    bk_mutex_unlock(&r->app.mu);
    if (port != 0) {
        bk_log(BK_LOG_NOTICE, "Running mode=standalone, port=%" PRId64 ", io-threads=%u.", port,
               net_loops(r->app.net));
    }
    if (option_text(o, OPTION_UNIXSOCKET)[0] != '\0') {
        bk_log(BK_LOG_NOTICE, "The server is now ready to accept connections at %s",
               option_text(o, OPTION_UNIXSOCKET));
    }
    bk_log(BK_LOG_NOTICE, "Ready to accept connections");
    if (r->detach_fd >= 0) {
        process_detached(r->detach_fd, option_text(o, OPTION_LOGFILE));
    }
    process_notify(r->supervisor, "READY=1\nSTATUS=Ready to accept connections\n");
}

/* ---- Running ---- */

/* Waits for a signal, a SHUTDOWN, or the opening thread; at most timeout_ms (-1: for ever). True:
 * the server is to end. */
static bool wait_for_end(struct run *r, int timeout_ms)
{
    struct app *a = &r->app;
    struct pollfd fds[] = {{.fd = r->signal_fd, .events = POLLIN},
                           {.fd = a->wake_fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    uint64_t times;
    if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR) {
        bk_log(BK_LOG_WARNING, "Waiting for signals failed: %s", strerror(errno));
        return true;
    }
    ssize_t n = read(a->wake_fd, &times, sizeof times);
    bk_ignore((int)n, "nothing to read: nobody has called");
    if (read(r->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        bk_log(BK_LOG_WARNING, "Received %s scheduling shutdown...",
               info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        return true;
    }
    return atomic_load(&a->shutdown_asked);
}

enum load { LOAD_DONE, LOAD_FAILED, LOAD_CALLED_OFF };

/* Clients are answered meanwhile. A failure that comes after somebody has asked for the end is
 * none. */
static enum load load_store(struct run *r)
{
    struct app *a = &r->app;
    struct bk_error err = {0};
    struct memory_figures m;
    bool end = false;
    memory_figures(&m);
    atomic_store(&a->memory_startup, m.allocated);
    int rc = app_load_begin(a, &err);
    if (rc == BK_OK) {
        int64_t next_us = bk_clock_mono_us(&bk_clock_system) + LOG_EVERY_US;
        while (!end && !atomic_load(&a->loading.done)) {
            int64_t now_us = bk_clock_mono_us(&bk_clock_system);
            if (now_us >= next_us) {
                app_load_log(a);
                next_us = now_us + LOG_EVERY_US;
            }
            end = wait_for_end(r, (int)((next_us - now_us + 999) / 1000));
        }
        if (end) {
            bk_log(BK_LOG_NOTICE, "Loading is called off");
        }
        rc = app_load_end(a, end, &err);
    }
    if (rc == BK_OK && !end) {
        log_recovery(a);
        return LOAD_DONE;
    }
    if (end) {
        return LOAD_CALLED_OFF;
    }
    char what[PATH_MAX + 64];
    snprintf(what, sizeof what, "Could not open the data directory '%s'",
             option_text(&a->options, OPTION_DIR));
    start_failed(r, what, &err);
    return LOAD_FAILED;
}

/* From listeners to the end. False: the start failed. */
static bool serve(struct run *r)
{
    enum load load = load_store(r);
    if (load == LOAD_DONE) {
        say_ready(r);
        while (!wait_for_end(r, -1)) {
        }
    }
    return load != LOAD_FAILED;
}

/* ---- Down ---- */

/* started: the server got as far as it should, and somebody has asked for its end. */
static bool take_down(struct run *r, bool started)
{
    struct app *a = &r->app;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    bool ok = true;
    if (started) {
        bool now = (atomic_load(&a->shutdown_flags) & SHUTDOWN_NOW) != 0;
        bk_mutex_lock(&a->mu);
        int64_t seconds = now ? 0 : option_num(&a->options, OPTION_SHUTDOWN_TIMEOUT);
        bk_mutex_unlock(&a->mu);
        process_signals_insist();
        bk_log(BK_LOG_WARNING, "User requested shutdown...");
        process_notify(r->supervisor, "STOPPING=1\nSTATUS=Saving the final data\n");
        snapshots_stop(a->snapshots); /* or the loops would wait for a SAVE */
        net_shutdown(a->net, seconds > UINT32_MAX / 1000 ? UINT32_MAX : (uint32_t)seconds * 1000);
    } else if (a->net != NULL) {
        net_shutdown(a->net, 0);
    }
    transfers_free(&a->transfers);
    snapshots_free(&a->snapshots);
    ks_free(&a->ks);
    db = atomic_exchange(&a->db, NULL);
    if (db != NULL && bk_close(&db, &err) != BK_OK) {
        char text[512];
        bk_error_format(&err, text, sizeof text);
        bk_log(BK_LOG_WARNING, "Closing the store failed, what was not yet synced may be lost: %s",
               text);
        ok = false;
    }
    net_free(&a->net);
    timing_free(&a->timing);
    if (r->pid_written) {
        bk_log(BK_LOG_NOTICE, "Removing the pid file.");
        unlink(option_text(&a->options, OPTION_PIDFILE));
    }
    if (started) {
        bk_log(BK_LOG_WARNING, "bitkv is now ready to exit, bye bye...");
    }
    return ok;
}

/* What a crash report tells of. Set before threads start; a handler gets no argument. */
static const struct app *crashed;

/* Only what can be read without a lock: whoever crashed may hold any. */
static void dump_state(int fd)
{
    char text[512];
    size_t loops = 0;
    struct exec *const *all = crashed->net != NULL ? net_execs(crashed->net, &loops) : NULL;
    uint64_t commands = 0;
    for (size_t i = 0; all != NULL && i < loops; i++) {
        struct exec_totals t = {0};
        if (all[i] != NULL) { /* there as long as its loop may run */
            exec_totals(all[i], &t);
        }
        commands += t.commands;
    }
    int n = snprintf(
        text, sizeof text,
        "version " BITKV_VERSION ", compiled by " __VERSION__ "\nrun id %s, up %" PRId64
        " s, loops %zu, commands %" PRIu64 ", memory peak %" PRIu64 ", store %s, shutdown %s\n",
        crashed->run_id, (bk_clock_mono_us(&bk_clock_system) - crashed->started_us) / 1000000,
        loops, commands, atomic_load(&crashed->memory.peak),
        app_db(crashed) != NULL ? "open" : "not open",
        atomic_load(&crashed->shutdown_asked) ? "asked for" : "not asked for");
    ssize_t written = write(fd, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
    (void)written; /* nothing is left to do with the error */
}

static bool detach(struct run *r)
{
    const struct options *o = &r->app.options;
    char mode[16];
    r->supervisor = process_supervisor(option_choice(o, OPTION_SUPERVISED, mode, sizeof mode));
    r->app.supervised = r->supervisor == PROCESS_SUPERVISOR_SYSTEMD   ? "systemd"
                        : r->supervisor == PROCESS_SUPERVISOR_UPSTART ? "upstart"
                                                                      : "no";
    /* A supervisor watches the process that it has started: there is nothing to leave then. */
    if (option_bool(o, OPTION_DAEMONIZE) && r->supervisor == PROCESS_SUPERVISOR_NONE) {
        r->detach_fd = process_detach();
        if (r->detach_fd < 0) {
            return system_failed(r, "Could not go to the background");
        }
    }
    memory_background();
    return true;
}

static int run_server(struct conf *conf)
{
    struct run *r = bk_alloc_zero(1, sizeof *r);
    struct app *a = &r->app;
    r->detach_fd = -1;
    r->signal_fd = -1;
    a->wake_fd = -1;
    bk_mutex_init(&a->rewrite_mu, "rewrite", BK_RANK_CONFIG);
    bk_mutex_init(&a->mu, "options", BK_RANK_CONFIG);
    options_copy(&a->options, &conf->options);
    a->conf_file = conf->file != NULL ? strdup(conf->file) : NULL;
    a->started_ms = bk_clock_wall_ms(&bk_clock_system);
    a->loading.started_ms = a->started_ms;
    a->started_us = bk_clock_mono_us(&bk_clock_system);
    make_run_id(a->run_id);
    crashed = a;
    process_crash_report(dump_state);

    bool started =
        detach(r) && setup_log(r, conf) && setup_process(r) && setup_modules(r) && serve(r);
    bool ok = take_down(r, started) && started;

    if (r->signal_fd >= 0) {
        close(r->signal_fd);
    }
    if (a->wake_fd >= 0) {
        close(a->wake_fd);
    }
    options_fini(&a->options);
    bk_mutex_fini(&a->mu);
    bk_mutex_fini(&a->rewrite_mu);
    free(a->conf_file);
    free(a->dir);
    process_crash_report(NULL);
    free(r);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct conf conf;
    struct bk_buf problem = {0};
    int status = EXIT_FAILURE;
    if (bk_stdfds_hold() != 0) {
        fprintf(stderr, "bitkv-server: cannot open /dev/null: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    conf_init(&conf);
    if (!conf_load(&conf, &conf_files_system, argc, argv, environ, &problem)) {
        fwrite(problem.data, 1, problem.len, stderr);
    } else if (conf.action == CONF_HELP) {
        usage_help(stdout);
        status = EXIT_SUCCESS;
    } else if (conf.action == CONF_VERSION) {
        usage_version(stdout);
        status = EXIT_SUCCESS;
    } else {
        status = run_server(&conf);
    }
    bk_buf_fini(&problem);
    conf_fini(&conf);
    return status;
}
