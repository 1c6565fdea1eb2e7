/* SPDX-License-Identifier: MIT */
/* The offline tool as its users run it: single keys of any bytes, exit statuses, and directories
 * that a server holds or held. */
#include "tool_test.h"

/* ---- Single keys ---- */

static void test_tool__put_get_del__bytes_and_statuses(void **state)
{
    (void)state;
    static const char binary[] = "a\0b\r\n\xff";
    const char *s = in_dir("s");
    RUN(0, "put", s, "greeting", "hello");
    OUT("");
    RUN(0, "get", s, "greeting");
    OUT("hello");
    RUN(1, "get", s, "nobody");
    OUT("");
    RUN(1, "get", "-n", "1", s, "greeting");
    RUN(0, "put", "--db", "8191", s, "greeting", "elsewhere");
    RUN(0, "get", "--db", "8191", s, "greeting");
    OUT("elsewhere");
    input(binary, sizeof binary);
    RUN(0, "put", "--hex", s, "00ff0a");
    RUN(0, "get", "-x", s, "00FF0a");
    assert_true(bk_span_eq(bk_buf_span(&t.out), bk_span_of(binary, sizeof binary)));
    input("\x00\xff\n", 3);
    RUN(0, "get", "--stdin-key", s);
    assert_int_equal(t.out.len, sizeof binary);
    input(binary, sizeof binary);
    RUN(0, "put", "-k", s, "by stdin");
    input(binary, sizeof binary);
    RUN(0, "get", "-k", s);
    OUT("by stdin");
    RUN(0, "put", s, "", "");
    RUN(0, "get", s, "");
    OUT("");
    RUN(0, "put", s, "--", "-dash", "-1");
    RUN(0, "get", "--", s, "-dash");
    OUT("-1");
    RUN(0, "del", s, "greeting", "nobody", "");
    OUT("2\n");
    RUN(1, "del", s, "greeting");
    OUT("0\n");
    RUN(1, "get", s, "greeting");
}

static void test_tool__put_with_expiry__is_absolute_and_ends(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    RUN(0, "put", "--pxat", "4102444800000", s, "far", "v");
    RUN(0, "dump", s);
    OUT("{\"db\":0,\"key\":\"far\",\"value\":\"v\",\"pxat\":4102444800000}\n");
    RUN(0, "put", s, "gone", "old");
    RUN(0, "put", "--pxat", "1", s, "gone", "new");
    RUN(1, "get", s, "gone");
    RUN(1, "del", s, "gone");
    RUN(0, "keys", s);
    OUT("far\n");
    RUN(0, "put", "--px", "100000000", s, "far", "v");
    RUN(0, "put", "--pxat", "9223372036854775807", s, "farthest", "v");
    RUN(0, "stats", s);
    assert_non_null(strstr((char *)t.out.data, "db0:keys=2,expires=2\n"));
}

static void test_tool__keys__one_a_line_whatever_the_bytes(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    RUN(0, "put", "-x", s, "0a0d5c09ff41", "v");
    RUN(0, "keys", s);
    OUT("\\n\\r\\\\\\t\\xffA\n");
    RUN(0, "keys", "--hex", s);
    OUT("0a0d5c09ff41\n");
    RUN(0, "keys", "-0", s);
    assert_int_equal(t.out.len, 7);
    assert_memory_equal(t.out.data,
                        "\n\r\\\t\xff"
                        "A",
                        7);
    RUN(0, "put", s, "user:1", "v");
    RUN(0, "put", "-n", "2", s, "user:2", "v");
    RUN(0, "keys", s, "user:*");
    OUT("user:1\n");
    RUN(0, "keys", "-n", "2", s);
    OUT("user:2\n");
    RUN(0, "keys", s, "none*");
    OUT("");
}

/* ---- Usage ---- */

static void test_tool__help__names_each_verb_and_each_option(void **state)
{
    (void)state;
    static const char *const verbs[] = {"get",  "put",   "del",      "keys",    "stats", "dump",
                                        "load", "merge", "snapshot", "restore", "check", "repair"};
    RUN(0, "--help");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        char line[64];
        struct toolrun one = {0};
        snprintf(line, sizeof line, "\n  bitkv %s ", verbs[i]);
        assert_non_null(strstr((char *)t.out.data, line));
        assert_int_equal(tool(&one, "help", verbs[i], NULL), 0);
        assert_int_equal(tool(&one, verbs[i], "--help", NULL), 0);
        assert_non_null(strstr((char *)one.out.data, "Usage: bitkv "));
        toolrun_fini(&one);
    }
    RUN(0, "--version");
    assert_int_equal(strncmp((char *)t.out.data, "bitkv ", 6), 0);
}

