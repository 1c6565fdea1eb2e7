/* SPDX-License-Identifier: MIT */
/*
 * linear.c - depth-first search for an order that explains a history (Wing and Gong), which never
 * looks twice at the same set of done operations with the same store (Lowe; Porcupine does the
 * same).
 *
 * Clients have their own order, so a set of done operations is one position per client. What keeps
 * the search near one step per operation:
 *   - an operation that changes nothing, and whose reply fits now, is taken at once and for good:
 * any order that has it later stays right with it moved here;
 *   - a step that wipes a value out which a later reply still needs, and which no later operation
 * can store again, is a dead end at once;
 *   - stores are compared after values that no later reply needs have been made alike.
 */
#include "lib/linear.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_ABSENT 0
#define ID_NOBODY_ASKS                                                         \
    (-1) /* stands for any present value that no operation still to come names \
          */

/* An operation with its values replaced by small numbers. */
struct step_op {
    uint8_t kind, n;
    uint8_t key[LIN_OP_KEYS_MAX];
    int32_t
        id[LIN_OP_KEYS_MAX]; /* READ: wanted; WRITE: stored; INCR: [0] stored, [1] wanted before */
    bool from_absent;        /* INCR: the key may also have been absent before */
    int64_t count;           /* DEL, RENAME: the reply */
    uint64_t call, ret;
    size_t source; /* index in the caller's array */
};

struct frame {
    int32_t store[LIN_KEYS_MAX];
    uint16_t pos[LIN_CLIENTS_MAX];  /* operations done, per client */
    uint8_t order[LIN_CLIENTS_MAX]; /* clients to try, earliest reply first */
    uint8_t order_n, order_next;
    bool entered;
    int16_t via; /* the client whose operation led here; -1 for the first frame */
};

struct fingerprint {
    uint64_t a, b; /* both 0: an empty slot */
};

struct search {
    const struct lin_op *source; /* borrowed */
    size_t n;
    struct step_op *ops;               /* owned; grouped by client */
    size_t first[LIN_CLIENTS_MAX + 1]; /* of each client in ops */
    int64_t *values;                   /* owned; sorted; id = index + 1 */
    size_t values_n;
    /* Owned; per id, operations still to come that ... */
    uint32_t *asks;       /* ... look at it */
    uint32_t *needs;      /* ... fit with nothing else */
    uint32_t *makes;      /* ... store it */
    struct frame *frames; /* owned; n + 1 */
    size_t depth;
    struct frame best; /* explained the most */
    size_t best_depth;
    struct fingerprint *seen; /* owned; open addressing */
    size_t seen_cap, seen_n;
};

static void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    if (p == NULL) {
        fprintf(stderr, "linear: out of memory\n");
        abort();
    }
    return p;
}

/* ---- small numbers for values ---- */

