/* SPDX-License-Identifier: MIT */
/*
 * app_config.c - CONFIG GET, SET, REWRITE while the server runs.
 *
 * CONFIG SET is all or nothing: every value is read first, then stored, then put to use group by
 * group; if a group fails (an address that cannot be bound), the old values come back and are put
 * to use again.
 */
#include "app/app.h"
#include "app/conf_rewrite.h"
#include "app/process.h"
#include "base/glob.h"
#include "base/log.h"
#include "command/args.h"

#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX 1024u

/* What a change has to be told to. */
enum group {
    GROUP_LISTEN = 1 << 0,
    GROUP_CLIENTS = 1 << 1, /* maxclients: the limit of open files as well */
    GROUP_NET = 1 << 2,
    GROUP_STORE = 1 << 3,
    GROUP_LOG = 1 << 4,
    GROUP_ATOMICS = 1 << 5,
    GROUP_SNAPSHOTS = 1 << 6,
    GROUP_TIMING = 1 << 7
};

static unsigned group_of(enum option_id id)
{
    switch (id) {
    case OPTION_BIND:
    case OPTION_PORT:
        return GROUP_LISTEN;
    case OPTION_MAXCLIENTS:
        return GROUP_CLIENTS | GROUP_NET;
    case OPTION_TIMEOUT:
    case OPTION_TCP_KEEPALIVE:
    case OPTION_PROTECTED_MODE:
    case OPTION_CLIENT_OUTPUT_BUFFER_LIMIT:
    case OPTION_CLIENT_QUERY_BUFFER_LIMIT:
    case OPTION_TRACKING_TABLE_MAX_KEYS:
        return GROUP_NET;
    case OPTION_LOGLEVEL:
        return GROUP_LOG;
    case OPTION_SNAPSHOT_KEEP:
        return GROUP_SNAPSHOTS;
    case OPTION_LATENCY_TRACKING:
    case OPTION_LATENCY_MONITOR_THRESHOLD:
    case OPTION_SLOWLOG_LOG_SLOWER_THAN:
    case OPTION_SLOWLOG_MAX_LEN:
        return GROUP_TIMING;
    case OPTION_REQUIREPASS:
    case OPTION_PROTO_MAX_BULK_LEN:
    case OPTION_HLL_SPARSE_MAX_BYTES:
    case OPTION_NOTIFY_KEYSPACE_EVENTS:
    case OPTION_MAXMEMORY_POLICY:
    case OPTION_MAXMEMORY_SAMPLES:
        return GROUP_ATOMICS;
    default:
        return GROUP_STORE; /* which looks for itself what is new to it */
    }
}

/* ---- Putting values to use ---- */

struct change {
    enum option_id id;
    const char *name;          /* as the table spells what the client named */
    struct option_value value; /* owned; after the exchange the old one */
};

/* All of these are called with the options locked; id is the option whose change asks for it. */
static bool apply_listen(struct app *a, enum option_id id, struct bk_buf *why) BK_REQUIRES(a->mu);
static bool apply_clients(struct app *a, struct bk_buf *why) BK_REQUIRES(a->mu);
static bool apply(struct app *a, enum option_id id, unsigned groups, struct bk_buf *why)
    BK_REQUIRES(a->mu);
static bool apply_changes(struct app *a, struct change *changes, size_t n, struct bk_buf *error)
    BK_REQUIRES(a->mu);

void app_apply_atomics(struct app *a)
{
    const struct options *o = &a->options;
    atomic_store(&a->has_password, o->values[OPTION_REQUIREPASS].len > 0);
    atomic_store(&a->ops.pubsub->watch->notify,
                 (unsigned)o->values[OPTION_NOTIFY_KEYSPACE_EVENTS].num);
    atomic_store(&a->proto_max_bulk, (uint64_t)option_num(o, OPTION_PROTO_MAX_BULK_LEN));
    atomic_store(&a->hll_sparse_max, (uint64_t)option_num(o, OPTION_HLL_SPARSE_MAX_BYTES));
    app_memory_apply(a);
}

