/* SPDX-License-Identifier: MIT */
/* client.c - CLIENT: what a connection is called, which others there are, ending them, and how
 * replies are sent. */
#include "command/connection.h"

#include "base/num.h"
#include "command/args.h"
#include "command/exec_private.h"
#include "command/table.h"
#include "command/tracking.h"

#include <stdlib.h>

/* Redis's rule for names: printable, no space, so that CLIENT LIST can be taken apart at spaces. */
static bool printable(struct bk_span text)
{
    bool ok = true;
    for (size_t i = 0; ok && i < text.len; i++) {
        ok = text.data[i] >= '!' && text.data[i] <= '~';
    }
    return ok;
}

bool client_set_name(struct command_ctx *c, struct bk_span name)
{
    bool ok = printable(name);
    if (ok) {
        c->ops->client_set_text(c->ops->arg, c->session, CLIENT_TEXT_NAME, name);
    } else {
        resp_write_error(c->reply,
                         "ERR Client names cannot contain spaces, newlines or special characters.");
    }
    return ok;
}

static void client_id(struct command_ctx *c)
{
    resp_write_int(c->reply, (int64_t)c->session->id);
}

static void client_getname(struct command_ctx *c)
{
    if (c->session->name == NULL) {
        resp_write_null(c->reply);
    } else {
        resp_write_bulk_str(c->reply, c->session->name);
    }
}

static void client_setname(struct command_ctx *c)
{
    if (client_set_name(c, arg_at(c, 2))) {
        resp_write_ok(c->reply);
    }
}

/* Of Redis 7.2; client libraries send it at connect. */
static void client_setinfo(struct command_ctx *c)
{
    struct bk_span option = arg_at(c, 2);
    bool is_name = arg_is(option, "lib-name");
    if (!is_name && !arg_is(option, "lib-ver")) {
        resp_write_errorf(c->reply, "ERR Unrecognized option '%.*s'", arg_text_len(option),
                          (const char *)option.data);
    } else if (!printable(arg_at(c, 3))) {
        resp_write_errorf(c->reply, "ERR %s cannot contain spaces, newlines or special characters.",
                          is_name ? "lib-name" : "lib-ver");
    } else {
        c->ops->client_set_text(c->ops->arg, c->session,
                                is_name ? CLIENT_TEXT_LIB_NAME : CLIENT_TEXT_LIB_VER, arg_at(c, 3));
        resp_write_ok(c->reply);
    }
}

static void client_info(struct command_ctx *c)
{
    struct bk_buf text = {0};
    c->ops->client_info(c->ops->arg, c->session, &text);
    bk_buf_append(&text, "\n", 1);
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

/* ---- LIST and KILL ---- */

static bool known_type(struct command_ctx *c, struct bk_span type)
{
    bool ok = arg_is(type, "normal") || arg_is(type, "slave") || arg_is(type, "replica") ||
              arg_is(type, "pubsub") || arg_is(type, "master");
    if (!ok) {
        resp_write_errorf(c->reply, "ERR Unknown client type '%.*s'", arg_text_len(type),
                          (const char *)type.data);
    }
    return ok;
}

/* The ids from argv[3] on; *ids is owned by the caller in any case. */
static bool list_ids(struct command_ctx *c, uint64_t **ids, struct client_filter *filter)
{
    bool ok = true;
    int64_t id;
    *ids = bk_alloc((size_t)c->cmd->argc * sizeof(**ids));
    for (int i = 3; ok && i < c->cmd->argc; i++) {
        ok = bk_parse_i64(arg_at(c, i), &id);
        if (ok) {
            (*ids)[filter->ids_n++] = (uint64_t)id;
        }
    }
    filter->ids = *ids;
    if (!ok) {
        resp_write_error(c->reply, "ERR Invalid client ID");
    }
    return ok;
}

static bool list_filter(struct command_ctx *c, uint64_t **ids, struct client_filter *filter)
{
    int argc = c->cmd->argc;
    bool ok = true;
    if (argc == 4 && arg_is(arg_at(c, 2), "type")) {
        filter->type = arg_at(c, 3);
        ok = known_type(c, filter->type);
    } else if (argc > 3 && arg_is(arg_at(c, 2), "id")) {
        ok = list_ids(c, ids, filter);
    } else if (argc != 2) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        ok = false;
    }
    return ok;
}

static void client_list(struct command_ctx *c)
{
    struct client_filter filter = {.self = c->session};
    uint64_t *ids = NULL;
    struct bk_buf text = {0};
    if (list_filter(c, &ids, &filter)) {
        c->ops->client_list(c->ops->arg, &filter, &text);
        resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    }
    bk_buf_fini(&text);
    free(ids);
}

