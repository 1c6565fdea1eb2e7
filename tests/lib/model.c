/* SPDX-License-Identifier: MIT */
/* model.c - see model.h. */
#include "lib/model.h"

#include "base/assert.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 64u
#define DIFF_LINES 20

struct model_node {
    struct model_node *next; /* owned by the bucket */
    struct bk_block *key;    /* counted */
    struct bk_block *value;  /* counted */
    uint8_t flags;
    int64_t expire_ms;
    uint64_t key_hash;
    uint64_t hash; /* of all of it */
};

/* ---- Hashes ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t len)
{
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        h = mix(h, v);
    }
    for (; i < len; i++) {
        h = mix(h, p[i]);
    }
    return mix(h, len);
}

static uint64_t node_hash(const struct model_node *n)
{
    uint64_t h = hash_bytes(n->key_hash, n->value->data, n->value->len);
    return mix(mix(h, n->flags), (uint64_t)n->expire_ms);
}

static uint64_t state_hash(const struct model_state *s)
{
    uint64_t h = 1;
    for (uint32_t i = 0; i < s->databases; i++) {
        h = mix(h, s->maps[i].hash);
    }
    return h;
}

/* ---- One database ---- */

static struct bk_block *block_of(struct bk_span s)
{
    struct bk_block *b = bk_block_new(s.len);
    if (s.len > 0) {
        memcpy(b->data, s.data, s.len);
    }
    return b;
}

static struct model_node **map_slot(const struct model_map *m, struct bk_span key,
                                    uint64_t key_hash)
{
    struct model_node **slot = &m->buckets[key_hash % BUCKETS];
    while (*slot != NULL && ((*slot)->key_hash != key_hash ||
                             !bk_span_eq(bk_span_of((*slot)->key->data, (*slot)->key->len), key))) {
        slot = &(*slot)->next;
    }
    return slot;
}

static void map_remove(struct model_map *m, struct bk_span key)
{
    if (m->buckets == NULL) {
        return;
    }
    struct model_node **slot = map_slot(m, key, hash_bytes(7, key.data, key.len));
    struct model_node *n = *slot;
    if (n != NULL) {
        *slot = n->next;
        m->hash ^= n->hash;
        m->keys--;
        bk_block_unref(&n->key);
        bk_block_unref(&n->value);
        free(n);
    }
}

static void map_put(struct model_map *m, struct bk_block *key, struct bk_block *value,
                    uint8_t flags, int64_t expire_ms)
{
    struct bk_span k = bk_span_of(key->data, key->len);
    map_remove(m, k);
    if (m->buckets == NULL) {
        m->buckets = bk_alloc_zero(BUCKETS, sizeof(struct model_node *));
    }
    struct model_node *n = bk_alloc_zero(1, sizeof(*n));
    n->key = bk_block_ref(key);
    n->value = bk_block_ref(value);
    n->flags = flags;
    n->expire_ms = expire_ms;
    n->key_hash = hash_bytes(7, k.data, k.len);
    n->hash = node_hash(n);
    *map_slot(m, k, n->key_hash) = n;
    m->hash ^= n->hash;
    m->keys++;
}

static void map_clear(struct model_map *m)
{
    for (unsigned i = 0; i < BUCKETS && m->buckets != NULL; i++) {
        while (m->buckets[i] != NULL) {
            struct model_node *n = m->buckets[i];
            m->buckets[i] = n->next;
            bk_block_unref(&n->key);
            bk_block_unref(&n->value);
            free(n);
        }
    }
    free(m->buckets);
    *m = (struct model_map){0};
}

/* ---- All databases ---- */

void model_state_init(struct model_state *s, uint32_t databases, int64_t now_ms)
{
    s->maps = bk_alloc_zero(databases, sizeof(*s->maps));
    s->databases = databases;
    s->now_ms = now_ms;
}