static int compare_values(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void collect_values(struct search *s)
{
    size_t n = 0;
    size_t kept = 0;

    s->values = must_alloc(s->n * LIN_OP_KEYS_MAX, sizeof(*s->values));
    for (size_t i = 0; i < s->n; i++) {
        const struct lin_op *op = &s->source[i];
        if (op->kind == LIN_INCR) {
            s->values[n++] = op->val[0];
            s->values[n++] = op->val[0] - 1;
        } else if (op->kind == LIN_READ || op->kind == LIN_WRITE) {
            for (unsigned k = 0; k < op->n; k++) {
                s->values[n++] = op->val[k];
            }
        }
    }
    qsort(s->values, n, sizeof(*s->values), compare_values);
    for (size_t i = 0; i < n; i++) {
        if (s->values[i] != LIN_ABSENT && (kept == 0 || s->values[kept - 1] != s->values[i])) {
            s->values[kept++] = s->values[i];
        }
    }
    s->values_n = kept;
    s->asks = must_alloc(kept + 1, sizeof(*s->asks));
    s->needs = must_alloc(kept + 1, sizeof(*s->needs));
    s->makes = must_alloc(kept + 1, sizeof(*s->makes));
}

static int32_t value_id(const struct search *s, int64_t value)
{
    const int64_t *at;

    if (value == LIN_ABSENT) {
        return ID_ABSENT;
    }
    at = bsearch(&value, s->values, s->values_n, sizeof(*s->values), compare_values);
    return (int32_t)(at - s->values) + 1;
}

/* ---- what an operation needs and stores ---- */

/* +1 when the operation becomes one still to come, -1 when it has been done. */
static void count_op(struct search *s, const struct step_op *op, int by)
{
    uint32_t d = (uint32_t)by;

    switch (op->kind) {
    case LIN_READ:
        for (unsigned k = 0; k < op->n; k++) {
            s->asks[op->id[k]] += d;
            s->needs[op->id[k]] += d;
        }
        break;
    case LIN_WRITE:
        for (unsigned k = 0; k < op->n; k++) {
            s->makes[op->id[k]] += d;
        }
        break;
    case LIN_INCR:
        s->makes[op->id[0]] += d;
        s->asks[op->id[1]] += d;
        s->needs[op->id[1]] += op->from_absent ? 0 : d;
        break;
    default:
        break;
    }
}

static void prepare_op(struct search *s, const struct lin_op *from, size_t source,
                       struct step_op *to)
{
    to->kind = from->kind;
    to->n = from->n;
    memcpy(to->key, from->key, sizeof(to->key));
    to->call = from->call;
    to->ret = from->ret;
    to->source = source;
    to->count = from->val[0];
    if (from->kind == LIN_INCR) {
        to->id[0] = value_id(s, from->val[0]);
        to->id[1] = value_id(s, from->val[0] - 1);
        to->from_absent = from->val[0] == 1;
    } else if (from->kind == LIN_READ || from->kind == LIN_WRITE) {
        for (unsigned k = 0; k < from->n; k++) {
            to->id[k] = value_id(s, from->val[k]);
        }
    }
    count_op(s, to, 1);
}

static void prepare(struct search *s)
{
    size_t count[LIN_CLIENTS_MAX] = {0};
    size_t at = 0;

    collect_values(s);
    s->ops = must_alloc(s->n, sizeof(*s->ops));
    s->frames = must_alloc(s->n + 1, sizeof(*s->frames));
    for (size_t i = 0; i < s->n; i++) {
        count[s->source[i].client]++;
    }
    for (unsigned c = 0; c < LIN_CLIENTS_MAX; c++) {
        s->first[c] = at;
        at += count[c];
        count[c] = s->first[c];
    }
    s->first[LIN_CLIENTS_MAX] = at;
    for (size_t i = 0; i < s->n; i++) {
        prepare_op(s, &s->source[i], i, &s->ops[count[s->source[i].client]++]);
    }
}

/* ---- one operation on the store ---- */

static bool fits_read(const struct step_op *op, const int32_t *store)
{
    bool fits = true;

    for (unsigned k = 0; k < op->n && fits; k++) {
        fits = store[op->key[k]] == op->id[k];
    }
    return fits;
}

/* Runs the operation on store; false if the reply would have been another one (store is then
 * spoilt). */
static bool apply(const struct step_op *op, int32_t *store)
{
    int64_t found = 0;

    switch (op->kind) {
    case LIN_READ:
        return fits_read(op, store);
    case LIN_WRITE:
        for (unsigned k = 0; k < op->n; k++) {
            store[op->key[k]] = op->id[k];
        }
        return true;
    case LIN_INCR: {
        int32_t *at = &store[op->key[0]];
        bool fits = *at == op->id[1] || (op->from_absent && *at == ID_ABSENT);
        *at = op->id[0];
        return fits;
    }
    case LIN_DEL:
        for (unsigned k = 0; k < op->n; k++) {
            found += store[op->key[k]] != ID_ABSENT;
            store[op->key[k]] = ID_ABSENT;
        }
        return found == op->count;
    default: { /* LIN_RENAME */
        int32_t moved = store[op->key[0]];
        if (moved == ID_ABSENT) {
            return op->count == 0;
        }
        store[op->key[0]] = ID_ABSENT;
        store[op->key[1]] = moved;
        return op->count == 1;
    }
    }
}

/* Is a value of `before` gone for good although a reply still to come needs it? */
static bool wipes_out(const struct search *s, const int32_t *before, const int32_t *after)
{
    for (unsigned k = 0; k < LIN_KEYS_MAX; k++) {
        int32_t id = before[k];
        bool kept = id == ID_ABSENT || id == after[k] || s->needs[id] == 0 || s->makes[id] > 0;
        for (unsigned j = 0; j < LIN_KEYS_MAX && !kept; j++) {
            kept = after[j] == id;
        }
        if (!kept) {
            return true;
        }
    }
    return false;
}

/* ---- what has been looked at ---- */

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

/* 128 bits: two of the at most 2^26 nodes of a search agree by chance once in 2^75 searches. */
static struct fingerprint fingerprint_of(const struct search *s, const struct frame *f)
{
    struct fingerprint p = {0x2545f4914f6cdd1du, 0x9e3779b97f4a7c15u};

    for (unsigned c = 0; c < LIN_CLIENTS_MAX; c++) {
        p.a = mix(p.a, f->pos[c]);
        p.b = mix(p.b, f->pos[c] + 0x632be59bd9b4e019u);
    }
    for (unsigned k = 0; k < LIN_KEYS_MAX; k++) {
        int32_t id = f->store[k];
        uint64_t x = (uint32_t)(id != ID_ABSENT && s->asks[id] == 0 ? ID_NOBODY_ASKS : id);
        p.a = mix(p.a, x);
        p.b = mix(p.b, x + 0x632be59bd9b4e019u);
    }
    p.a |= 1;
    return p;
}

static bool seen_insert(struct fingerprint *table, size_t cap, struct fingerprint p)
{
    size_t i = (size_t)(p.b ^ (p.a >> 1)) & (cap - 1);

    while (table[i].a != 0) {
        if (table[i].a == p.a && table[i].b == p.b) {
            return false;
        }
        i = (i + 1) & (cap - 1);
    }
    table[i] = p;
    return true;
}

/* False if it was there already. */
static bool seen_add(struct search *s, struct fingerprint p)
{
    if ((s->seen_n + 1) * 2 > s->seen_cap) {
        size_t cap = s->seen_cap == 0 ? 4096 : s->seen_cap * 2;
        struct fingerprint *grown = must_alloc(cap, sizeof(*grown));
        for (size_t i = 0; i < s->seen_cap; i++) {
            if (s->seen[i].a != 0) {
                (void)seen_insert(grown, cap, s->seen[i]);
            }
        }
        free(s->seen);
        s->seen = grown;
        s->seen_cap = cap;
    }
    if (!seen_insert(s->seen, s->seen_cap, p)) {
        return false;
    }
    s->seen_n++;
    return true;
}

/* ---- the search ---- */

/* NULL when the client has no operation left. */
static const struct step_op *head_of(const struct search *s, const struct frame *f, unsigned client)
{
    size_t at = s->first[client] + f->pos[client];

    return at < s->first[client + 1] ? &s->ops[at] : NULL;
}

/* Fills order[] with the clients whose next operation no other one must precede. */
static void list_candidates(const struct search *s, struct frame *f)
{
    uint64_t first_ret = UINT64_MAX;

    f->order_n = 0;
    f->order_next = 0;
    for (unsigned c = 0; c < LIN_CLIENTS_MAX; c++) {
        const struct step_op *op = head_of(s, f, c);
        if (op != NULL && op->ret < first_ret) {
            first_ret = op->ret;
        }
    }
    for (unsigned c = 0; c < LIN_CLIENTS_MAX; c++) {
        const struct step_op *op = head_of(s, f, c);
        unsigned at = f->order_n;
        if (op == NULL || op->call > first_ret) {
            continue;
        }
        while (at > 0 && head_of(s, f, f->order[at - 1])->ret > op->ret) {
            f->order[at] = f->order[at - 1];
            at--;
        }
        f->order[at] = (uint8_t)c;
        f->order_n++;
    }
}

/* Does op fit f's store? next: f's store after it. changed: is that another one? */
static bool try_op(const struct frame *f, const struct step_op *op, int32_t *next, bool *changed)
{
    memcpy(next, f->store, sizeof(f->store));
    if (!apply(op, next)) {
        return false;
    }
    *changed = memcmp(next, f->store, sizeof(f->store)) != 0;
    return true;
}

static void push(struct search *s, unsigned client, const int32_t *store)
{
    const struct frame *from = &s->frames[s->depth];
    struct frame *to = &s->frames[s->depth + 1];

    count_op(s, head_of(s, from, client), -1);
    memcpy(to->store, store, sizeof(to->store));
    memcpy(to->pos, from->pos, sizeof(to->pos));
    to->pos[client]++;
    to->via = (int16_t)client;
    to->entered = false;
    s->depth++;
    if (s->depth > s->best_depth) {
        s->best_depth = s->depth;
        s->best = *to;
    }
}

/* False when the first frame has been given up. */
static bool pop(struct search *s)
{
    unsigned client = (unsigned)s->frames[s->depth].via;

    if (s->depth == 0) {
        return false;
    }
    s->depth--;
    count_op(s, head_of(s, &s->frames[s->depth], client), 1);
    return true;
}

/*
 * First visit: takes an operation that changes nothing, for good; else remembers the node. True if
 * the top of the stack is a new frame or has candidates to try.
 */
static bool enter(struct search *s, struct frame *f)
{
    int32_t next[LIN_KEYS_MAX];
    bool changed;

    f->entered = true;
    list_candidates(s, f);
    for (unsigned i = 0; i < f->order_n; i++) {
        const struct step_op *op = head_of(s, f, f->order[i]);
        if (op->kind != LIN_WRITE && try_op(f, op, next, &changed) && !changed) {
            unsigned client = f->order[i];
            f->order_n = 0;
            push(s, client, next);
            return true;
        }
    }
    if (!seen_add(s, fingerprint_of(s, f))) {
        f->order_n = 0;
    }
    return f->order_n > 0;
}

/* Tries the next candidate of the top frame; false when there is none left. */
static bool advance(struct search *s, struct frame *f)
{
    int32_t next[LIN_KEYS_MAX];
    bool changed;

    while (f->order_next < f->order_n) {
        unsigned client = f->order[f->order_next++];
        const struct step_op *op = head_of(s, f, client);
        if (!try_op(f, op, next, &changed)) {
            continue;
        }
        count_op(s, op, -1);
        bool dead_end = wipes_out(s, f->store, next);
        count_op(s, op, 1);
        if (!dead_end) {
            push(s, client, next);
            return true;
        }
    }
    return false;
}

static enum lin_verdict run_search(struct search *s, uint64_t steps_max, uint64_t *steps)
{
    s->frames[0].via = -1;
    while (s->depth < s->n) {
        struct frame *f = &s->frames[s->depth];
        bool onward;
        if (++*steps > steps_max) {
            return LIN_UNDECIDED;
        }
        onward = f->entered ? advance(s, f) : (enter(s, f) && (f->order_n == 0 || advance(s, f)));
        if (!onward && !pop(s)) {
            return LIN_BAD;
        }
    }
    return LIN_GOOD;
}

/* ---- the report ---- */

static bool well_formed(const struct lin_op *ops, size_t n, struct lin_report *report)
{
    const struct lin_op *last[LIN_CLIENTS_MAX] = {NULL};

    for (size_t i = 0; i < n; i++) {
        const struct lin_op *op = &ops[i];
        unsigned keys_min = op->kind == LIN_RENAME ? 2 : 1;
        bool ok = op->client < LIN_CLIENTS_MAX && op->kind <= LIN_RENAME && op->n >= keys_min &&
                  op->n <= LIN_OP_KEYS_MAX && op->call < op->ret;
        for (unsigned k = 0; ok && k < op->n; k++) {
            ok = op->key[k] < LIN_KEYS_MAX && (op->kind != LIN_WRITE || op->val[k] != LIN_ABSENT);
        }
        ok = ok && (op->kind != LIN_INCR || op->val[0] > LIN_ABSENT + 1);
        ok = ok && (last[op->client] == NULL ||
                    (last[op->client]->call <= op->call && last[op->client]->ret < op->ret));
        if (!ok) {
            snprintf(report->text, sizeof(report->text), "operation %zu is malformed", i);
            return false;
        }
        last[op->client] = op;
    }
    return n <= LIN_OPS_MAX;
}

__attribute__((format(printf, 2, 3))) static void add_text(struct lin_report *report,
                                                           const char *fmt, ...)
{
    size_t used = strlen(report->text);
    __builtin_va_list args;

    __builtin_va_start(args, fmt);
    vsnprintf(report->text + used, sizeof(report->text) - used, fmt, args);
    __builtin_va_end(args);
}

static void describe_best(const struct search *s, struct lin_report *report)
{
    char line[256];

    add_text(report, "%zu of %zu operations fit in some order; then the store is", s->best_depth,
             s->n);
    for (unsigned k = 0; k < LIN_KEYS_MAX; k++) {
        if (s->best.store[k] != ID_ABSENT) {
            add_text(report, " k%u=%lld", k, (long long)s->values[s->best.store[k] - 1]);
        }
    }
    add_text(report, " and the next of each client:");
    for (unsigned c = 0; c < LIN_CLIENTS_MAX; c++) {
        const struct step_op *op = head_of(s, &s->best, c);
        if (op != NULL) {
            (void)lin_op_format(&s->source[op->source], line, sizeof(line));
            add_text(report, "\n  %s", line);
        }
    }
}

enum lin_verdict lin_check(const struct lin_op *ops, size_t n, uint64_t steps_max,
                           struct lin_report *report)
{
    struct search *s = must_alloc(1, sizeof(*s));

    memset(report, 0, sizeof(*report));
    s->source = ops;
    s->n = n;
    if (!well_formed(ops, n, report)) {
        report->verdict = LIN_MALFORMED;
        goto out;
    }
    prepare(s);
    report->verdict = run_search(s, steps_max, &report->steps);
    report->explained = s->best_depth;
    if (report->verdict == LIN_BAD) {
        describe_best(s, report);
    }
out:
    free(s->ops);
    free(s->values);
    free(s->asks);
    free(s->needs);
    free(s->makes);
    free(s->frames);
    free(s->seen);
    free(s);
    return report->verdict;
}

const char *lin_verdict_name(enum lin_verdict v)
{
    static const char *const names[] = {"linearizable", "NOT linearizable", "undecided",
                                        "malformed"};

    return names[v];
}

int lin_op_format(const struct lin_op *op, char *buf, size_t buf_len)
{
    static const char *const names[] = {"READ", "WRITE", "INCR", "DEL", "RENAME"};
    char keys[LIN_OP_KEYS_MAX * 32] = "";
    size_t at = 0;
    bool pairs = op->kind == LIN_READ || op->kind == LIN_WRITE;

    for (unsigned k = 0; k < op->n && at + 32 < sizeof(keys) + 1; k++) {
        at += (size_t)snprintf(keys + at, sizeof(keys) - at, " k%u", op->key[k]);
        if (pairs && op->val[k] == LIN_ABSENT) {
            at += (size_t)snprintf(keys + at, sizeof(keys) - at, "=nil");
        } else if (pairs) {
            at += (size_t)snprintf(keys + at, sizeof(keys) - at, "=%lld", (long long)op->val[k]);
        }
    }
    if (pairs) {
        return snprintf(buf, buf_len, "client %u %s%s [%llu, %llu]", op->client, names[op->kind],
                        keys, (unsigned long long)op->call, (unsigned long long)op->ret);
    }
    return snprintf(buf, buf_len, "client %u %s%s -> %lld [%llu, %llu]", op->client,
                    names[op->kind], keys, (long long)op->val[0], (unsigned long long)op->call,
                    (unsigned long long)op->ret);
}
