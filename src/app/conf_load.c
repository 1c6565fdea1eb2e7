/* SPDX-License-Identifier: MIT */
/* conf_load.c - lines, variables and arguments to option values. */
#include "app/conf_load.h"

#include "app/conf_words.h"
#include "app/version.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENV_PREFIX "BITKV_"

/* One source of options: a file with what it includes, the environment, or the command line. */
struct loader {
    struct conf *conf;
    const struct conf_files *files; /* borrowed */
    struct bk_buf *problem;         /* borrowed */
    struct conf_words words;
    bool seen[OPTION_COUNT]; /* set once by this source: OPTION_ADDS options add from then on */
    int depth;
};

static void loader_init(struct loader *l, struct conf *c, const struct conf_files *files,
                        struct bk_buf *problem)
{
    memset(l, 0, sizeof *l);
    l->conf = c;
    l->files = files;
    l->problem = problem;
}

/* ---- Messages ---- */

/* where: "configuration file 'x', at line 3". */
static bool fail(struct loader *l, const char *where, struct bk_span line, const char *why)
{
    bk_buf_printf(l->problem, "\n*** FATAL CONFIG FILE ERROR (bitkv %s) ***\nReading the %s\n>>> '",
                  BITKV_VERSION, where);
    /* What follows the name of an option that is secret stays secret. */
    struct bk_span name = {line.data, 0};
    while (name.len < line.len && !isspace(line.data[name.len])) {
        name.len++;
    }
    enum option_id id = option_find(name);
    if (id != OPTION_COUNT && (option_rows[id].flags & OPTION_SECRET) != 0) {
        bk_buf_append(l->problem, name.data, name.len);
        bk_buf_printf(l->problem, " ...");
    } else {
        bk_buf_append(l->problem, line.data, line.len);
    }
    bk_buf_printf(l->problem, "'\n%s\n", why);
    return false;
}

static bool fail_buf(struct loader *l, const char *where, struct bk_span line, struct bk_buf *why)
{
    bk_buf_append(why, "", 1);
    fail(l, where, line, (const char *)why->data);
    bk_buf_fini(why);
    return false;
}

static void note_no_effect(struct conf *c, const char *name)
{
    bk_buf_printf(&c->notes, "Option '%s' is known from Redis and has no effect here\n", name);
}

/* ---- One option ---- */

static bool set_option(struct loader *l, enum option_id id, const struct option_words *given,
                       struct bk_buf *why)
{
    struct option_words words = *given;
    struct option_value *v = &l->conf->options.values[id];
    /* As in Redis, save "" takes away the lines in front of it. */
    bool clears = given->argc == 1 && given->argv[0].len == 0;
    words.add = (option_rows[id].flags & OPTION_ADDS) != 0 && l->seen[id] && !clears;
    if (!option_parse(id, v, &words, v, why)) {
        return false;
    }
    if (option_rows[id].doc == NULL && !l->seen[id]) {
        note_no_effect(l->conf, option_rows[id].name);
    }
    l->seen[id] = true;
    return true;
}

enum directive_result { DIRECTIVE_UNKNOWN, DIRECTIVE_OK, DIRECTIVE_BAD };

static bool is(struct bk_span word, const char *name)
{
    return bk_span_eq_nocase(word, name);
}

/* Lines of Redis's configuration that are no options, include apart: known, without effect. */
static enum directive_result other_directive(struct loader *l, struct bk_buf *why)
{
    static const struct {
        const char *name;
        size_t argc_min, argc_max;
    } known[] = {{"rename-command", 3, 3},
                 {"user", 2, OPTION_WORDS_MAX},
                 {"loadmodule", 2, OPTION_WORDS_MAX},
                 {"list-max-ziplist-entries", 2, 2},
                 {"list-max-ziplist-value", 2, 2},
                 {"lua-replicate-commands", 2, 2}};
    struct bk_span name = l->words.argv[0];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (is(name, known[i].name) && l->words.argc >= known[i].argc_min &&
            l->words.argc <= known[i].argc_max) {
            note_no_effect(l->conf, known[i].name);
            return DIRECTIVE_OK;
        }
    }
    if (is(name, "sentinel") && l->words.argc > 1) {
        bk_buf_printf(why, "sentinel directive while not in sentinel mode");
        return DIRECTIVE_BAD;
    }
    bk_buf_printf(why, "Bad directive or wrong number of arguments");
    return DIRECTIVE_UNKNOWN;
}

/* ---- Files ---- */

static bool load_lines(struct loader *l, const char *name, struct bk_span text);

