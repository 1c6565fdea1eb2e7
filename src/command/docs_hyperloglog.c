/* SPDX-License-Identifier: MIT */
/* docs_hyperloglog.c - what COMMAND DOCS says of Redis's group "hyperloglog".
 * Written by tcl-tests/gen_docs.tcl: change the list there. */
#include "command/docs.h"

/* clang-format off */
const struct command_doc command_docs_hyperloglog[] = {
    {.name = "pfadd",
     .summary = "Adds the specified elements to the specified HyperLogLog.",
     .since = "2.8.9",
     .group = "hyperloglog",
     .complexity = "O(1) to add every element.",
     .keys = DOC_LIST(doc_key,
        {.flags = "RW insert", .index = 1, .last = 0, .step = 1, .limit = 0}),
     .args = DOC_LIST(doc_arg,
        {.name = "key", .type = "key", .key_spec = 1},
        {.name = "element", .type = "string", .flags = DOC_OPTIONAL | DOC_MULTIPLE})},
    {.name = "pfcount",
     .summary = "Return the approximated cardinality of the set(s) observed by the "
                        "HyperLogLog at key(s).",
     .since = "2.8.9",
     .group = "hyperloglog",
     .complexity = "O(1) with a very small average constant time when called with a "
                           "single key. O(N) with N being the number of keys, and much bigger "
                           "constant times, when called with multiple keys.",
     .keys = DOC_LIST(doc_key,
        {.flags = "RW access", .index = 1, .last = -1, .step = 1, .limit = 0,
         .notes = "RW because it may change the internal representation of the key, and "
                  "propagate to replicas"}),
     .args = DOC_LIST(doc_arg,
        {.name = "key", .type = "key", .key_spec = 1, .flags = DOC_MULTIPLE})},
    {.name = "pfmerge",
     .summary = "Merge N different HyperLogLogs into a single one.",
     .since = "2.8.9",
     .group = "hyperloglog",
     .complexity = "O(N) to merge N HyperLogLogs, but with high constant times.",
     .keys = DOC_LIST(doc_key,
        {.flags = "RW access insert", .index = 1, .last = 0, .step = 1, .limit = 0},
        {.flags = "RO access", .index = 2, .last = -1, .step = 1, .limit = 0}),
     .args = DOC_LIST(doc_arg,
        {.name = "destkey", .type = "key", .key_spec = 1},
        {.name = "sourcekey", .type = "key", .key_spec = 2, .flags = DOC_MULTIPLE})},
    {.name = "pfdebug",
     .summary = "Internal commands for debugging HyperLogLog values",
     .since = "2.8.9",
     .group = "hyperloglog",
     .complexity = "N/A",
     .doc_flags = "syscmd",
     .keys = DOC_LIST(doc_key,
        {.flags = "RW access", .index = 2, .last = 0, .step = 1, .limit = 0}),
     .args = DOC_LIST(doc_arg,
        {.name = "subcommand", .type = "string"},
        {.name = "key", .type = "key", .key_spec = 1})},
    {.name = "pfselftest",
     .summary = "An internal command for testing HyperLogLog values",
     .since = "2.8.9",
     .group = "hyperloglog",
     .complexity = "N/A",
     .doc_flags = "syscmd"},
    {0}};
