/* SPDX-License-Identifier: MIT */
/* test_net_outq.c - the queue of replies: order, what may leave, what becomes of replies to undone
 * writes. */
#include "net/outq.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Positions up to committed are committed, those in (undone_from, undone_to] were undone. */
struct store {
    uint64_t committed, undone_from, undone_to;
};

static int fake_state(void *arg, uint64_t pos)
{
    const struct store *s = arg;
    if (pos > s->undone_from && pos <= s->undone_to) {
        return BK_EIO;
    }
    return pos <= s->committed ? BK_OK : BK_EAGAIN;
}

static void fake_undone(void *arg, uint32_t replies, struct bk_buf *out)
{
    (void)arg;
    for (uint32_t i = 0; i < replies; i++) {
        bk_buf_append(out, "!", 1);
    }
}

static struct outq_judge judge_of(struct store *s)
{
    return (struct outq_judge){.pos_state = fake_state, .arg = s, .undone = fake_undone};
}

static void add(struct outq *q, const char *text, uint64_t pos, uint32_t replies)
{
    struct out_part part = {.pos = pos, .len = strlen(text), .replies = replies};
    outq_add(q, bk_span_str(text), &part, 1);
}

static void assert_ready(const struct outq *q, const char *text)
{
    struct bk_span ready = outq_ready(q);
    assert_int_equal(ready.len, strlen(text));
    if (ready.len > 0) {
        assert_memory_equal(ready.data, text, ready.len);
    }
}

static void test_outq__uncommitted_part__holds_back_all_behind_it(void **state)
{
    struct store s = {.committed = 10};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    (void)state;
    add(&q, "aa", 10, 1);
    add(&q, "bb", 20, 1);
    add(&q, "cc", 0, 1); /* depends on nothing, but order holds */
    outq_settle(&q, &judge);
    assert_ready(&q, "aa");
    assert_true(outq_waits(&q));
    outq_sent(&q, 1);
    assert_ready(&q, "a");
    s.committed = 20;
    outq_settle(&q, &judge);
    assert_ready(&q, "abbcc");
    assert_false(outq_waits(&q));
    outq_sent(&q, 5);
    assert_true(outq_empty(&q));
    outq_fini(&q);
}

static void test_outq__undone_write__answers_one_error_per_reply_in_place(void **state)
{
    struct store s = {.committed = 100, .undone_from = 10, .undone_to = 20};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    (void)state;
    add(&q, "sent", 5, 1);
    outq_settle(&q, &judge);
    outq_sent(&q, 2);
    add(&q, "one", 10, 1);
    add(&q, "gone gone", 15, 2);
    add(&q, "two", 30, 1);
    add(&q, "gone", 20, 1);
    add(&q, "wait", 200, 1);
    outq_settle(&q, &judge);
    assert_ready(&q, "ntone!!two!");
    assert_true(outq_waits(&q));
    s.committed = 200;
    outq_settle(&q, &judge);
    assert_ready(&q, "ntone!!two!wait");
    outq_fini(&q);
}

static void test_outq__undone_part_without_reply__vanishes(void **state)
{
    struct store s = {.undone_to = 20};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    (void)state;
    add(&q, "half", 10, 0); /* a slice of a command that was not done yet */
    outq_settle(&q, &judge);
    assert_ready(&q, "");
    assert_true(outq_empty(&q));
    assert_false(outq_waits(&q));
    outq_fini(&q);
}

static void test_outq__never_empty__does_not_creep(void **state)
{
    struct store s = {0};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    char text[101];
    (void)state;
    memset(text, 'x', 100);
    text[100] = '\0';
    for (uint64_t i = 1; i <= 100000; i++) {
        add(&q, text, i, 1);
        s.committed = i > 50 ? i - 50 : 0; /* 50 parts wait at any time */
        outq_settle(&q, &judge);
        outq_sent(&q, outq_ready(&q).len);
    }
    assert_int_equal(outq_pending(&q), 50 * 100);
    assert_true(outq_memory(&q) < 131072);
    outq_fini(&q);
}

