/* SPDX-License-Identifier: MIT */
/* Where options come from: files, the environment, the command line, and what is said when one is
 * wrong. */
#include "app/conf_load.h"
#include "app/version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Files in memory: pairs of path and contents, ended by NULL. */
static bool fake_read(void *arg, const char *path, struct bk_buf *out, struct bk_buf *why)
{
    for (const char *const *f = arg; *f != NULL; f += 2) {
        if (strcmp(f[0], path) == 0) {
            bk_buf_append(out, f[1], strlen(f[1]));
            return true;
        }
    }
    bk_buf_printf(why, "No such file or directory");
    return false;
}

/* Every file whose path begins as the pattern does, up to its first '*'. */
static bool fake_glob(void *arg, const char *pattern,
                      bool (*each)(void *each_arg, const char *path), void *each_arg)
{
    bool ok = true;
    for (const char *const *f = arg; ok && *f != NULL; f += 2) {
        if (strncmp(f[0], pattern, strcspn(pattern, "*")) == 0) {
            ok = each(each_arg, f[0]);
        }
    }
    return ok;
}

struct fixture {
    struct conf conf;
    char problem[2048];
    char notes[2048];
};

static bool load(struct fixture *f, const char *const *files, char *const *argv, char *const *env)
{
    struct conf_files table = {fake_read, fake_glob, NULL};
    struct bk_buf problem = {0};
    int argc = 0;
    memcpy(&table.arg, &files, sizeof files); /* read only, whatever the type says */
    while (argv[argc] != NULL) {
        argc++;
    }
    conf_init(&f->conf);
    bool ok = conf_load(&f->conf, &table, argc, argv, env, &problem);
    snprintf(f->problem, sizeof f->problem, "%.*s", (int)problem.len, (const char *)problem.data);
    snprintf(f->notes, sizeof f->notes, "%.*s", (int)f->conf.notes.len,
             (const char *)f->conf.notes.data);
    bk_buf_fini(&problem);
    return ok;
}

#define ARGV(...) ((char *[]){"bitkv-server", __VA_ARGS__, NULL})
#define ENV(...) ((char *[]){__VA_ARGS__, NULL})
#define FILES(...) ((const char *[]){__VA_ARGS__, NULL})
static const char *const no_files[] = {NULL};

static int64_t num(const struct fixture *f, enum option_id id)
{
    return option_num(&f->conf.options, id);
}

static void test_conf_load__command_line_over_environment_over_file_over_default(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(load(&f, FILES("a.conf", "port 1\ntimeout 1\nmaxclients 1\n"),
                     ARGV("a.conf", "--port", "3"), ENV("BITKV_PORT=2", "BITKV_TIMEOUT=2", "X=1")));
    assert_int_equal(num(&f, OPTION_PORT), 3);
    assert_int_equal(num(&f, OPTION_TIMEOUT), 2);
    assert_int_equal(num(&f, OPTION_MAXCLIENTS), 1);
    assert_int_equal(num(&f, OPTION_TCP_KEEPALIVE), 300);
    assert_string_equal(f.notes, "");
    conf_fini(&f.conf);
}

static void test_conf_load__command_line__is_read_as_redis_reads_it(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(load(&f, no_files,
                     ARGV("--bind", "127.0.0.1", "-::1", "--save", "--requirepass", "--x y",
                          "--timeout 7", "--unixsocket", ""),
                     NULL));
    assert_string_equal(option_text(&f.conf.options, OPTION_BIND), "127.0.0.1 -::1");
    assert_string_equal(option_text(&f.conf.options, OPTION_SAVE), "");
    assert_string_equal(option_text(&f.conf.options, OPTION_REQUIREPASS), "--x y");
    assert_int_equal(num(&f, OPTION_TIMEOUT), 7);
    conf_fini(&f.conf);
    assert_true(load(&f, FILES("-", "port 5\ntimeout 5\n"), ARGV("--port", "6", "-"), NULL));
    assert_int_equal(num(&f, OPTION_PORT), 6);
    assert_int_equal(num(&f, OPTION_TIMEOUT), 5);
    conf_fini(&f.conf);
    assert_true(load(&f, no_files, ARGV("--help"), NULL));
    assert_int_equal(f.conf.action, CONF_HELP);
    conf_fini(&f.conf);
    assert_true(load(&f, no_files, ARGV("-v"), NULL));
    assert_int_equal(f.conf.action, CONF_VERSION);
    conf_fini(&f.conf);
}

