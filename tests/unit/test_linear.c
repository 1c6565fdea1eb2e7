/* SPDX-License-Identifier: MIT */
/*
 * test_linear.c - the linearizability checker itself: small histories whose verdict a reader can
 * see, and long ones from a simulated store, right and with faults built in.
 */
#include "lib/linear.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NIL LIN_ABSENT
#define STEPS_MAX 4000000u

static struct lin_op read1(unsigned client, unsigned key, int64_t v, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_READ, 1, {(uint8_t)key}, {v}, call, ret};
}

static struct lin_op read2(unsigned client, int64_t v0, int64_t v1, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_READ, 2, {0, 1}, {v0, v1}, call, ret};
}

static struct lin_op write1(unsigned client, unsigned key, int64_t v, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_WRITE, 1, {(uint8_t)key}, {v}, call, ret};
}

static struct lin_op write2(unsigned client, int64_t v0, int64_t v1, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_WRITE, 2, {0, 1}, {v0, v1}, call, ret};
}

static struct lin_op incr(unsigned client, unsigned key, int64_t v, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_INCR, 1, {(uint8_t)key}, {v}, call, ret};
}

static struct lin_op del(unsigned client, unsigned key, int64_t found, uint64_t call, uint64_t ret)
{
    return (struct lin_op){(uint8_t)client, LIN_DEL, 1, {(uint8_t)key}, {found}, call, ret};
}

static struct lin_op rename_op(unsigned client, unsigned from, unsigned to, int64_t ok,
                               uint64_t call, uint64_t ret)
{
    return (struct lin_op){
        (uint8_t)client, LIN_RENAME, 2, {(uint8_t)from, (uint8_t)to}, {ok}, call, ret};
}

static void expect(enum lin_verdict wanted, const struct lin_op *ops, size_t n)
{
    struct lin_report report;
    enum lin_verdict got = lin_check(ops, n, STEPS_MAX, &report);

    if (got != wanted) {
        print_error("%s after %llu steps: %s\n", lin_verdict_name(got),
                    (unsigned long long)report.steps, report.text);
    }
    assert_int_equal(got, wanted);
}

#define EXPECT(wanted, ...)                                   \
    do {                                                      \
        const struct lin_op ops_[] = {__VA_ARGS__};           \
        expect(wanted, ops_, sizeof(ops_) / sizeof(ops_[0])); \
    } while (0)

static void test_linear__empty_and_one_client__good(void **state)
{
    (void)state;
    expect(LIN_GOOD, NULL, 0);
    EXPECT(LIN_GOOD, read1(0, 0, NIL, 1, 2), write1(0, 0, 7, 3, 4), read1(0, 0, 7, 5, 6),
           incr(0, 0, 8, 7, 8), rename_op(0, 0, 1, 1, 9, 10), read2(0, NIL, 8, 11, 12),
           del(0, 1, 1, 13, 14), del(0, 1, 0, 15, 16), rename_op(0, 1, 0, 0, 17, 18),
           incr(0, 1, 1, 19, 20));
}

static void test_linear__wrong_reply_to_one_client__bad(void **state)
{
    (void)state;
    EXPECT(LIN_BAD, read1(0, 0, 5, 1, 2));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), read1(0, 0, NIL, 3, 4));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), incr(0, 0, 9, 3, 4));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), incr(0, 0, 1, 3, 4));
    EXPECT(LIN_BAD, del(0, 0, 1, 1, 2));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), rename_op(0, 0, 1, 0, 3, 4));
    EXPECT(LIN_BAD, rename_op(0, 0, 1, 1, 3, 4));
}

static void test_linear__overlapping_read__may_see_either(void **state)
{
    (void)state;
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 10), read1(1, 0, NIL, 2, 3));
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 10), read1(1, 0, 7, 2, 3));
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 10), read1(1, 0, NIL, 2, 3), read1(2, 0, 7, 4, 5));
}

static void test_linear__read_goes_back_in_time__bad(void **state)
{
    (void)state;
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 10), read1(1, 0, 7, 2, 3), read1(2, 0, NIL, 4, 5));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), write1(0, 0, 8, 3, 4), read1(1, 0, 7, 5, 6));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 9), write1(1, 0, 8, 2, 10), read1(2, 0, 8, 11, 12),
           read1(2, 0, 7, 13, 14));
}