void app_apply_timing(struct app *a)
{
    const struct options *o = &a->options;
    struct timing_settings s = {
        .tracking = option_bool(o, OPTION_LATENCY_TRACKING),
        .slow_us = option_num(o, OPTION_SLOWLOG_LOG_SLOWER_THAN),
        .slowlog_max = (uint64_t)option_num(o, OPTION_SLOWLOG_MAX_LEN),
        .monitor_ms = (uint64_t)option_num(o, OPTION_LATENCY_MONITOR_THRESHOLD),
    };
    timing_set(a->timing, &s);
}

static bool apply_listen(struct app *a, enum option_id id, struct bk_buf *why)
{
    const char *bind[OPTION_BIND_MAX];
    struct bk_buf store = {0};
    struct net_listen listen;
    struct bk_error err = {0};
    app_listen(&a->options, &listen, bind, &store);
    int rc = net_relisten(a->net, &listen, &err);
    bk_buf_fini(&store);
    if (rc != BK_OK) {
        char text[512];
        bk_error_format(&err, text, sizeof text);
        bk_log(BK_LOG_WARNING, "Could not listen: %s", text);
        bk_buf_printf(why, id == OPTION_PORT ? "Unable to listen on this port. Check server logs."
                                             : "Failed to bind to specified addresses.");
    }
    return rc == BK_OK;
}

static bool apply_clients(struct app *a, struct bk_buf *why)
{
    uint64_t wanted = (uint64_t)option_num(&a->options, OPTION_MAXCLIENTS);
    uint64_t possible = process_raise_files(wanted, option_text(&a->options, OPTION_DIR));
    if (possible < wanted) {
        bk_buf_printf(why,
                      "The operating system is not able to handle the specified number of clients, "
                      "try with %llu",
                      (unsigned long long)possible);
    }
    return possible >= wanted;
}

void app_apply_store(struct app *a)
{
    struct bk_options o;
    struct bk_tunables t;
    struct bk_db *db = app_db(a);
    if (db == NULL) {
        return; /* it gets them as soon as it is there */
    }
    app_store_options(a, &o);
    bk_tunables_get(db, &t);
    t.sync = o.sync;
    t.max_file_bytes = o.max_file_bytes;
    t.max_file_age_s = o.max_file_age_s;
    t.log_buffer_bytes = o.log_buffer_bytes;
    t.cache_bytes = o.cache_bytes;
    t.merge = o.merge;
    bk_tune(db, &t);
    a->cache_bytes = o.cache_bytes;
    app_memory_sample_locked(a);
}

static bool apply(struct app *a, enum option_id id, unsigned groups, struct bk_buf *why)
{
    bool ok = (groups & GROUP_LISTEN) == 0 || apply_listen(a, id, why);
    ok = ok && ((groups & GROUP_CLIENTS) == 0 || apply_clients(a, why));
    if (!ok) {
        return false;
    }
    if ((groups & GROUP_NET) != 0) {
        struct net_tunables t;
        app_net_tunables(&a->options, &t);
        net_tune(a->net, &t);
    }
    if ((groups & GROUP_STORE) != 0) {
        app_apply_store(a);
    }
    if ((groups & GROUP_LOG) != 0) {
        bk_log_set_level(app_log_level(&a->options));
    }
    if ((groups & GROUP_ATOMICS) != 0) {
        app_apply_atomics(a);
    }
    if ((groups & GROUP_TIMING) != 0) {
        app_apply_timing(a);
    }
    if ((groups & GROUP_SNAPSHOTS) != 0) {
        snapshots_keep(a->snapshots, (uint32_t)option_num(&a->options, OPTION_SNAPSHOT_KEEP));
    }
    return true;
}

/* ---- CONFIG SET ---- */

static void error_about(struct bk_buf *error, struct bk_span name, const char *why, size_t why_len)
{
    bk_buf_printf(error, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %.*s",
                  (int)name.len, (const char *)name.data, (int)why_len, why);
}