static void test_tool__wrong_usage__is_status_2_and_says_why(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    assert_int_equal(toolrun_argv(&t, (const char *const[]){TEST_TOOL, NULL}), 2);
    SAYS("Usage: bitkv");
    RUN(2, "frobnicate", s);
    SAYS("there is no verb frobnicate");
    RUN(2, "help", "frobnicate");
    RUN(2, "get", s);
    SAYS("usage: bitkv get");
    RUN(2, "get", s, "a", "b");
    RUN(2, "get", "-k", s, "a");
    RUN(2, "put", s);
    RUN(2, "put", "-k", s);
    RUN(2, "del", s);
    RUN(2, "del", "-k", s, "a");
    RUN(2, "snapshot", s);
    RUN(2, "restore", s, "a", "b");
    RUN(2, "get", "--px", "5", s, "k");
    SAYS("get does not take --px");
    RUN(2, "put", "--px", "0", s, "k", "v");
    RUN(2, "put", "--px", "9223372036854775807", s, "k", "v");
    RUN(2, "put", "--pxat", "-5", s, "k", "v");
    RUN(2, "put", "--db", "8192", s, "k", "v");
    RUN(2, "put", "--hex", s, "abc", "v");
    SAYS("not a key in hex");
    RUN(2, "dump", "--format", "xml", s);
    RUN(2, "get", "--no-such-option", s, "k");
    assert_int_not_equal(access(s, F_OK), 0);
}

static void test_tool__no_store__is_not_made_by_mistake(void **state)
{
    (void)state;
    const char *none = in_dir("none");
    static const char *const reading[] = {"keys", "stats", "dump", "merge"};
    for (size_t i = 0; i < sizeof reading / sizeof reading[0]; i++) {
        RUN(2, reading[i], none);
        SAYS("holds no store");
        RUN(2, reading[i], dir.path);
    }
    RUN(2, "get", none, "k");
    RUN(2, "del", none, "k");
    RUN(2, "snapshot", none, in_dir("s"));
    RUN(2, "restore", none, in_dir("s"));
    assert_int_not_equal(access(none, F_OK), 0);
    assert_int_equal(close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600)), 0);
    RUN(2, "put", dir.path, "k", "v");
    SAYS("holds other files and no store");
    RUN(2, "load", dir.path);
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Names that a store's files could have do not make one. */
static void test_tool__files_of_another_program__are_no_store(void **state)
{
    (void)state;
    struct dirlist before;
    struct dirlist after;
    const char *s = in_dir("s");
    const char *manifest = in_dir("s/MANIFEST");
    assert_int_equal(mkdir(s, 0700), 0);
    for (int both = 0; both < 2; both++) {
        put_file(both ? manifest : in_dir("s/table.data"), "Manifest-Version: 1.0\n");
        dirlist_read(&before, s);
        static const char *const plain[] = {"keys", "stats", "dump", "merge", "check", "repair"};
        for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
            RUN(2, plain[i], s);
            SAYS("holds no store");
        }
        RUN(2, "get", s, "k");
        RUN(2, "del", s, "k");
        RUN(2, "snapshot", s, in_dir("snap"));
        RUN(2, "put", s, "k", "v");
        SAYS("holds other files and no store");
        RUN(2, "load", s);
        dirlist_read(&after, s);
        assert_string_equal(dirlist_difference(&before, &after), "");
    }
}

/* Its lock, and the manifest before it has its name. */
static void test_tool__what_a_first_write_left_that_was_cut_off__is_as_good_as_nothing(void **state)
{
    (void)state;
    static const char *const locks[] = {"", "4711           \n"};
    const char *other = in_dir("other");
    for (int i = 0; i < 4; i++) {
        char name[16];
        char file[64];
        snprintf(name, sizeof name, "s%d", i);
        const char *s = in_dir(name);
        assert_int_equal(mkdir(s, 0700), 0);
        snprintf(file, sizeof file, "%s/LOCK", name);
        put_file(in_dir(file), locks[i % 2]);
        if (i >= 2) {
            snprintf(file, sizeof file, "%s/MANIFEST.new", name);
            put_file(in_dir(file), "half of");
        }
        RUN(2, "keys", s);
        SAYS("holds no store");
        RUN(0, "put", s, "k", "v");
        RUN(0, "get", s, "k");
        OUT("v");
        RUN(0, "check", s);
    }
    assert_int_equal(mkdir(other, 0700), 0);
    put_file(in_dir("other/MANIFEST.new"), "somebody else's");
    RUN(2, "put", other, "k", "v");
    SAYS("holds other files and no store");
    put_file(in_dir("other/LOCK"), "locked by me");
    RUN(2, "put", other, "k", "v");
    SAYS("holds other files and no store");
}