void model_state_fini(struct model_state *s)
{
    for (uint32_t i = 0; i < s->databases; i++) {
        map_clear(&s->maps[i]);
    }
    free(s->maps);
    *s = (struct model_state){0};
}

static void state_put(struct model_state *s, uint32_t num, struct bk_block *key,
                      struct bk_block *value, uint8_t flags, int64_t expire_ms)
{
    BK_ASSERT(num < s->databases);
    if (s->now_ms != 0 && expire_ms != 0 && expire_ms <= s->now_ms) {
        map_remove(&s->maps[num], bk_span_of(key->data, key->len));
    } else {
        map_put(&s->maps[num], key, value, flags, expire_ms);
    }
}

void model_state_put(struct model_state *s, uint32_t num, struct bk_span key,
                     const struct model_value *v)
{
    struct bk_block *k = block_of(key);
    struct bk_block *b = block_of(v->value);
    state_put(s, num, k, b, v->flags, v->expire_ms);
    bk_block_unref(&k);
    bk_block_unref(&b);
}

static struct model_value value_of(const struct model_node *n)
{
    return (struct model_value){bk_span_of(n->value->data, n->value->len), n->flags, n->expire_ms};
}

bool model_state_get(const struct model_state *s, uint32_t num, struct bk_span key,
                     struct model_value *out)
{
    BK_ASSERT(num < s->databases);
    const struct model_map *m = &s->maps[num];
    struct model_node *n =
        m->buckets != NULL ? *map_slot(m, key, hash_bytes(7, key.data, key.len)) : NULL;
    if (n != NULL) {
        *out = value_of(n);
    }
    return n != NULL;
}

size_t model_state_keys(const struct model_state *s, uint32_t num)
{
    return s->maps[num].keys;
}

void model_state_each(const struct model_state *s, uint32_t num,
                      void (*each)(void *arg, struct bk_span key, const struct model_value *v),
                      void *arg)
{
    for (unsigned i = 0; i < BUCKETS && s->maps[num].buckets != NULL; i++) {
        for (struct model_node *n = s->maps[num].buckets[i]; n != NULL; n = n->next) {
            struct model_value v = value_of(n);
            each(arg, bk_span_of(n->key->data, n->key->len), &v);
        }
    }
}

static void state_copy(struct model_state *to, const struct model_state *from, int64_t now_ms)
{
    model_state_init(to, from->databases, now_ms);
    for (uint32_t db = 0; db < from->databases; db++) {
        for (unsigned i = 0; i < BUCKETS && from->maps[db].buckets != NULL; i++) {
            for (struct model_node *n = from->maps[db].buckets[i]; n != NULL; n = n->next) {
                state_put(to, db, n->key, n->value, n->flags, n->expire_ms);
            }
        }
    }
}

static void apply(struct model_state *s, const struct model_entry *e)
{
    for (size_t i = 0; i < e->ops_n; i++) {
        const struct model_op *op = &e->ops[i];
        if (op->kind == MODEL_PUT) {
            state_put(s, op->num, op->key, op->value, op->flags, op->expire_ms);
        } else if (op->kind == MODEL_DELETE) {
            map_remove(&s->maps[op->num], bk_span_of(op->key->data, op->key->len));
        } else if (op->kind == MODEL_FLUSH) {
            map_clear(&s->maps[op->num]);
        } else {
            struct model_map m = s->maps[op->num];
            s->maps[op->num] = s->maps[op->num2];
            s->maps[op->num2] = m;
        }
    }
}

/* ---- History ---- */

void model_init(struct model *m, uint32_t databases)
{
    *m = (struct model){0};
    model_state_init(&m->base, databases, 0);
    model_state_init(&m->now, databases, 0);
}

static void entry_fini(struct model_entry *e)
{
    for (size_t i = 0; i < e->ops_n; i++) {
        bk_block_unref(&e->ops[i].key);
        bk_block_unref(&e->ops[i].value);
    }
    free(e->ops);
    *e = (struct model_entry){0};
}

