/* SPDX-License-Identifier: MIT */
/*
 * log.h - lines for the operator, with Redis's levels. Any thread may call bk_log; a line is
 * written whole. Keys, values and passwords never go to a line above LOG_DEBUG.
 */
#ifndef BK_BASE_LOG_H
#define BK_BASE_LOG_H

enum bk_log_level { BK_LOG_DEBUG, BK_LOG_VERBOSE, BK_LOG_NOTICE, BK_LOG_WARNING, BK_LOG_NOTHING };

/* Where lines go: path "" is stdout. A file that is moved away or removed is made anew, under the
 * name that it had here, for the next line. ident NULL: no syslog. Returns 0, or -1 with errno when
 * path cannot be opened for appending (then what was set before stays). May be called again while
 * threads log. */
int bk_log_setup(const char *path, const char *syslog_ident, int syslog_facility);
/* Lines go to standard error itself from here on: behind what others write to it, whatever it is.
 * Returns 0, or -1 with errno when it is closed (then what was set before stays). */
int bk_log_setup_stderr(void);
void bk_log_set_level(enum bk_log_level level);
enum bk_log_level bk_log_get_level(void);
void bk_log(enum bk_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
