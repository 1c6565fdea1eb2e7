/* SPDX-License-Identifier: MIT */
/* option_check.h - what single options allow beyond their kind; named by the rows. Reasons are
 * Redis's. */
#ifndef BK_APP_OPTION_CHECK_H
#define BK_APP_OPTION_CHECK_H

#include "app/option.h"

bool option_check_dir(struct bk_span value, struct bk_buf *why);
bool option_check_window(struct bk_span value, struct bk_buf *why);
bool option_check_hostname(struct bk_span value, struct bk_buf *why);
bool option_check_dbfilename(struct bk_span value, struct bk_buf *why);
bool option_check_appendfilename(struct bk_span value, struct bk_buf *why);
bool option_check_appenddirname(struct bk_span value, struct bk_buf *why);
bool option_check_proc_title(struct bk_span value, struct bk_buf *why);

extern const struct option_list option_list_bind;
extern const struct option_list option_list_output_limits;
extern const struct option_list option_list_save;
extern const struct option_list option_list_oom;
extern const struct option_list option_list_notify;
extern const struct option_list option_list_replicaof;
extern const struct option_list option_list_shutdown;
extern const struct option_list option_list_percentiles;

#endif
