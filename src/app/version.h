/* SPDX-License-Identifier: MIT */
/* version.h - what we call ourselves, and the Redis whose behaviour clients may expect. */
#ifndef BK_APP_VERSION_H
#define BK_APP_VERSION_H

#include "base/version.h"

#define BITKV_REDIS_VERSION "7.0.15"

#endif
