/* SPDX-License-Identifier: MIT */
/* reads.c - transactions that do not wait for the disk: the engine's reads, for those above. */
#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

#include "base/assert.h"

struct bk_reader *ks_reader_new(struct keyspace *ks, void (*wake)(void *arg), void *arg)
{
    BK_ASSERT(ks_ready(ks));
    return bk_reader_new(ks->db, wake, arg);
}

void ks_reader_free(struct bk_reader **reader)
{
    bk_reader_free(reader);
}

void ks_reader_submit(struct bk_reader *reader)
{
    bk_reader_submit(reader);
}

bool ks_reader_next(struct bk_reader *reader, void **owner)
{
    return bk_reader_next(reader, owner);
}

void ks_reads_free(struct bk_reads **reads)
{
    bk_reads_free(reads);
}
