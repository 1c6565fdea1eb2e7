/* SPDX-License-Identifier: MIT */
/*
 * table.c - the list of all commands, and the hash by which a name finds its row.
 *
 * The hash is made once, from the rows, and never changes: look-ups need no lock.
 */
#include "command/table_private.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdio.h>

#define SLOTS_MAX 512
#define BUCKETS 2048 /* a power of two, four times SLOTS_MAX: probes stay short */
#define NAME_MAX_LEN 32
#define FULL_NAME_BYTES 16384

static const struct command_row *const row_arrays[] = {
    command_rows_string,     command_rows_key,     command_rows_expire, command_rows_database,
    command_rows_connection, command_rows_client,  command_rows_server, command_rows_command,
    command_rows_bitkv,      command_rows_multi,   command_rows_bitmap, command_rows_hyperloglog,
    command_rows_dump,       command_rows_object,  command_rows_copy,   command_rows_sort,
    command_rows_memory,     command_rows_wait,    command_rows_pubsub, command_rows_monitor,
    command_rows_slowlog,    command_rows_latency, command_rows_acl,    command_rows_module,
    command_rows_migrate,
};

/* Set once, under setup_once. */
static struct command_slot slots[SLOTS_MAX];
static uint16_t buckets[BUCKETS]; /* slot id + 1; 0 = free */
static char full_names[FULL_NAME_BYTES];
static size_t slots_n;
static size_t top_n;
static size_t full_names_len;
static pthread_once_t setup_once = PTHREAD_ONCE_INIT;

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* FNV-1a over the lower-cased name; a subcommand starts from its parent's number. */
static uint32_t hash_name(const struct command_slot *parent, struct bk_span name)
{
    uint32_t h = parent == NULL ? 2166136261u : 2654435761u * (uint32_t)(parent->id + 1);
    for (size_t i = 0; i < name.len; i++) {
        h = (h ^ lower(name.data[i])) * 16777619u;
    }
    return h ^ h >> 15;
}

static bool same_name(const struct command_slot *slot, struct bk_span name)
{
    bool same = slot->name_len == name.len;
    for (size_t i = 0; same && i < name.len; i++) {
        same = lower(name.data[i]) == (uint8_t)slot->row->name[i];
    }
    return same;
}

/* "config" + "get" -> "config|get", in memory that lives as long as the process. */
static const char *join_names(const char *parent, const char *name)
{
    char *full = full_names + full_names_len;
    size_t room = sizeof(full_names) - full_names_len;
    int n = snprintf(full, room, "%s|%s", parent, name);
    BK_ASSERT(n > 0 && (size_t)n < room);
    full_names_len += (size_t)n + 1;
    return full;
}

static void add_slot(const struct command_row *row, const struct command_slot *parent)
{
    struct command_slot *slot = &slots[slots_n];
    struct bk_span name = bk_span_str(row->name);
    uint32_t b = hash_name(parent, name) & (BUCKETS - 1);
    BK_ASSERT(slots_n < SLOTS_MAX && name.len <= NAME_MAX_LEN);
    slot->row = row;
    slot->parent = parent;
    slot->full_name = parent == NULL ? row->name : join_names(parent->row->name, row->name);
    slot->name_len = name.len;
    slot->id = slots_n++;
    while (buckets[b] != 0) {
        b = (b + 1) & (BUCKETS - 1);
    }
    buckets[b] = (uint16_t)(slot->id + 1);
}

static void add_subcommands(const struct command_slot *parent)
{
    const struct command_row *row = parent->row->subcommands;
    for (; row != NULL && row->name != NULL; row++) {
        add_slot(row, parent);
    }
}

static void setup(void)
{
    for (size_t i = 0; i < sizeof(row_arrays) / sizeof(row_arrays[0]); i++) {
        for (const struct command_row *row = row_arrays[i]; row->name != NULL; row++) {
            add_slot(row, NULL);
        }
    }
    top_n = slots_n;
    for (size_t i = 0; i < top_n; i++) {
        add_subcommands(&slots[i]);
    }
}

void command_table_setup(void)
{
    bool done = pthread_once(&setup_once, setup) == 0;
    BK_ASSERT(done);
}

const struct command_slot *command_slot_find(const struct command_slot *parent, struct bk_span name)
{
    const struct command_slot *found = NULL;
    if (name.len <= NAME_MAX_LEN) {
        uint32_t b = hash_name(parent, name) & (BUCKETS - 1);
        for (; buckets[b] != 0 && found == NULL; b = (b + 1) & (BUCKETS - 1)) {
            const struct command_slot *slot = &slots[buckets[b] - 1];
            found = slot->parent == parent && same_name(slot, name) ? slot : NULL;
        }
    }
    return found;
}

const struct command_slot *command_slot_at(size_t id)
{
    BK_ASSERT(id < slots_n);
    return &slots[id];
}

size_t command_slot_count(void)
{
    return slots_n;
}

static const struct command_slot *slot_of(const struct command_row *row)
{
    const struct command_slot *found = NULL;
    command_table_setup();
    for (size_t i = 0; i < slots_n && found == NULL; i++) {
        found = slots[i].row == row ? &slots[i] : NULL;
    }
    return found;
}

const char *command_name(const struct command_row *row)
{
    const struct command_slot *slot = slot_of(row);
    return slot == NULL ? row->name : slot->full_name;
}

const struct command_row *command_find(struct bk_span name)
{
    const struct command_slot *slot;
    command_table_setup();
    slot = command_slot_find(NULL, name);
    return slot == NULL ? NULL : slot->row;
}

const struct command_row *command_find_sub(const struct command_row *parent, struct bk_span name)
{
    const struct command_slot *parent_slot = slot_of(parent);
    const struct command_slot *slot = NULL;
    if (parent_slot != NULL) {
        slot = command_slot_find(parent_slot, name);
    }
    return slot == NULL ? NULL : slot->row;
}

size_t command_count(void)
{
    command_table_setup();
    return top_n;
}

const struct command_row *command_at(size_t i)
{
    command_table_setup();
    BK_ASSERT(i < top_n);
    return slots[i].row;
}
