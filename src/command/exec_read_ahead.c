/* SPDX-License-Identifier: MIT */
/*
 * exec_read_ahead.c - while a client's command waits for the disk, what the plain reads behind it
 * will need is read too.
 *
 * Nothing runs and nothing is looked up for good: each of these commands looks again when its turn
 * comes, and uses what was read if its key is still in the same place. So it does not matter what
 * runs in between, and only time is lost when a guess was wrong. The session keeps the reads until
 * as many commands have run as were looked at.
 */
#include "command/exec_private.h"

#define AHEAD_KEYS 64u
#define AHEAD_BYTES ((uint64_t)1 << 20)

/* A command that reads values of the keys that its places name, and does nothing else. */
static const struct command_row *plain_read(const struct resp_command *cmd)
{
    const struct command_slot *slot =
        cmd->argc > 1 ? command_slot_find(NULL, cmd->argv[0].bytes) : NULL;
    const struct command_row *row = slot == NULL ? NULL : slot->row;
    bool plain = row != NULL && (row->flags & CMD_READONLY) != 0 &&
                 (row->flags & CMD_NO_STORE) == 0 && row->need == KS_NEED_VALUE &&
                 row->need_of == NULL && row->name_keys == NULL && row->subcommands == NULL &&
                 row->first_key > 0 && row->first_key < cmd->argc;
    return plain ? row : NULL;
}

/* As exec_name_keys, but nothing hears of it: the command does that itself. */
static void name_quietly(struct ks_txn *t, const struct command_row *row,
                         const struct resp_command *cmd)
{
    int last = row->last_key < 0 ? cmd->argc + row->last_key : row->last_key;
    for (int i = row->first_key; i <= last && i < cmd->argc; i += row->key_step) {
        (void)ks_txn_key(t, cmd->argv[i].bytes, KS_NEED_VALUE);
    }
}

void exec_read_ahead(struct exec *e, struct session *s, const struct resp_command *cmds, size_t n)
{
    size_t seen = 0;
    if (e->reader == NULL || s->ahead != NULL || s->multi != NULL || n == 0) {
        return;
    }
    ks_txn_begin(e->txn, atomic_load_explicit(&s->db, memory_order_relaxed), exec_clock_ms(e));
    ks_txn_reads(e->txn, e->reader, &s->ahead, NULL, s);
    ks_txn_no_touch(e->txn, true);
    while (seen < n && ks_txn_named(e->txn) < AHEAD_KEYS) {
        const struct command_row *row = plain_read(&cmds[seen]);
        if (row == NULL) {
            break;
        }
        name_quietly(e->txn, row, &cmds[seen]);
        seen++;
    }
    ks_txn_read_ahead(e->txn, AHEAD_BYTES);
    ks_txn_end(e->txn, NULL);
    s->ahead_left = seen + 1; /* and the one that waits */
}

void exec_ahead_ran(struct session *s)
{
    if (s->ahead_left > 0) {
        s->ahead_left--;
    }
    if (s->ahead_left == 0) {
        ks_reads_free(&s->ahead);
    }
}