/* ---- Open files ---- */

/* A store of so many small files. */
static void make_files(const char *path, unsigned files)
{
    static const uint8_t bytes[3000];
    struct bk_options o;
    struct bk_db *db = NULL;
    bk_options_init(&o);
    o.dir = path;
    o.sync = BK_SYNC_NO;
    o.max_file_bytes = 4096;
    o.merge.policy = BK_MERGE_NEVER;
    assert_int_equal(bk_open(&db, &o, NULL), BK_OK);
    struct bk_batch *b = bk_batch_new(db);
    for (unsigned i = 0; i < files; i++) {
        struct bk_key k;
        struct bk_value v = {bk_span_of(bytes, sizeof bytes), NULL};
        bk_key_init(db, &k, &i, sizeof i);
        bk_batch_begin(b);
        bk_batch_put(b, 0, &k, &v, 0, 0);
        commit(db, b);
    }
    bk_batch_free(&b);
    assert_int_equal(bk_close(&db, NULL), BK_OK);
}

/* The tool's status under a limit, as ulimit's letters tell which. */
static int limited(const char *ulimit, const char *verb, const char *operand)
{
    const char *const argv[] = {"sh",    "-c", "ulimit $0 && exec \"$@\"", ulimit, TEST_TOOL, verb,
                                operand, NULL};
    return toolrun_argv(&t, argv);
}

static void test_tool__more_data_files_than_the_soft_limit__are_opened(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    make_files(s, 100);
    assert_int_equal(limited("-Sn 64", "check", s), 0);
    assert_non_null(strstr((char *)t.out.data, "no damage: 100 keys, 100 data files, "));
    assert_int_equal(limited("-Sn 64", "repair", s), 0);
    assert_int_equal(limited("-Sn 64", "merge", s), 0);
}

static void test_tool__more_data_files_than_the_hard_limit__names_it(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    make_files(s, 100);
    assert_int_equal(limited("-n 64", "check", s), 2);
    SAYS("the limit is 64 open files");
    SAYS("ulimit -n");
    SAYS(".data): Too many open files");
}

/* ---- Servers ---- */

/* The verbs that write, or all: each says whose the directory is. */
static void expect_refusals(bool reading_too)
{
    char data[PATH_SIZE];
    char pid[64];
    static const char *const plain[] = {"load", "merge", "keys",  "stats",
                                        "dump", "check", "repair"};
    size_t n = reading_too ? sizeof plain / sizeof plain[0] : 2;
    tmpdir_join(&server.dir, "data", data, sizeof data);
    snprintf(pid, sizeof pid, "process %ld has this directory open", (long)server.pid);
    for (size_t i = 0; i < n; i++) {
        RUN(2, plain[i], data);
        SAYS(pid);
    }
    RUN(2, "put", data, "k", "v");
    SAYS(pid);
    RUN(2, "del", data, "k");
    SAYS(pid);
    RUN(2, "snapshot", data, in_dir("snap"));
    SAYS(pid);
    if (reading_too) {
        RUN(2, "get", data, "k");
        SAYS(pid);
        RUN(2, "restore", data, in_dir("restored"));
        SAYS(pid);
    }
}

