/* SPDX-License-Identifier: MIT */
/* docs_transactions.c - what COMMAND DOCS says of Redis's group "transactions".
 * Written by tcl-tests/gen_docs.tcl: change the list there. */
#include "command/docs.h"

/* clang-format off */
const struct command_doc command_docs_transactions[] = {
    {.name = "multi",
     .summary = "Mark the start of a transaction block",
     .since = "1.2.0",
     .group = "transactions",
     .complexity = "O(1)"},
    {.name = "exec",
     .summary = "Execute all commands issued after MULTI",
     .since = "1.2.0",
     .group = "transactions",
     .complexity = "Depends on commands in the transaction"},
    {.name = "discard",
     .summary = "Discard all commands issued after MULTI",
     .since = "2.0.0",
     .group = "transactions",
     .complexity = "O(N), when N is the number of queued commands"},
    {.name = "watch",
     .summary = "Watch the given keys to determine execution of the MULTI/EXEC block",
     .since = "2.2.0",
     .group = "transactions",
     .complexity = "O(1) for every key.",
     .keys = DOC_LIST(doc_key,
        {.flags = "RO", .index = 1, .last = -1, .step = 1, .limit = 0}),
     .args = DOC_LIST(doc_arg,
        {.name = "key", .type = "key", .key_spec = 1, .flags = DOC_MULTIPLE})},
    {.name = "unwatch",
     .summary = "Forget about all watched keys",
     .since = "2.2.0",
     .group = "transactions",
     .complexity = "O(1)"},
    {0}};