static void test_linear__two_readers_disagree_on_order__bad(void **state)
{
    (void)state;
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 20), write1(1, 0, 8, 2, 21), read1(2, 0, 7, 3, 4),
           read1(2, 0, 8, 5, 6), read1(3, 0, 8, 3, 4), read1(3, 0, 7, 5, 6));
}

static void test_linear__half_an_mset__bad(void **state)
{
    (void)state;
    EXPECT(LIN_GOOD, write2(0, 7, 8, 1, 10), read2(1, 7, 8, 2, 3));
    EXPECT(LIN_BAD, write2(0, 7, 8, 1, 10), read2(1, 7, NIL, 2, 3));
    EXPECT(LIN_BAD, write2(0, 7, 8, 1, 10), read2(1, NIL, 8, 2, 3));
    /* Two single reads: first new, then old is wrong; first old, then new is not. */
    EXPECT(LIN_BAD, write2(0, 7, 8, 1, 10), read1(1, 0, 7, 2, 3), read1(1, 1, NIL, 4, 5));
    EXPECT(LIN_GOOD, write2(0, 7, 8, 1, 10), read1(1, 0, NIL, 2, 3), read1(1, 1, 8, 4, 5));
}

static void test_linear__each_key_alone_is_right_but_not_together__bad(void **state)
{
    (void)state;
    /* Client 2 says key 0 was written before key 1, client 3 the opposite: legal key by key. */
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 20), write1(1, 1, 8, 2, 21), read1(2, 0, 7, 3, 4),
           read1(2, 1, NIL, 5, 6), read1(3, 1, 8, 3, 4), read1(3, 0, NIL, 5, 6));
}

static void test_linear__lost_increment__bad(void **state)
{
    (void)state;
    EXPECT(LIN_GOOD, incr(0, 0, 1, 1, 10), incr(1, 0, 2, 2, 9));
    EXPECT(LIN_BAD, incr(0, 0, 1, 1, 10), incr(1, 0, 1, 2, 9));
    EXPECT(LIN_BAD, write1(0, 0, 5, 1, 2), incr(0, 0, 6, 3, 10), incr(1, 0, 6, 4, 9));
}

static void test_linear__rename_leaves_the_value_twice__bad(void **state)
{
    (void)state;
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 2), rename_op(0, 0, 1, 1, 3, 10), read2(1, NIL, 7, 4, 5));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), rename_op(0, 0, 1, 1, 3, 10), read2(1, 7, 7, 4, 5));
    EXPECT(LIN_BAD, write1(0, 0, 7, 1, 2), rename_op(0, 0, 1, 1, 3, 10), read2(1, NIL, NIL, 4, 5));
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 2), rename_op(0, 0, 0, 1, 3, 4), read1(0, 0, 7, 5, 6));
}

static void test_linear__the_same_value_twice__still_right(void **state)
{
    (void)state;
    EXPECT(LIN_GOOD, write1(0, 0, 7, 1, 2), write1(0, 0, 8, 3, 4), write1(1, 0, 7, 5, 6),
           read1(1, 0, 7, 7, 8));
    EXPECT(LIN_GOOD, write1(0, 0, 0, 1, 2), incr(0, 0, 1, 3, 4), del(0, 0, 1, 5, 6),
           incr(0, 0, 1, 7, 8));
}

static void test_linear__malformed__said_so(void **state)
{
    (void)state;
    EXPECT(LIN_MALFORMED, read1(0, 0, NIL, 2, 1));
    EXPECT(LIN_MALFORMED, read1(0, 0, NIL, 3, 4), read1(0, 0, NIL, 1, 2));
    EXPECT(LIN_MALFORMED, read1(LIN_CLIENTS_MAX, 0, NIL, 1, 2));
    EXPECT(LIN_MALFORMED, read1(0, LIN_KEYS_MAX, NIL, 1, 2));
}

static void test_linear__too_few_steps_allowed__undecided_not_good(void **state)
{
    const struct lin_op ops[] = {write1(0, 0, 7, 1, 2), read1(0, 0, 7, 3, 4), read1(0, 0, 7, 5, 6)};
    struct lin_report report;

    (void)state;
    assert_int_equal(lin_check(ops, 3, 2, &report), LIN_UNDECIDED);
}