static void test_tool__held_by_a_server__refuses_and_names_it(void **state)
{
    (void)state;
    start();
    expect_refusals(true);
    struct respc *c = expect_connection(&server);
    expect_reply(c, ":0", "DBSIZE", NULL);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void test_tool__held_by_a_server_that_reads__writers_are_refused_and_name_it(void **state)
{
    (void)state;
    char data[PATH_SIZE];
    start();
    assert_int_equal(server_stop(&server), 0);
    server.options[0] = "--read-only";
    server.options[1] = "yes";
    start();
    expect_refusals(false);
    tmpdir_join(&server.dir, "data", data, sizeof data);
    RUN(0, "check", data);
    expect_clean_stop(&server);
}

static void test_tool__after_a_server__each_reads_what_the_other_wrote(void **state)
{
    (void)state;
    char data[PATH_SIZE];
    start();
    tmpdir_join(&server.dir, "data", data, sizeof data);
    struct respc *c = expect_connection(&server);
    expect_reply(c, "+OK", "SET", "by-server", "s", NULL);
    expect_reply(c, "+OK", "SELECT", "3", NULL);
    expect_reply(c, "+OK", "SET", "k3", "v3", NULL);
    respc_close(&c);
    assert_int_equal(server_stop(&server), 0);
    RUN(0, "get", data, "by-server");
    OUT("s");
    RUN(0, "put", data, "by-tool", "t");
    RUN(0, "put", "--pxat", "4102444800000", "-n", "3", data, "k3", "new");
    start();
    c = expect_connection(&server);
    expect_reply(c, "$\"t\"", "GET", "by-tool", NULL);
    expect_reply(c, "+OK", "SELECT", "3", NULL);
    expect_reply(c, "$\"new\"", "GET", "k3", NULL);
    expect_reply(c, ":4102444800000", "PEXPIRETIME", "k3", NULL);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* A store as a crash leaves it is the one that an opening would want to mend. */
static void test_tool__reading_verbs__leave_the_directory_as_it_is(void **state)
{
    (void)state;
    char data[PATH_SIZE];
    struct dirlist before;
    struct dirlist after;
    for (int killed = 0; killed < 2; killed++) {
        start();
        tmpdir_join(&server.dir, "data", data, sizeof data);
        struct respc *c = expect_connection(&server);
        expect_reply(c, "+OK", "MSET", "k", "v", "l", "w", NULL);
        respc_close(&c);
        if (killed) {
            assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
        } else {
            assert_int_equal(server_stop(&server), 0);
        }
        dirlist_read(&before, data);
        RUN(0, "get", data, "k");
        OUT("v");
        RUN(0, "keys", data);
        RUN(0, "stats", data);
        RUN(0, "stats", "--json", data);
        RUN(0, "dump", data);
        RUN(0, "dump", "-f", "resp", data);
        dirlist_read(&after, data);
        assert_true(before.n > 2);
        assert_string_equal(dirlist_difference(&before, &after), "");
    }
}

static void test_tool__snapshot_of_a_running_server__is_dumped(void **state)
{
    (void)state;
    char snaps[PATH_SIZE];
    char path[2 * PATH_SIZE];
    start();
    struct respc *c = expect_connection(&server);
    expect_reply(c, "+OK", "SET", "k", "v", "PXAT", "4102444800000", NULL);
    expect_reply(c, "+OK", "SAVE", NULL);
    expect_reply(c, "+OK", "SET", "later", "v", NULL);
    tmpdir_join(&server.dir, "data/snapshots", snaps, sizeof snaps);
    struct dirlist l;
    dirlist_read(&l, snaps);
    assert_int_equal(l.n, 1);
    snprintf(path, sizeof path, "%s/%s", snaps, l.row[0].name);
    RUN(0, "dump", path);
    OUT("{\"db\":0,\"key\":\"k\",\"value\":\"v\",\"pxat\":4102444800000}\n");
    RUN(0, "restore", path, in_dir("restored"));
    RUN(0, "get", in_dir("restored"), "k");
    OUT("v");
    expect_reply(c, "$\"v\"", "GET", "later", NULL);
    respc_close(&c);
    expect_clean_stop(&server);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_each, teardown_each)
    const struct CMUnitTest tests[] = {
        T(test_tool__put_get_del__bytes_and_statuses),
        T(test_tool__put_with_expiry__is_absolute_and_ends),
        T(test_tool__keys__one_a_line_whatever_the_bytes),
        T(test_tool__help__names_each_verb_and_each_option),
        T(test_tool__wrong_usage__is_status_2_and_says_why),
        T(test_tool__no_store__is_not_made_by_mistake),
        T(test_tool__files_of_another_program__are_no_store),
        T(test_tool__what_a_first_write_left_that_was_cut_off__is_as_good_as_nothing),
        T(test_tool__more_data_files_than_the_soft_limit__are_opened),
        T(test_tool__more_data_files_than_the_hard_limit__names_it),
        T(test_tool__held_by_a_server__refuses_and_names_it),
        T(test_tool__held_by_a_server_that_reads__writers_are_refused_and_name_it),
        T(test_tool__after_a_server__each_reads_what_the_other_wrote),
        T(test_tool__reading_verbs__leave_the_directory_as_it_is),
        T(test_tool__snapshot_of_a_running_server__is_dumped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
