/* SPDX-License-Identifier: MIT */
/* cuts.c - see cuts.h. */
#include "lib/cuts.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORLD_BROKE 77 /* no sanitizer's status, and no number of failed tests */

struct cuts_counts *cuts_counts_new(void)
{
    void *p = mmap(NULL, sizeof(struct cuts_counts), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BK_ASSERT(p != MAP_FAILED);
    return p;
}

static void tell_world(const struct cuts *c)
{
    fprintf(stderr, "  %s, seed %llu", c->name, (unsigned long long)c->r->seed);
    for (unsigned i = 0; i < c->depth; i++) {
        fprintf(stderr, "%s %s in call %llu", i == 0 ? ":" : ", then", c->fate[i]->name,
                (unsigned long long)c->at[i]);
    }
    fprintf(stderr, "\n");
}

void cuts_done(const struct cuts *c)
{
    BK_ASSERT(c->depth > 0);
    _exit(0);
}

void cuts_broken(const struct cuts *c, const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, c->r->why);
    tell_world(c);
    if (c->depth > 0) {
        _exit(WORLD_BROKE); /* counted by the world that this one came from */
    }
    c->counts->broken++;
}

/* Only cuts_done ends a world well: a sanitizer or a failed assertion of the test's ends it by a
 * status of its own, not by a signal. */
static void judge_world(const struct cuts *c, const struct cuts_fate *fate, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return;
    }
    c->counts->broken++;
    if (WIFEXITED(status) && WEXITSTATUS(status) == WORLD_BROKE) {
        return; /* it has told of itself */
    }
    bool signal = WIFSIGNALED(status);
    fprintf(stderr, "a world ended by %s %d: %s in call %llu after\n",
            signal ? "signal" : "exit status", signal ? WTERMSIG(status) : WEXITSTATUS(status),
            fate->name, (unsigned long long)c->now);
    tell_world(c);
}

/* A world begins: true in it, false in the one that it came from, when it is over. */
static bool begin_world(struct cuts *c, const struct cuts_fate *fate)
{
    fflush(NULL);
    pid_t pid = fork();
    BK_ASSERT(pid >= 0);
    if (pid == 0) {
        c->fate[c->depth] = fate;
        c->at[c->depth] = c->now;
        c->depth++;
        c->left = fate->times;
        return true;
    }
    int status = 0;
    pid_t ended = waitpid(pid, &status, 0);
    BK_ASSERT(ended == pid);
    judge_world(c, fate, status);
    return false;
}

static void count_world(struct cuts *c, unsigned fate)
{
    BK_ASSERT(fate < CUTS_FATES);
    if (c->depth > 0) {
        c->counts->second++;
        return;
    }
    c->counts->points++;
    c->counts->of_fate[fate]++;
}

/* One for each fate that this call can meet. True: in one of them. */
static bool begin_worlds(struct cuts *c, unsigned call)
{
    bool in = false;
    for (unsigned i = 0; i < c->fates_n && !in; i++) {
        if ((c->fates[i].mask & call) != 0 && (c->now + c->r->seed) % c->fates[i].every == 0) {
            count_world(c, i);
            in = begin_world(c, &c->fates[i]);
        }
    }
    return in;
}

/* Of a scenario's calls every so many; of a recovery's as many, but other ones in each world. */
static bool due(const struct cuts *c, unsigned every)
{
    uint64_t mixed = c->depth == 0 ? 0 : c->at[0] * 104729 + c->now * 7918 + c->r->seed * 30;
    return c->depth < CUTS_DEPTH && every > 0 && (c->now + c->r->seed + mixed) % every == 0;
}

static int at_call(void *arg, enum simdisk_call call)
{
    struct cuts *c = arg;
    bool first = c->depth == 0;
    c->now++;
    if (c->left > 0) { /* something is going wrong already */
        bool meets = (c->fate[c->depth - 1]->mask & (unsigned)call) != 0;
        c->left -= meets ? 1 : 0;
        return meets ? c->fate[c->depth - 1]->told : 0;
    }
    unsigned every = first ? c->stride : c->second;
    c->counts->calls += first ? 1 : 0;
    if (!due(c, every)) {
        return 0;
    }
    if (begin_worlds(c, (unsigned)call)) {
        c->left--;
        return c->fate[c->depth - 1]->told;
    }
    return 0;
}

void cuts_watch(struct cuts *c)
{
    c->now = 0;
    simdisk_ask(c->r->disk, at_call, c);
}

bool cuts_rest(struct cuts *c)
{
    simdisk_ask(c->r->disk, NULL, NULL);
    unsigned every = c->depth == 0 ? c->stride : c->second;
    bool ends = c->fates[0].told == SIMDISK_ENDS;
    c->now++;
    if (ends && due(c, every) && !simdisk_dead(c->r->disk)) {
        c->left = begin_worlds(c, SIMDISK_ANY) ? 0 : c->left;
    }
    return c->depth > 0;
}

void cuts_end_life(struct cuts *c)
{
    const struct cuts_fate *fate = c->fate[c->depth - 1];
    simdisk_reseed(c->r->disk,
                   c->r->seed * 1000003 + c->at[0] * 8191 + c->at[1] * 31 + (uint64_t)fate->kind);
    rig_crash(c->r, fate->kind);
}
