/* SPDX-License-Identifier: MIT */
/*
 * fuzz_resp_parse.c - any bytes, cut anywhere, give the same commands and the same error; the
 * reader's memory stays within a multiple of what has arrived. The first 4 bytes choose limits and
 * cuts.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "resp/reader.h"

#include "lib/rng.h"

#include <stdlib.h>

#define HEAD 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum cuts { CUTS_NONE, CUTS_BYTES, CUTS_RANDOM, CUTS_SPARE, CUTS_KINDS };

/* One way of receiving the input. */
struct run {
    enum cuts cuts;
    struct rng rng;
    struct resp_limits limits;
    struct resp_reader *r;
    struct resp_command c;
    struct resp_spare spare; /* CUTS_SPARE: the buffer is lent for each read */
    struct bk_buf out;       /* all commands, with lengths; then the error */
};

static void note(struct bk_buf *out, uint64_t n)
{
    bk_put64(bk_buf_reserve(out, 8), n);
    out->len += 8;
}

static void note_command(struct run *run)
{
    note(&run->out, (uint64_t)run->c.argc);
    note(&run->out, run->c.wire_bytes);
    for (int i = 0; i < run->c.argc; i++) {
        const struct resp_arg *arg = &run->c.argv[i];
        BK_ASSERT(arg->block == NULL || arg->bytes.len >= RESP_BIG_ARG);
        note(&run->out, arg->bytes.len);
        bk_buf_append(&run->out, arg->bytes.data, arg->bytes.len);
    }
}

static enum resp_status drain(struct run *run)
{
    const char *error = NULL;
    enum resp_status status;
    while ((status = resp_reader_next(run->r, &run->limits, &run->c, &error)) == RESP_COMMAND) {
        note_command(run);
    }
    if (status == RESP_BAD) {
        bk_buf_printf(&run->out, "!%s", error);
    }
    BK_ASSERT(run->c.argc == 0);
    size_t bound = 300000 + 12 * resp_reader_pending(run->r);
    BK_ASSERT(resp_reader_memory(run->r) <= bound);
    return status;
}

/* Long inputs are cut into larger pieces, so that they cost no more reads than short ones. */
static size_t piece(struct run *run, size_t left, size_t size)
{
    size_t least = 1 + size / 512;
    switch (run->cuts) {
    case CUTS_NONE:
        return left;
    case CUTS_BYTES:
        return least;
    default:
        return least + rng_below(&run->rng, rng_percent(&run->rng, 70) ? 9 : left);
    }
}

static void receive_all(struct run *run, const uint8_t *data, size_t size)
{
    run->r = resp_reader_new();
    size_t at = 0;
    enum resp_status status = RESP_MORE;
    while (at < size && status == RESP_MORE) {
        size_t room;
        if (run->cuts == CUTS_SPARE) {
            resp_reader_borrow(run->r, &run->spare);
        }
        uint8_t *p = resp_reader_space(run->r, &room);
        size_t want = piece(run, size - at, size);
        size_t n = want < room ? want : room;
        n = n < size - at ? n : size - at;
        memcpy(p, data + at, n);
        resp_reader_filled(run->r, n);
        at += n;
        if (run->cuts == CUTS_SPARE && resp_reader_can_step_aside(run->r) &&
            rng_percent(&run->rng, 50)) {
            resp_reader_step_aside(run->r, &run->spare);
        }
        status = drain(run);
        if (run->cuts == CUTS_RANDOM && rng_percent(&run->rng, 10)) {
            resp_reader_trim(run->r);
        } else if (run->cuts == CUTS_SPARE) {
            resp_reader_give_back(run->r, &run->spare);
        }
    }
    /* What no command and no error has taken is still there. */
    if (status == RESP_MORE) {
        note(&run->out, resp_reader_pending(run->r));
    }
    resp_spare_fini(&run->spare);
    resp_command_fini(&run->c);
    resp_reader_free(&run->r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD) {
        return 0;
    }
    struct bk_buf first = {0};
    for (enum cuts cuts = CUTS_NONE; cuts < CUTS_KINDS; cuts++) {
        struct run run = {.cuts = cuts, .rng = {bk_get32(data)}};
        run.limits.authenticated = (data[0] & 1) == 0;
        run.limits.query_max = (data[0] & 2) == 0 ? UINT64_MAX : 4096;
        run.limits.bulk_max = (data[0] & 4) == 0 ? 512u << 20 : 1u << data[1] % 24;
        receive_all(&run, data + HEAD, size - HEAD);
        if (cuts == CUTS_NONE) {
            first = run.out;
        } else {
            /* Which of two errors comes first may depend on the cuts only where the query limit is
             * one of them. */
            BK_ASSERT((data[0] & 2) != 0 || bk_span_eq(bk_buf_span(&first), bk_buf_span(&run.out)));
            bk_buf_fini(&run.out);
        }
    }
    bk_buf_fini(&first);
    return 0;
}
