/* SPDX-License-Identifier: MIT */
/* hyperloglog.c - PFADD PFCOUNT PFMERGE, and what Redis has to test them: PFDEBUG PFSELFTEST. */
#include "command/args.h"
#include "command/compose.h"
#include "command/hll.h"
#include "command/notify.h"
#include "command/rows.h"

#include <string.h>

static void reply_corrupt(struct command_ctx *c)
{
    resp_write_error(c->reply, "INVALIDOBJ Corrupted HLL object detected");
}

/* Is what the key holds, if it is there, a HyperLogLog? false: the error is written. */
static bool check_hll(struct command_ctx *c, const struct ks_value *v)
{
    bool ok = !v->exists || (v->type == KS_STRING && hll_valid(v->bytes));
    if (!ok && v->type != KS_STRING) {
        arg_reply_wrong_type(c);
    } else if (!ok) {
        resp_write_error(c->reply, "WRONGTYPE Key is not a valid HyperLogLog string value.");
    }
    return ok;
}

static uint64_t sparse_max(const struct command_ctx *c)
{
    return c->ops->hll_sparse_max_bytes(c->ops->arg);
}

/* The key's HyperLogLog to be changed, or a new one. */
static void open_hll(const struct ks_value *old, struct bk_buf *h)
{
    *h = (struct bk_buf){0};
    if (old->exists) {
        bk_buf_append(h, old->bytes.data, old->bytes.len);
    } else {
        hll_new(h);
    }
}

static void store(struct command_ctx *c, const struct ks_value *old, struct bk_span bytes)
{
    struct compose n;
    compose_begin(c, &n, bytes.len);
    compose_fill(&n, bytes);
    compose_put(c, 0, &n, old->exists ? old->expire_ms : 0);
}

/* ---- PFADD ---- */

/* As in Redis what was added before an element that finds the value corrupt stays added. */
static void pfadd_command(struct command_ctx *c)
{
    struct ks_value old;
    struct bk_buf h;
    enum hll_result result = HLL_SAME;
    ks_get(c->txn, 0, &old);
    if (!check_hll(c, &old)) {
        return;
    }
    bool changed = !old.exists;
    open_hll(&old, &h);
    for (int i = 2; i < c->cmd->argc && result != HLL_CORRUPT; i++) {
        result = hll_add(&h, arg_at(c, i), sparse_max(c));
        changed = changed || result == HLL_CHANGED;
    }
    if (result == HLL_CORRUPT) {
        reply_corrupt(c);
    } else {
        resp_write_int(c->reply, changed ? 1 : 0);
    }
    if (changed) {
        if (result != HLL_CORRUPT) {
            hll_forget(h.data);
        }
        store(c, &old, bk_buf_span(&h));
        if (result != HLL_CORRUPT) {
            command_notify(c, NOTIFY_STRING, "pfadd", ks_key(c->txn, 0));
        }
    }
    bk_buf_fini(&h);
}

/* ---- PFCOUNT and PFMERGE ---- */

/* Merges the HyperLogLogs of all the command's keys. false: the error is written. */
static bool merge_keys(struct command_ctx *c, uint8_t *registers, bool *dense)
{
    bool ok = true;
    *dense = false;
    memset(registers, 0, HLL_REGISTERS);
    for (int i = 1; i < c->cmd->argc && ok; i++) {
        struct ks_value v;
        arg_lookup(c, (size_t)i - 1, &v);
        ok = check_hll(c, &v);
        if (ok && v.exists) {
            *dense = *dense || hll_encoding(v.bytes) == HLL_DENSE;
            ok = hll_merge(v.bytes, registers);
            if (!ok) {
                reply_corrupt(c);
            }
        }
    }
    return ok;
}

static void store_count(struct command_ctx *c, const struct ks_value *v, uint64_t count)
{
    struct compose n;
    compose_begin(c, &n, v->bytes.len);
    compose_fill(&n, v->bytes);
    hll_cache(n.bytes, count);
    compose_put(c, 0, &n, v->expire_ms);
}

static void count_one(struct command_ctx *c)
{
    struct ks_value v;
    uint64_t count = 0;
    arg_lookup(c, 0, &v);
    if (!check_hll(c, &v)) {
        return;
    }
    if (!v.exists || hll_cached(v.bytes, &count)) {
        resp_write_int(c->reply, (int64_t)count);
    } else if (hll_count(v.bytes, &count)) {
        resp_write_int(c->reply, (int64_t)count);
        store_count(c, &v, count);
    } else {
        reply_corrupt(c);
    }
}

static void pfcount_command(struct command_ctx *c)
{
    uint8_t registers[HLL_REGISTERS];
    bool dense;
    if (c->cmd->argc == 2) {
        count_one(c);
    } else if (merge_keys(c, registers, &dense)) {
        resp_write_int(c->reply, (int64_t)hll_count_registers(registers));
    }
}

/* Raises h, the destination, to what was merged. */
static bool raise_all(struct bk_buf *h, const uint8_t *registers, bool dense, uint64_t max)
{
    bool ok = !dense || hll_to_dense(h);
    for (size_t reg = 0; reg < HLL_REGISTERS && ok; reg++) {
        ok = registers[reg] == 0 || hll_raise(h, reg, registers[reg], max) != HLL_CORRUPT;
    }
    return ok;
}