void model_fini(struct model *m)
{
    for (size_t i = 0; i < m->entries_n; i++) {
        entry_fini(&m->entries[i]);
    }
    free(m->entries);
    model_forget_undone(m);
    free(m->ghosts);
    entry_fini(&m->open);
    model_state_fini(&m->base);
    model_state_fini(&m->now);
}

static struct model_op *add_op(struct model *m, enum model_kind kind, uint32_t num)
{
    BK_ASSERT(num < m->now.databases);
    m->open.ops = bk_realloc(m->open.ops, (m->open.ops_n + 1) * sizeof(*m->open.ops));
    struct model_op *op = &m->open.ops[m->open.ops_n++];
    *op = (struct model_op){.kind = kind, .num = num};
    return op;
}

void model_put(struct model *m, uint32_t num, struct bk_span key, const struct model_value *v)
{
    struct model_op *op = add_op(m, MODEL_PUT, num);
    op->key = block_of(key);
    op->value = block_of(v->value);
    op->flags = v->flags;
    op->expire_ms = v->expire_ms;
}

void model_delete(struct model *m, uint32_t num, struct bk_span key)
{
    add_op(m, MODEL_DELETE, num)->key = block_of(key);
}

void model_flush(struct model *m, uint32_t num)
{
    add_op(m, MODEL_FLUSH, num);
}

void model_swap(struct model *m, uint32_t num1, uint32_t num2)
{
    BK_ASSERT(num2 < m->now.databases);
    add_op(m, MODEL_SWAP, num1)->num2 = num2;
}

/* Takes what e owns. */
static void add_entry(struct model *m, const struct model_entry *e)
{
    if (m->entries_n == m->entries_cap) {
        m->entries_cap = m->entries_cap * 2 + 64;
        m->entries = bk_realloc(m->entries, m->entries_cap * sizeof(*m->entries));
    }
    m->entries[m->entries_n++] = *e;
}

void model_commit(struct model *m, uint64_t pos, unsigned life)
{
    apply(&m->now, &m->open);
    m->open.pos = pos;
    m->open.life = life;
    add_entry(m, &m->open);
    m->open = (struct model_entry){0};
    model_forget_undone(m);
}

void model_cancel(struct model *m)
{
    entry_fini(&m->open);
}

void model_preview(const struct model *m, struct model_state *out)
{
    state_copy(out, &m->now, 0);
    apply(out, &m->open);
}

static void rebuild_now(struct model *m)
{
    model_state_fini(&m->now);
    state_copy(&m->now, &m->base, 0);
    for (size_t i = 0; i < m->entries_n; i++) {
        apply(&m->now, &m->entries[i]);
    }
}

void model_undo(struct model *m, size_t i)
{
    BK_ASSERT(i < m->entries_n);
    m->ghosts = bk_realloc(m->ghosts, (m->ghosts_n + 1) * sizeof(*m->ghosts));
    m->ghosts[m->ghosts_n++] = m->entries[i];
    m->entries_n--;
    memmove(m->entries + i, m->entries + i + 1, (m->entries_n - i) * sizeof(*m->entries));
    rebuild_now(m);
}

void model_revive(struct model *m)
{
    for (size_t i = 0; i < m->ghosts_n; i++) {
        apply(&m->now, &m->ghosts[i]);
        add_entry(m, &m->ghosts[i]);
    }
    m->ghosts_n = 0;
}

void model_forget_undone(struct model *m)
{
    for (size_t i = 0; i < m->ghosts_n; i++) {
        entry_fini(&m->ghosts[i]);
    }
    m->ghosts_n = 0;
}

void model_truncate(struct model *m, size_t n)
{
    BK_ASSERT(n <= m->entries_n);
    while (m->entries_n > n) {
        entry_fini(&m->entries[--m->entries_n]);
    }
    rebuild_now(m);
}

