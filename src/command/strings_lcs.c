/* SPDX-License-Identifier: MIT */
/* strings_lcs.c - LCS. */
#include "command/args.h"
#include "command/lcs.h"
#include "command/strings_private.h"

#include <stdlib.h>

struct lcs_options {
    bool len, idx, with_match_len;
    int64_t min_match_len;
};

/* false: the error is written. */
static bool parse_options(struct command_ctx *c, struct lcs_options *o)
{
    bool ok = true;
    *o = (struct lcs_options){0};
    for (int i = 3; i < c->cmd->argc && ok; i++) {
        struct bk_span word = arg_at(c, i);
        if (arg_is(word, "idx")) {
            o->idx = true;
        } else if (arg_is(word, "len")) {
            o->len = true;
        } else if (arg_is(word, "withmatchlen")) {
            o->with_match_len = true;
        } else if (arg_is(word, "minmatchlen") && i + 1 < c->cmd->argc) {
            ok = arg_i64(c, arg_at(c, ++i), &o->min_match_len);
        } else {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
            ok = false;
        }
    }
    if (ok && o->len && o->idx) {
        resp_write_error(c->reply,
                         "ERR If you want both the length and indexes, please just use IDX.");
        ok = false;
    }
    return ok;
}

/* Redis refuses what would take it more memory than the longest string may have. That bounds our
 * time, too. */
static bool check_size(struct command_ctx *c, struct bk_span a, struct bk_span b)
{
    unsigned __int128 table = (unsigned __int128)(a.len + 1) * (b.len + 1) * sizeof(uint32_t);
    bool ok = false;
    if (a.len > LCS_LENGTH_MAX || b.len > LCS_LENGTH_MAX) {
        resp_write_error(c->reply, "ERR String too long for LCS");
    } else if (table > c->ops->proto_max_bulk_len(c->ops->arg)) {
        resp_write_error(c->reply, "ERR Insufficient memory, transient memory for LCS exceeds "
                                   "proto-max-bulk-len");
    } else {
        ok = true;
    }
    return ok;
}

/* The ranges that are long enough, as they come: how many there are stands in front of them. */
struct matches {
    const struct lcs_options *options;
    struct resp_writer *reply; /* NULL: they are only counted */
    uint64_t n;
};

static void each_range(void *arg, const struct lcs_range *range)
{
    struct matches *m = arg;
    int64_t len = (int64_t)range->a_last - range->a_first + 1;
    if (len < m->options->min_match_len) {
        return;
    }
    m->n++;
    if (m->reply != NULL) {
        resp_write_array(m->reply, m->options->with_match_len ? 3 : 2);
        resp_write_array(m->reply, 2);
        resp_write_int(m->reply, range->a_first);
        resp_write_int(m->reply, range->a_last);
        resp_write_array(m->reply, 2);
        resp_write_int(m->reply, range->b_first);
        resp_write_int(m->reply, range->b_last);
        if (m->options->with_match_len) {
            resp_write_int(m->reply, len);
        }
    }
}

static void reply_ranges(struct command_ctx *c, const struct lcs *l, const struct lcs_options *o)
{
    struct matches count = {o, NULL, 0};
    struct matches list = {o, c->reply, 0};
    lcs_ranges(l, each_range, &count);
    resp_write_map(c->reply, 2);
    resp_write_bulk_str(c->reply, "matches");
    resp_write_array(c->reply, count.n);
    lcs_ranges(l, each_range, &list);
    resp_write_bulk_str(c->reply, "len");
    resp_write_int(c->reply, l->len);
}

static void reply_text(struct command_ctx *c, const struct lcs *l)
{
    uint8_t *text = bk_alloc(l->len);
    lcs_text(l, text);
    resp_write_bulk(c->reply, bk_span_of(text, l->len));
    free(text);
}

void strings_lcs(struct command_ctx *c)
{
    struct ks_value a;
    struct ks_value b;
    struct lcs_options o;
    struct lcs l;
    arg_lookup(c, 0, &a);
    arg_lookup(c, 1, &b);
    if ((a.exists && a.type != KS_STRING) || (b.exists && b.type != KS_STRING)) {
        resp_write_error(c->reply, "ERR The specified keys must contain string values");
        return;
    }
    if (!parse_options(c, &o) || !check_size(c, a.bytes, b.bytes)) {
        return;
    }
    if (!lcs_init(&l, a.bytes, b.bytes, o.idx || !o.len)) {
        resp_write_error(c->reply,
                         "ERR Insufficient memory, failed allocating transient memory for LCS");
        return;
    }
    if (o.idx) {
        reply_ranges(c, &l, &o);
    } else if (o.len) {
        resp_write_int(c->reply, l.len);
    } else {
        reply_text(c, &l);
    }
    lcs_fini(&l);
}
