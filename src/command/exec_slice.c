/* SPDX-License-Identifier: MIT */
/*
 * exec_slice.c - what a command that is not done leaves behind until it is run on: its own state
 * between slices, and the reads that it waits for.
 *
 * A command whose values are being read has done nothing: it begins again, and finds no slice then,
 * as on its first call. What was read lies with the executor while the command runs, because its
 * transaction borrows the bytes, and is freed when that is over.
 */
#include "command/exec_private.h"

#include "base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>

void exec_slice_free(struct exec_slice **s)
{
    if (*s != NULL) {
        ks_reads_free(&(*s)->reads);
        bk_buf_fini(&(*s)->replies);
        if ((*s)->work != NULL) {
            (*s)->work_free((*s)->work);
        }
        free(*s);
        *s = NULL;
    }
}

int64_t exec_slice_until_ms(const struct exec_slice *s)
{
    return s != NULL && s->parked ? s->until_ms : 0;
}

static struct exec_slice *make_slice(struct exec_slice **slice)
{
    if (*slice == NULL) {
        *slice = bk_alloc_zero(1, sizeof(**slice));
    }
    return *slice;
}

struct exec_slice *exec_slice_of(struct command_ctx *c)
{
    return make_slice(c->exec->slice);
}

/* ---- Reads ---- */

struct bk_reads *exec_take_reads(struct exec_slice **slice, int64_t *took_us)
{
    struct bk_reads *reads = NULL;
    if (*slice != NULL) {
        reads = (*slice)->reads;
        *took_us = (*slice)->took_us;
        (*slice)->reads = NULL;
        (*slice)->more = false;
        (*slice)->parked = false;
        if (!(*slice)->begun) {
            exec_slice_free(slice);
        }
    }
    return reads;
}

void exec_keep_reads(struct exec *e, struct exec_slice **slice, bool waits, int64_t took_us)
{
    if (waits) {
        struct exec_slice *s = make_slice(slice);
        s->reads = e->reads;
        s->took_us = took_us;
        e->reads = NULL;
    } else if (e->reads != NULL) {
        ks_reads_free(&e->reads);
    }
}

/* Asked before a later run's position hides the earlier ones: undoing takes all that is not
 * committed, so the highest stands for them. */
static void depend(struct exec *e, struct exec_slice *s, uint64_t *pos)
{
    s->undone = s->undone || (s->pos != 0 && ks_undone(e->ks, s->pos));
    if (s->undone || *pos < s->pos) {
        *pos = s->pos;
    }
    s->pos = *pos;
}

bool exec_goes_on(struct exec *e, struct exec_slice **slice, uint64_t *pos)
{
    bool more = *slice != NULL && (*slice)->more;
    if (*slice != NULL && (more || (*slice)->begun)) {
        depend(e, *slice, pos);
    }
    if (more) {
        (*slice)->begun = true;
    } else {
        exec_slice_free(slice);
    }
    return more;
}

uint64_t exec_run_unlocked(struct exec_run *r)
{
    struct command_ctx *c = &r->ctx;
    for (;;) { /* each further turn is another failure of the disk */
        uint64_t undoings = ks_undoings(c->ks);
        c->row->run(c);
        atomic_thread_fence(memory_order_acquire); /* the index is read before the tail */
        uint64_t tail = ks_tail(c->ks);
        if (ks_undoings(c->ks) == undoings) {
            return tail;
        }
        exec_cut_reply(r);
        exec_slice_free(c->exec->slice);
    }
}

void exec_wake_by(struct exec *e, void (*wake)(void *arg), void *arg)
{
    BK_ASSERT(e->txn == NULL);
    e->wake = wake;
    e->wake_arg = arg;
}

void exec_submit_reads(struct exec *e)
{
    if (e->reader != NULL) {
        ks_reader_submit(e->reader);
    }
}

struct session *exec_read_next(struct exec *e)
{
    void *owner = NULL;
    return e->reader != NULL && ks_reader_next(e->reader, &owner) ? owner : NULL;
}