static bool kill_id(struct command_ctx *c, struct bk_span arg, uint64_t *id,
                    struct client_filter *filter)
{
    int64_t v = 0;
    bool ok = bk_parse_i64(arg, &v) && v > 0;
    if (ok) {
        *id = (uint64_t)v;
        filter->ids = id;
        filter->ids_n = 1;
    } else {
        resp_write_error(c->reply, "ERR client-id should be greater than 0");
    }
    return ok;
}

static bool kill_user(struct command_ctx *c, struct bk_span user, struct client_filter *filter)
{
    bool ok = bk_span_eq(user, bk_span_str("default"));
    filter->user = user;
    if (!ok) {
        resp_write_errorf(c->reply, "ERR No such user '%.*s'", arg_text_len(user),
                          (const char *)user.data);
    }
    return ok;
}

static bool kill_skipme(struct command_ctx *c, struct bk_span arg, struct client_filter *filter)
{
    bool yes = arg_is(arg, "yes");
    bool ok = yes || arg_is(arg, "no");
    filter->skip_self = yes;
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
    return ok;
}

/* One pair of CLIENT KILL's options. */
static bool kill_option(struct command_ctx *c, int i, uint64_t *id, struct client_filter *filter)
{
    struct bk_span option = arg_at(c, i);
    bool more = i + 1 < c->cmd->argc;
    struct bk_span value = more ? arg_at(c, i + 1) : bk_span_str("");
    bool ok = true;
    if (more && arg_is(option, "id")) {
        ok = kill_id(c, value, id, filter);
    } else if (more && arg_is(option, "type")) {
        filter->type = value;
        ok = known_type(c, value);
    } else if (more && arg_is(option, "addr")) {
        filter->addr = value;
    } else if (more && arg_is(option, "laddr")) {
        filter->laddr = value;
    } else if (more && arg_is(option, "user")) {
        ok = kill_user(c, value, filter);
    } else if (more && arg_is(option, "skipme")) {
        ok = kill_skipme(c, value, filter);
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        ok = false;
    }
    return ok;
}

static void client_kill(struct command_ctx *c)
{
    bool old_form = c->cmd->argc == 3;
    struct client_filter filter = {.self = c->session, .skip_self = !old_form};
    uint64_t id = 0;
    unsigned killed;
    bool ok = true;
    if (old_form) {
        filter.addr = arg_at(c, 2);
    }
    for (int i = 2; ok && !old_form && i < c->cmd->argc; i += 2) {
        ok = kill_option(c, i, &id, &filter);
    }
    /* An empty address is asked for, but no client has one: the filter could not tell it from
     * "any". */
    if (ok) {
        bool none = (old_form && filter.addr.len == 0) ||
                    (filter.addr.data != NULL && filter.addr.len == 0) ||
                    (filter.laddr.data != NULL && filter.laddr.len == 0);
        killed = none ? 0 : c->ops->client_kill(c->ops->arg, &filter);
        if (!old_form) {
            resp_write_int(c->reply, killed);
        } else if (killed == 0) {
            resp_write_error(c->reply, "ERR No such client");
        } else {
            resp_write_ok(c->reply);
        }
    }
}

/* ---- PAUSE, UNBLOCK ---- */

