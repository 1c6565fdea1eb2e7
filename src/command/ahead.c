/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - commands that will run soon: what they will touch is brought nearer.
 */
#include "command/exec_private.h"

#define AHEAD_MAX 32u

void exec_ahead(struct exec *e, const struct session *s, const struct resp_command *cmds, size_t n)
{
    struct bk_span keys[AHEAD_MAX];
    size_t keys_n = 0;
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
    ks_prefetch(e->ks, atomic_load_explicit(&s->db, memory_order_relaxed), keys, keys_n);
}
