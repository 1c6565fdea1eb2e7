/* SPDX-License-Identifier: MIT */
/*
 * pubsub.c - SUBSCRIBE and its family, PUBLISH, PUBSUB. Who listens to what is net/'s business
 * (pubsub_ops.h).
 *
 * A client is answered once for each name, in RESP3 by a push, so that a library takes the answers
 * where it takes messages.
 */
#include "base/glob.h"
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/rows.h"

/* ---- SUBSCRIBE, UNSUBSCRIBE and their kin ---- */

static uint32_t listens(const struct session *s, enum topic_kind kind)
{
    return atomic_load_explicit(&s->listens[kind], memory_order_relaxed);
}

/* Channels and patterns are counted together. name NULL: there was nothing to leave. */
static void answer(struct command_ctx *c, const char *word, enum topic_kind kind,
                   const struct bk_span *name)
{
    const struct session *s = c->session;
    resp_write_push(c->reply, 3);
    resp_write_bulk_str(c->reply, word);
    if (name != NULL) {
        resp_write_bulk(c->reply, *name);
    } else {
        resp_write_null(c->reply);
    }
    resp_write_int(c->reply, kind == TOPIC_SHARD
                                 ? listens(s, TOPIC_SHARD)
                                 : listens(s, TOPIC_CHANNEL) + listens(s, TOPIC_PATTERN));
}

static void join_all(struct command_ctx *c, const char *word, enum topic_kind kind)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    for (int i = 1; i < c->cmd->argc; i++) {
        struct bk_span name = arg_at(c, i);
        (void)ops->join(ops->arg, c->session, kind, name); /* one joined before is answered too */
        answer(c, word, kind, &name);
    }
}

/* Everything of this kind, oldest first. */
static void leave_kind(struct command_ctx *c, const char *word, enum topic_kind kind)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    struct bk_span name;
    struct bk_buf copy = {0};
    bool any = false;
    while (ops->first(ops->arg, c->session, kind, &name)) {
        copy.len = 0;
        bk_buf_append(&copy, name.data, name.len);
        name = bk_buf_span(&copy);
        (void)ops->leave(ops->arg, c->session, kind, name);
        any = true;
        if (word != NULL) {
            answer(c, word, kind, &name);
        }
    }
    if (!any && word != NULL) {
        answer(c, word, kind, NULL);
    }
    bk_buf_fini(&copy);
}

static void leave_all(struct command_ctx *c, const char *word, enum topic_kind kind)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    if (c->cmd->argc == 1) {
        leave_kind(c, word, kind);
        return;
    }
    for (int i = 1; i < c->cmd->argc; i++) {
        struct bk_span name = arg_at(c, i);
        (void)ops->leave(ops->arg, c->session, kind, name);
        answer(c, word, kind, &name);
    }
}

void pubsub_reset(struct command_ctx *c)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    leave_kind(c, NULL, TOPIC_CHANNEL);
    leave_kind(c, NULL, TOPIC_SHARD);
    leave_kind(c, NULL, TOPIC_PATTERN);
    ops->unmonitor(ops->arg, c->session);
}

bool pubsub_in_context(const struct session *s)
{
    return (listens(s, TOPIC_CHANNEL) | listens(s, TOPIC_PATTERN) | listens(s, TOPIC_SHARD)) != 0 &&
           atomic_load_explicit(&s->proto, memory_order_relaxed) == 2;
}

static void subscribe_run(struct command_ctx *c)
{
    join_all(c, "subscribe", TOPIC_CHANNEL);
}

static void psubscribe_run(struct command_ctx *c)
{
    join_all(c, "psubscribe", TOPIC_PATTERN);
}

/* The other two are let through in EXEC, for what was written before Redis refused it. */
static void ssubscribe_run(struct command_ctx *c)
{
    if (c->exec->in_multi) {
        resp_write_error(c->reply, "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
    } else {
        join_all(c, "ssubscribe", TOPIC_SHARD);
    }
}

static void unsubscribe_run(struct command_ctx *c)
{
    leave_all(c, "unsubscribe", TOPIC_CHANNEL);
}

static void punsubscribe_run(struct command_ctx *c)
{
    leave_all(c, "punsubscribe", TOPIC_PATTERN);
}

static void sunsubscribe_run(struct command_ctx *c)
{
    leave_all(c, "sunsubscribe", TOPIC_SHARD);
}

/* ---- PUBLISH, SPUBLISH ---- */

static void publish(struct command_ctx *c, enum topic_kind kind)
{
    size_t n = command_publish(c, kind, arg_at(c, 1), arg_at(c, 2));
    resp_write_int(c->reply, (int64_t)n);
}

static void publish_run(struct command_ctx *c)
{
    publish(c, TOPIC_CHANNEL);
}

static void spublish_run(struct command_ctx *c)
{
    publish(c, TOPIC_SHARD);
}

/* ---- PUBSUB ---- */

struct listing {
    const struct bk_span *pattern; /* NULL: all */
    struct bk_buf names;           /* bulk strings */
    uint64_t n;
};

static void list_topic(void *arg, struct bk_span name)
{
    struct listing *l = arg;
    if (l->pattern == NULL || bk_glob(*l->pattern, name, false)) {
        struct resp_writer w = {.out = &l->names, .proto = 2};
        resp_write_bulk(&w, name);
        l->n++;
    }
}

static void list_topics(struct command_ctx *c, enum topic_kind kind)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    struct bk_span pattern;
    struct listing l = {0};
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "PUBSUB");
        return;
    }
    if (c->cmd->argc == 3) {
        pattern = arg_at(c, 2);
        l.pattern = &pattern;
    }
    ops->each(ops->arg, kind, list_topic, &l);
    resp_write_array(c->reply, l.n);
    bk_buf_append(c->reply->out, l.names.data, l.names.len);
    bk_buf_fini(&l.names);
}

