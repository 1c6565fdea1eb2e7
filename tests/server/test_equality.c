/* SPDX-License-Identifier: MIT */
/*
 * test_equality.c - the same random commands to redis-server and to bitkv: every reply must be the
 * same.
 *
 * After a difference it goes on: both are emptied, so that the next difference is one of its own.
 * Each one is printed with the fewest earlier commands that bring it about, then counted by
 * command.
 *
 * Environment: EQ_SEED, EQ_COUNT (default 20000), EQ_ONLY (prefix of the command names whose
 * differences count), BITKV_SERVER, REDIS_SERVER.
 */
#include "lib/eqgen.h"
#include "lib/eqjudge.h"
#include "lib/eqpeer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 32
#define PAST_MAX 1500 /* commands since both servers were last emptied */
#define DISTINCT_MAX 50
#define PER_NAME_MAX 6
#define SHRINK_RUNS_MAX 400

struct seen {
    char signature[192];
    char name[64];
    unsigned count;
};

static struct {
    struct eq_peer sides[2]; /* 0 is Redis, 1 is ours */
    struct eq_cmd past[PAST_MAX + BATCH];
    size_t past_n;
    struct seen seen[1000];
    size_t seen_n;
    unsigned distinct, total;
    const char *only;
} T;

/* ---- both sides ---- */

static bool goes_alone(const struct eq_cmd *cmd)
{
    return cmd->rule == EQ_CLOSES || cmd->rule == EQ_RAW || cmd->rule == EQ_SCAN_ALL ||
           cmd->rule == EQ_RANDOMKEY || cmd->rule == EQ_DUMP || cmd->rule == EQ_ENCODING;
}

/* Each side's random key is made "there" or "not there" by asking the other side. */
static void both_randomkey(const struct eq_cmd *cmd, struct eq_answer *out)
{
    struct eq_cmd ask;

    for (int i = 0; i < 2; i++) {
        eq_peer_one(&T.sides[i], cmd, &out[i]);
    }
    for (int i = 0; i < 2; i++) {
        struct raw key = raw_text(eq_raw(&out[i]));
        if (out[i].len > 0 && out[i].data[0] == '$' && !raw_is_null(eq_raw(&out[i]))) {
            eq_cmd_words(&ask, "EXISTS", NULL);
            eq_cmd_add(&ask, key.data, key.len);
            eq_peer_one(&T.sides[1 - i], &ask, &out[i]);
            eq_cmd_fini(&ask);
        }
    }
}

/* What a payload is worth on the other side: the value it makes there, or the error. */
static void restored(struct eq_peer *other, struct eq_answer *payload)
{
    struct raw bytes = raw_text(eq_raw(payload));
    struct eq_cmd cmds[3];
    const struct eq_cmd *list[3] = {&cmds[0], &cmds[1], &cmds[2]};
    struct eq_answer out[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};

    eq_cmd_words(&cmds[0], "RESTORE", "eq:restored", "0", NULL);
    eq_cmd_add(&cmds[0], bytes.data, bytes.len);
    eq_cmd_words(&cmds[1], "GET", "eq:restored", NULL);
    eq_cmd_words(&cmds[2], "DEL", "eq:restored", NULL);
    eq_peer_batch(other, list, 3, out);
    if (raw_is(raw_text(eq_raw(&out[0])), "OK")) {
        eq_set_answer(payload, out[1].data, out[1].len);
    } else {
        eq_set_answer(payload, out[0].data, out[0].len);
    }
    eq_free_answers(out, 3);
    for (size_t i = 0; i < 3; i++) {
        eq_cmd_fini(&cmds[i]);
    }
}