static void test_conf_load__environment__takes_values_as_they_are(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(
        load(&f, no_files, ARGV("--port", "1"),
             ENV("BITKV_REQUIREPASS=a \"b", "BITKV_BIND=127.0.0.1 ::1", "BITKV_SERVER_CPULIST=0",
                 "BITKV_SERVICE_HOST=10.0.0.1", "BITKV_MAX_FILE_SIZE=1gb")));
    assert_string_equal(option_text(&f.conf.options, OPTION_REQUIREPASS), "a \"b");
    assert_string_equal(option_text(&f.conf.options, OPTION_BIND), "127.0.0.1 ::1");
    assert_int_equal(num(&f, OPTION_MAX_FILE_SIZE), 1 << 30);
    assert_string_equal(f.notes,
                        "Option 'server_cpulist' is known from Redis and has no effect here\n"
                        "Environment variable BITKV_SERVICE_HOST names no option and is ignored\n");
    conf_fini(&f.conf);
}

static void test_conf_load__include__reads_other_files_where_it_stands(void **state)
{
    (void)state;
    struct fixture f;
    const char *const *files =
        FILES("a", "timeout 1\ninclude b\nport 9\ninclude d/*\ninclude none/*", "b",
              "timeout 2\nport 8\n", "d/1", "maxclients 5\n", "d/2", "maxclients 6");
    assert_true(load(&f, files, ARGV("a"), NULL));
    assert_int_equal(num(&f, OPTION_TIMEOUT), 2);
    assert_int_equal(num(&f, OPTION_PORT), 9);
    assert_int_equal(num(&f, OPTION_MAXCLIENTS), 6);
    conf_fini(&f.conf);
    assert_false(load(&f, FILES("a", "include a\n"), ARGV("a"), NULL));
    assert_non_null(strstr(f.problem, "include is nested too deeply"));
    conf_fini(&f.conf);
    assert_false(load(&f, FILES("a", "\ninclude nowhere\n"), ARGV("a"), NULL));
    assert_string_equal(f.problem, "Fatal error, can't open config file 'nowhere': "
                                   "No such file or directory\n");
    conf_fini(&f.conf);
}

static void test_conf_load__save__adds_lines_within_a_file_and_starts_anew_in_the_next_source(
    void **s)
{
    (void)s;
    struct fixture f;
    const char *const *files = FILES("a", "save 1 1\nsave 2 2\n");
    assert_true(load(&f, files, ARGV("a"), NULL));
    assert_string_equal(option_text(&f.conf.options, OPTION_SAVE), "1 1 2 2");
    conf_fini(&f.conf);
    assert_true(load(&f, files, ARGV("a", "--save", "3", "3"), NULL));
    assert_string_equal(option_text(&f.conf.options, OPTION_SAVE), "3 3");
    conf_fini(&f.conf);
}

static void test_conf_load__options_without_effect__are_noted_once_each(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(load(&f,
                     FILES("a", "save 1 1\nsave 2 2\nrename-command CONFIG \"\"\nuser x on\n"
                                "loadmodule /x.so a b\nlua-replicate-commands yes\n"),
                     ARGV("a"), NULL));
    assert_string_equal(
        f.notes, "Option 'save' is known from Redis and has no effect here\n"
                 "Option 'rename-command' is known from Redis and has no effect here\n"
                 "Option 'user' is known from Redis and has no effect here\n"
                 "Option 'loadmodule' is known from Redis and has no effect here\n"
                 "Option 'lua-replicate-commands' is known from Redis and has no effect here\n");
    conf_fini(&f.conf);
}

