/* SPDX-License-Identifier: MIT */
/* version.h - what we call ourselves, and the Redis whose behaviour clients may expect. */
#ifndef BK_APP_VERSION_H
#define BK_APP_VERSION_H

#define BITKV_VERSION "0.1.0"
#define BITKV_REDIS_VERSION "7.0.15"

#endif