static bool include_one(void *arg, const char *path)
{
    struct loader *l = arg;
    struct bk_buf text = {0};
    struct bk_buf why = {0};
    bool ok = l->files->read(l->files->arg, path, &text, &why);
    if (ok) {
        ok = load_lines(l, path, bk_buf_span(&text));
    } else {
        bk_buf_printf(l->problem, "Fatal error, can't open config file '%s': %.*s\n", path,
                      (int)why.len, (const char *)why.data);
    }
    bk_buf_fini(&text);
    bk_buf_fini(&why);
    return ok;
}

/* The words are those of the including line and are not used afterwards. */
static bool include(struct loader *l, const char *where, struct bk_span line)
{
    char path[PATH_MAX];
    struct bk_span word = l->words.argv[1];
    if (word.len == 0 || word.len >= sizeof path) {
        return fail(l, where, line, "include needs the path of a file");
    }
    if (l->depth == CONF_INCLUDE_DEPTH_MAX) {
        return fail(l, where, line, "include is nested too deeply");
    }
    memcpy(path, word.data, word.len);
    path[word.len] = '\0';
    l->depth++;
    bool ok = strpbrk(path, "*?[") != NULL ? l->files->glob(l->files->arg, path, include_one, l)
                                           : include_one(l, path);
    l->depth--;
    return ok;
}

static bool load_line(struct loader *l, const char *where, struct bk_span line)
{
    struct bk_buf why = {0};
    enum conf_words_result split = conf_words_split(&l->words, line);
    if (split != CONF_WORDS_OK) {
        return fail(l, where, line,
                    split == CONF_WORDS_TOO_MANY ? "Too many words in configuration line"
                                                 : "Unbalanced quotes in configuration line");
    }
    if (l->words.argc == 0) {
        return true;
    }
    enum option_id id = option_find(l->words.argv[0]);
    bool ok = true;
    if (id != OPTION_COUNT) {
        struct option_words words = {l->words.argv + 1, l->words.argc - 1, false};
        ok = set_option(l, id, &words, &why);
    } else if (is(l->words.argv[0], "include") && l->words.argc == 2) {
        return include(l, where, line);
    } else {
        ok = other_directive(l, &why) == DIRECTIVE_OK;
    }
    if (!ok) {
        return fail_buf(l, where, line, &why);
    }
    bk_buf_fini(&why);
    return true;
}

static bool load_lines(struct loader *l, const char *name, struct bk_span text)
{
    size_t number = 0;
    bool ok = true;
    while (ok && text.len > 0) {
        struct bk_span line = conf_trim(conf_take_line(&text));
        number++;
        if (line.len > 0 && line.data[0] != '#') {
            char where[PATH_MAX + 64];
            snprintf(where, sizeof where, "configuration file, at line %zu of '%s'", number, name);
            ok = load_line(l, where, line);
        }
    }
    return ok;
}

bool conf_load_text(struct conf *c, const struct conf_files *files, const char *name,
                    struct bk_span text, struct bk_buf *problem)
{
    struct loader l;
    loader_init(&l, c, files, problem);
    bool ok = load_lines(&l, name, text);
    conf_words_fini(&l.words);
    return ok;
}

static bool load_files(struct conf *c, const struct conf_files *files, const char *path,
                       bool use_stdin, struct bk_buf *problem)
{
    struct loader l;
    loader_init(&l, c, files, problem);
    bool ok = true;
    if (path != NULL) {
        c->file = realpath(path, NULL);
        ok = include_one(&l, path);
    }
    if (ok && use_stdin) {
        ok = include_one(&l, "-");
    }
    conf_words_fini(&l.words);
    return ok;
}

/* ---- Environment ---- */

/* BITKV_MAX_FILE_SIZE and server_cpulist alike: '_' and '-' are one. */
static enum option_id env_option(const char *name, size_t len)
{
    char text[64];
    if (len >= sizeof text) {
        return OPTION_COUNT;
    }
    for (size_t i = 0; i < len; i++) {
        text[i] = name[i] == '_' ? '-' : name[i];
    }
    enum option_id id = option_find(bk_span_of(text, len));
    return id != OPTION_COUNT ? id : option_find(bk_span_of(name, len));
}