/* ---- a simulated store with 8 clients; its faults are those of a server without its locks ---- */

#define SIM_CLIENTS 8u
#define SIM_KEYS 16u

enum sim_fault { SIM_RIGHT, SIM_TORN_WRITE, SIM_LOST_INCR, SIM_TORN_RENAME, SIM_STALE_READ };

/* An operation in flight takes effect in one or two moments of its own between call and reply. */
struct sim_client {
    bool busy;
    unsigned phase; /* moments that are over */
    unsigned phases;
    int64_t seen; /* what a faulty INCR or RENAME read at its first moment */
    struct lin_op op;
};

struct sim {
    struct rng rng;
    enum sim_fault fault;
    unsigned fault_percent;
    int64_t store[SIM_KEYS];
    int64_t old[SIM_KEYS]; /* the value before the present one */
    struct sim_client clients[SIM_CLIENTS];
    struct lin_op *ops; /* in order of reply */
    size_t done;
    uint64_t now;
    int64_t next_value;
    size_t started, wanted;
};

static void sim_put(struct sim *s, unsigned key, int64_t value)
{
    s->old[key] = s->store[key];
    s->store[key] = value;
}

static int64_t sim_incremented(int64_t v)
{
    return v == NIL ? 1 : v + 1;
}

static void sim_start(struct sim *s, struct sim_client *c, unsigned client)
{
    static const uint8_t kinds[] = {LIN_READ,  LIN_READ, LIN_READ, LIN_WRITE,
                                    LIN_WRITE, LIN_INCR, LIN_DEL,  LIN_RENAME};
    struct lin_op *op = &c->op;
    bool faulty = s->fault != SIM_RIGHT && rng_percent(&s->rng, s->fault_percent);

    memset(op, 0, sizeof(*op));
    op->client = (uint8_t)client;
    op->kind = kinds[rng_below(&s->rng, sizeof(kinds))];
    op->n = op->kind == LIN_RENAME ? 2
            : op->kind == LIN_INCR ? 1
                                   : (uint8_t)rng_range(&s->rng, 1, 3);
    for (unsigned k = 0; k < op->n; k++) {
        op->key[k] = (uint8_t)((rng_below(&s->rng, 5) + 5 * k) % SIM_KEYS);
        op->val[k] = op->kind == LIN_WRITE ? (s->next_value += 1000) : 0;
    }
    op->call = ++s->now;
    c->busy = true;
    c->phase = 0;
    c->phases = 1;
    if (faulty && ((op->kind == LIN_WRITE && op->n > 1 && s->fault == SIM_TORN_WRITE) ||
                   (op->kind == LIN_INCR && s->fault == SIM_LOST_INCR) ||
                   (op->kind == LIN_RENAME && s->fault == SIM_TORN_RENAME))) {
        c->phases = 2;
    }
    if (faulty && op->kind == LIN_READ && s->fault == SIM_STALE_READ) {
        c->phases = 3; /* one moment, but with the value before the present one */
    }
}

static void sim_whole(struct sim *s, struct sim_client *c)
{
    struct lin_op *op = &c->op;
    int64_t found = 0;
    int64_t moved;

    for (unsigned k = 0; k < op->n; k++) {
        unsigned key = op->key[k];
        if (op->kind == LIN_READ) {
            op->val[k] = c->phases == 3 ? s->old[key] : s->store[key];
        } else if (op->kind == LIN_WRITE) {
            sim_put(s, key, op->val[k]);
        } else if (op->kind == LIN_INCR) {
            op->val[0] = sim_incremented(s->store[key]);
            sim_put(s, key, op->val[0]);
        } else if (op->kind == LIN_DEL) {
            found += s->store[key] != NIL;
            sim_put(s, key, NIL);
        }
    }
    if (op->kind == LIN_DEL) {
        op->val[0] = found;
    } else if (op->kind == LIN_RENAME) {
        moved = s->store[op->key[0]];
        op->val[0] = moved != NIL;
        if (moved != NIL) {
            sim_put(s, op->key[0], NIL);
            sim_put(s, op->key[1], moved);
        }
    }
}

