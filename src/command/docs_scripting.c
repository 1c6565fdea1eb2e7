/* SPDX-License-Identifier: MIT */
/* docs_scripting.c - what COMMAND DOCS says of Redis's group "scripting".
 * Written by tcl-tests/gen_docs.tcl: change the list there. */
#include "command/docs.h"

/* clang-format off */
const struct command_doc command_docs_scripting[] = {
    {.name = "function",
     .summary = "A container for function commands",
     .since = "7.0.0",
     .group = "scripting",
     .complexity = "Depends on subcommand."},
    {.name = "function|flush",
     .summary = "Deleting all functions",
     .since = "7.0.0",
     .group = "scripting",
     .complexity = "O(N) where N is the number of functions deleted",
     .tips = "request_policy:all_shards response_policy:all_succeeded",
     .args = DOC_LIST(doc_arg,
        {.name = "async", .type = "oneof", .flags = DOC_OPTIONAL,
         .args = DOC_LIST(doc_arg,
            {.name = "async", .type = "pure-token", .token = "ASYNC"},
            {.name = "sync", .type = "pure-token", .token = "SYNC"})})},
    {.name = "function|help",
     .summary = "Show helpful text about the different subcommands",
     .since = "7.0.0",
     .group = "scripting",
     .complexity = "O(1)"},
    {0}};
