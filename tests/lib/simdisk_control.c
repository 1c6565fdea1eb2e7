/* SPDX-License-Identifier: MIT */
/* simdisk_control.c - the simulated disk's lives, the settings of its faults, sight and damage. */
#include "lib/simdisk_private.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

/* ---- Lives ---- */

/* The copy of name i's file, which may be the copy that a name before it has: a hard link. */
static struct sim_file *copy_of(const struct sim_names *from, const struct sim_names *to, size_t i)
{
    struct sim_file *file = from->items[i].file;
    for (size_t j = 0; j < i; j++) {
        if (file != NULL && from->items[j].file == file) {
            return sim_file_ref(sim_names_find(to, from->items[j].path)->file);
        }
    }
    return file != NULL ? sim_file_copy(file) : NULL;
}

struct simdisk *simdisk_new(uint64_t seed)
{
    struct simdisk *d = bk_alloc_zero(1, sizeof(*d));
    simdisk_fill_table(d);
    pthread_mutex_init(&d->mu, NULL);
    d->rng.state = seed;
    d->capacity = UINT64_MAX;
    rng_fill(&d->rng, d->boot_id, sizeof(d->boot_id));
    return d;
}

void simdisk_free(struct simdisk **pd)
{
    struct simdisk *d = *pd;
    *pd = NULL;
    if (d == NULL) {
        return;
    }
    for (int i = 0; i < SIM_HANDLES_MAX; i++) {
        simdisk_handle_drop(&d->handles[i]);
    }
    sim_tree_fini(&d->tree);
    pthread_mutex_destroy(&d->mu);
    free(d);
}

struct simdisk *simdisk_clone(struct simdisk *d, uint64_t seed)
{
    struct simdisk *copy = simdisk_new(seed);
    pthread_mutex_lock(&d->mu);
    memcpy(copy->boot_id, d->boot_id, sizeof(copy->boot_id));
    for (size_t i = 0; i < d->tree.cached.n; i++) {
        const struct sim_name *name = &d->tree.cached.items[i];
        struct sim_file *file = copy_of(&d->tree.cached, &copy->tree.cached, i);
        sim_names_set(&copy->tree.cached, name->path, file);
        sim_names_set(&copy->tree.durable, name->path, file);
        sim_file_unref(&file);
    }
    pthread_mutex_unlock(&d->mu);
    return copy;
}

const struct bk_io *simdisk_io(struct simdisk *d)
{
    return &d->io;
}

/* Files that only the platter knows, or only the cache, are cut once each: a cut file is clean. */
static void power_cut(struct simdisk *d)
{
    for (size_t i = 0; i < d->tree.durable.n; i++) {
        if (d->tree.durable.items[i].file != NULL &&
            !sim_file_is_durable(d->tree.durable.items[i].file)) {
            sim_file_power_cut(d->tree.durable.items[i].file, &d->rng);
        }
    }
    for (size_t i = 0; i < d->tree.cached.n; i++) {
        if (d->tree.cached.items[i].file != NULL &&
            !sim_file_is_durable(d->tree.cached.items[i].file)) {
            sim_file_power_cut(d->tree.cached.items[i].file, &d->rng);
        }
    }
    sim_tree_power_cut(&d->tree, &d->rng);
    rng_fill(&d->rng, d->boot_id, sizeof(d->boot_id));
}

void simdisk_restart(struct simdisk *d, enum simdisk_kind kind)
{
    pthread_mutex_lock(&d->mu);
    for (int i = 0; i < SIM_HANDLES_MAX; i++) {
        simdisk_handle_drop(&d->handles[i]);
    }
    if (kind == SIMDISK_POWER) {
        power_cut(d);
    }
    d->dead = false;
    d->cut_in = 0;
    if (d->trace != NULL) {
        fprintf(d->trace, "------ restart after %s\n",
                kind == SIMDISK_POWER ? "a power cut" : "a kill");
    }
    pthread_mutex_unlock(&d->mu);
}

