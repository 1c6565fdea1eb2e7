/* SPDX-License-Identifier: MIT */
/*
 * connection.c - commands about the connection that they come in on: PING, ECHO, QUIT, RESET,
 * HELLO, AUTH.
 *
 * There is one user, "default"; ops->auth_check knows its password.
 */
#include "command/connection.h"

#include "base/num.h"
#include "command/args.h"
#include "command/exec_private.h"
#include "command/table.h"

#define COMPATIBLE_VERSION \
    "7.0.15" /* the Redis whose behaviour we follow; our own version stands in INFO */
#define WRONGPASS "WRONGPASS invalid username-password pair or user is disabled."

/* ---- Shared with client.c and server.c ---- */

void reply_help(struct command_ctx *c, const char *name, const char *const *lines)
{
    static const char *const tail[] = {"HELP", "    Prints this help."};
    struct bk_buf head = {0};
    size_t n = 0;
    while (lines[n] != NULL) {
        n++;
    }
    bk_buf_printf(&head, "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:%c", name,
                  '\0');
    resp_write_array(c->reply, n + 3);
    resp_write_simple(c->reply, (const char *)head.data);
    for (size_t i = 0; i < n; i++) {
        resp_write_simple(c->reply, lines[i]);
    }
    resp_write_simple(c->reply, tail[0]);
    resp_write_simple(c->reply, tail[1]);
    bk_buf_fini(&head);
}

void reply_subcommand_syntax(struct command_ctx *c, const char *name)
{
    struct bk_span sub = arg_at(c, 1);
    int len = sub.len < 128 ? (int)sub.len : 128;
    resp_write_errorf(
        c->reply, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
        len, (const char *)sub.data, name);
}

void reply_error_text(struct command_ctx *c, const struct bk_buf *text)
{
    resp_write_errorf(c->reply, "%.*s", arg_text_len(bk_buf_span(text)), (const char *)text->data);
}

/* ---- PING, ECHO, QUIT, RESET ---- */

static void ping_run(struct command_ctx *c)
{
    if (c->cmd->argc > 2) {
        arg_reply_arity(c);
    } else if (pubsub_in_context(c->session)) {
        resp_write_array(c->reply, 2); /* in the form of a message */
        resp_write_bulk_str(c->reply, "pong");
        resp_write_bulk(c->reply, c->cmd->argc == 2 ? arg_at(c, 1) : bk_span_str(""));
    } else if (c->cmd->argc == 2) {
        resp_write_bulk(c->reply, arg_at(c, 1));
    } else {
        resp_write_simple(c->reply, "PONG");
    }
}

static void echo_run(struct command_ctx *c)
{
    resp_write_bulk(c->reply, arg_at(c, 1));
}

static void quit_run(struct command_ctx *c)
{
    resp_write_ok(c->reply);
    c->session->close_after_reply = true;
}

/* The connection speaks this version from here on, the reply that is being written included. */
static void set_proto(struct command_ctx *c, int proto)
{
    atomic_store_explicit(&c->session->proto, proto, memory_order_relaxed);
    c->reply->proto = proto;
}

static void reset_run(struct command_ctx *c)
{
    struct session *s = c->session;
    session_end(s, c->ks);
    pubsub_reset(c);
    c->ops->tracking->off(c->ops->tracking->arg, s);
    set_proto(c, 2);
    atomic_store_explicit(&s->db, 0, memory_order_relaxed);
    s->authenticated = !c->ops->auth_required(c->ops->arg);
    s->reply_mode = s->reply_mode == REPLY_SKIP ? REPLY_SKIP : REPLY_ON; /* its own reply's */
    atomic_store_explicit(&s->no_touch, false, memory_order_relaxed);
    c->ops->client_set_text(c->ops->arg, s, CLIENT_TEXT_NAME, bk_span_str(""));
    resp_write_simple(c->reply, "RESET");
}

/* ---- AUTH, HELLO ---- */

/* False: the error is written. */
static bool authenticate(struct command_ctx *c, struct bk_span user, struct bk_span password)
{
    const struct server_ops *ops = c->ops;
    bool ok = bk_span_eq(user, bk_span_str("default")) &&
              (!ops->auth_required(ops->arg) || ops->auth_check(ops->arg, user, password));
    if (ok) {
        c->session->authenticated = true;
    } else {
        resp_write_error(c->reply, WRONGPASS);
    }
    return ok;
}

static void auth_run(struct command_ctx *c)
{
    bool with_user = c->cmd->argc == 3;
    for (int i = 1; i < c->cmd->argc; i++) { /* also where there are too many */
        exec_redact(c, i);
    }
    if (c->cmd->argc > 3) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (!with_user && !c->ops->auth_required(c->ops->arg)) {
        resp_write_error(
            c->reply, "ERR AUTH <password> called without any password configured for the default "
                      "user. Are you sure your configuration is correct?");
    } else if (authenticate(c, with_user ? arg_at(c, 1) : bk_span_str("default"),
                            arg_at(c, with_user ? 2 : 1))) {
        resp_write_ok(c->reply);
    }
}

