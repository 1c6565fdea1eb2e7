/* SPDX-License-Identifier: MIT */
/* process_signal.c - signals: those that ask for an end, and those that are the end. */
#include "app/process.h"

#include "app/version.h"
#include "base/assert.h"
#include "base/error.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define FRAMES_MAX 64

/* The one global of app/: handlers get no argument. Set once before threads start. */
static void (*crash_dump)(int fd);

static void end_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

int process_signals(void)
{
    sigset_t set;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    end_signals(&set);
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (rc != 0) {
        errno = rc;
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* nothing is left to do with the error */
}

static void insist(int sig)
{
    (void)sig;
    say("You insist... exiting now.\n");
    _exit(1);
}

void process_signals_insist(void)
{
    sigset_t set;
    struct sigaction act = {.sa_handler = insist};
    struct timespec now = {0};
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    /* What came together with the first signal does not insist. */
    bk_ignore(sigtimedwait(&set, NULL, &now), "none has come, or it is gone now");
    sigaction(SIGINT, &act, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- Crashes ---- */

static void report(void)
{
    void *frames[FRAMES_MAX];
    say("=== bitkv " BITKV_VERSION " crash report: begin ===\n");
    if (crash_dump != NULL) {
        crash_dump(STDERR_FILENO);
    }
    say("backtrace:\n");
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    say("=== bitkv crash report: end ===\n");
}

static void on_crash(int sig)
{
    const char *name = sigabbrev_np(sig);
    say("bitkv crashed by signal SIG");
    say(name != NULL ? name : "?");
    say("\n");
    report();
    /* The handler is for once (SA_RESETHAND): now the system does what it does by itself, core file
     * included. */
    raise(sig);
}

void process_crash_report(void (*dump)(int fd))
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    void *frame[1];
    crash_dump = dump;
    bk_assert_set_hook(report);
    backtrace(frame, 1); /* loads what it needs now: in a handler it must not allocate */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction old;
        struct sigaction act = {.sa_handler = on_crash,
                                .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
        /* A sanitizer has its own report. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            sigaction(signals[i], &act, NULL);
        }
    }
}
