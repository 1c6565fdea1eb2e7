/* SPDX-License-Identifier: MIT */
/* log.c - one write per line ("pid:M dd Mon yyyy hh:mm:ss.mmm * text"), so that lines of threads
 * never mix. */
#include "base/log.h"

#include "base/clock.h"
#include "base/mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

/* Guarded by log_mu, except level. A plain pthread mutex: the wrapper's own asserts may want to
 * log. */
static struct bk_mutex log_mu = {PTHREAD_MUTEX_INITIALIZER, "log", BK_RANK_STATS + 1};
static int log_fd = STDOUT_FILENO;
static char *log_path; /* owned; of log_fd if that is a file of a name; else NULL */
static int use_syslog;
/* A program that only links the engine hears of damage, not of every start; the server sets its own
 * level. */
static atomic_int level_min = BK_LOG_WARNING;

/* Takes fd, and path if that is not NULL. */
static void use(int fd, char *path, const char *syslog_ident, int syslog_facility)
{
    bk_mutex_lock(&log_mu);
    int old = log_fd;
    log_fd = fd;
    free(log_path);
    log_path = path;
    if (use_syslog) {
        closelog();
    }
    use_syslog = syslog_ident != NULL;
    if (use_syslog) {
        openlog(syslog_ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT, syslog_facility);
    }
    bk_mutex_unlock(&log_mu);
    if (old != STDOUT_FILENO) {
        close(old);
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

int bk_log_setup(const char *path, const char *syslog_ident, int syslog_facility)
{
    int fd = STDOUT_FILENO;
    char *name = NULL;
    if (path[0] != '\0') {
        struct stat is;
        fd = open_file(path);
        if (fd < 0) {
            return -1;
        }
        if (fstat(fd, &is) == 0 && S_ISREG(is.st_mode)) {
            name = realpath(path, NULL); /* NULL: then nothing is followed */
        }
    }
    use(fd, name, syslog_ident, syslog_facility);
    return 0;
}

/* Whoever rotates logs moves the file away, and expects the next line in a new one of its name.
 * With log_mu held. */
static void follow_name(void)
{
    struct stat is;
    struct stat named;
    if (log_path == NULL || fstat(log_fd, &is) != 0 ||
        (stat(log_path, &named) == 0 && named.st_dev == is.st_dev && named.st_ino == is.st_ino)) {
        return;
    }
    int fd = open_file(log_path);
    if (fd >= 0) {
        close(log_fd);
        log_fd = fd;
    }
}

/* Opened by a name it would have an offset of its own, and a socket could not be opened at all. */
int bk_log_setup_stderr(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0) {
        return -1;
    }
    use(fd, NULL, NULL, 0);
    return 0;
}

void bk_log_set_level(enum bk_log_level level)
{
    atomic_store_explicit(&level_min, level, memory_order_relaxed);
}

enum bk_log_level bk_log_get_level(void)
{
    return (enum bk_log_level)atomic_load_explicit(&level_min, memory_order_relaxed);
}

static int format_prefix(char *line, size_t size, enum bk_log_level level)
{
    int64_t now_ms = bk_clock_wall_ms(&bk_clock_system);
    time_t secs = (time_t)(now_ms / 1000);
    struct tm tm;
    localtime_r(&secs, &tm);
    char when[32];
    strftime(when, sizeof when, "%d %b %Y %H:%M:%S", &tm);
    return snprintf(line, size, "%d:M %s.%03d %c ", (int)getpid(), when, (int)(now_ms % 1000),
                    ".-*#"[level]);
}

void bk_log(enum bk_log_level level, const char *fmt, ...)
{
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING};
    if (level >= BK_LOG_NOTHING || level < bk_log_get_level()) {
        return;
    }
    char line[LINE_MAX_BYTES];
    int prefix = format_prefix(line, sizeof line, level);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + prefix, sizeof line - (size_t)prefix - 1, fmt, ap);
    va_end(ap);
    size_t n = strlen(line);

    bk_mutex_lock(&log_mu);
    if (use_syslog) {
        syslog(priorities[level], "%s", line + prefix);
    }
    line[n++] = '\n';
    follow_name();
    /* A log that cannot be written must not stop the server: nothing sensible is left to do with
     * the error. */
    ssize_t written = write(log_fd, line, n);
    (void)written;
    bk_mutex_unlock(&log_mu);
}