/* Redis's order of complaints: the first pair with an unknown, unchangeable or repeated option. */
static bool find_options(struct app *a, const struct config_pair *pairs, size_t n,
                         struct change *changes, struct bk_buf *error)
{
    /* Here we do not know where a client comes from, so "local" allows nobody. */
    bool may_protected = option_num(&a->options, OPTION_ENABLE_PROTECTED_CONFIGS) == 1;
    for (size_t i = 0; i < n; i++) {
        enum option_id id = option_find(pairs[i].name);
        const char *why = NULL;
        if (id == OPTION_COUNT) {
            bk_buf_printf(error,
                          "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                          arg_text_len(pairs[i].name), (const char *)pairs[i].name.data);
            return false;
        }
        unsigned flags = option_rows[id].flags;
        if ((flags & OPTION_PROTECTED) != 0 && !may_protected) {
            why = "can't set protected config";
        } else if ((flags & OPTION_LIVE) == 0) {
            why = "can't set immutable config";
        }
        bool alias = option_rows[id].alias != NULL &&
                     bk_span_eq_nocase(pairs[i].name, option_rows[id].alias);
        const char *name = alias ? option_rows[id].alias : option_rows[id].name;
        /* As in Redis an option may come under both of its names: the later one stays. */
        for (size_t j = 0; why == NULL && j < i; j++) {
            why = changes[j].name == name ? "duplicate parameter" : NULL;
        }
        if (why != NULL) {
            error_about(error, pairs[i].name, why, strlen(why));
            return false;
        }
        changes[i].id = id;
        changes[i].name = name;
    }
    return true;
}

static bool parse_values(struct app *a, const struct config_pair *pairs, size_t n,
                         struct change *changes, struct bk_buf *error)
{
    struct bk_span *argv = bk_alloc(OPTION_WORDS_MAX * sizeof *argv);
    struct bk_buf why = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        struct option_words words = {argv, 1, false};
        enum option_id id = changes[i].id;
        argv[0] = pairs[i].value;
        if ((option_rows[id].flags & OPTION_MULTI) != 0) {
            words.argc = option_split_spaces(pairs[i].value, argv, OPTION_WORDS_MAX);
        }
        if (words.argc > OPTION_WORDS_MAX) {
            bk_buf_printf(&why, "too many values");
            ok = false;
        } else {
            ok = option_parse(id, &a->options.values[id], &words, &changes[i].value, &why);
        }
        if (!ok) {
            error_about(error, bk_span_str(changes[i].name), (const char *)why.data, why.len);
        }
    }
    bk_buf_fini(&why);
    free(argv);
    return ok;
}

static void exchange(struct app *a, struct change *c)
{
    struct option_value old = a->options.values[c->id];
    a->options.values[c->id] = c->value;
    c->value = old;
}

static bool apply_changes(struct app *a, struct change *changes, size_t n, struct bk_buf *error)
{
    struct bk_buf why = {0};
    unsigned done = 0;
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        exchange(a, &changes[i]);
    }
    for (size_t i = 0; ok && i < n; i++) {
        unsigned groups = group_of(changes[i].id) & ~done;
        ok = apply(a, changes[i].id, groups, &why);
        done |= groups;
        if (!ok) {
            bk_log(BK_LOG_WARNING,
                   "Failed applying new configuration. Possibly related to new %s setting. "
                   "Restoring previous settings.",
                   changes[i].name);
            error_about(error, bk_span_str(changes[i].name), (const char *)why.data, why.len);
        }
    }
    if (!ok) {
        for (size_t i = n; i > 0; i--) {
            exchange(a, &changes[i - 1]); /* backwards: an option may be there twice */
        }
        why.len = 0;
        if (!apply(a, changes[0].id, done, &why)) {
            bk_log(BK_LOG_WARNING, "Failed applying restored failed CONFIG SET command: %.*s",
                   (int)why.len, (const char *)why.data);
        }
    }
    bk_buf_fini(&why);
    return ok;
}

static bool config_set(void *arg, const struct config_pair *pairs, size_t n, struct bk_buf *error)
{
    struct app *a = arg;
    if (n > PAIRS_MAX) {
        bk_buf_printf(error, "ERR Unknown option or number of arguments for CONFIG SET - '%s'",
                      "too many options");
        return false;
    }
    struct change *changes = bk_alloc_zero(n + 1, sizeof *changes);
    bk_mutex_lock(&a->mu);
    bool ok = find_options(a, pairs, n, changes, error) &&
              parse_values(a, pairs, n, changes, error) && apply_changes(a, changes, n, error);
    bk_mutex_unlock(&a->mu);
    for (size_t i = 0; i < n; i++) {
        option_value_fini(&changes[i].value);
    }
    free(changes);
    return ok;
}

