/* SPDX-License-Identifier: MIT */
/* docs_bitkv.c - what COMMAND DOCS says of BITKV and of BGREWRITEAOF. */
#include "command/docs.h"

/* clang-format off */
const struct command_doc command_docs_bitkv[] = {
    {.name = "bgrewriteaof",
     .summary = "Asynchronously rewrite the append-only file",
     .since = "1.0.0",
     .group = "server",
     .complexity = "O(1)"},
    {.name = "bitkv",
     .summary = "A container for commands on data files and merges",
     .since = "7.0.0",
     .group = "server",
     .complexity = "Depends on subcommand."},
    {.name = "bitkv|files",
     .summary = "Get one line for each data file",
     .since = "7.0.0",
     .group = "server",
     .complexity = "O(N log N) where N is the number of data files",
     .tips = "nondeterministic_output"},
    {.name = "bitkv|merge",
     .summary = "Start, pause or resume merges, or get what they do",
     .since = "7.0.0",
     .group = "server",
     .complexity = "O(N) where N is the number of data files",
     .tips = "nondeterministic_output",
     .args = DOC_LIST(doc_arg,
        {.name = "action", .type = "oneof", .flags = DOC_OPTIONAL,
         .args = DOC_LIST(doc_arg,
            {.name = "now", .type = "pure-token", .token = "NOW"},
            {.name = "pause", .type = "pure-token", .token = "PAUSE"},
            {.name = "resume", .type = "pure-token", .token = "RESUME"},
            {.name = "status", .type = "pure-token", .token = "STATUS"})})},
    {.name = "bitkv|help",
     .summary = "Show helpful text about the different subcommands",
     .since = "7.0.0",
     .group = "server",
     .complexity = "O(1)"},
    {.name = NULL},
};
/* clang-format on */
