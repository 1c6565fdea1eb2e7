/* SPDX-License-Identifier: MIT */
/* process.c - limits, background, supervisors, pid file. Signals: process_signal.c. */
#include "app/process.h"

#include "base/log.h"
#include "base/nofile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Descriptors beside clients and the data files that exist now: loops, listeners, logs, a few new
 * files. */
#define FILES_RESERVED 64u
/* Data files that may still come, if the system allows so many. */
#define FILES_TO_COME 4096u

/* ---- Limits ---- */

static uint64_t files_in(const char *dir)
{
    uint64_t n = 0;
    DIR *d = opendir(dir);
    while (d != NULL && readdir(d) != NULL) {
        n++;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

uint64_t process_raise_files(uint64_t clients, const char *dir)
{
    uint64_t others = FILES_RESERVED + files_in(dir);
    uint64_t files = bk_nofile_raise(clients + others + FILES_TO_COME);
    if (files == 0) {
        bk_log(BK_LOG_WARNING, "Unable to obtain the current NOFILE limit (%s)", strerror(errno));
        return clients;
    }
    uint64_t possible = files > others ? files - others : 0;
    return possible < clients ? possible : clients;
}

/* ---- Background ---- */

/* The parent's part: the child writes one byte when it is ready; if it ends before, the pipe
 * closes. */
_Noreturn static void wait_for_child(int fd)
{
    char byte = 0;
    ssize_t n = 0;
    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

int process_detach(void)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -1;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(fds[0]);
    }
    close(fds[0]);
    setsid();
    return fds[1];
}

static void redirect(const char *path, int flags, int fd)
{
    int file = open(path, flags | O_CLOEXEC);
    if (file >= 0 && file != fd) {
        dup2(file, fd);
        close(file);
    }
}

void process_detached(int pipe_fd, const char *logfile)
{
    redirect("/dev/null", O_RDONLY, STDIN_FILENO);
    redirect("/dev/null", O_WRONLY, STDOUT_FILENO);
    redirect(logfile[0] != '\0' ? logfile : "/dev/null", O_WRONLY | O_APPEND, STDERR_FILENO);
    ssize_t n = write(pipe_fd, "k", 1);
    (void)n; /* the parent may have been killed: nobody is left to tell */
    close(pipe_fd);
}

/* ---- Supervisors ---- */

enum process_supervisor process_supervisor(const char *mode)
{
    bool any = strcmp(mode, "auto") == 0;
    bool systemd = any || strcmp(mode, "systemd") == 0;
    bool upstart = any || strcmp(mode, "upstart") == 0;
    if (upstart && getenv("UPSTART_JOB") != NULL) {
        return PROCESS_SUPERVISOR_UPSTART;
    }
    if (systemd && getenv("NOTIFY_SOCKET") != NULL) {
        return PROCESS_SUPERVISOR_SYSTEMD;
    }
    if (upstart && !any) {
        bk_log(BK_LOG_WARNING, "upstart supervision requested, but UPSTART_JOB not found!");
    }
    if (systemd && !any) {
        bk_log(BK_LOG_WARNING, "systemd supervision requested, but NOTIFY_SOCKET not found!");
    }
    return PROCESS_SUPERVISOR_NONE;
}

/* sd_notify's protocol: one datagram to the socket that the environment names; '@' stands for an
 * abstract one. */
static void notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = path != NULL ? strlen(path) : 0;
    if (len < 2 || len >= sizeof addr.sun_path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(addr.sun_path, path, len);
    if (path[0] == '@') {
        addr.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (fd < 0 ||
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, addr_len) < 0) {
        bk_log(BK_LOG_WARNING, "Can't send notification to systemd: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

void process_notify(enum process_supervisor s, const char *state)
{
    if (s == PROCESS_SUPERVISOR_SYSTEMD) {
        notify_systemd(state);
    } else if (s == PROCESS_SUPERVISOR_UPSTART && strncmp(state, "READY=1", 7) == 0) {
        /* "expect stop": upstart waits for the job to stop itself, and continues it. */
        unsetenv("UPSTART_JOB");
        raise(SIGSTOP);
    }
}

/* ---- Files ---- */

bool process_write_pid(const char *path)
{
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fprintf(f, "%ld\n", (long)getpid()) > 0;
    if (f != NULL) {
        ok = fclose(f) == 0 && ok;
    }
    if (!ok) {
        bk_log(BK_LOG_WARNING, "Failed to write PID file: %s", strerror(errno));
    }
    return ok;
}