static void pfmerge_command(struct command_ctx *c)
{
    uint8_t registers[HLL_REGISTERS];
    struct ks_value old;
    struct bk_buf h;
    bool dense;
    if (!merge_keys(c, registers, &dense)) {
        return;
    }
    ks_get(c->txn, 0, &old);
    open_hll(&old, &h);
    if (raise_all(&h, registers, dense, sparse_max(c))) {
        hll_forget(h.data);
        store(c, &old, bk_buf_span(&h));
        command_notify(c, NOTIFY_STRING, "pfadd", ks_key(c->txn, 0));
        resp_write_ok(c->reply);
    } else {
        reply_corrupt(c);
    }
    bk_buf_fini(&h);
}

/* ---- Debugging ---- */

static void reply_registers(struct command_ctx *c, struct bk_span dense)
{
    uint8_t registers[HLL_REGISTERS] = {0};
    bool ok = hll_merge(dense, registers);
    resp_write_array(c->reply, ok ? HLL_REGISTERS : 0);
    for (size_t i = 0; ok && i < HLL_REGISTERS; i++) {
        resp_write_int(c->reply, registers[i]);
    }
}

/* GETREG and TODENSE: the key's value becomes a dense one. */
static void pfdebug_dense(struct command_ctx *c, const struct ks_value *v, bool registers)
{
    bool was_sparse = hll_encoding(v->bytes) == HLL_SPARSE;
    struct bk_buf h;
    open_hll(v, &h);
    if (!hll_to_dense(&h)) {
        reply_corrupt(c);
    } else {
        if (registers) {
            reply_registers(c, bk_buf_span(&h));
        } else {
            resp_write_int(c->reply, was_sparse ? 1 : 0);
        }
        if (was_sparse) {
            store(c, v, bk_buf_span(&h));
        }
    }
    bk_buf_fini(&h);
}

static void pfdebug_decode(struct command_ctx *c, struct bk_span s)
{
    struct bk_buf text = {0};
    if (hll_encoding(s) != HLL_SPARSE) {
        resp_write_error(c->reply, "ERR HLL encoding is not sparse");
    } else {
        hll_decode(s, &text);
        resp_write_bulk(c->reply, bk_buf_span(&text));
    }
    bk_buf_fini(&text);
}

static void pfdebug_command(struct command_ctx *c)
{
    struct bk_span sub = arg_at(c, 1);
    struct ks_value v;
    ks_get(c->txn, 0, &v);
    if (!v.exists) {
        resp_write_error(c->reply, "ERR The specified key does not exist");
        return;
    }
    if (!check_hll(c, &v)) {
        return;
    }
    if (arg_is(sub, "getreg") || arg_is(sub, "todense")) {
        pfdebug_dense(c, &v, arg_is(sub, "getreg"));
    } else if (arg_is(sub, "decode")) {
        pfdebug_decode(c, v.bytes);
    } else if (arg_is(sub, "encoding")) {
        resp_write_simple(c->reply, hll_encoding(v.bytes) == HLL_DENSE ? "dense" : "sparse");
    } else {
        resp_write_errorf(c->reply, "ERR Unknown PFDEBUG subcommand '%.*s'", arg_text_len(sub),
                          (const char *)sub.data);
    }
}

static void pfselftest_command(struct command_ctx *c)
{
    struct bk_buf why = {0};
    if (hll_self_test(sparse_max(c), &why)) {
        resp_write_ok(c->reply);
    } else {
        bk_buf_append(&why, "", 1);
        resp_write_error(c->reply, (const char *)why.data);
    }
    bk_buf_fini(&why);
}

/* ---- Rows ---- */

const struct command_row command_rows_hyperloglog[] = {
    {.name = "pfadd",
     .arity = -2,
     .flags = ROW_WRITE_OOM_FAST,
     .categories = CAT_WRITE | CAT_HYPERLOGLOG | CAT_FAST,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = pfadd_command},
    {.name = "pfcount",
     .arity = -2,
     .flags = CMD_READONLY | CMD_MAY_REPLICATE | CMD_CACHES,
     .categories = CAT_READ | CAT_HYPERLOGLOG | CAT_SLOW,
     ROW_ALL_ARGS,
     .need = KS_NEED_VALUE,
     .run = pfcount_command},
    {.name = "pfdebug",
     .arity = 3,
     .flags = ROW_WRITE_OOM | CMD_ADMIN,
     .categories = CAT_WRITE | CAT_HYPERLOGLOG | CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS,
     .first_key = 2,
     .last_key = 2,
     .key_step = 1,
     .need = KS_NEED_VALUE,
     .run = pfdebug_command},
    {.name = "pfmerge",
     .arity = -2,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_WRITE | CAT_HYPERLOGLOG | CAT_SLOW,
     ROW_ALL_ARGS,
     .need = KS_NEED_VALUE,
     .run = pfmerge_command},
    {.name = "pfselftest",
     .arity = 1,
     .flags = CMD_ADMIN | CMD_NO_STORE,
     .categories = CAT_HYPERLOGLOG | CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS,
     .run = pfselftest_command},
    ROW_END,
};