#define WHERE(place) \
    "\n*** FATAL CONFIG FILE ERROR (bitkv " BITKV_VERSION ") ***\nReading the " place

static void test_conf_load__wrong_line__is_named_with_file_line_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"port 1\n\n foo bar \n", WHERE("configuration file, at line 3 of 'a'\n>>> 'foo bar'\n"
                                        "Bad directive or wrong number of arguments\n")},
        {"timeout \"abc", WHERE("configuration file, at line 1 of 'a'\n>>> 'timeout \"abc'\n"
                                "Unbalanced quotes in configuration line\n")},
        {"timeout 1 2", WHERE("configuration file, at line 1 of 'a'\n>>> 'timeout 1 2'\n"
                              "wrong number of arguments\n")},
        {"#\r\nmaxmemory 5q\r\n", WHERE("configuration file, at line 2 of 'a'\n>>> 'maxmemory 5q'\n"
                                        "argument must be a memory value\n")},
        {"requirepass a b", WHERE("configuration file, at line 1 of 'a'\n>>> 'requirepass ...'\n"
                                  "wrong number of arguments\n")},
        {"sentinel x", WHERE("configuration file, at line 1 of 'a'\n>>> 'sentinel x'\n"
                             "sentinel directive while not in sentinel mode\n")},
        {"include", WHERE("configuration file, at line 1 of 'a'\n>>> 'include'\n"
                          "Bad directive or wrong number of arguments\n")},
        {"rename-command x", WHERE("configuration file, at line 1 of 'a'\n>>> 'rename-command x'\n"
                                   "Bad directive or wrong number of arguments\n")},
        {"include b", WHERE("configuration file, at line 2 of 'b'\n>>> 'port x'\n"
                            "argument couldn't be parsed into an integer\n")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        assert_false(load(&f, FILES("a", rows[i].text, "b", "\nport x"), ARGV("a"), NULL));
        assert_string_equal(f.problem, rows[i].message);
        conf_fini(&f.conf);
    }
}

static void test_conf_load__wrong_argument_or_variable__is_named(void **state)
{
    (void)state;
    struct fixture f;
    assert_false(load(&f, no_files, ARGV("--port"), NULL));
    assert_string_equal(f.problem, WHERE("command line\n>>> 'port'\nwrong number of arguments\n"));
    conf_fini(&f.conf);
    assert_false(load(&f, no_files, ARGV("--foo", "bar"), NULL));
    assert_string_equal(f.problem, WHERE("command line\n>>> 'foo \"bar\"'\n"
                                         "Bad directive or wrong number of arguments\n"));
    conf_fini(&f.conf);
    assert_false(load(&f, no_files, ARGV("--timeout", "1"), ENV("BITKV_PORT=tcp://10.0.0.1:6379")));
    assert_string_equal(f.problem,
                        WHERE("environment variable BITKV_PORT\n>>> 'tcp://10.0.0.1:6379'\n"
                              "argument couldn't be parsed into an integer\n"));
    conf_fini(&f.conf);
    assert_false(load(&f, no_files, ARGV("missing.conf"), NULL));
    assert_string_equal(f.problem, "Fatal error, can't open config file 'missing.conf': "
                                   "No such file or directory\n");
    conf_fini(&f.conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf_load__command_line_over_environment_over_file_over_default),
        cmocka_unit_test(test_conf_load__command_line__is_read_as_redis_reads_it),
        cmocka_unit_test(test_conf_load__environment__takes_values_as_they_are),
        cmocka_unit_test(test_conf_load__include__reads_other_files_where_it_stands),
        cmocka_unit_test(
            test_conf_load__save__adds_lines_within_a_file_and_starts_anew_in_the_next_source),
        cmocka_unit_test(test_conf_load__options_without_effect__are_noted_once_each),
        cmocka_unit_test(test_conf_load__wrong_line__is_named_with_file_line_and_reason),
        cmocka_unit_test(test_conf_load__wrong_argument_or_variable__is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