void model_settle(struct model *m, size_t n)
{
    BK_ASSERT(n <= m->entries_n);
    for (size_t i = 0; i < n; i++) {
        apply(&m->base, &m->entries[i]);
        entry_fini(&m->entries[i]);
    }
    m->entries_n -= n;
    if (n > 0 && m->entries_n > 0) {
        memmove(m->entries, m->entries + n, m->entries_n * sizeof(*m->entries));
    }
}

/* ---- Comparison ---- */

/* Every key of a is in b with the same value. */
static bool state_within(const struct model_state *a, const struct model_state *b)
{
    bool same = true;
    for (uint32_t db = 0; db < a->databases && same; db++) {
        same = a->maps[db].keys == b->maps[db].keys;
        for (unsigned i = 0; i < BUCKETS && a->maps[db].buckets != NULL && same; i++) {
            for (struct model_node *n = a->maps[db].buckets[i]; n != NULL && same; n = n->next) {
                struct model_value v;
                same = model_state_get(b, db, bk_span_of(n->key->data, n->key->len), &v) &&
                       bk_span_eq(v.value, bk_span_of(n->value->data, n->value->len)) &&
                       v.flags == n->flags && v.expire_ms == n->expire_ms;
            }
        }
    }
    return same;
}

bool model_match(const struct model *m, const struct model_state *seen, int64_t now_ms,
                 size_t least, size_t *len)
{
    bool found = false;
    struct model_state s;
    state_copy(&s, &m->base, now_ms);
    for (size_t n = 0; n <= m->entries_n; n++) {
        if (n > 0) {
            apply(&s, &m->entries[n - 1]);
        }
        if (n >= least && state_hash(&s) == state_hash(seen) && state_within(&s, seen)) {
            found = true;
            *len = n;
        }
    }
    model_state_fini(&s);
    return found;
}

static void print_bytes(FILE *out, struct bk_span s)
{
    for (size_t i = 0; i < s.len && i < 24; i++) {
        fputc(isprint(s.data[i]) ? s.data[i] : '.', out);
    }
    fprintf(out, "%s (%zu)", s.len > 24 ? ".." : "", s.len);
}

struct diff {
    const struct model_state *other;
    const char *what;
    uint32_t num;
    bool missing_only; /* what differs was printed the other way round */
    unsigned lines;
    FILE *out;
};

static void diff_key(void *arg, struct bk_span key, const struct model_value *v)
{
    struct diff *d = arg;
    struct model_value o = {0};
    bool there = model_state_get(d->other, d->num, key, &o);
    bool same = there && bk_span_eq(o.value, v->value) && o.flags == v->flags &&
                o.expire_ms == v->expire_ms;
    if (same || (there && d->missing_only) || d->lines++ >= DIFF_LINES) {
        return;
    }
    fprintf(d->out, "  db %u key ", d->num);
    print_bytes(d->out, key);
    fprintf(d->out, " %s ", d->what);
    print_bytes(d->out, v->value);
    fprintf(d->out, " flags %u expire %lld, the other %s", v->flags, (long long)v->expire_ms,
            there ? "" : "nothing\n");
    if (there) {
        print_bytes(d->out, o.value);
        fprintf(d->out, " flags %u expire %lld\n", o.flags, (long long)o.expire_ms);
    }
}

void model_diff(const struct model *m, const struct model_state *seen, int64_t now_ms, size_t len,
                FILE *out)
{
    struct model_state s;
    state_copy(&s, &m->base, now_ms);
    for (size_t n = 0; n < len && n < m->entries_n; n++) {
        apply(&s, &m->entries[n]);
    }
    struct diff d = {.out = out};
    for (uint32_t num = 0; num < s.databases; num++) {
        d.num = num;
        d.other = seen;
        d.what = "model has";
        d.missing_only = false;
        model_state_each(&s, num, diff_key, &d);
        d.other = &s;
        d.what = "store has";
        d.missing_only = true;
        model_state_each(seen, num, diff_key, &d);
    }
    model_state_fini(&s);
}
