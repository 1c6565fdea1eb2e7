/* SPDX-License-Identifier: MIT */
/* bucket.c - packed entries: reading, writing, finding, growing. No locks, no hashing.
 *
 * Words, expiries and sizes of entries that others may change are read and written as atomics: a
 * word in sequential order, so that who has pinned before sees no location that was replaced before
 * a grace began. Keys and lengths never change in a block. */
#include "engine/bucket.h"

#include "base/assert.h"
#include "base/buf.h"
#include "engine/ages.h"
#include "engine/pages.h"
#include "engine/record.h"

#include <stdlib.h>
#include <string.h>

#define CLASS_SHIFT 40u
#define KEY_SHIFT 48u
#define TYPE_SHIFT 56u
#define EXPIRY_BIT ((uint64_t)1 << 59)
#define AGE_SHIFT 60u
#define OFF_TICK_BIT ((uint64_t)1 << 63) /* of the expiry, which is never negative */
#define KEY_LONG 255u

static inline uint64_t word_at(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline uint64_t behind_word(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void set_word(uint64_t *p, uint64_t word)
{
    __atomic_store_n(p, word, __ATOMIC_RELEASE);
}

static inline uint64_t key_units(uint64_t len)
{
    return (len + 7) / 8;
}

uint64_t bki_entry_units(const struct bki_entry *e, size_t key_len)
{
    return 1u + (e->expire_ms != 0) + (e->size > BKI_CLASSED_MAX) + (key_len >= KEY_LONG) +
           key_units(key_len);
}

/* Where the key starts, and how long it is. */
static inline const uint64_t *entry_key(const uint64_t *p, uint64_t *len)
{
    uint64_t word = word_at(p++);
    p += (word & EXPIRY_BIT) != 0;
    p += (word >> CLASS_SHIFT & 0xff) == BKI_CLASS_LONG;
    *len = word >> KEY_SHIFT & 0xff;
    if (*len == KEY_LONG) {
        *len = *p++;
    }
    return p;
}

uint64_t bki_entry_units_at(const uint64_t *p)
{
    uint64_t len;
    const uint64_t *key = entry_key(p, &len);
    return (uint64_t)(key - p) + key_units(len);
}

uint64_t bki_entry_units_within(const uint64_t *p, uint64_t left)
{
    uint64_t word = left > 0 ? *p : 0;
    uint64_t klen = word >> KEY_SHIFT & 0xff;
    bool large = (word >> CLASS_SHIFT & 0xff) == BKI_CLASS_LONG;
    uint64_t head = 1u + ((word & EXPIRY_BIT) != 0) + large + (klen == KEY_LONG);
    if ((word & BKI_LOC_MASK) == 0 || head > left) {
        return 0;
    }
    if (klen == KEY_LONG) {
        klen = p[head - 1];
        if (klen < KEY_LONG || klen > BK_KEY_MAX) {
            return 0;
        }
    }
    return key_units(klen) <= left - head ? head + key_units(klen) : 0;
}

/* Of an entry whose word tells klen of the key's length. */
static uint64_t word_of(const struct bki_entry *e, uint64_t klen)
{
    BK_ASSERT(e->loc != 0 && e->loc <= BKI_LOC_MASK && e->type <= BK_TYPE_MASK &&
              e->age < BKI_AGES);
    return e->loc | (uint64_t)bki_size_class(e->size) << CLASS_SHIFT | klen << KEY_SHIFT |
           (uint64_t)e->type << TYPE_SHIFT | (e->expire_ms != 0 ? EXPIRY_BIT : 0) |
           (uint64_t)e->age << AGE_SHIFT;
}

static uint64_t expiry_of(const struct bki_entry *e)
{
    return (uint64_t)e->expire_ms | (e->off_tick ? OFF_TICK_BIT : 0);
}

void bki_entry_write(uint64_t *p, const struct bki_entry *e, struct bk_span key)
{
    uint64_t klen = key.len >= KEY_LONG ? KEY_LONG : key.len;
    uint64_t *at = p + 1;
    if (e->expire_ms != 0) {
        *at++ = expiry_of(e);
    }
    if (e->size > BKI_CLASSED_MAX) {
        *at++ = e->size;
    }
    if (klen == KEY_LONG) {
        *at++ = key.len;
    }
    if (key.len > 0) {
        at[key_units(key.len) - 1] =
            0; /* the padding is zero, so that equal entries are equal bytes */
        memcpy(at, key.data, key.len);
    }
    *p = word_of(e, klen);
}

static bool has_size(uint64_t word)
{
    return (word >> CLASS_SHIFT & 0xff) == BKI_CLASS_LONG;
}

bool bki_entry_same_shape(const uint64_t *p, const struct bki_entry *e)
{
    uint64_t word = word_at(p);
    return ((word & EXPIRY_BIT) != 0) == (e->expire_ms != 0) &&
           has_size(word) == (e->size > BKI_CLASSED_MAX);
}

bool bki_entry_is_short(const uint64_t *p)
{
    uint64_t word = word_at(p);
    return (word & EXPIRY_BIT) == 0 && !has_size(word);
}

void bki_entry_change(uint64_t *p, const struct bki_entry *e)
{
    BK_ASSERT(bki_entry_same_shape(p, e));
    uint64_t *at = p + 1;
    if (e->expire_ms != 0) {
        set_word(at++, expiry_of(e));
    }
    if (e->size > BKI_CLASSED_MAX) {
        set_word(at, e->size);
    }
    set_word(p, word_of(e, word_at(p) >> KEY_SHIFT & 0xff));
}

void bki_entry_read(const uint64_t *p, struct bki_entry *e, struct bk_span *key)
{
    uint64_t word = word_at(p++);
    uint8_t size_class = (uint8_t)(word >> CLASS_SHIFT);
    e->loc = word & BKI_LOC_MASK;
    e->type = (uint8_t)(word >> TYPE_SHIFT & BK_TYPE_MASK);
    e->age = (uint8_t)(word >> AGE_SHIFT);
    uint64_t expiry = (word & EXPIRY_BIT) != 0 ? behind_word(p++) : 0;
    e->expire_ms = (int64_t)(expiry & ~OFF_TICK_BIT);
    e->off_tick = (expiry & OFF_TICK_BIT) != 0;
    e->size = size_class == BKI_CLASS_LONG ? behind_word(p++) : bki_class_size(size_class);
    if (key != NULL) {
        uint64_t len = word >> KEY_SHIFT & 0xff;
        len = len == KEY_LONG ? *p++ : len;
        *key = bk_span_of(p, len);
    }
}

void bki_entry_set_off_tick(uint64_t *p, bool off_tick)
{
    BK_ASSERT((word_at(p) & EXPIRY_BIT) != 0);
    set_word(p + 1, (behind_word(p + 1) & ~OFF_TICK_BIT) | (off_tick ? OFF_TICK_BIT : 0));
}

uint8_t bki_entry_age(const uint64_t *p)
{
    return (uint8_t)(word_at(p) >> AGE_SHIFT);
}

static uint64_t with_age(uint64_t word, uint8_t age)
{
    BK_ASSERT(age < BKI_AGES);
    return (word & (((uint64_t)1 << AGE_SHIFT) - 1)) | (uint64_t)age << AGE_SHIFT;
}

void bki_entry_set_age(uint64_t *p, uint8_t age)
{
    set_word(p, with_age(word_at(p), age));
}

void bki_entry_use(uint64_t *p, uint8_t age)
{
    uint64_t word = word_at(p);
    uint64_t aged = with_age(word, age);
    (void)__atomic_compare_exchange_n(p, &word, aged, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static void copy_words(uint64_t *to, const uint64_t *from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

void bki_entries_copy(const uint64_t *p, uint64_t n, struct bk_buf *out)
{
    /* Buffers come from the allocator, so the words in them are aligned. */
    copy_words((uint64_t *)(void *)bk_buf_reserve(out, n * 8), p, n);
    out->len += n * 8;
}

/* The last 8 bytes of a key, all of it if it is shorter: where keys of one length differ most. */
static inline uint64_t tail_of(const void *key, uint64_t len)
{
    uint64_t tail = 0;
    if (len >= 8) {
        memcpy(&tail, (const uint8_t *)key + len - 8, 8);
    } else if (len > 0) {
        memcpy(&tail, key, len);
    }
    return tail;
}

/* A key, as it lies in an entry that has neither an expiry nor a length behind its word. */
struct plain {
    uint64_t shape; /* of the entry's word; no word has it when the key cannot lie so */
    uint64_t tail;
    size_t tail_at; /* in bytes from the entry */
    size_t units;
};

#define SHAPE_MASK ((uint64_t)0xff << KEY_SHIFT | EXPIRY_BIT)

static struct plain plain_of(struct bk_span key)
{
    bool can = key.len > 0 && key.len < KEY_LONG;
    return (struct plain){.shape = can ? (uint64_t)key.len << KEY_SHIFT : UINT64_MAX,
                          .tail = tail_of(key.data, key.len),
                          .tail_at = key.len < 8 ? 8 : key.len,
                          .units = 1 + key_units(key.len)};
}

static inline bool is_plain(uint64_t word, const struct plain *w)
{
    return (word & SHAPE_MASK) == w->shape && (word >> CLASS_SHIFT & 0xff) != BKI_CLASS_LONG;
}

/* All but the last 8 bytes. */
static inline bool front_equal(const uint64_t *stored, struct bk_span key)
{
    return key.len <= 8 || memcmp(stored, key.data, key.len - 8) == 0;
}

uint64_t *bki_bucket_find(struct bki_bucket *b, struct bk_span key)
{
    if (b == NULL) {
        return NULL;
    }
    struct plain want = plain_of(key);
    uint64_t *p = b->words;
    uint64_t *end = p + bki_bucket_used(b);
    while (p < end) {
        if (is_plain(word_at(p), &want)) {
            /* Most are, in most stores: then the way to the next one does not wait for memory. */
            uint64_t tail;
            memcpy(&tail, (const uint8_t *)p + want.tail_at, sizeof tail);
            if (tail == want.tail && front_equal(p + 1, key)) {
                return p;
            }
            p += want.units;
            continue;
        }
        uint64_t len;
        const uint64_t *k = entry_key(p, &len);
        if (len == key.len && tail_of(k, len) == want.tail && front_equal(k, key)) {
            return p;
        }
        p += (uint64_t)(k - p) + key_units(len);
    }
    return NULL;
}

/* Capacity for so many units: the allocator's own steps (16 bytes to 128, then four to each
 * doubling), so that no byte it hands out is wasted. */
static uint32_t capacity(uint64_t units)
{
    uint64_t bytes = sizeof(struct bki_bucket) + units * 8;
    uint64_t step = 16;
    if (bytes > 128) {
        unsigned doubling = 63u - (unsigned)__builtin_clzll(bytes - 1);
        step = (uint64_t)1 << (doubling - 2);
    }
    uint64_t cap = ((bytes + step - 1) / step * step - sizeof(struct bki_bucket)) / 8;
    BK_ASSERT(cap <= UINT32_MAX);
    return (uint32_t)cap;
}

static struct bki_bucket *block_new(uint64_t units)
{
    uint32_t cap = capacity(units);
    struct bki_bucket *b = bk_alloc(sizeof *b + (size_t)cap * 8);
    atomic_init(&b->used, 0);
    b->cap = cap;
    return b;
}

/* Behind what is there; it fits. */
static void append(struct bki_bucket *b, const uint64_t *words, uint64_t units)
{
    uint32_t used = bki_bucket_used(b);
    copy_words(b->words + used, words, units);
    atomic_store_explicit(&b->used, used + (uint32_t)units, memory_order_release);
}

static void append_entry(struct bki_bucket *b, const struct bki_entry *e, struct bk_span key)
{
    uint32_t used = bki_bucket_used(b);
    bki_entry_write(b->words + used, e, key);
    used += (uint32_t)bki_entry_units(e, key.len);
    atomic_store_explicit(&b->used, used, memory_order_release);
}

void bki_slot_set(struct bki_slot *s, struct bki_bucket *next, struct bki_retired *old)
{
    struct bki_bucket *was = bki_slot_get(s);
    atomic_store(&s->bucket, next);
    bki_retire(old, was, (size_t)bki_bucket_bytes(was));
}

/* The same entries in a block for so many units. */
static void resize(struct bki_slot *s, uint64_t units, struct bki_retired *old)
{
    const struct bki_bucket *b = bki_slot_get(s);
    struct bki_bucket *fresh = block_new(units);
    if (b != NULL) {
        append(fresh, b->words, bki_bucket_used(b));
    }
    bki_slot_set(s, fresh, old);
}

void bki_bucket_reserve(struct bki_slot *s, uint64_t units, struct bki_retired *old)
{
    const struct bki_bucket *b = bki_slot_get(s);
    uint64_t used = b == NULL ? 0 : bki_bucket_used(b);
    if (b == NULL || used + units > b->cap) {
        resize(s, used + units, old);
    }
}

void bki_bucket_fit(struct bki_slot *s, struct bki_retired *old)
{
    const struct bki_bucket *b = bki_slot_get(s);
    if (b == NULL) {
        return;
    }
    if (bki_bucket_used(b) == 0) {
        bki_slot_set(s, NULL, old);
    } else if (capacity(bki_bucket_used(b)) < b->cap) {
        resize(s, bki_bucket_used(b), old);
    }
}

void bki_bucket_append(struct bki_slot *s, const uint64_t *words, uint64_t units,
                       struct bki_retired *old)
{
    bki_bucket_reserve(s, units, old);
    append(bki_slot_get(s), words, units);
}

void bki_bucket_add(struct bki_slot *s, const struct bki_entry *e, struct bk_span key,
                    struct bki_retired *old)
{
    bki_bucket_reserve(s, bki_entry_units(e, key.len), old);
    append_entry(bki_slot_get(s), e, key);
}

/* A new block with all entries but the one at p, and room for so many units more. */
static struct bki_bucket *without(const struct bki_bucket *b, const uint64_t *p, uint64_t more)
{
    uint64_t units = bki_entry_units_at(p);
    uint64_t before = (uint64_t)(p - b->words);
    uint64_t used = bki_bucket_used(b);
    struct bki_bucket *fresh = block_new(used - units + more);
    append(fresh, b->words, before);
    append(fresh, p + units, used - before - units);
    return fresh;
}

void bki_bucket_cut(struct bki_slot *s, const uint64_t *p, struct bki_retired *old)
{
    const struct bki_bucket *b = bki_slot_get(s);
    bool last = bki_bucket_used(b) == bki_entry_units_at(p);
    bki_slot_set(s, last ? NULL : without(b, p, 0), old);
}

void bki_bucket_replace(struct bki_slot *s, const uint64_t *p, const struct bki_entry *e,
                        struct bk_span key, struct bki_retired *old)
{
    struct bki_bucket *fresh = without(bki_slot_get(s), p, bki_entry_units(e, key.len));
    append_entry(fresh, e, key);
    bki_slot_set(s, fresh, old);
}

uint64_t bki_bucket_bytes(const struct bki_bucket *b)
{
    return b == NULL ? 0 : sizeof *b + (uint64_t)b->cap * 8;
}
