/* SPDX-License-Identifier: MIT */
/*
 * acl.c - ACL, the half of it that reads: who is there, what commands are in which category. There
 * is one user, "default", who may do everything; its password is the option requirepass.
 */
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/introspect.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define GENPASS_BITS 256
#define GENPASS_BITS_MAX 4096
#define NAME_SHOWN_MAX 128

static bool is_default(struct bk_span name)
{
    return bk_span_eq(name, bk_span_str("default"));
}

static void acl_whoami(struct command_ctx *c)
{
    resp_write_bulk_str(c->reply, "default");
}

static void acl_users(struct command_ctx *c)
{
    resp_write_array(c->reply, 1);
    resp_write_bulk_str(c->reply, "default");
}

static void acl_list(struct command_ctx *c)
{
    struct bk_buf line = {0};
    struct bk_buf hash = {0};
    c->ops->auth_hash(c->ops->arg, &hash);
    bk_buf_printf(&line, "user default on %s%.*s ~* &* +@all", hash.len > 0 ? "#" : "nopass",
                  (int)hash.len, (const char *)hash.data);
    resp_write_array(c->reply, 1);
    resp_write_bulk(c->reply, bk_buf_span(&line));
    bk_buf_fini(&hash);
    bk_buf_fini(&line);
}

static void acl_getuser(struct command_ctx *c)
{
    struct resp_writer *w = c->reply;
    struct bk_buf hash = {0};
    if (!is_default(arg_at(c, 2))) {
        resp_write_null(w);
        return;
    }
    c->ops->auth_hash(c->ops->arg, &hash);
    resp_write_map(w, 6);
    resp_write_bulk_str(w, "flags");
    resp_write_set(w, hash.len > 0 ? 1 : 2);
    resp_write_bulk_str(w, "on");
    if (hash.len == 0) {
        resp_write_bulk_str(w, "nopass");
    }
    resp_write_bulk_str(w, "passwords");
    resp_write_array(w, hash.len > 0 ? 1 : 0);
    if (hash.len > 0) {
        resp_write_bulk(w, bk_buf_span(&hash));
    }
    introspect_pair(w, "commands", "+@all");
    introspect_pair(w, "keys", "~*");
    introspect_pair(w, "channels", "&*");
    resp_write_bulk_str(w, "selectors");
    resp_write_array(w, 0);
    bk_buf_fini(&hash);
}

/* ---- CAT ---- */

static void cat_all(struct command_ctx *c)
{
    size_t n = 0;
    while (introspect_categories[n].name != NULL) {
        n++;
    }
    resp_write_array(c->reply, n);
    for (size_t i = 0; i < n; i++) {
        resp_write_bulk_str(c->reply, introspect_categories[i].name + 1); /* without "@" */
    }
}

static void cat_one(struct command_ctx *c, uint32_t category)
{
    struct bk_buf names = {0};
    struct resp_writer w = {.out = &names, .proto = c->reply->proto};
    uint64_t n = 0;
    for (size_t id = 0; id < command_slot_count(); id++) {
        const struct command_slot *slot = command_slot_at(id);
        if ((slot->row->categories & category) != 0) {
            resp_write_bulk_str(&w, slot->full_name);
            n++;
        }
    }
    resp_write_array(c->reply, n);
    bk_buf_append(c->reply->out, names.data, names.len);
    bk_buf_fini(&names);
}

static void acl_cat(struct command_ctx *c)
{
    uint32_t category = 0;
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "ACL");
        return;
    }
    if (c->cmd->argc == 2) {
        cat_all(c);
        return;
    }
    struct bk_span name = arg_at(c, 2);
    for (const struct introspect_bit *b = introspect_categories; b->name != NULL; b++) {
        category |= arg_is(name, b->name + 1) ? b->bit : 0;
    }
    if (category == 0) {
        int len = name.len < NAME_SHOWN_MAX ? (int)name.len : NAME_SHOWN_MAX;
        resp_write_errorf(c->reply, "ERR Unknown category '%.*s'", len, (const char *)name.data);
    } else {
        cat_one(c, category);
    }
}

/* ---- GENPASS, LOG, DRYRUN ---- */

static void acl_genpass(struct command_ctx *c)
{
    uint8_t bytes[GENPASS_BITS_MAX / 8];
    char hex[2 * sizeof(bytes) + 1];
    int64_t bits = GENPASS_BITS;
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "ACL");
        return;
    }
    if (c->cmd->argc == 3 && !arg_i64(c, arg_at(c, 2), &bits)) {
        return;
    }
    if (bits <= 0 || bits > GENPASS_BITS_MAX) {
        resp_write_errorf(c->reply,
                          "ERR ACL GENPASS argument must be the number of bits for the output "
                          "password, a positive number up to %d",
                          GENPASS_BITS_MAX);
        return;
    }
    size_t digits = ((size_t)bits + 3) / 4;
    if (getrandom(bytes, (digits + 1) / 2, 0) != (ssize_t)((digits + 1) / 2)) {
        resp_write_error(c->reply, "ERR the system gives no random numbers");
        return;
    }
    for (size_t i = 0; i < (digits + 1) / 2; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }
    resp_write_bulk(c->reply, bk_span_of((const uint8_t *)hex, digits));
}

