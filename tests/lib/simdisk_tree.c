/* SPDX-License-Identifier: MIT */
/* simdisk_tree.c - names of the simulated disk: as processes see them, and as the platter has them.
 */
#include "lib/simdisk_private.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_LEN 512

static char *dup_str(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = bk_alloc(n);
    memcpy(p, s, n);
    return p;
}

struct sim_name *sim_names_find(const struct sim_names *s, const char *path)
{
    struct sim_name *found = NULL;
    for (size_t i = 0; i < s->n && found == NULL; i++) {
        if (strcmp(s->items[i].path, path) == 0) {
            found = &s->items[i];
        }
    }
    return found;
}

void sim_names_set(struct sim_names *s, const char *path, struct sim_file *file)
{
    struct sim_file *held = file != NULL ? sim_file_ref(file) : NULL;
    struct sim_name *name = sim_names_find(s, path);
    if (name == NULL) {
        s->items = bk_realloc(s->items, (s->n + 1) * sizeof(*s->items));
        name = &s->items[s->n++];
        *name = (struct sim_name){.path = dup_str(path), .file = NULL};
    }
    sim_file_unref(&name->file);
    name->file = held;
}

void sim_names_remove(struct sim_names *s, const char *path)
{
    struct sim_name *name = sim_names_find(s, path);
    if (name != NULL) {
        free(name->path);
        sim_file_unref(&name->file);
        *name = s->items[--s->n];
    }
}

void sim_names_fini(struct sim_names *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->items[i].path);
        sim_file_unref(&s->items[i].file);
    }
    free(s->items);
    *s = (struct sim_names){0};
}

void sim_parent(const char *path, char *out, size_t out_len)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    BK_ASSERT(n < out_len && out_len > 2);
    if (slash == NULL) {
        memcpy(out, ".", 2);
    } else if (n == 0) {
        memcpy(out, "/", 2);
    } else {
        memcpy(out, path, n);
        out[n] = '\0';
    }
}

static void note_op(struct sim_tree *t, enum sim_op_kind kind, const char *path, const char *to,
                    struct sim_file *file)
{
    t->pending = bk_realloc(t->pending, (t->pending_n + 1) * sizeof(*t->pending));
    t->pending[t->pending_n++] = (struct sim_op){
        .kind = kind,
        .path = dup_str(path),
        .to = to != NULL ? dup_str(to) : NULL,
        .file = file != NULL ? sim_file_ref(file) : NULL,
    };
}

static void op_fini(struct sim_op *op)
{
    free(op->path);
    free(op->to);
    sim_file_unref(&op->file);
}

void sim_tree_set(struct sim_tree *t, const char *path, struct sim_file *file)
{
    sim_names_set(&t->cached, path, file);
    note_op(t, SIM_OP_SET, path, NULL, file);
}

void sim_tree_remove(struct sim_tree *t, const char *path)
{
    sim_names_remove(&t->cached, path);
    note_op(t, SIM_OP_REMOVE, path, NULL, NULL);
}

/* Whether path lies below dir. */
static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

bool sim_tree_empty(const struct sim_tree *t, const char *dir)
{
    bool empty = true;
    for (size_t i = 0; i < t->cached.n && empty; i++) {
        empty = !below(t->cached.items[i].path, dir);
    }
    return empty;
}

static void move_path(char **path, const char *from, const char *to)
{
    if (*path != NULL && below(*path, from)) {
        char moved[PATH_LEN];
        int n = snprintf(moved, sizeof(moved), "%s%s", to, *path + strlen(from));
        BK_ASSERT(n > 0 && (size_t)n < sizeof(moved));
        free(*path);
        *path = dup_str(moved);
    }
}

static void move_below(struct sim_names *s, const char *from, const char *to)
{
    for (size_t i = 0; i < s->n; i++) {
        move_path(&s->items[i].path, from, to);
    }
}

void sim_tree_rename(struct sim_tree *t, const char *from, const char *to)
{
    /* What is not durable yet below a directory goes on under its new name. */
    for (size_t i = 0; i < t->pending_n; i++) {
        move_path(&t->pending[i].path, from, to);
        move_path(&t->pending[i].to, from, to);
    }
    move_below(&t->cached, from, to);
    struct sim_name *name = sim_names_find(&t->cached, from);
    BK_ASSERT(name != NULL);
    struct sim_file *file = name->file != NULL ? sim_file_ref(name->file) : NULL;
    sim_names_remove(&t->cached, from);
    sim_names_set(&t->cached, to, file);
    note_op(t, SIM_OP_RENAME, from, to, file);
    sim_file_unref(&file);
}

