/* SPDX-License-Identifier: MIT */
/* topics.c - see topics.h. */
#include "net/topics.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/glob.h"
#include "base/mutex.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SHARDS 64u /* a power of two */
#define TABLE_MIN 8u

/* Somebody listens to this. Its place in the shard's table and its listeners: guarded by the
 * shard's mutex. */
struct topic {
    struct name_node node;
    struct list in_order;  /* patterns: all of them, oldest first */
    struct list listeners; /* struct listening */
    size_t n;
    uint8_t name[];
};

/* One listener at one topic. */
struct listening {
    struct name_node node; /* in the listener's table; its thread only */
    struct list in_order;  /* in the listener's list; its thread only */
    struct list at_topic;  /* guarded by the shard's mutex */
    struct topic *topic;   /* borrowed: it is there while we are */
    void *who;             /* borrowed until it has left */
};

struct shard {
    struct bk_mutex mu;
    /* Guarded by mu. */
    struct name_table by_name BK_GUARDED(mu);
    struct list in_order BK_GUARDED(mu); /* of patterns, which have one shard only */
};

struct topics {
    uint64_t seed; /* set once: nobody outside can choose names that collide */
    _Atomic uint64_t count[TOPIC_KINDS];
    struct shard shards[TOPIC_KINDS][SHARDS];
};

/* ---- Tables ---- */

static struct name_node **table_slot(const struct name_table *t, uint64_t hash)
{
    return &t->v[hash & (t->cap - 1)];
}

static struct name_node *table_find(const struct name_table *t, uint64_t hash, struct bk_span name)
{
    struct name_node *n = t->cap == 0 ? NULL : *table_slot(t, hash);
    while (n != NULL && (n->hash != hash || !bk_span_eq(n->name, name))) {
        n = n->next;
    }
    return n;
}

static void table_resize(struct name_table *t, size_t cap)
{
    struct name_table was = *t;
    t->cap = cap;
    t->v = cap == 0 ? NULL : bk_alloc_zero(cap, sizeof(struct name_node *));
    for (size_t i = 0; i < was.cap; i++) {
        struct name_node *next;
        for (struct name_node *n = was.v[i]; n != NULL; n = next) {
            struct name_node **slot = table_slot(t, n->hash);
            next = n->next;
            n->next = *slot;
            *slot = n;
        }
    }
    free(was.v);
}

static void table_add(struct name_table *t, struct name_node *n)
{
    if (t->n == t->cap) {
        table_resize(t, t->cap == 0 ? TABLE_MIN : t->cap * 2);
    }
    struct name_node **slot = table_slot(t, n->hash);
    n->next = *slot;
    *slot = n;
    t->n++;
}

/* n is in t. A table that has become far too large shrinks; an empty one takes no memory. */
static void table_remove(struct name_table *t, struct name_node *n)
{
    struct name_node **slot = table_slot(t, n->hash);
    while (*slot != n) {
        slot = &(*slot)->next;
    }
    *slot = n->next;
    t->n--;
    if (t->n == 0) {
        table_resize(t, 0);
    } else if (t->cap > TABLE_MIN && t->n < t->cap / 8) {
        table_resize(t, t->cap / 2);
    }
}

/* ---- Life ---- */

struct topics *topics_new(void)
{
    struct topics *t = bk_alloc_zero(1, sizeof(*t));
    t->seed = (uint64_t)bk_clock_mono_us(&bk_clock_system) ^ (uint64_t)(uintptr_t)t;
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        for (size_t i = 0; i < SHARDS; i++) {
            bk_mutex_init(&t->shards[kind][i].mu, "topics", BK_RANK_TOPICS);
            list_init(&t->shards[kind][i].in_order);
        }
    }
    return t;
}

void topics_free(struct topics **t)
{
    for (int kind = 0; *t != NULL && kind < TOPIC_KINDS; kind++) {
        BK_ASSERT(topics_count(*t, kind) == 0);
        for (size_t i = 0; i < SHARDS; i++) {
            bk_mutex_fini(&(*t)->shards[kind][i].mu);
        }
    }
    free(*t);
    *t = NULL;
}

void topic_set_init(struct topic_set *s)
{
    *s = (struct topic_set){0};
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        list_init(&s->of[kind].in_order);
    }
}

void topic_set_fini(struct topic_set *s)
{
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        BK_ASSERT(s->of[kind].by_name.n == 0);
    }
}

size_t topic_set_count(const struct topic_set *s, enum topic_kind kind)
{
    return s->of[kind].by_name.n;
}

bool topic_set_first(const struct topic_set *s, enum topic_kind kind, struct bk_span *name)
{
    const struct list *order = &s->of[kind].in_order;
    bool any = !list_empty(order);
    if (any) {
        *name = LIST_OWNER(order->next, struct listening, in_order)->node.name;
    }
    return any;
}

/* ---- Joining and leaving ---- */

static uint64_t hash_of(const struct topics *t, struct bk_span name)
{
    return XXH3_64bits_withSeed(name.data, name.len, t->seed);
}

/* Patterns are all looked at together, so they share a shard. The tables use the low bits. */
static struct shard *shard_of(struct topics *t, enum topic_kind kind, uint64_t hash)
{
    return &t->shards[kind][kind == TOPIC_PATTERN ? 0 : (hash >> 32) & (SHARDS - 1)];
}

static struct topic *topic_new(struct topics *t, enum topic_kind kind, struct shard *sh,
                               uint64_t hash, struct bk_span name)
{
    struct topic *topic = bk_alloc(sizeof(*topic) + name.len);
    bk_mutex_assert_held(&sh->mu);
    if (name.len > 0) {
        memcpy(topic->name, name.data, name.len);
    }
    topic->node = (struct name_node){.hash = hash, .name = bk_span_of(topic->name, name.len)};
    topic->n = 0;
    list_init(&topic->in_order);
    list_init(&topic->listeners);
    table_add(&sh->by_name, &topic->node);
    list_push(&sh->in_order, &topic->in_order);
    atomic_fetch_add(&t->count[kind], 1);
    return topic;
}