static void channels_run(struct command_ctx *c)
{
    list_topics(c, TOPIC_CHANNEL);
}

static void shardchannels_run(struct command_ctx *c)
{
    list_topics(c, TOPIC_SHARD);
}

static void count_listeners(struct command_ctx *c, enum topic_kind kind)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    resp_write_array(c->reply, 2 * ((uint64_t)c->cmd->argc - 2));
    for (int i = 2; i < c->cmd->argc; i++) {
        resp_write_bulk(c->reply, arg_at(c, i));
        resp_write_int(c->reply, (int64_t)ops->listeners(ops->arg, kind, arg_at(c, i)));
    }
}

static void numsub_run(struct command_ctx *c)
{
    count_listeners(c, TOPIC_CHANNEL);
}

static void shardnumsub_run(struct command_ctx *c)
{
    count_listeners(c, TOPIC_SHARD);
}

static void numpat_run(struct command_ctx *c)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    resp_write_int(c->reply, (int64_t)ops->count(ops->arg, TOPIC_PATTERN));
}

static void help_run(struct command_ctx *c)
{
    static const char *const lines[] = {
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
        NULL,
    };
    reply_help(c, "PUBSUB", lines);
}

#define SUBSCRIBING                                                                        \
    (CMD_PUBSUB | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE | CMD_SUBSCRIBED | \
     CMD_ANSWERS)
#define PUBLISHING \
    (CMD_PUBSUB | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_MAY_REPLICATE | CMD_NO_STORE)
#define ASKING (CMD_PUBSUB | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define NO_KEYS .first_key = 0
#define CAT_SLOW_PUBSUB (CAT_PUBSUB | CAT_SLOW)

/* Where a shard channel stands among the arguments is told as if it were a key (ROW_...); nothing
 * is locked for it, since these commands touch no data. */
#define SUBSCRIBE_ROW(NAME, ARITY, RUN, ...)                                               \
    {                                                                                      \
        .name = NAME, .arity = ARITY, .flags = SUBSCRIBING, .categories = CAT_SLOW_PUBSUB, \
        .run = RUN, __VA_ARGS__                                                            \
    }
#define PUBLISH_ROW(NAME, RUN, ...)                                                         \
    {                                                                                       \
        .name = NAME, .arity = 3, .flags = PUBLISHING, .categories = CAT_PUBSUB | CAT_FAST, \
        .run = RUN, __VA_ARGS__                                                             \
    }
#define ASK_ROW(NAME, ARITY, RUN)                                                                \
    {                                                                                            \
        .name = NAME, .arity = ARITY, .flags = ASKING, .categories = CAT_SLOW_PUBSUB, .run = RUN \
    }

static const struct command_row subcommands[] = {
    ASK_ROW("channels", -2, channels_run),
    ASK_ROW("numpat", 2, numpat_run),
    ASK_ROW("numsub", -2, numsub_run),
    ASK_ROW("shardchannels", -2, shardchannels_run),
    ASK_ROW("shardnumsub", -2, shardnumsub_run),
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = help_run},
    {.name = NULL},
};

const struct command_row command_rows_pubsub[] = {
    SUBSCRIBE_ROW("subscribe", -2, subscribe_run, NO_KEYS),
    SUBSCRIBE_ROW("unsubscribe", -1, unsubscribe_run, NO_KEYS),
    SUBSCRIBE_ROW("psubscribe", -2, psubscribe_run, NO_KEYS),
    SUBSCRIBE_ROW("punsubscribe", -1, punsubscribe_run, NO_KEYS),
    SUBSCRIBE_ROW("ssubscribe", -2, ssubscribe_run, ROW_ALL_ARGS),
    SUBSCRIBE_ROW("sunsubscribe", -1, sunsubscribe_run, ROW_ALL_ARGS),
    PUBLISH_ROW("publish", publish_run, NO_KEYS),
    PUBLISH_ROW("spublish", spublish_run, ROW_ONE_KEY),
    {.name = "pubsub",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
