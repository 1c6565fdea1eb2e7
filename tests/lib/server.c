/* SPDX-License-Identifier: MIT */
/* server.c - see server.h. */
#include "lib/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TEST_SERVER
#define TEST_SERVER "build/bitkv-server"
#endif
#define POLL_MS 5
#define ARGV_MAX (SERVER_OPTIONS_MAX + 24)
#define PATH_SIZE 256
#define STARTS 5 /* a free port may be taken by somebody else before the server binds it */

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

int server_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int port = -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0) {
        port = ntohs(address.sin_port);
    }
    if (fd >= 0) {
        close(fd);
    }
    return port;
}

static const char *host_of(const struct server *s)
{
    return s->host != NULL ? s->host : "127.0.0.1";
}

struct respc *server_connect(const struct server *s)
{
    return respc_connect(host_of(s), s->port);
}

static void path_in(const struct server *s, const char *name, char *out)
{
    tmpdir_join(&s->dir, name, out, PATH_SIZE);
}

/* ---- Starting ---- */

static const char *program_of(const struct server *s)
{
    const char *path = getenv(s->redis ? "REDIS_SERVER" : "BITKV_SERVER");
    if (path != NULL && path[0] != '\0') {
        return path;
    }
    if (!s->redis) {
        return TEST_SERVER;
    }
    /* Debian's redis-tools has the server's program under this name; what it does goes by argv[0].
     */
    return access("/usr/bin/redis-server", X_OK) == 0 ? "/usr/bin/redis-server"
                                                      : "/usr/bin/redis-check-rdb";
}

struct arguments {
    char *argv[ARGV_MAX + 1];
    size_t n;
};

static void add(struct arguments *a, const char *text)
{
    if (a->n < ARGV_MAX) {
        a->argv[a->n] = strdup(text);
        a->n++;
    }
}

static void add_option(struct arguments *a, const char *name, const char *value)
{
    add(a, name);
    add(a, value);
}

static void make_arguments(const struct server *s, struct arguments *a)
{
    char text[PATH_SIZE];
    add(a, s->redis ? "redis-server" : "bitkv-server");
    if (s->conf != NULL) {
        add(a, s->conf);
    }
    snprintf(text, sizeof text, "%d", s->port);
    add_option(a, "--port", text);
    add_option(a, "--bind", host_of(s));
    path_in(s, "data", text);
    mkdir(text, 0750);
    add_option(a, "--dir", text);
    if (s->redis) {
        add_option(a, "--save", "");
        add_option(a, "--appendonly", "no");
        add_option(a, "--enable-debug-command", "yes");
    } else if (s->conf == NULL) {
        add_option(a, "--io-threads", "2"); /* loops beside each other, also on a small machine */
    }
    for (size_t i = 0; i < SERVER_OPTIONS_MAX && s->options[i] != NULL; i++) {
        add(a, s->options[i]);
    }
}

/* In the child. Does not return. */
static void become(const struct server *s, char **argv, pid_t parent)
{
    char log[PATH_SIZE];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126); /* the test ended before it could be told of our end */
    }
    path_in(s, "log", log);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0640);
    int in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(126);
    }
    if (s->fd_limit > 0) {
        struct rlimit limit = {(rlim_t)s->fd_limit, (rlim_t)s->fd_limit};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    execv(program_of(s), argv);
    fprintf(stderr, "%s: %s\n", program_of(s), strerror(errno));
    _exit(127);
}

static bool launch(struct server *s)
{
    struct arguments a = {.n = 0};
    pid_t parent = getpid();
    make_arguments(s, &a);
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        become(s, a.argv, parent);
    }
    for (size_t i = 0; i < a.n; i++) {
        free(a.argv[i]);
    }
    if (s->pid < 0) {
        s->pid = 0;
    }
    return s->pid > 0;
}

/* It answers, be it that a password is wanted or that the disk is full; not while it loads. */
static bool answers(const struct server *s)
{
    struct respc *c = server_connect(s);
    if (c == NULL) {
        return false;
    }
    struct reply *r = respc_command(c, "PING", NULL);
    bool yes = r != NULL && (r->type == '+' || strncmp(r->text, "NOAUTH", 6) == 0 ||
                             strncmp(r->text, "MISCONF", 7) == 0);
    reply_free(&r);
    respc_close(&c);
    return yes;
}