bool topics_join(struct topics *t, struct topic_set *s, enum topic_kind kind, struct bk_span name,
                 void *who)
{
    uint64_t hash = hash_of(t, name);
    struct shard *sh = shard_of(t, kind, hash);
    if (table_find(&s->of[kind].by_name, hash, name) != NULL) {
        return false;
    }
    struct listening *l = bk_alloc_zero(1, sizeof(*l));
    l->who = who;
    list_init(&l->in_order);
    list_init(&l->at_topic);
    bk_mutex_lock(&sh->mu);
    struct topic *topic = (struct topic *)(void *)table_find(&sh->by_name, hash, name);
    if (topic == NULL) {
        topic = topic_new(t, kind, sh, hash, name);
    }
    list_push(&topic->listeners, &l->at_topic);
    topic->n++;
    bk_mutex_unlock(&sh->mu);
    l->topic = topic;
    l->node = (struct name_node){.hash = hash, .name = topic->node.name};
    table_add(&s->of[kind].by_name, &l->node);
    list_push(&s->of[kind].in_order, &l->in_order);
    return true;
}

bool topics_leave(struct topics *t, struct topic_set *s, enum topic_kind kind, struct bk_span name)
{
    uint64_t hash = hash_of(t, name);
    struct shard *sh = shard_of(t, kind, hash);
    struct listening *l = (struct listening *)(void *)table_find(&s->of[kind].by_name, hash, name);
    if (l == NULL) {
        return false;
    }
    table_remove(&s->of[kind].by_name, &l->node);
    list_remove(&l->in_order);
    struct topic *topic = l->topic;
    bool last;
    bk_mutex_lock(&sh->mu);
    list_remove(&l->at_topic);
    last = --topic->n == 0;
    if (last) {
        table_remove(&sh->by_name, &topic->node);
        list_remove(&topic->in_order);
        atomic_fetch_sub(&t->count[kind], 1);
    }
    bk_mutex_unlock(&sh->mu);
    if (last) {
        free(topic);
    }
    free(l);
    return true;
}

/* ---- Publishing ---- */

static size_t tell(struct topic *topic, const struct bk_span *pattern, topics_hear_fn *hear,
                   void *arg)
{
    struct list *all = &topic->listeners;
    for (struct list *node = all->next; node != all; node = node->next) {
        hear(arg, LIST_OWNER(node, struct listening, at_topic)->who, pattern);
    }
    return topic->n;
}

static size_t tell_channel(struct topics *t, enum topic_kind kind, struct bk_span channel,
                           topics_hear_fn *hear, void *arg)
{
    uint64_t hash = hash_of(t, channel);
    struct shard *sh = shard_of(t, kind, hash);
    size_t n = 0;
    bk_mutex_lock(&sh->mu);
    struct topic *topic = (struct topic *)(void *)table_find(&sh->by_name, hash, channel);
    if (topic != NULL) {
        n = tell(topic, NULL, hear, arg);
    }
    bk_mutex_unlock(&sh->mu);
    return n;
}

static size_t tell_patterns(struct topics *t, struct bk_span channel, topics_hear_fn *hear,
                            void *arg)
{
    struct shard *sh = shard_of(t, TOPIC_PATTERN, 0);
    size_t n = 0;
    bk_mutex_lock(&sh->mu);
    for (struct list *node = sh->in_order.next; node != &sh->in_order; node = node->next) {
        struct topic *topic = LIST_OWNER(node, struct topic, in_order);
        if (bk_glob(topic->node.name, channel, false)) {
            n += tell(topic, &topic->node.name, hear, arg);
        }
    }
    bk_mutex_unlock(&sh->mu);
    return n;
}

size_t topics_publish(struct topics *t, enum topic_kind kind, struct bk_span channel,
                      topics_hear_fn *hear, void *arg)
{
    size_t n = 0;
    if (topics_count(t, kind) > 0) {
        n = tell_channel(t, kind, channel, hear, arg);
    }
    if (kind == TOPIC_CHANNEL && topics_count(t, TOPIC_PATTERN) > 0) {
        n += tell_patterns(t, channel, hear, arg);
    }
    return n;
}

/* ---- Asking ---- */

bool topics_any(const struct topics *t)
{
    return topics_count(t, TOPIC_CHANNEL) > 0 || topics_count(t, TOPIC_PATTERN) > 0;
}

uint64_t topics_count(const struct topics *t, enum topic_kind kind)
{
    return atomic_load(&t->count[kind]);
}

size_t topics_listeners(struct topics *t, enum topic_kind kind, struct bk_span name)
{
    uint64_t hash = hash_of(t, name);
    struct shard *sh = shard_of(t, kind, hash);
    bk_mutex_lock(&sh->mu);
    const struct topic *topic =
        (const struct topic *)(const void *)table_find(&sh->by_name, hash, name);
    size_t n = topic == NULL ? 0 : topic->n;
    bk_mutex_unlock(&sh->mu);
    return n;
}

void topics_each(struct topics *t, enum topic_kind kind, topic_each_fn *each, void *arg)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &t->shards[kind][i];
        bk_mutex_lock(&sh->mu);
        for (struct list *node = sh->in_order.next; node != &sh->in_order; node = node->next) {
            each(arg, LIST_OWNER(node, struct topic, in_order)->node.name);
        }
        bk_mutex_unlock(&sh->mu);
    }
}
