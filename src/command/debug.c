/* SPDX-License-Identifier: MIT */
/* debug.c - DEBUG: what tests of servers and of client libraries need. Refused unless
 * enable-debug-command allows it (the executor asks, by the flag "protected"). */
#include "command/debug.h"

#include "base/log.h"
#include "command/args.h"
#include "command/connection.h"

#include <stdlib.h>
#include <time.h>

#define SLEEP_MAX_S 3600.0

/* Blocks this loop, as it blocks the whole of Redis: that is what it is for. */
static void debug_sleep(struct command_ctx *c)
{
    char text[32] = {0};
    struct bk_span arg = arg_at(c, 2);
    double seconds;
    struct timespec left;
    memcpy(text, arg.data, arg.len < sizeof(text) ? arg.len : sizeof(text) - 1);
    seconds = strtod(text, NULL);
    seconds = seconds > 0 ? seconds : 0; /* no number: 0, as in Redis; NaN too */
    seconds = seconds < SLEEP_MAX_S ? seconds : SLEEP_MAX_S;
    left.tv_sec = (time_t)seconds;
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0) {
        /* A signal came: sleep what is left. */
    }
    resp_write_ok(c->reply);
}

static void debug_error(struct command_ctx *c)
{
    struct bk_span text = arg_at(c, 2);
    resp_write_errorf(c->reply, "%.*s", arg_text_len(text), (const char *)text.data);
}

static void debug_log(struct command_ctx *c)
{
    struct bk_span text = arg_at(c, 2);
    bk_log(BK_LOG_WARNING, "DEBUG LOG: %.*s", arg_text_len(text), (const char *)text.data);
    resp_write_ok(c->reply);
}

/* What has expired is never seen here, so there is nothing that a test could want to hold back. */
static void debug_set_active_expire(struct command_ctx *c)
{
    resp_write_ok(c->reply);
}

/* ---- PROTOCOL ---- */

static void protocol_string(struct resp_writer *w)
{
    resp_write_bulk_str(w, "Hello World");
}

static void protocol_integer(struct resp_writer *w)
{
    resp_write_int(w, 12345);
}

static void protocol_double(struct resp_writer *w)
{
    resp_write_double(w, 3.141);
}

static void protocol_bignum(struct resp_writer *w)
{
    resp_write_bignum(w, bk_span_str("1234567999999999999999999999999999999"));
}

static void protocol_three(struct resp_writer *w)
{
    for (int i = 0; i < 3; i++) {
        resp_write_int(w, i);
    }
}

static void protocol_array(struct resp_writer *w)
{
    resp_write_array(w, 3);
    protocol_three(w);
}

static void protocol_set(struct resp_writer *w)
{
    resp_write_set(w, 3);
    protocol_three(w);
}

static void protocol_map(struct resp_writer *w)
{
    resp_write_map(w, 3);
    for (int i = 0; i < 3; i++) {
        resp_write_int(w, i);
        resp_write_bool(w, i == 1);
    }
}

/* RESP2 has no attributes: there only the reply itself is sent. */
static void protocol_attrib(struct resp_writer *w)
{
    if (w->proto > 2) {
        bk_buf_append(w->out, "|1\r\n", 4);
        resp_write_bulk_str(w, "key-popularity");
        resp_write_array(w, 2);
        resp_write_bulk_str(w, "key:123");
        resp_write_int(w, 90);
    }
    resp_write_bulk_str(w, "Some real reply following the attribute");
}

static void protocol_push(struct resp_writer *w)
{
    if (w->proto > 2) {
        resp_write_push(w, 2);
        resp_write_bulk_str(w, "server-cpu-usage");
        resp_write_int(w, 42);
        resp_write_bulk_str(w, "Some real reply following the push reply");
    } else {
        resp_write_error(w, "ERR RESP2 is not supported by this command");
    }
}

static void protocol_verbatim(struct resp_writer *w)
{
    resp_write_verbatim(w, "txt", bk_span_str("This is a verbatim\nstring"));
}

static void protocol_true(struct resp_writer *w)
{
    resp_write_bool(w, true);
}

static void protocol_false(struct resp_writer *w)
{
    resp_write_bool(w, false);
}

static const struct protocol_reply {
    const char *name;
    void (*write)(struct resp_writer *w);
} protocol_replies[] = {
    {"string", protocol_string}, {"integer", protocol_integer},   {"double", protocol_double},
    {"bignum", protocol_bignum}, {"null", resp_write_null},       {"array", protocol_array},
    {"set", protocol_set},       {"map", protocol_map},           {"attrib", protocol_attrib},
    {"push", protocol_push},     {"verbatim", protocol_verbatim}, {"true", protocol_true},
    {"false", protocol_false},
};

static void debug_protocol(struct command_ctx *c)
{
    const struct protocol_reply *reply = NULL;
    for (size_t i = 0; i < sizeof(protocol_replies) / sizeof(protocol_replies[0]) && reply == NULL;
         i++) {
        reply = arg_is(arg_at(c, 2), protocol_replies[i].name) ? &protocol_replies[i] : NULL;
    }
    if (reply != NULL) {
        reply->write(c->reply);
    } else {
        resp_write_error(
            c->reply,
            "ERR Wrong protocol type name. Please use one of the following: string|integer|"
            "double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
    }
}

/* ---- The command ---- */

static void debug_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message. Useful for clients",
        "    unit tests to simulate Redis errors.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, null, array, set, map, attrib, push, verbatim, true,",
        "    false.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Accepted, without effect: expired keys are never seen.",
        "SLEEP <seconds>",
        "    Stop one of the server's threads for <seconds>. Decimals allowed.",
        NULL,
    };
    reply_help(c, "DEBUG", lines);
}

static const struct debug_subcommand {
    const char *name;
    int argc;
    void (*run)(struct command_ctx *c);
} debug_subcommands[] = {
    {"help", 2, debug_help},   {"error", 3, debug_error},
    {"log", 3, debug_log},     {"protocol", 3, debug_protocol},
    {"sleep", 3, debug_sleep}, {"set-active-expire", 3, debug_set_active_expire},
};

void debug_run(struct command_ctx *c)
{
    const struct debug_subcommand *sub = NULL;
    for (size_t i = 0; i < sizeof(debug_subcommands) / sizeof(debug_subcommands[0]) && sub == NULL;
         i++) {
        const struct debug_subcommand *d = &debug_subcommands[i];
        sub = c->cmd->argc == d->argc && arg_is(arg_at(c, 1), d->name) ? d : NULL;
    }
    if (sub != NULL) {
        sub->run(c);
    } else {
        reply_subcommand_syntax(c, "DEBUG");
    }
}
