/* SPDX-License-Identifier: MIT */
/* usage.h - what --help and --version print. */
#ifndef BK_APP_USAGE_H
#define BK_APP_USAGE_H

#include <stdio.h>

void usage_help(FILE *f);
void usage_version(FILE *f);

#endif