/* The first or the second moment of an operation that is not atomic. */
static void sim_part(struct sim *s, struct sim_client *c)
{
    struct lin_op *op = &c->op;
    bool first = c->phase == 0;

    if (op->kind == LIN_WRITE) {
        for (unsigned k = first ? 0 : 1; k < (first ? 1u : op->n); k++) {
            sim_put(s, op->key[k], op->val[k]);
        }
    } else if (first) {
        c->seen = s->store[op->key[0]];
    } else if (op->kind == LIN_INCR) {
        op->val[0] = sim_incremented(c->seen);
        sim_put(s, op->key[0], op->val[0]);
    } else {
        op->val[0] = c->seen != NIL;
        if (c->seen != NIL) {
            sim_put(s, op->key[0], NIL);
            sim_put(s, op->key[1], c->seen);
        }
    }
}

static void sim_step(struct sim *s)
{
    unsigned client = (unsigned)rng_below(&s->rng, SIM_CLIENTS);
    struct sim_client *c = &s->clients[client];

    if (!c->busy) {
        if (s->started < s->wanted) {
            s->started++;
            sim_start(s, c, client);
        }
    } else if (c->phases == 2 && c->phase < 2) {
        sim_part(s, c);
        c->phase++;
    } else if (c->phases != 2 && c->phase == 0) {
        sim_whole(s, c);
        c->phase = 1;
    } else {
        c->op.ret = ++s->now;
        s->ops[s->done++] = c->op;
        c->busy = false;
    }
}

/* Records n operations of a store with the fault; the array is owned by the caller. */
static struct lin_op *sim_history(uint64_t seed, enum sim_fault fault, unsigned percent, size_t n)
{
    struct sim s = {.rng = {seed},
                    .fault = fault,
                    .fault_percent = percent,
                    .next_value = 1000000,
                    .wanted = n};

    s.ops = calloc(n, sizeof(*s.ops));
    assert_non_null(s.ops);
    for (unsigned k = 0; k < SIM_KEYS; k++) {
        s.store[k] = NIL;
        s.old[k] = NIL;
    }
    while (s.done < n) {
        sim_step(&s);
    }
    return s.ops;
}

static enum lin_verdict sim_check(uint64_t seed, enum sim_fault fault, size_t n, uint64_t *steps)
{
    struct lin_op *ops = sim_history(seed, fault, 30, n);
    struct lin_report report;
    enum lin_verdict v = lin_check(ops, n, STEPS_MAX, &report);

    *steps = report.steps;
    free(ops);
    return v;
}

static void test_linear__right_store_2000_operations__good_and_fast(void **state)
{
    uint64_t seed = rng_seed_from_env("TEST_SEED");
    uint64_t most = 0;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t steps;
        assert_int_equal(sim_check(seed + i, SIM_RIGHT, 2000, &steps), LIN_GOOD);
        most = steps > most ? steps : most;
    }
    print_message("at most %llu steps for 2,000 operations\n", (unsigned long long)most);
    assert_true(most < STEPS_MAX / 4);
}

/* Fixed seeds: whether a fault shows in one history is chance, and a test must not be. */
static void check_fault(enum sim_fault fault)
{
    unsigned rejected = 0;

    for (unsigned seed = 1; seed <= 40; seed++) {
        uint64_t steps;
        enum lin_verdict v = sim_check(seed, fault, 1000, &steps);
        assert_true(v == LIN_GOOD || v == LIN_BAD);
        rejected += v == LIN_BAD;
    }
    print_message("%u of 40 rejected\n", rejected);
    assert_true(rejected >= 20);
}

/* ---- the same verdict as a search without any cleverness ---- */

#define NAIVE_OPS 8u

static bool naive_fits(const struct lin_op *op, int64_t *store)
{
    bool fits = true;
    int64_t found = 0;

    for (unsigned k = 0; k < op->n; k++) {
        int64_t *at = &store[op->key[k]];
        if (op->kind == LIN_READ) {
            fits = fits && *at == op->val[k];
        } else if (op->kind == LIN_WRITE) {
            *at = op->val[k];
        } else if (op->kind == LIN_INCR) {
            fits = op->val[0] == sim_incremented(*at);
            *at = op->val[0];
        } else if (op->kind == LIN_DEL) {
            found += *at != NIL;
            *at = NIL;
        }
    }
    if (op->kind == LIN_DEL) {
        fits = found == op->val[0];
    } else if (op->kind == LIN_RENAME) {
        int64_t moved = store[op->key[0]];
        fits = (moved != NIL) == (op->val[0] == 1);
        if (moved != NIL) {
            store[op->key[0]] = NIL;
            store[op->key[1]] = moved;
        }
    }
    return fits;
}