static bool has_ended(struct server *s, int *status)
{
    if (waitpid(s->pid, status, WNOHANG) != s->pid) {
        return false;
    }
    s->pid = 0;
    return true;
}

static bool wait_until_ready(struct server *s)
{
    int status;
    for (long ms = 0; ms < RESPC_PATIENCE_MS; ms += POLL_MS) {
        if (answers(s)) {
            return true;
        }
        if (has_ended(s, &status)) {
            return false;
        }
        pause_ms(POLL_MS);
    }
    return false;
}

bool server_start(struct server *s)
{
    if (s->dir.path[0] == '\0') {
        tmpdir_make(&s->dir, "server");
    }
    for (int i = 0; i < STARTS; i++) {
        s->port = server_free_port();
        if (launch(s) && (s->no_wait || wait_until_ready(s))) {
            return true;
        }
        if (s->pid != 0 || !server_log_has(s, "already in use")) {
            break;
        }
    }
    fprintf(stderr, "the server does not start: %s\n", program_of(s));
    server_show_log(s);
    return false;
}

/* ---- Ending ---- */

static int outcome(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int server_wait(struct server *s)
{
    int status = 0;
    if (s->pid == 0) {
        return -1000;
    }
    for (long ms = 0; ms < RESPC_PATIENCE_MS; ms += POLL_MS) {
        if (has_ended(s, &status)) {
            return outcome(status);
        }
        pause_ms(POLL_MS);
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, &status, 0);
    s->pid = 0;
    return -1000;
}

int server_signal(struct server *s, int sig)
{
    if (s->pid == 0) {
        return -1000;
    }
    kill(s->pid, sig);
    return server_wait(s);
}

int server_stop(struct server *s)
{
    int rc = server_signal(s, SIGTERM);
    if (rc != 0) {
        server_show_log(s);
    }
    return rc;
}

void server_fini(struct server *s)
{
    if (s->pid != 0) {
        server_signal(s, SIGKILL);
    }
    if (s->dir.path[0] != '\0') {
        tmpdir_remove(&s->dir);
    }
}

/* ---- Looking at it ---- */

/* A small file, NUL-terminated; the caller frees. */
static char *read_file(const char *path)
{
    struct bk_buf text = {0};
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? 1 : 0;
    while (n > 0) {
        n = fread(bk_buf_reserve(&text, 4096), 1, 4096, f);
        text.len += n;
    }
    if (f != NULL) {
        fclose(f);
    }
    *bk_buf_reserve(&text, 1) = '\0';
    return (char *)text.data;
}

long server_memory_kib(const struct server *s, const char *field)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    char *text = read_file(path);
    const char *at = strstr(text, field);
    long kib = at != NULL ? strtol(at + strlen(field), NULL, 10) : -1;
    free(text);
    return kib;
}

long server_descriptors(const struct server *s)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->pid);
    DIR *dir = opendir(path);
    long n = -2; /* "." and ".." */
    while (dir != NULL && readdir(dir) != NULL) {
        n++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

struct server_files server_open_files(const struct server *s)
{
    struct server_files n = {0};
    char path[64];
    char link[600];
    char target[512];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->pid);
    DIR *dir = opendir(path);
    for (struct dirent *e = NULL; dir != NULL && (e = readdir(dir)) != NULL;) {
        snprintf(link, sizeof link, "%s/%s", path, e->d_name);
        ssize_t len = readlink(link, target, sizeof target - 1);
        target[len < 0 ? 0 : len] = '\0';
        bool deleted = strstr(target, "(deleted)") != NULL;
        bool data = strstr(target, ".data") != NULL;
        n.deleted += deleted;
        n.data += data && !deleted;
        n.other += len > 0 && !data;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

void server_show_log(const struct server *s)
{
    char path[PATH_SIZE];
    path_in(s, "log", path);
    char *text = read_file(path);
    size_t n = strlen(text);
    fprintf(stderr, "%s\n", text + (n > 4000 ? n - 4000 : 0));
    free(text);
}

bool server_log_has(const struct server *s, const char *text)
{
    char path[PATH_SIZE];
    path_in(s, "log", path);
    char *log = read_file(path);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}