static bool load_variable(struct loader *l, const char *variable)
{
    const char *equals = strchr(variable, '=');
    const char *name = variable + sizeof ENV_PREFIX - 1;
    enum option_id id = env_option(name, (size_t)(equals - name));
    if (id == OPTION_COUNT) {
        /* Not an error: the environment is shared (a container runtime names its services there),
         * and a name that is meant for something else must not keep the server from starting. */
        bk_buf_printf(&l->conf->notes, "Environment variable %.*s names no option and is ignored\n",
                      (int)(equals - variable), variable);
        return true;
    }
    char where[128];
    snprintf(where, sizeof where, "environment variable %.*s", (int)(equals - variable), variable);
    /* Quotes mean something only where several words can stand. */
    bool multi = (option_rows[id].flags & OPTION_MULTI) != 0;
    struct bk_span value = bk_span_str(equals + 1);
    struct bk_span line = (option_rows[id].flags & OPTION_SECRET) != 0 ? bk_span_str("...") : value;
    if (multi && conf_words_split(&l->words, value) != CONF_WORDS_OK) {
        return fail(l, where, line, "Unbalanced quotes, or too many words");
    }
    struct bk_buf why = {0};
    struct option_words words = {multi ? l->words.argv : &value, multi ? l->words.argc : 1, false};
    if (!set_option(l, id, &words, &why)) {
        return fail_buf(l, where, line, &why);
    }
    bk_buf_fini(&why);
    return true;
}

static bool load_env(struct conf *c, char *const *env, struct bk_buf *problem)
{
    struct loader l;
    loader_init(&l, c, NULL, problem);
    bool ok = true;
    for (; ok && env != NULL && *env != NULL; env++) {
        if (strncmp(*env, ENV_PREFIX, sizeof ENV_PREFIX - 1) == 0 && strchr(*env, '=') != NULL) {
            ok = load_variable(&l, *env);
        }
    }
    conf_words_fini(&l.words);
    return ok;
}

/* ---- Command line ---- */

static bool is_option_name(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

/* Appends the words from argv[*at] on that make one option: its name, then values up to the next
 * name. The word right after the name is always a value, so that a value may begin with "--";
 * --save alone means "no save points". */
static void gather_option(struct bk_buf *line, int argc, char *const *argv, int *at)
{
    int i = *at;
    bool named = is_option_name(argv[i]);
    bool has_value = strchr(argv[i], ' ') != NULL; /* "--port 6380" in one word */
    if (named) {
        bk_buf_append(line, argv[i] + 2, strlen(argv[i] + 2));
        i++;
        if (strcasecmp(argv[*at], "--save") == 0 && (i == argc || is_option_name(argv[i]))) {
            bk_buf_append(line, " \"\"", 3);
            has_value = true;
        }
    }
    while (i < argc && (!is_option_name(argv[i]) || (named && !has_value))) {
        bk_buf_append(line, " ", line->len > 0);
        option_quote(line, bk_span_str(argv[i]));
        has_value = true;
        i++;
    }
    *at = i;
}

static bool load_arguments(struct conf *c, const struct conf_files *files, int argc,
                           char *const *argv, int first, struct bk_buf *problem)
{
    struct loader l;
    loader_init(&l, c, files, problem);
    bool ok = true;
    struct bk_buf line = {0};
    for (int i = first; ok && i < argc;) {
        line.len = 0;
        gather_option(&line, argc, argv, &i);
        ok = load_line(&l, "command line", bk_buf_span(&line));
    }
    bk_buf_fini(&line);
    conf_words_fini(&l.words);
    return ok;
}

static enum conf_action action_of(int argc, char *const *argv)
{
    const char *a = argc == 2 ? argv[1] : "";
    if (strcmp(a, "-v") == 0 || strcmp(a, "--version") == 0) {
        return CONF_VERSION;
    }
    return strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0 ? CONF_HELP : CONF_RUN;
}

bool conf_load(struct conf *c, const struct conf_files *files, int argc, char *const *argv,
               char *const *env, struct bk_buf *problem)
{
    c->action = action_of(argc, argv);
    if (c->action != CONF_RUN) {
        return true;
    }
    const char *path = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
    int first = path != NULL ? 2 : 1;
    bool use_stdin = false;
    if (argc > first && (strcmp(argv[argc - 1], "-") == 0)) {
        use_stdin = true;
        argc--;
    } else if (argc > first && strcmp(argv[first], "-") == 0) {
        use_stdin = true;
        first++;
    }
    return load_files(c, files, path, use_stdin, problem) && load_env(c, env, problem) &&
           load_arguments(c, files, argc, argv, first, problem);
}

void conf_init(struct conf *c)
{
    memset(c, 0, sizeof *c);
    options_init(&c->options);
}

void conf_fini(struct conf *c)
{
    options_fini(&c->options);
    free(c->file);
    c->file = NULL;
    bk_buf_fini(&c->notes);
}
