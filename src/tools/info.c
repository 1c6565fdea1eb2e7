/* SPDX-License-Identifier: MIT */
/* info.c - stats: what a store holds, in which files, and what opening it has found damaged. */
#include "tools/format.h"
#include "tools/store.h"
#include "tools/text.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

static const char *const states[] = {[BK_FILE_ACTIVE] = "active",
                                     [BK_FILE_ROTATED] = "rotated",
                                     [BK_FILE_SEALED] = "sealed",
                                     [BK_FILE_NEXT] = "next"};

/* The numbers of bk_stats that mean something in a store at rest. */
struct fact {
    const char *name;
    uint64_t n;
};
#define FACTS 10u

static void facts_of(const struct bk_stats *s, struct fact out[FACTS])
{
    const struct fact facts[FACTS] = {
        {"keys", s->keys},
        {"expiring", s->expiring},
        {"files", s->files},
        {"file_bytes", s->file_bytes},
        {"live_bytes", s->live_bytes},
        {"dead_bytes", s->dead_bytes},
        {"guard_bytes", s->guard_bytes},
        {"damaged_records", s->damaged_records},
        {"damaged_bytes", s->damaged_bytes},
        {"tail_bytes_cut", s->tail_bytes_cut},
    };
    for (unsigned i = 0; i < FACTS; i++) {
        out[i] = facts[i];
    }
}

/* ---- Text ---- */

static void print_file(void *arg, const struct bk_file_info *i)
{
    (void)arg;
    printf("file:id=%" PRIu64 ",rank=%" PRIu64 ",size=%" PRIu64 ",live=%" PRIu64 ",dead=%" PRIu64
           ",guards=%" PRIu64 ",state=%s\n",
           i->id, i->rank, i->size, i->live_bytes, i->dead_bytes, i->guard_bytes, states[i->state]);
}

static void print_damage(void *arg, const struct bk_damage *d)
{
    (void)arg;
    printf("damage:file=%s,offset=%" PRIu64 ",bytes=%" PRIu64 ",lost=%s", d->file, d->offset,
           d->bytes, d->in_data ? "yes" : "no");
    if (d->database >= 0) {
        printf(",db=%" PRId64, d->database);
    }
    if (d->key_known) {
        fputs(",key=", stdout);
        tool_text_escaped(stdout, d->key);
        fputs(d->key_len > d->key.len ? "..." : "", stdout);
    }
    printf(",what=%s\n", d->what);
}

static void print_text(struct bk_db *db, const struct fact *facts)
{
    for (unsigned i = 0; i < FACTS; i++) {
        printf("%s:%" PRIu64 "\n", facts[i].name, facts[i].n);
    }
    for (uint32_t num = 0; num < BK_DATABASES_MAX; num++) {
        if (bk_count(db, num) > 0) {
            printf("db%" PRIu32 ":keys=%" PRIu64 ",expires=%" PRIu64 "\n", num, bk_count(db, num),
                   bk_count_expiring(db, num));
        }
    }
    bk_files(db, print_file, NULL);
    bk_damages(db, print_damage, NULL);
}

/* ---- JSON ---- */

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static void add_file(void *arg, const struct bk_file_info *i)
{
    json_t *row = json_object();
    json_object_set_new(row, "id", number(i->id));
    json_object_set_new(row, "rank", number(i->rank));
    json_object_set_new(row, "size", number(i->size));
    json_object_set_new(row, "live", number(i->live_bytes));
    json_object_set_new(row, "dead", number(i->dead_bytes));
    json_object_set_new(row, "guards", number(i->guard_bytes));
    json_object_set_new(row, "state", json_string(states[i->state]));
    json_array_append_new(arg, row);
}

static void add_damage(void *arg, const struct bk_damage *d)
{
    json_t *row = json_object();
    json_object_set_new(row, "file", json_string(d->file));
    json_object_set_new(row, "offset", number(d->offset));
    json_object_set_new(row, "bytes", number(d->bytes));
    json_object_set_new(row, "lost", json_boolean(d->in_data));
    if (d->database >= 0) {
        json_object_set_new(row, "db", number((uint64_t)d->database));
    }
    if (d->key_known) {
        tool_json_set_bytes(row, "key", "key64", d->key);
        json_object_set_new(row, "key_length", number(d->key_len));
    }
    json_object_set_new(row, "what", json_string(d->what));
    json_array_append_new(arg, row);
}

static void print_json(struct bk_db *db, const struct fact *facts)
{
    json_t *o = json_object();
    json_t *databases = json_array();
    json_t *files = json_array();
    json_t *damage = json_array();
    for (unsigned i = 0; i < FACTS; i++) {
        json_object_set_new(o, facts[i].name, number(facts[i].n));
    }
    for (uint32_t num = 0; num < BK_DATABASES_MAX; num++) {
        if (bk_count(db, num) > 0) {
            json_t *row = json_object();
            json_object_set_new(row, "db", number(num));
            json_object_set_new(row, "keys", number(bk_count(db, num)));
            json_object_set_new(row, "expires", number(bk_count_expiring(db, num)));
            json_array_append_new(databases, row);
        }
    }
    bk_files(db, add_file, files);
    bk_damages(db, add_damage, damage);
    json_object_set_new(o, "databases", databases);
    json_object_set_new(o, "data_files", files);
    json_object_set_new(o, "damage", damage);
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
}

int tool_stats(const struct tool_args *a)
{
    struct tool_store s = {0};
    struct bk_stats stats;
    struct fact facts[FACTS];
    int status = tool_store_open(&s, a->dir, TOOL_READ);
    if (status == TOOL_OK) {
        bk_stats_get(s.db, &stats);
        facts_of(&stats, facts);
        if (a->json) {
            print_json(s.db, facts);
        } else {
            print_text(s.db, facts);
        }
        status = tool_output_end(TOOL_OK);
    }
    return tool_store_close(&s, status);
}
