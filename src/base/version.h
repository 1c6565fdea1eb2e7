/* SPDX-License-Identifier: MIT */
/* version.h - what every program of ours calls itself. */
#ifndef BK_BASE_VERSION_H
#define BK_BASE_VERSION_H

#define BITKV_VERSION "0.1.0"

#endif