void simdisk_cut(struct simdisk *d, uint64_t nth)
{
    pthread_mutex_lock(&d->mu);
    d->cut_in = nth;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_ask(struct simdisk *d, int (*each)(void *arg, enum simdisk_call call), void *arg)
{
    pthread_mutex_lock(&d->mu);
    d->ask = each;
    d->ask_arg = arg;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_reseed(struct simdisk *d, uint64_t seed)
{
    pthread_mutex_lock(&d->mu);
    d->rng.state = seed;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_crash(struct simdisk *d)
{
    pthread_mutex_lock(&d->mu);
    d->dead = true;
    pthread_mutex_unlock(&d->mu);
}

bool simdisk_dead(struct simdisk *d)
{
    pthread_mutex_lock(&d->mu);
    bool dead = d->dead;
    pthread_mutex_unlock(&d->mu);
    return dead;
}

/* ---- Faults ---- */

void simdisk_fail(struct simdisk *d, unsigned mask, uint64_t nth, uint64_t times, int error)
{
    pthread_mutex_lock(&d->mu);
    d->fail_mask = mask;
    d->fail_in = nth;
    d->fail_times = times;
    d->fail_error = error;
    d->failed = 0;
    pthread_mutex_unlock(&d->mu);
}

uint64_t simdisk_failed(struct simdisk *d)
{
    pthread_mutex_lock(&d->mu);
    uint64_t n = d->failed;
    pthread_mutex_unlock(&d->mu);
    return n;
}

void simdisk_noise(struct simdisk *d, unsigned percent)
{
    pthread_mutex_lock(&d->mu);
    d->noise_percent = percent;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_capacity(struct simdisk *d, uint64_t bytes)
{
    pthread_mutex_lock(&d->mu);
    d->capacity = bytes;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_evict_lost(struct simdisk *d, bool evict)
{
    pthread_mutex_lock(&d->mu);
    d->evict = evict;
    pthread_mutex_unlock(&d->mu);
}

/* ---- Sight ---- */

uint64_t simdisk_used(struct simdisk *d)
{
    pthread_mutex_lock(&d->mu);
    uint64_t used = simdisk_used_locked(d);
    pthread_mutex_unlock(&d->mu);
    return used;
}

uint64_t simdisk_calls(struct simdisk *d, unsigned mask)
{
    uint64_t sum = 0;
    pthread_mutex_lock(&d->mu);
    for (unsigned i = 0; i < SIM_CALLS; i++) {
        sum += (mask >> i & 1u) != 0 ? d->calls[i] : 0;
    }
    pthread_mutex_unlock(&d->mu);
    return sum;
}

unsigned simdisk_handles(struct simdisk *d)
{
    unsigned n = 0;
    pthread_mutex_lock(&d->mu);
    for (int i = 0; i < SIM_HANDLES_MAX; i++) {
        n += d->handles[i].file != NULL ? 1u : 0u;
    }
    pthread_mutex_unlock(&d->mu);
    return n;
}

bool simdisk_is_durable(struct simdisk *d, const char *path)
{
    pthread_mutex_lock(&d->mu);
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    bool durable = name != NULL && sim_tree_is_durable(&d->tree, path) &&
                   (name->file == NULL || sim_file_is_durable(name->file));
    pthread_mutex_unlock(&d->mu);
    return durable;
}

void simdisk_trace(struct simdisk *d, FILE *out)
{
    pthread_mutex_lock(&d->mu);
    d->trace = out;
    pthread_mutex_unlock(&d->mu);
}

bool simdisk_exists(struct simdisk *d, const char *path)
{
    pthread_mutex_lock(&d->mu);
    bool there = sim_names_find(&d->tree.cached, path) != NULL;
    pthread_mutex_unlock(&d->mu);
    return there;
}

/* ---- Damage ---- */

/* The file of path; NULL for a directory or nothing. */
static struct sim_file *file_locked(struct simdisk *d, const char *path)
{
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    return name != NULL ? name->file : NULL;
}

uint64_t simdisk_size(struct simdisk *d, const char *path)
{
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = file_locked(d, path);
    uint64_t size = f != NULL ? f->size : 0;
    pthread_mutex_unlock(&d->mu);
    return size;
}

void simdisk_read(struct simdisk *d, const char *path, struct bk_buf *out)
{
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = file_locked(d, path);
    BK_ASSERT(f != NULL);
    out->len = 0;
    sim_file_read(f, 0, bk_buf_reserve(out, (size_t)f->size), (size_t)f->size);
    out->len = (size_t)f->size;
    pthread_mutex_unlock(&d->mu);
}

void simdisk_patch(struct simdisk *d, const char *path, uint64_t offset, const void *data,
                   size_t len)
{
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = file_locked(d, path);
    BK_ASSERT(f != NULL);
    sim_file_write(f, offset, data, len);
    sim_file_sync(f);
    pthread_mutex_unlock(&d->mu);
}

void simdisk_resize(struct simdisk *d, const char *path, uint64_t size)
{
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = file_locked(d, path);
    BK_ASSERT(f != NULL);
    sim_file_resize(f, size);
    sim_file_sync(f);
    pthread_mutex_unlock(&d->mu);
}

void simdisk_put(struct simdisk *d, const char *path, const void *data, size_t len)
{
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = sim_file_new();
    sim_file_write(f, 0, data, len);
    sim_file_sync(f);
    sim_names_set(&d->tree.cached, path, f);
    sim_names_set(&d->tree.durable, path, f);
    sim_file_unref(&f);
    pthread_mutex_unlock(&d->mu);
}

void simdisk_remove(struct simdisk *d, const char *path)
{
    pthread_mutex_lock(&d->mu);
    sim_names_remove(&d->tree.cached, path);
    sim_names_remove(&d->tree.durable, path);
    pthread_mutex_unlock(&d->mu);
}

void simdisk_flip(struct simdisk *d, const char *path, uint64_t bit)
{
    uint8_t byte;
    pthread_mutex_lock(&d->mu);
    struct sim_file *f = file_locked(d, path);
    BK_ASSERT(f != NULL && bit / 8 < f->size);
    sim_file_read(f, bit / 8, &byte, 1);
    byte ^= (uint8_t)(1u << bit % 8);
    sim_file_write(f, bit / 8, &byte, 1);
    sim_file_sync(f);
    pthread_mutex_unlock(&d->mu);
}
