/* SPDX-License-Identifier: MIT */
/* module.c - MODULE: there are none, and none can be loaded. */
#include "command/connection.h"
#include "command/table.h"

#include "base/assert.h"

static void module_list(struct command_ctx *c)
{
    resp_write_array(c->reply, 0);
}

/* The executor refuses protected commands. */
static void module_refused(struct command_ctx *c)
{
    (void)c;
    BK_UNREACHABLE("a protected command ran");
}

static void module_help(struct command_ctx *c)
{
    static const char loadex_line[] = "    Load a module library from <path>, while passing it "
                                      "module configurations and optional "
                                      "arguments.";
    static const char *const lines[] = {
        "LIST",
        "    Return a list of loaded modules.",
        "LOAD <path> [<arg> ...]",
        "    Load a module library from <path>, passing to it any optional arguments.",
        "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
        loadex_line,
        "UNLOAD <name>",
        "    Unload a module.",
        NULL,
    };
    reply_help(c, "MODULE", lines);
}

#define FLAGS (CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_STORE)
#define LOAD_FLAGS (FLAGS | CMD_NO_ASYNC_LOADING | CMD_PROTECTED)
#define CATS (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row subcommands[] = {
    {.name = "list", .arity = 2, .flags = FLAGS, .categories = CATS, .run = module_list},
    {.name = "load", .arity = -3, .flags = LOAD_FLAGS, .categories = CATS, .run = module_refused},
    {.name = "loadex", .arity = -3, .flags = LOAD_FLAGS, .categories = CATS, .run = module_refused},
    {.name = "unload", .arity = 3, .flags = LOAD_FLAGS, .categories = CATS, .run = module_refused},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = module_help},
    {.name = NULL},
};

const struct command_row command_rows_module[] = {
    {.name = "module",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
