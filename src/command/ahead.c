/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - commands that will run soon: what they will touch is brought nearer, and what each of
 * them would pay to the store for itself they pay together.
 */
#include "command/exec_private.h"

#define AHEAD_MAX 32u

void exec_ahead(struct exec *e, const struct session *s, const struct resp_command *cmds, size_t n)
{
    struct bk_span keys[AHEAD_MAX];
    size_t keys_n = 0;
    exec_ahead_over(e);
    if (!ks_ready(e->ks)) {
        return;
    }
    for (size_t i = 0; i < n && keys_n < AHEAD_MAX; i++) {
        const struct resp_command *cmd = &cmds[i];
        const struct command_slot *slot = command_slot_find(NULL, cmd->argv[0].bytes);
        int key = slot == NULL ? 0 : slot->row->first_key;
        if (key > 0 && key < cmd->argc) {
            keys[keys_n++] = cmd->argv[key].bytes;
        }
    }
    /* Without a reader a command may wait for the disk; in MULTI they are queued only. */
    if (e->reader != NULL && s->multi == NULL) {
        ks_visit_begin(e->ks);
        e->visiting = true;
    }
    ks_prefetch(e->ks, atomic_load_explicit(&s->db, memory_order_relaxed), keys, keys_n);
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