/* The users and passwords among the options, whatever else is wrong with the command. */
static void hello_redact(struct command_ctx *c)
{
    for (int i = 2; i + 1 < c->cmd->argc; i++) {
        if (arg_is(arg_at(c, i), "auth")) {
            exec_redact(c, i + 1);
            exec_redact(c, i + 2);
            i += 2;
        } else if (arg_is(arg_at(c, i), "setname")) {
            i++;
        }
    }
}

/* The options behind the version, each put to use as it is read: so does Redis, even if a later one
 * is wrong. */
static bool hello_options(struct command_ctx *c)
{
    bool ok = true;
    for (int i = 2; ok && i < c->cmd->argc; i++) {
        int more = c->cmd->argc - 1 - i;
        struct bk_span option = arg_at(c, i);
        if (arg_is(option, "auth") && more >= 2) {
            ok = authenticate(c, arg_at(c, i + 1), arg_at(c, i + 2));
            i += 2;
        } else if (arg_is(option, "setname") && more >= 1) {
            ok = client_set_name(c, arg_at(c, i + 1));
            i++;
        } else {
            ok = false;
            resp_write_errorf(c->reply, "ERR Syntax error in HELLO option '%.*s'",
                              arg_text_len(option), (const char *)option.data);
        }
    }
    return ok;
}

/* *proto stays 0 when no version is given. */
static bool hello_version(struct command_ctx *c, int64_t *proto)
{
    bool ok = true;
    *proto = 0;
    if (c->cmd->argc > 1 && !bk_parse_i64(arg_at(c, 1), proto)) {
        resp_write_error(c->reply, "ERR Protocol version is not an integer or out of range");
        ok = false;
    } else if (c->cmd->argc > 1 && (*proto < 2 || *proto > 3)) {
        resp_write_error(c->reply, "NOPROTO unsupported protocol version");
        ok = false;
    }
    return ok;
}

static void hello_reply(struct command_ctx *c)
{
    struct resp_writer *w = c->reply;
    resp_write_map(w, 7);
    resp_write_bulk_str(w, "server");
    resp_write_bulk_str(w, "redis"); /* client libraries look for this word */
    resp_write_bulk_str(w, "version");
    resp_write_bulk_str(w, COMPATIBLE_VERSION);
    resp_write_bulk_str(w, "proto");
    resp_write_int(w, w->proto);
    resp_write_bulk_str(w, "id");
    resp_write_int(w, (int64_t)c->session->id);
    resp_write_bulk_str(w, "mode");
    resp_write_bulk_str(w, "standalone");
    resp_write_bulk_str(w, "role");
    resp_write_bulk_str(w, "master");
    resp_write_bulk_str(w, "modules");
    resp_write_array(w, 0);
}

static void hello_run(struct command_ctx *c)
{
    int64_t proto;
    hello_redact(c);
    if (!hello_version(c, &proto) || !hello_options(c)) {
        return; /* the error is written */
    }
    if (!c->session->authenticated && c->ops->auth_required(c->ops->arg)) {
        resp_write_error(
            c->reply,
            "NOAUTH HELLO must be called with the client already authenticated, otherwise "
            "the HELLO AUTH <user> <pass> option can be used to authenticate the client "
            "and select the RESP protocol version at the same time");
        return;
    }
    if (proto != 0) {
        set_proto(c, (int)proto);
    }
    hello_reply(c);
}

#define ANY_TIME                                                                        \
    (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | \
     CMD_NO_STORE)
#define CAT_FAST_CONNECTION (CAT_FAST | CAT_CONNECTION)

const struct command_row command_rows_connection[] = {
    {.name = "ping",
     .arity = -1,
     .flags = CMD_FAST | CMD_NO_STORE | CMD_SUBSCRIBED | CMD_HEALTH,
     .categories = CAT_FAST_CONNECTION,
     .run = ping_run},
    {.name = "echo",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_STORE,
     .categories = CAT_FAST_CONNECTION,
     .run = echo_run},
    {.name = "quit",
     .arity = -1,
     .flags = ANY_TIME | CMD_AT_ONCE | CMD_SUBSCRIBED,
     .categories = CAT_FAST_CONNECTION,
     .run = quit_run},
    {.name = "reset",
     .arity = 1,
     .flags = ANY_TIME | CMD_AT_ONCE | CMD_SUBSCRIBED,
     .categories = CAT_FAST_CONNECTION,
     .run = reset_run},
    {.name = "hello",
     .arity = -1,
     .flags = ANY_TIME,
     .categories = CAT_FAST_CONNECTION,
     .run = hello_run},
    {.name = "auth",
     .arity = -2,
     .flags = ANY_TIME,
     .categories = CAT_FAST_CONNECTION,
     .run = auth_run},
    {.name = NULL},
};
