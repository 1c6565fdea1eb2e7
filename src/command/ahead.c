/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - commands that will run soon: what they will touch is brought nearer, and what each of
 * them would pay to the store for itself they pay together.
 */
#include "command/exec_private.h"

#define AHEAD_MAX 32u

static uint32_t db_of(const struct session *s)
{
    return atomic_load_explicit(&s->db, memory_order_relaxed);
}

/* What cmd looks up first. False: nothing, or nobody knows yet. */
static bool first_key(const struct resp_command *cmd, struct bk_span *key)
{
    const struct command_slot *slot = command_slot_find(NULL, cmd->argv[0].bytes);
    int at = slot == NULL ? 0 : slot->row->first_key;
    if (at <= 0 || at >= cmd->argc) {
        return false;
    }
    *key = cmd->argv[at].bytes;
    return true;
}

void exec_ahead(struct exec *e, const struct session *s, const struct resp_command *cmds, size_t n)
{
    struct bk_span keys[AHEAD_MAX];
    size_t keys_n = 0;
    exec_ahead_over(e);
    if (!ks_ready(e->ks)) {
        return;
    }
    for (size_t i = 0; i < n && keys_n < AHEAD_MAX; i++) {
        keys_n += first_key(&cmds[i], &keys[keys_n]) ? 1 : 0;
    }
    /* Without a reader a command may wait for the disk; in MULTI they are queued only. */
    if (e->reader != NULL && s->multi == NULL) {
        ks_visit_begin(e->ks);
        e->visiting = true;
    }
    ks_prefetch(e->ks, db_of(s), keys, keys_n);
}

void exec_prefetch(struct exec *e, const struct exec_next *next, size_t n)
{
    struct bk_span keys[AHEAD_MAX];
    for (size_t i = 0; ks_ready(e->ks) && i < n;) {
        uint32_t db = db_of(next[i].session);
        size_t keys_n = 0;
        for (; i < n && keys_n < AHEAD_MAX && db_of(next[i].session) == db; i++) {
            keys_n += first_key(next[i].cmd, &keys[keys_n]) ? 1 : 0;
        }
        ks_prefetch(e->ks, db, keys, keys_n);
    }
}

void exec_ahead_over(struct exec *e)
{
    if (e->visiting) {
        ks_visit_end(e->ks);
        e->visiting = false;
    }
}

bool exec_stays(const struct command_row *row)
{
    return (row->flags & CMD_READONLY) != 0 && row->first_key > 0 &&
           row->last_key == row->first_key && row->name_keys == NULL;
}
