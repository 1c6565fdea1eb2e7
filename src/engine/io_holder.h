/* SPDX-License-Identifier: MIT */
/* io_holder.h - which process holds a lock. */
#ifndef BK_ENGINE_IO_HOLDER_H
#define BK_ENGINE_IO_HOLDER_H

/* The pid of a process with an open file description lock on the file of fd: of several readers
 * one. 0: none was found. Holders of other users show only to root, those of other machines and pid
 * namespaces to nobody here. */
long bki_io_holder(int fd);

#endif