/* Nothing is ever logged: the one user may do everything. */
static void acl_log(struct command_ctx *c)
{
    int64_t count;
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "ACL");
    } else if (c->cmd->argc == 3 && arg_is(arg_at(c, 2), "reset")) {
        resp_write_ok(c->reply);
    } else if (c->cmd->argc == 2 || arg_i64(c, arg_at(c, 2), &count)) {
        resp_write_array(c->reply, 0);
    }
}

static void acl_dryrun(struct command_ctx *c)
{
    struct bk_span user = arg_at(c, 2);
    struct bk_span name = arg_at(c, 3);
    int argc = c->cmd->argc - 3;
    const struct command_slot *slot = command_slot_find(NULL, name);
    if (slot != NULL && slot->row->subcommands != NULL && argc > 1) {
        slot = command_slot_find(slot, arg_at(c, 4));
    }
    if (!is_default(user)) {
        resp_write_errorf(c->reply, "ERR User '%.*s' not found", arg_text_len(user),
                          (const char *)user.data);
    } else if (slot == NULL) {
        resp_write_errorf(c->reply, "ERR Command '%.*s' not found", arg_text_len(name),
                          (const char *)name.data);
    } else if (slot->row->arity > 0 ? argc != slot->row->arity : argc < -slot->row->arity) {
        resp_write_errorf(c->reply, "ERR wrong number of arguments for '%s' command",
                          slot->full_name);
    } else {
        resp_write_ok(c->reply);
    }
}

/* ---- What would change users ---- */

static bool has_spaces(struct bk_span name)
{
    bool found = false;
    for (size_t i = 0; i < name.len && !found; i++) {
        found = isspace(name.data[i]) || name.data[i] == '\0';
    }
    return found;
}

static void acl_setuser(struct command_ctx *c)
{
    for (int i = 2; i < c->cmd->argc; i++) {
        exec_redact(c, i);
    }
    if (has_spaces(arg_at(c, 2))) {
        resp_write_error(c->reply, "ERR Usernames can't contain spaces or null characters");
    } else {
        resp_write_error(c->reply, "ERR ACL SETUSER is not supported: there is one user, "
                                   "'default', whose password is the option requirepass");
    }
}

static void acl_deluser(struct command_ctx *c)
{
    bool named = false;
    for (int i = 2; i < c->cmd->argc && !named; i++) {
        named = is_default(arg_at(c, i));
    }
    if (named) {
        resp_write_error(c->reply, "ERR The 'default' user cannot be removed");
    } else {
        resp_write_int(c->reply, 0);
    }
}

/* LOAD and SAVE. */
static void acl_file(struct command_ctx *c)
{
    resp_write_error(
        c->reply,
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify "
        "users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a "
        "Redis configuration file set) in order to store users in the Redis configuration.");
}

static void acl_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOAD",
        "    Reload users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "SAVE",
        "    Save the current config to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
        NULL,
    };
    reply_help(c, "ACL", lines);
}

#define ANY (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define ADMIN (CMD_ADMIN | ANY)
#define CATS (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row subcommands[] = {
    {.name = "cat", .arity = -2, .flags = ANY, .categories = CAT_SLOW, .run = acl_cat},
    {.name = "deluser", .arity = -3, .flags = ADMIN, .categories = CATS, .run = acl_deluser},
    {.name = "dryrun", .arity = -4, .flags = ADMIN, .categories = CATS, .run = acl_dryrun},
    {.name = "genpass", .arity = -2, .flags = ANY, .categories = CAT_SLOW, .run = acl_genpass},
    {.name = "getuser", .arity = 3, .flags = ADMIN, .categories = CATS, .run = acl_getuser},
    {.name = "list", .arity = 2, .flags = ADMIN, .categories = CATS, .run = acl_list},
    {.name = "load", .arity = 2, .flags = ADMIN, .categories = CATS, .run = acl_file},
    {.name = "log", .arity = -2, .flags = ADMIN, .categories = CATS, .run = acl_log},
    {.name = "save", .arity = 2, .flags = ADMIN, .categories = CATS, .run = acl_file},
    {.name = "setuser", .arity = -3, .flags = ADMIN, .categories = CATS, .run = acl_setuser},
    {.name = "users", .arity = 2, .flags = ADMIN, .categories = CATS, .run = acl_users},
    {.name = "whoami", .arity = 2, .flags = ANY, .categories = CAT_SLOW, .run = acl_whoami},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = acl_help},
    {.name = NULL},
};

const struct command_row command_rows_acl[] = {
    {.name = "acl",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