static bool config_secret(void *arg, struct bk_span name)
{
    enum option_id id = option_find(name);
    (void)arg;
    return id != OPTION_COUNT && (option_rows[id].flags & OPTION_SECRET) != 0;
}

/* ---- CONFIG GET ---- */

struct get {
    struct app *a;
    void (*each)(void *each_arg, const char *name, struct bk_span value);
    void *each_arg;
    struct bk_buf value;        /* owned */
    bool seen[OPTION_COUNT][2]; /* name, alias */
};

static void get_one(struct get *g, enum option_id id, bool alias, const char *shown)
{
    if (g->seen[id][alias]) {
        return;
    }
    g->seen[id][alias] = true;
    g->value.len = 0;
    option_format(id, &g->a->options.values[id], &g->value);
    g->each(g->each_arg, shown, bk_buf_span(&g->value));
}

static bool has_glob(struct bk_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (strchr("[*?", s.data[i]) != NULL && s.data[i] != '\0') {
            return true;
        }
    }
    return false;
}

/* A full name is shown as the client spells it, as Redis does. */
static void get_exact(struct get *g, struct bk_span name)
{
    enum option_id id = option_find(name);
    if (id != OPTION_COUNT) {
        char shown[64];
        memcpy(shown, name.data, name.len);
        shown[name.len] = '\0';
        get_one(g, id, !bk_span_eq_nocase(name, option_rows[id].name), shown);
    }
}

static void get_matching(struct get *g, struct bk_span pattern)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *row = &option_rows[id];
        if ((row->flags & OPTION_HIDDEN) != 0) {
            continue;
        }
        if (bk_glob(pattern, bk_span_str(row->name), true)) {
            get_one(g, (enum option_id)id, false, row->name);
        }
        if (row->alias != NULL && bk_glob(pattern, bk_span_str(row->alias), true)) {
            get_one(g, (enum option_id)id, true, row->alias);
        }
    }
}

static void config_get(void *arg, const struct bk_span *patterns, size_t n,
                       void (*each)(void *each_arg, const char *name, struct bk_span value),
                       void *each_arg)
{
    struct get g = {.a = arg, .each = each, .each_arg = each_arg};
    bk_mutex_lock(&g.a->mu);
    for (size_t i = 0; i < n; i++) {
        if (has_glob(patterns[i])) {
            get_matching(&g, patterns[i]);
        } else {
            get_exact(&g, patterns[i]);
        }
    }
    bk_mutex_unlock(&g.a->mu);
    bk_buf_fini(&g.value);
}

/* ---- CONFIG REWRITE, RESETSTAT ---- */

static bool config_rewrite(void *arg, struct bk_buf *error)
{
    struct app *a = arg;
    if (a->conf_file == NULL) {
        bk_buf_printf(error, "ERR The server is running without a config file");
        return false;
    }
    struct options copy = {0};
    struct bk_error err = {0};
    bk_mutex_lock(&a->rewrite_mu);
    bk_mutex_lock(&a->mu);
    options_copy(&copy, &a->options);
    bk_mutex_unlock(&a->mu);
    int rc = conf_rewrite_file(&copy, a->conf_file, &err);
    bk_mutex_unlock(&a->rewrite_mu);
    options_fini(&copy);
    if (rc != BK_OK) {
        bk_log(BK_LOG_WARNING, "CONFIG REWRITE failed: %s: %s", err.text, strerror(err.sys_errno));
        bk_buf_printf(error, "ERR Rewriting config file: %s", strerror(err.sys_errno));
        return false;
    }
    bk_log(BK_LOG_NOTICE, "CONFIG REWRITE executed with success.");
    return true;
}

static void config_resetstat(void *arg)
{
    struct app *a = arg;
    struct bk_stats s;
    net_resetstat(a->net);
    app_stats(a, &s);
    atomic_store(&a->expired_base, s.expired);
    atomic_store(&a->delayed_base, s.sync_waits);
    atomic_store(&a->memory.evicted, 0);
}

void app_config_ops(struct server_ops *ops)
{
    ops->config_get = config_get;
    ops->config_set = config_set;
    ops->config_secret = config_secret;
    ops->config_rewrite = config_rewrite;
    ops->config_resetstat = config_resetstat;
}