static void make_durable(struct sim_tree *t, const struct sim_op *op)
{
    switch (op->kind) {
    case SIM_OP_SET:
        sim_names_set(&t->durable, op->path, op->file);
        break;
    case SIM_OP_REMOVE:
        sim_names_remove(&t->durable, op->path);
        break;
    case SIM_OP_RENAME:
        sim_names_remove(&t->durable, op->path);
        sim_names_set(&t->durable, op->to, op->file);
        move_below(&t->durable, op->path, op->to);
        break;
    default:
        BK_UNREACHABLE("sim_op_kind");
    }
}

static bool op_in(const struct sim_op *op, const char *dir)
{
    char parent[PATH_LEN];
    sim_parent(op->path, parent, sizeof(parent));
    return strcmp(parent, dir) == 0;
}

/* Makes the first n pending operations of dir durable and drops them. */
static void settle(struct sim_tree *t, const char *dir, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->pending_n; i++) {
        struct sim_op op = t->pending[i];
        if (n > 0 && op_in(&op, dir)) {
            make_durable(t, &op);
            op_fini(&op);
            n--;
        } else {
            t->pending[kept++] = op;
        }
    }
    t->pending_n = kept;
}

static size_t pending_in(const struct sim_tree *t, const char *dir)
{
    size_t n = 0;
    for (size_t i = 0; i < t->pending_n; i++) {
        n += op_in(&t->pending[i], dir) ? 1u : 0u;
    }
    return n;
}

void sim_tree_sync_dir(struct sim_tree *t, const char *dir)
{
    settle(t, dir, t->pending_n);
}

/* The directories above path that were made on this disk are on the platter. */
static bool parents_durable(const struct sim_tree *t, const char *path)
{
    char dir[PATH_LEN];
    bool there = true;
    sim_parent(path, dir, sizeof(dir));
    while (there && sim_names_find(&t->cached, dir) != NULL) {
        there = sim_names_find(&t->durable, dir) != NULL;
        char up[PATH_LEN];
        sim_parent(dir, up, sizeof(up));
        memcpy(dir, up, sizeof(up));
    }
    return there;
}

bool sim_tree_is_durable(const struct sim_tree *t, const char *path)
{
    struct sim_name *seen = sim_names_find(&t->cached, path);
    struct sim_name *kept = sim_names_find(&t->durable, path);
    return seen != NULL && kept != NULL && seen->file == kept->file && parents_durable(t, path);
}

static void drop_without_parent(struct sim_tree *t)
{
    for (size_t i = 0; i < t->durable.n;) {
        if (parents_durable(t, t->durable.items[i].path)) {
            i++;
        } else {
            sim_names_remove(&t->durable, t->durable.items[i].path);
            i = 0; /* what lay below it has lost its parent too */
        }
    }
}

static void forget_pending(struct sim_tree *t)
{
    for (size_t i = 0; i < t->pending_n; i++) {
        op_fini(&t->pending[i]);
    }
    free(t->pending);
    t->pending = NULL;
    t->pending_n = 0;
}

/* Each directory draws one prefix of its own. */
void sim_tree_power_cut(struct sim_tree *t, struct rng *rng)
{
    struct sim_names drawn = {0};
    for (size_t i = 0; i < t->pending_n;) {
        char dir[PATH_LEN];
        sim_parent(t->pending[i].path, dir, sizeof(dir));
        if (sim_names_find(&drawn, dir) != NULL) {
            i++;
            continue;
        }
        sim_names_set(&drawn, dir, NULL);
        settle(t, dir, (size_t)rng_below(rng, pending_in(t, dir) + 1));
        i = 0;
    }
    sim_names_fini(&drawn);
    drop_without_parent(t);
    forget_pending(t);
    sim_names_fini(&t->cached);
    for (size_t i = 0; i < t->durable.n; i++) {
        sim_names_set(&t->cached, t->durable.items[i].path, t->durable.items[i].file);
    }
}

void sim_tree_fini(struct sim_tree *t)
{
    forget_pending(t);
    sim_names_fini(&t->cached);
    sim_names_fini(&t->durable);
}