static void client_pause(struct command_ctx *c)
{
    enum client_pause mode = CLIENT_PAUSE_ALL;
    int64_t ms = 0;
    if (c->cmd->argc > 4) {
        reply_subcommand_syntax(c, "CLIENT");
        return;
    }
    if (c->cmd->argc == 4 && arg_is(arg_at(c, 3), "write")) {
        mode = CLIENT_PAUSE_WRITE;
    } else if (c->cmd->argc == 4 && !arg_is(arg_at(c, 3), "all")) {
        resp_write_error(c->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return;
    }
    if (!bk_parse_i64(arg_at(c, 2), &ms)) {
        resp_write_error(c->reply, "ERR timeout is not an integer or out of range");
    } else if (ms < 0) {
        resp_write_error(c->reply, "ERR timeout is negative");
    } else {
        c->ops->client_pause(c->ops->arg, ms, mode);
        if (!c->exec->in_multi && ks_ready(c->ks)) {
            ks_pass_locks(c->ks); /* a write that had its keys is over, others look again */
        }
        resp_write_ok(c->reply);
    }
}

static void client_unpause(struct command_ctx *c)
{
    c->ops->client_unpause(c->ops->arg);
    resp_write_ok(c->reply);
}

static void client_unblock(struct command_ctx *c)
{
    int64_t id;
    if (c->cmd->argc > 4) {
        reply_subcommand_syntax(c, "CLIENT");
    } else if (c->cmd->argc == 4 && !arg_is(arg_at(c, 3), "timeout") &&
               !arg_is(arg_at(c, 3), "error")) {
        resp_write_error(c->reply, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    } else if (arg_i64(c, arg_at(c, 2), &id)) {
        bool error = c->cmd->argc == 4 && arg_is(arg_at(c, 3), "error");
        bool ended = id > 0 && c->ops->client_unblock(c->ops->arg, (uint64_t)id, error);
        resp_write_int(c->reply, ended ? 1 : 0);
    }
}

/* ---- NO-EVICT, NO-TOUCH, REPLY, HELP ---- */

static void set_flag(struct command_ctx *c, atomic_bool *flag)
{
    bool on = arg_is(arg_at(c, 2), "on");
    if (on || arg_is(arg_at(c, 2), "off")) {
        atomic_store_explicit(flag, on, memory_order_relaxed);
        resp_write_ok(c->reply);
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
}

static void client_no_evict(struct command_ctx *c)
{
    set_flag(c, &c->session->no_evict);
}

/* Of Redis 7.2. */
static void client_no_touch(struct command_ctx *c)
{
    set_flag(c, &c->session->no_touch);
}

/* The executor sends or drops the reply by the mode as it stands after the command. */
static void client_reply(struct command_ctx *c)
{
    struct session *s = c->session;
    struct bk_span mode = arg_at(c, 2);
    if (arg_is(mode, "on")) {
        s->reply_mode = REPLY_ON;
        resp_write_ok(c->reply);
    } else if (arg_is(mode, "off")) {
        s->reply_mode = REPLY_OFF;
    } else if (arg_is(mode, "skip")) {
        s->reply_mode = s->reply_mode == REPLY_OFF ? REPLY_OFF : REPLY_SKIP_NEXT;
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
}

static void client_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO <option> <value>",
        "    Set client meta attr. Options are:",
        "    * LIB-NAME: the client lib name.",
        "    * LIB-VER: the client lib version.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Will not touch LRU/LFU stats when this mode is on.",
        NULL,
    };
    reply_help(c, "CLIENT", lines);
}

#define OWN (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define CAT_OWN (CAT_SLOW | CAT_CONNECTION)
#define CAT_OTHERS (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS | CAT_CONNECTION)

static const struct command_row subcommands[] = {
    {.name = "id", .arity = 2, .flags = OWN, .categories = CAT_OWN, .run = client_id},
    {.name = "getname", .arity = 2, .flags = OWN, .categories = CAT_OWN, .run = client_getname},
    {.name = "setname", .arity = 3, .flags = OWN, .categories = CAT_OWN, .run = client_setname},
    {.name = "setinfo", .arity = 4, .flags = OWN, .categories = CAT_OWN, .run = client_setinfo},
    {.name = "info", .arity = 2, .flags = OWN, .categories = CAT_OWN, .run = client_info},
    {.name = "list",
     .arity = -2,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_list},
    {.name = "kill",
     .arity = -3,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_kill},
    {.name = "no-evict",
     .arity = 3,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_no_evict},
    {.name = "no-touch", .arity = 3, .flags = OWN, .categories = CAT_OWN, .run = client_no_touch},
    {.name = "caching",
     .arity = 3,
     .flags = OWN | CMD_TRACKS,
     .categories = CAT_OWN,
     .run = client_caching},
    {.name = "getredir", .arity = 2, .flags = OWN, .categories = CAT_OWN, .run = client_getredir},
    {.name = "pause",
     .arity = -3,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_pause},
    {.name = "unpause",
     .arity = 2,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_unpause},
    {.name = "unblock",
     .arity = -3,
     .flags = CMD_ADMIN | OWN,
     .categories = CAT_OTHERS,
     .run = client_unblock},
    {.name = "reply", .arity = 3, .flags = OWN, .categories = CAT_OWN, .run = client_reply},
    {.name = "tracking",
     .arity = -3,
     .flags = OWN | CMD_TRACKS,
     .categories = CAT_OWN,
     .run = client_tracking},
    {.name = "trackinginfo",
     .arity = 2,
     .flags = OWN,
     .categories = CAT_OWN,
     .run = client_trackinginfo},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_OWN,
     .run = client_help},
    {.name = NULL},
};

const struct command_row command_rows_client[] = {
    {.name = "client",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