static bool naive_good(const struct lin_op *ops, size_t n, unsigned done, const int64_t *store)
{
    bool good = done == (1u << n) - 1;

    for (size_t i = 0; i < n && !good; i++) {
        int64_t next[SIM_KEYS];
        bool first = (done & (1u << i)) == 0;
        for (size_t j = 0; j < n && first; j++) {
            first = (done & (1u << j)) != 0 || ops[j].ret >= ops[i].call;
        }
        memcpy(next, store, sizeof(next));
        good = first && naive_fits(&ops[i], next) && naive_good(ops, n, done | (1u << i), next);
    }
    return good;
}

static void test_linear__small_histories__same_verdict_as_plain_search(void **state)
{
    uint64_t seed = rng_seed_from_env("TEST_SEED");
    struct rng rng = {seed};
    unsigned good = 0;
    const unsigned rounds = 20000;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < rounds; i++) {
        enum sim_fault fault = (enum sim_fault)rng_below(&rng, 5);
        struct lin_op *ops = sim_history(rng_next(&rng), fault, 100, NAIVE_OPS);
        int64_t store[SIM_KEYS];
        struct lin_report report;
        for (unsigned k = 0; k < SIM_KEYS; k++) {
            store[k] = NIL;
        }
        /* Now and then two replies change places, which most faults of a store do not do. */
        if (rng_percent(&rng, 30)) {
            size_t a = rng_below(&rng, NAIVE_OPS);
            size_t b = rng_below(&rng, NAIVE_OPS);
            int64_t v = ops[a].val[0];
            ops[a].val[0] = ops[a].kind == ops[b].kind ? ops[b].val[0] : v;
            ops[b].val[0] = ops[a].kind == ops[b].kind ? v : ops[b].val[0];
        }
        bool wanted = naive_good(ops, NAIVE_OPS, 0, store);
        enum lin_verdict got = lin_check(ops, NAIVE_OPS, STEPS_MAX, &report);
        assert_int_equal(got, wanted ? LIN_GOOD : LIN_BAD);
        good += wanted;
        free(ops);
    }
    print_message("%u of %u were good\n", good, rounds);
    assert_true(good > rounds / 10 && good < rounds - rounds / 100);
}

static void test_linear__store_with_torn_msets__rejected(void **state)
{
    (void)state;
    check_fault(SIM_TORN_WRITE);
}

static void test_linear__store_that_loses_increments__rejected(void **state)
{
    (void)state;
    check_fault(SIM_LOST_INCR);
}

static void test_linear__store_with_torn_renames__rejected(void **state)
{
    (void)state;
    check_fault(SIM_TORN_RENAME);
}

static void test_linear__store_with_stale_reads__rejected(void **state)
{
    (void)state;
    check_fault(SIM_STALE_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__empty_and_one_client__good),
        cmocka_unit_test(test_linear__wrong_reply_to_one_client__bad),
        cmocka_unit_test(test_linear__overlapping_read__may_see_either),
        cmocka_unit_test(test_linear__read_goes_back_in_time__bad),
        cmocka_unit_test(test_linear__two_readers_disagree_on_order__bad),
        cmocka_unit_test(test_linear__half_an_mset__bad),
        cmocka_unit_test(test_linear__each_key_alone_is_right_but_not_together__bad),
        cmocka_unit_test(test_linear__lost_increment__bad),
        cmocka_unit_test(test_linear__rename_leaves_the_value_twice__bad),
        cmocka_unit_test(test_linear__the_same_value_twice__still_right),
        cmocka_unit_test(test_linear__malformed__said_so),
        cmocka_unit_test(test_linear__too_few_steps_allowed__undecided_not_good),
        cmocka_unit_test(test_linear__right_store_2000_operations__good_and_fast),
        cmocka_unit_test(test_linear__small_histories__same_verdict_as_plain_search),
        cmocka_unit_test(test_linear__store_with_torn_msets__rejected),
        cmocka_unit_test(test_linear__store_that_loses_increments__rejected),
        cmocka_unit_test(test_linear__store_with_torn_renames__rejected),
        cmocka_unit_test(test_linear__store_with_stale_reads__rejected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
