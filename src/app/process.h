/* SPDX-License-Identifier: MIT */
/* process.h - the server as a process: limits, going to the background, supervisors, signals, the
 * last words. */
#ifndef BK_APP_PROCESS_H
#define BK_APP_PROCESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Raises the limit of open files to what clients, the data files under dir and the server itself
 * need. Returns how many clients fit: clients, or less, 0 for none at all. The directory may be
 * missing. */
uint64_t process_raise_files(uint64_t clients, const char *dir);

/* ---- Background ---- */

/* Forks; the parent waits until the child says how its start went, and exits with 0 or 1. In the
 * child: returns the end of the pipe for process_detached. -1 with errno. */
int process_detach(void);
/* The start went well: stdin and stdout go to /dev/null, stderr (crash reports) to the log file, if
 * there is one; the parent exits with 0. */
void process_detached(int pipe_fd, const char *logfile);

/* ---- Supervisors ---- */

enum process_supervisor {
    PROCESS_SUPERVISOR_NONE,
    PROCESS_SUPERVISOR_SYSTEMD,
    PROCESS_SUPERVISOR_UPSTART
};
/* mode: "no", "systemd", "upstart" or "auto". Logs what is missing. */
enum process_supervisor process_supervisor(const char *mode);
/* Tells systemd a state ("READY=1\n..."); upstart is stopped-and-continued on ready. Others:
 * nothing. */
void process_notify(enum process_supervisor s, const char *state);

/* ---- Files ---- */

bool process_write_pid(const char *path); /* logs the reason on failure */

/* ---- Signals ---- */

/* SIGPIPE and SIGHUP are ignored; SIGTERM and SIGINT blocked in this and every later thread and
 * read from the returned signalfd. Before any thread. -1 with errno. */
int process_signals(void);
/* The shutdown has begun: as in Redis a SIGINT from now on ends the process at once, since somebody
 * insists; a SIGTERM has no effect. */
void process_signals_insist(void);
/* Crashes and failed assertions leave a report on the log. */
void process_crash_report(void (*dump)(int fd));

#endif
