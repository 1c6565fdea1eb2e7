/* SPDX-License-Identifier: MIT */
/* history.c - histories as arrays and as text; campaigns of many of them. */
#include "lib/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEPS_MAX 20000000u
#define HEADER "bitkv history 1\n"

void history_add(struct history *h, const struct lin_op *op)
{
    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? 1024 : h->cap * 2;
        h->ops = realloc(h->ops, h->cap * sizeof(*h->ops));
        if (h->ops == NULL) {
            abort();
        }
    }
    h->ops[h->n++] = *op;
}

void history_clear(struct history *h)
{
    h->n = 0;
}

void history_fini(struct history *h)
{
    free(h->ops);
    memset(h, 0, sizeof(*h));
}

bool history_save(const struct history *h, const char *path)
{
    FILE *f = fopen(path, "w");
    bool ok;

    if (f == NULL) {
        return false;
    }
    fputs(HEADER, f);
    for (size_t i = 0; i < h->n; i++) {
        const struct lin_op *op = &h->ops[i];
        fprintf(f, "%u %u %u %llu %llu", op->client, op->kind, op->n, (unsigned long long)op->call,
                (unsigned long long)op->ret);
        for (unsigned k = 0; k < LIN_OP_KEYS_MAX; k++) {
            fprintf(f, " %u=%lld", op->key[k], (long long)op->val[k]);
        }
        fputc('\n', f);
    }
    ok = !ferror(f);
    return fclose(f) == 0 && ok;
}

static bool load_op(FILE *f, struct lin_op *op)
{
    unsigned client, kind, n, key;
    unsigned long long call, ret;
    long long val;
    bool ok = fscanf(f, "%u %u %u %llu %llu", &client, &kind, &n, &call, &ret) == 5;

    memset(op, 0, sizeof(*op));
    for (unsigned k = 0; ok && k < LIN_OP_KEYS_MAX; k++) {
        ok = fscanf(f, " %u=%lld", &key, &val) == 2;
        op->key[k] = ok ? (uint8_t)key : 0;
        op->val[k] = ok ? val : 0;
    }
    if (ok) {
        op->client = (uint8_t)client;
        op->kind = (uint8_t)kind;
        op->n = (uint8_t)n;
        op->call = call;
        op->ret = ret;
    }
    return ok;
}

bool history_load(struct history *h, const char *path)
{
    FILE *f = fopen(path, "r");
    char line[sizeof(HEADER)] = "";
    struct lin_op op;
    bool ok;

    history_clear(h);
    if (f == NULL) {
        return false;
    }
    ok = fgets(line, sizeof(line), f) != NULL && strcmp(line, HEADER) == 0;
    while (ok && load_op(f, &op)) {
        history_add(h, &op);
    }
    ok = ok && feof(f);
    fclose(f);
    return ok;
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* True if it was good; else it is kept and described. */
static bool judge(const struct history_goal *goal, const struct history *h, uint64_t seed,
                  struct history_result *result)
{
    struct lin_report report;
    char path[256];
    double start = now_ms();
    enum lin_verdict verdict = lin_check(h->ops, h->n, STEPS_MAX, &report);
    double took = now_ms() - start;

    result->ops += h->n;
    result->steps_max = report.steps > result->steps_max ? report.steps : result->steps_max;
    result->check_ms_max = took > result->check_ms_max ? took : result->check_ms_max;
    if (verdict == LIN_GOOD) {
        result->good++;
        return true;
    }
    result->bad += verdict == LIN_BAD;
    result->undecided += verdict == LIN_UNDECIDED;
    result->broken = result->broken || verdict == LIN_MALFORMED;
    snprintf(path, sizeof(path), "%s/history-%llu.txt", goal->save_dir, (unsigned long long)seed);
    printf("history %llu of %zu operations: %s after %llu steps; %s %s\n%s\n",
           (unsigned long long)seed, h->n, lin_verdict_name(verdict),
           (unsigned long long)report.steps,
           history_save(h, path) ? "kept in" : "could not be kept in", path, report.text);
    return false;
}

void history_campaign(const struct history_goal *goal, struct history_result *result)
{
    struct history h = {NULL, 0, 0};
    struct recorder *r = recorder_new(goal->port);
    double until = now_ms() + goal->seconds * 1e3;
    bool more = true;

    memset(result, 0, sizeof(*result));
    result->broken = r == NULL;
    for (unsigned i = 0; more && r != NULL; i++) {
        struct rng rng = {goal->seed + i};
        size_t ops_n = (size_t)rng_range(&rng, 500, 2000);
        result->broken = !recorder_run(r, &rng, ops_n, &h);
        more = !result->broken && judge(goal, &h, goal->seed + i, result) &&
               (now_ms() < until || result->good < goal->histories_min) &&
               (goal->histories_max == 0 || i + 1 < goal->histories_max);
    }
    recorder_free(&r);
    history_fini(&h);
}
