/* SPDX-License-Identifier: MIT */
/* usage.c - help from the table of options, and what this program was built with. */
#include "app/usage.h"

#include "app/memory.h"
#include "app/option.h"
#include "app/version.h"

#include <event2/event.h>
#include <isa-l.h>

static const char *const value_names[] = {[OPTION_KIND_BOOL] = "yes|no",
                                          [OPTION_KIND_INT] = "number",
                                          [OPTION_KIND_OCTAL] = "octal",
                                          [OPTION_KIND_MEMORY] = "memory",
                                          [OPTION_KIND_PERCENT] = "memory|%%",
                                          [OPTION_KIND_SECONDS] = "seconds",
                                          [OPTION_KIND_ENUM] = "",
                                          [OPTION_KIND_TEXT] = "text",
                                          [OPTION_KIND_LIST] = "list"};

void usage_help(FILE *f)
{
    fputs("Usage: bitkv-server [FILE] [-] [--option value ...]\n"
          "       bitkv-server -              (reads the configuration from standard input)\n"
          "       bitkv-server -v, --version\n"
          "       bitkv-server -h, --help\n"
          "\n"
          "Examples:\n"
          "       bitkv-server --port 7777 --dir /srv/bitkv\n"
          "       bitkv-server /etc/bitkv.conf --loglevel verbose\n"
          "       echo 'maxmemory 128mb' | bitkv-server -\n"
          "       BITKV_PORT=7777 bitkv-server\n"
          "\n"
          "The command line goes over the environment (BITKV_ and the option's name in capitals, "
          "'_' for '-'), the\n"
          "environment over the file. Options with their defaults; bitkv.conf explains each. Every "
          "other option of\n"
          "Redis 7.0 is known and has no effect.\n"
          "\n",
          f);
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *row = &option_rows[id];
        if (row->doc == NULL) {
            continue;
        }
        const char *values = row->kind == OPTION_KIND_ENUM ? row->choices : value_names[row->kind];
        const char *def = (row->flags & OPTION_COMPUTED) != 0 ? "by the machine" : row->def;
        fprintf(f, "  --%s <%s>  (%s)\n        %s\n", row->name, values,
                def[0] != '\0' ? def : "empty", row->doc);
    }
}

void usage_version(FILE *f)
{
    char allocator[64];
    fprintf(f, "bitkv-server v=%s redis=%s malloc=%s bits=%zu libevent=%s isa-l=%d.%d.%d\n",
            BITKV_VERSION, BITKV_REDIS_VERSION, memory_allocator(allocator, sizeof allocator),
            sizeof(void *) * 8, event_get_version(), ISAL_MAJOR_VERSION, ISAL_MINOR_VERSION,
            ISAL_PATCH_VERSION);
}