static void both_dump(const struct eq_cmd *cmd, struct eq_answer *out)
{
    for (int i = 0; i < 2; i++) {
        eq_peer_one(&T.sides[i], cmd, &out[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (out[i].len > 0 && out[i].data[0] == '$' && !raw_is_null(eq_raw(&out[i]))) {
            restored(&T.sides[1 - i], &out[i]);
        }
    }
}

/* What Redis says of the key's bytes once SET has stored them anew. */
static void encoded_by_set(struct eq_peer *redis, const struct eq_arg *key,
                           struct eq_answer *answer)
{
    struct eq_cmd get;
    struct eq_cmd cmds[3];
    const struct eq_cmd *list[3] = {&cmds[0], &cmds[1], &cmds[2]};
    struct eq_answer out[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    struct raw bytes;

    eq_cmd_words(&get, "GET", NULL);
    eq_cmd_add(&get, key->data, key->len);
    eq_peer_one(redis, &get, answer);
    bytes = raw_text(eq_raw(answer));
    eq_cmd_words(&cmds[0], "SET", "eq:encoded", NULL);
    eq_cmd_add(&cmds[0], bytes.data, bytes.len);
    eq_cmd_words(&cmds[1], "OBJECT", "ENCODING", "eq:encoded", NULL);
    eq_cmd_words(&cmds[2], "DEL", "eq:encoded", NULL);
    eq_peer_batch(redis, list, 3, out);
    eq_set_answer(answer, out[1].data, out[1].len);
    eq_free_answers(out, 3);
    eq_cmd_fini(&get);
    for (size_t i = 0; i < 3; i++) {
        eq_cmd_fini(&cmds[i]);
    }
}

/* Where Redis says raw, a write that changed nothing may have made it so: then SET's is right too.
 */
static void both_encoding(const struct eq_cmd *cmd, struct eq_answer *out)
{
    static const char raw[] = "$3\r\nraw\r\n";
    for (int i = 0; i < 2; i++) {
        eq_peer_one(&T.sides[i], cmd, &out[i]);
    }
    if (out[0].len == sizeof raw - 1 && memcmp(out[0].data, raw, sizeof raw - 1) == 0 &&
        (out[1].len != out[0].len || memcmp(out[1].data, raw, sizeof raw - 1) != 0)) {
        encoded_by_set(&T.sides[0], &cmd->argv[2], &out[0]);
    }
}

static void both_alone(const struct eq_cmd *cmd, struct eq_answer *out)
{
    if (cmd->rule == EQ_RANDOMKEY) {
        both_randomkey(cmd, out);
        return;
    }
    if (cmd->rule == EQ_DUMP) {
        both_dump(cmd, out);
        return;
    }
    if (cmd->rule == EQ_ENCODING) {
        both_encoding(cmd, out);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (cmd->rule == EQ_CLOSES) {
            eq_peer_closing(&T.sides[i], cmd, &out[i]);
        } else if (cmd->rule == EQ_RAW) {
            eq_peer_raw(&T.sides[i], cmd, &out[i]);
        } else {
            eq_peer_scan(&T.sides[i], cmd, &out[i]);
        }
    }
}

/* Runs n commands on both; the index of the first that differs, or n. theirs, ours: its replies. */
static size_t both_run(const struct eq_cmd *const *cmds, size_t n, struct eq_answer *theirs,
                       struct eq_answer *ours)
{
    static struct eq_answer out[2][BATCH];
    size_t at = 0;
    size_t differs = n;

    while (at < n && differs == n) {
        size_t k = 0;
        if (goes_alone(cmds[at])) {
            struct eq_answer pair[2] = {{NULL, 0}, {NULL, 0}};
            both_alone(cmds[at], pair);
            out[0][0] = pair[0];
            out[1][0] = pair[1];
            k = 1;
        } else {
            while (at + k < n && k < BATCH && !goes_alone(cmds[at + k])) {
                k++;
            }
            eq_peer_batch(&T.sides[0], &cmds[at], k, out[0]);
            eq_peer_batch(&T.sides[1], &cmds[at], k, out[1]);
        }
        for (size_t i = 0; i < k && differs == n; i++) {
            struct raw a = eq_raw(&out[0][i]);
            struct raw b = eq_raw(&out[1][i]);
            if (eq_judge(cmds[at + i], a, b) != NULL) {
                differs = at + i;
                eq_set_answer(theirs, a.data, a.len);
                eq_set_answer(ours, b.data, b.len);
            }
        }
        eq_free_answers(out[0], k);
        eq_free_answers(out[1], k);
        at += k;
    }
    return differs;
}

/* Both servers empty, both connections as new. */
static void empty_both(void)
{
    struct eq_cmd reset;
    struct eq_cmd flush;
    const struct eq_cmd *cmds[2] = {&reset, &flush};
    struct eq_answer out[2] = {{NULL, 0}, {NULL, 0}};

    eq_cmd_words(&reset, "RESET", NULL);
    eq_cmd_words(&flush, "FLUSHALL", NULL);
    for (int i = 0; i < 2; i++) {
        eq_peer_batch(&T.sides[i], cmds, 2, out);
        eq_free_answers(out, 2);
    }
    eq_cmd_fini(&reset);
    eq_cmd_fini(&flush);
}

static void forget_past(void)
{
    for (size_t i = 0; i < T.past_n; i++) {
        eq_cmd_fini(&T.past[i]);
    }
    T.past_n = 0;
    empty_both();
}

/* ---- a difference ---- */

/* Does cmds[n-1] still differ after the n-1 before it, from the empty state? Earlier ones may not.
 */
static bool still_differs(const struct eq_cmd *const *cmds, size_t n, struct eq_answer *theirs,
                          struct eq_answer *ours)
{
    empty_both();
    return both_run(cmds, n, theirs, ours) == n - 1;
}

/* Leaves out of cmds[0..n-2] what the difference of cmds[n-1] does not need; returns the new n. */
static size_t shrink(const struct eq_cmd **cmds, size_t n, struct eq_answer *theirs,
                     struct eq_answer *ours)
{
    const struct eq_cmd **shorter = calloc(n + 1, sizeof(*shorter));
    unsigned runs = 0;

    for (size_t piece = n; shorter != NULL && piece > 0; piece /= 2) {
        size_t from = 0;
        while (from + 1 < n && runs < SHRINK_RUNS_MAX) {
            size_t gone = piece < n - 1 - from ? piece : n - 1 - from;
            memcpy(shorter, cmds, from * sizeof(*cmds));
            memcpy(shorter + from, cmds + from + gone, (n - from - gone) * sizeof(*cmds));
            runs++;
            if (still_differs(shorter, n - gone, theirs, ours)) {
                n -= gone;
                memcpy(cmds, shorter, n * sizeof(*cmds));
            } else {
                from += gone;
            }
        }
    }
    free(shorter);
    return n;
}

static void print_command(const struct eq_cmd *cmd)
{
    for (size_t i = 0; i < cmd->argc; i++) {
        fputs(i == 0 ? "\"" : " \"", stdout);
        raw_print((struct raw){cmd->argv[i].data, cmd->argv[i].len}, 120);
        putchar('"');
    }
    putchar('\n');
}

/* Digits are alike in a signature: 5 and 7 too many are one difference. */
static void make_signature(const struct eq_cmd *cmd, const struct eq_answer *theirs,
                           const struct eq_answer *ours, char *out, size_t out_len)
{
    size_t at =
        (size_t)snprintf(out, out_len, "%s|%.40s|%.40s", cmd->name,
                         theirs->len > 0 ? theirs->data : "", ours->len > 0 ? ours->data : "");

    for (size_t i = 0; i < at && i < out_len && out[i] != '\0'; i++) {
        if (out[i] >= '0' && out[i] <= '9') {
            out[i] = '#';
        }
    }
}

/* How often it has been seen, this time included; 0: differences of this command do not count. */
static unsigned count_difference(const struct eq_cmd *cmd, const struct eq_answer *theirs,
                                 const struct eq_answer *ours, unsigned *of_name)
{
    char signature[sizeof(T.seen[0].signature)];
    struct seen *found = NULL;

    *of_name = 0;
    if (T.only != NULL && strncmp(cmd->name, T.only, strlen(T.only)) != 0) {
        return 0;
    }
    T.total++;
    make_signature(cmd, theirs, ours, signature, sizeof(signature));
    for (size_t i = 0; i < T.seen_n; i++) {
        *of_name += strcmp(T.seen[i].name, cmd->name) == 0;
        if (strcmp(T.seen[i].signature, signature) == 0) {
            found = &T.seen[i];
        }
    }
    if (found == NULL && T.seen_n < sizeof(T.seen) / sizeof(T.seen[0])) {
        found = &T.seen[T.seen_n++];
        memcpy(found->signature, signature, sizeof(signature));
        memcpy(found->name, cmd->name, sizeof(found->name));
    }
    return found == NULL ? 2 : ++found->count;
}

static void print_difference(const struct eq_cmd *const *cmds, size_t n, bool again,
                             const struct eq_answer *theirs, const struct eq_answer *ours)
{
    const struct eq_cmd *cmd = cmds[n - 1];
    const char *why = eq_judge(cmd, eq_raw(theirs), eq_raw(ours));
    size_t shown = n - 1 > 12 ? 12 : n - 1;

    printf("\n[%u] %s: %s%s\n", ++T.distinct, cmd->name, why == NULL ? "differs" : why,
           again ? "" : " (not from an empty store: the last commands follow)");
    for (size_t i = n - 1 - shown; i < n - 1; i++) {
        printf("    before: ");
        print_command(cmds[i]);
    }
    printf("    command: ");
    print_command(cmd);
    printf("    redis:   \"");
    raw_print(eq_raw(theirs), 700);
    printf("\"\n    bitkv:   \"");
    raw_print(eq_raw(ours), 700);
    printf("\"\n");
    fflush(stdout);
}

/* T.past[at] differed. */
static void report_difference(size_t at, struct eq_answer *theirs, struct eq_answer *ours)
{
    const struct eq_cmd **cmds = calloc(at + 2, sizeof(*cmds));
    struct eq_answer t = {NULL, 0};
    struct eq_answer o = {NULL, 0};
    unsigned of_name;
    size_t n = at + 1;
    bool again;

    if (cmds == NULL) {
        abort();
    }
    if (count_difference(&T.past[at], theirs, ours, &of_name) != 1 || of_name >= PER_NAME_MAX ||
        T.distinct >= DISTINCT_MAX) {
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        cmds[i] = &T.past[i];
    }
    again = still_differs(cmds, n, &t, &o);
    if (again) {
        n = shrink(cmds, n, &t, &o);
        /* The last run of shrink() may have been one that failed to show it. */
        again = still_differs(cmds, n, &t, &o);
    }
    print_difference(cmds, n, again, again ? &t : theirs, again ? &o : ours);
out:
    eq_free_answers(&t, 1);
    eq_free_answers(&o, 1);
    free(cmds);
}

/* ---- the test ---- */

static void compare(uint64_t seed, unsigned long count)
{
    struct rng r = {seed};
    unsigned long done = 0;
    unsigned multi = 0;

    forget_past();
    while (done < count) {
        const struct eq_cmd *cmds[BATCH];
        struct eq_answer theirs = {NULL, 0};
        struct eq_answer ours = {NULL, 0};
        size_t first = T.past_n;
        size_t differs;
        for (size_t i = 0; i < BATCH; i++) {
            eq_generate(&r, &multi, &T.past[T.past_n]);
            cmds[i] = &T.past[T.past_n++];
        }
        differs = both_run(cmds, BATCH, &theirs, &ours);
        done += differs < BATCH ? differs + 1 : BATCH;
        if (differs < BATCH) {
            report_difference(first + differs, &theirs, &ours);
        }
        if (differs < BATCH || T.past_n >= PAST_MAX) {
            multi = 0;
            forget_past();
        }
        eq_free_answers(&theirs, 1);
        eq_free_answers(&ours, 1);
    }
    printf("%lu commands compared, %u differences\n", done, T.total);
}

static int compare_seen(const void *a, const void *b)
{
    return strcmp(((const struct seen *)a)->name, ((const struct seen *)b)->name);
}

static void print_summary(void)
{
    qsort(T.seen, T.seen_n, sizeof(T.seen[0]), compare_seen);
    for (size_t i = 0; i < T.seen_n;) {
        unsigned kinds = 0;
        unsigned count = 0;
        size_t first = i;
        for (; i < T.seen_n && strcmp(T.seen[i].name, T.seen[first].name) == 0; i++) {
            kinds++;
            count += T.seen[i].count;
        }
        printf("    %-28s %u of %u kinds\n", T.seen[first].name, count, kinds);
    }
}

static void test_trap43__random_commands_with_every_option__same_replies(void **state)
{
    const char *count_text = getenv("EQ_COUNT");
    unsigned long count = count_text == NULL ? 20000 : strtoul(count_text, NULL, 10);
    uint64_t seed = rng_seed_from_env("EQ_SEED");

    (void)state;
    T.only = getenv("EQ_ONLY");
    print_message("EQ_SEED=%llu EQ_COUNT=%lu\n", (unsigned long long)seed, count);
    compare(seed, count);
    print_summary();
    assert_int_equal(T.total, 0);
}

static int setup(void **state)
{
    (void)state;
    T.sides[0].server.redis = true;
    /* The rig's redis-server allows DEBUG; here both have their defaults. */
    T.sides[0].server.options[0] = "--enable-debug-command";
    T.sides[0].server.options[1] = "no";
    for (int i = 0; i < 2; i++) {
        T.sides[i].conn.fd = -1;
        if (!server_start(&T.sides[i].server) ||
            !rawconn_open(&T.sides[i].conn, T.sides[i].server.port)) {
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rawconn_close(&T.sides[i].conn);
        server_fini(&T.sides[i].server);
    }
    for (size_t i = 0; i < T.past_n; i++) {
        eq_cmd_fini(&T.past[i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap43__random_commands_with_every_option__same_replies),
    };

    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, setup, teardown);
}