static void test_outq__stolen_buffer__sends_the_rest_first(void **state)
{
    struct store s = {.committed = 1};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    struct bk_buf b = {0};
    (void)state;
    bk_buf_append(&b, "0123456789", 10);
    outq_steal(&q, &b, 4);
    assert_null(b.data);
    add(&q, "ab", 1, 1);
    outq_settle(&q, &judge);
    assert_ready(&q, "456789ab");
    outq_sent(&q, 8);
    outq_trim(&q, false);
    assert_int_equal(outq_memory(&q), 0);
    outq_fini(&q);
}

static void test_outq__staying_part_of_an_undone_write__leaves_as_it_is(void **state)
{
    struct store s = {.committed = 4, .undone_from = 4, .undone_to = 8};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    struct out_parts p = {0};
    (void)state;
    out_parts_add_staying(&p, 0, 6, 3);
    out_parts_add(&p, 0, 6, 3, 1); /* of the same position, but a part of its own */
    out_parts_add_staying(&p, 0, 9, 2);
    assert_int_equal(p.n, 3);
    outq_add(&q, bk_span_str("abcdefgh"), p.v, p.n);
    outq_settle(&q, &judge);
    assert_ready(&q, "abc!");
    s.committed = 9;
    outq_settle(&q, &judge);
    assert_ready(&q, "abc!gh");
    out_parts_fini(&p);
    outq_fini(&q);
}

static void test_out_parts__same_position__makes_one_part_of_one_connection(void **state)
{
    struct out_parts p = {0};
    (void)state;
    out_parts_add(&p, 0, 0, 5, 1);
    out_parts_add(&p, 0, 0, 5, 1);
    out_parts_add(&p, 0, 7, 5, 1);
    out_parts_add(&p, 2, 7, 5, 1); /* another connection begins at index 2 */
    out_parts_add(&p, 2, 0, 3, 0);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.v[0].len, 10);
    assert_int_equal(p.v[0].replies, 2);
    assert_int_equal(p.v[2].pos, 7);
    assert_int_equal(p.v[3].len, 3);
    out_parts_fini(&p);
}

/* Random parts, commits, undone ranges and sends against a plain string of what must arrive. */
static void test_outq__random_operations__match_a_plain_model(void **state)
{
    unsigned seed = 20261;
    struct store s = {0};
    struct outq_judge judge = judge_of(&s);
    struct outq q = {0};
    struct bk_buf got = {0};
    struct bk_buf want = {0};
    (void)state;
    for (unsigned round = 1; round <= 20000; round++) {
        char text[64];
        uint64_t pos = (uint64_t)round * 10;
        bool undone = rand_r(&seed) % 50 == 0;
        int n = snprintf(text, sizeof(text), "<%u>", round);
        if (undone) {
            /* One undone range at a time: all before it must have been judged. */
            s.committed = pos - 10;
            outq_settle(&q, &judge);
            s.undone_from = pos - 10;
            s.undone_to = pos;
        }
        add(&q, text, pos, 1);
        if (undone) {
            outq_settle(&q, &judge);
            bk_buf_append(&want, "!", 1);
        } else {
            bk_buf_append(&want, text, (size_t)n);
        }
        if (rand_r(&seed) % 3 == 0) {
            s.committed = pos - (uint64_t)(rand_r(&seed) % 5) * 10;
        }
        outq_settle(&q, &judge);
        struct bk_span ready = outq_ready(&q);
        size_t take = ready.len == 0 ? 0 : (size_t)rand_r(&seed) % (ready.len + 1);
        bk_buf_append(&got, ready.data, take);
        outq_sent(&q, take);
    }
    s.committed = UINT64_MAX;
    outq_settle(&q, &judge);
    bk_buf_append(&got, outq_ready(&q).data, outq_ready(&q).len);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    bk_buf_fini(&got);
    bk_buf_fini(&want);
    outq_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outq__uncommitted_part__holds_back_all_behind_it),
        cmocka_unit_test(test_outq__undone_write__answers_one_error_per_reply_in_place),
        cmocka_unit_test(test_outq__undone_part_without_reply__vanishes),
        cmocka_unit_test(test_outq__never_empty__does_not_creep),
        cmocka_unit_test(test_outq__stolen_buffer__sends_the_rest_first),
        cmocka_unit_test(test_outq__staying_part_of_an_undone_write__leaves_as_it_is),
        cmocka_unit_test(test_out_parts__same_position__makes_one_part_of_one_connection),
        cmocka_unit_test(test_outq__random_operations__match_a_plain_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
