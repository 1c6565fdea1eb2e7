/* SPDX-License-Identifier: MIT */
/* memory.c - figures of the allocator and of /proc. */
#include "app/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Weak, so that a program without jemalloc links as well. */
extern int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
    __attribute__((weak));

extern void malloc_stats_print(void (*write)(void *arg, const char *text), void *arg,
                               const char *options) __attribute__((weak));

/* jemalloc's name for all arenas together. */
#define PURGE_ALL "arena.4096.purge"

static bool control(const char *name, void *out, size_t len)
{
    return mallctl != NULL && mallctl(name, out, &len, NULL, 0) == 0;
}

/* Sanitizers bring an allocator of their own; then jemalloc may be linked, and has nothing to tell.
 */
static bool jemalloc_figures(struct memory_figures *out)
{
    uint64_t epoch = 1;
    size_t len = sizeof epoch;
    size_t allocated = 0;
    size_t active = 0;
    size_t metadata = 0;
    size_t resident = 0;
    if (mallctl == NULL || mallctl("epoch", &epoch, &len, &epoch, sizeof epoch) != 0 ||
        !control("stats.allocated", &allocated, sizeof allocated) ||
        !control("stats.active", &active, sizeof active) ||
        !control("stats.metadata", &metadata, sizeof metadata) ||
        !control("stats.resident", &resident, sizeof resident) || allocated == 0) {
        return false;
    }
    *out = (struct memory_figures){allocated, active, metadata, resident};
    return true;
}

void memory_figures(struct memory_figures *out)
{
    if (jemalloc_figures(out)) {
        return;
    }
    struct mallinfo2 m = mallinfo2();
    uint64_t used = (uint64_t)m.uordblks + (uint64_t)m.hblkhd;
    if (used ==
        0) { /* an allocator that tells nothing (sanitizers): what the process holds in all */
        used = memory_rss();
    }
    *out = (struct memory_figures){used, used, 0, (uint64_t)m.arena + (uint64_t)m.hblkhd};
}

#define HIGH_FORGETS 65536u /* samples, a hundred or ten of them a second */

uint64_t memory_counted(struct memory_slack *s, const struct memory_figures *f)
{
    uint64_t held = f->active + f->metadata;
    uint64_t slack = held > f->allocated ? held - f->allocated : 0;
    uint64_t grown = held > s->high ? held - s->high : 0;
    s->high = grown > 0 ? held : s->high - (s->high - held) / HIGH_FORGETS;
    s->bytes = slack < s->bytes + grown ? slack : s->bytes + grown;
    return f->allocated + s->bytes;
}

void memory_background(void)
{
    bool on = true;
    if (mallctl != NULL) {
        /* Where it cannot be had the pages come back later, with the next use of the allocator. */
        int rc = mallctl("background_thread", NULL, NULL, &on, sizeof on);
        (void)rc;
    }
}

bool memory_purge(void)
{
    struct memory_figures m;
    if (!jemalloc_figures(&m)) {
        return malloc_trim(0) >= 0; /* 0: there was nothing to give back */
    }
    return mallctl(PURGE_ALL, NULL, NULL, NULL, 0) == 0;
}

static void append_text(void *arg, const char *text)
{
    bk_buf_append(arg, text, strlen(text));
}

bool memory_report(struct bk_buf *out)
{
    struct memory_figures m;
    bool there = malloc_stats_print != NULL && jemalloc_figures(&m);
    if (there) {
        malloc_stats_print(append_text, out, NULL);
    }
    return there;
}

uint64_t memory_rss(void)
{
    char text[128];
    uint64_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n > 0) {
        text[n] = '\0';
        const char *second = strchr(text, ' ');
        pages = second != NULL ? strtoull(second, NULL, 10) : 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t memory_system_total(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *memory_allocator(char *buf, unsigned long size)
{
    const char *version = NULL;
    if (!control("version", &version, sizeof version) || version == NULL) {
        return "libc";
    }
    snprintf(buf, size, "jemalloc-%.*s", (int)strcspn(version, "-"), version);
    return buf;
}
