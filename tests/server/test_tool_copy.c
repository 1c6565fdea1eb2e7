/* SPDX-License-Identifier: MIT */
/* The offline tool on whole stores: dumped, loaded, merged, copied. */
#include "tool_test.h"

static void test_tool__dump_and_load__give_the_same_store(void **state)
{
    (void)state;
    uint64_t seed = rng_seed_from_env("BITKV_SEED");
    struct bk_buf held = {0};
    print_message("BITKV_SEED=%llu\n", (unsigned long long)seed);
    fill(in_dir("a"), seed, 600, true);
    RUN(0, "dump", in_dir("a"));
    pipe_on(&held);
    RUN(0, "load", in_dir("b"));
    assert_true(same_stores(in_dir("a"), in_dir("b")) > 400);
    fill(in_dir("c"), seed, 600, false);
    RUN(0, "dump", "--format", "resp", in_dir("c"));
    pipe_on(&held);
    RUN(0, "load", "--format", "resp", in_dir("d"));
    assert_true(same_stores(in_dir("c"), in_dir("d")) > 400);
    RUN(0, "dump", "-n", "0", in_dir("c"));
    assert_null(strstr((char *)t.out.data, "{\"db\":1"));
    bk_buf_fini(&held);
}

static void test_tool__resp_of_what_is_no_string__is_left_out_and_named(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    static const char line[] = "{\"db\":1,\"key\":\"odd\\n\",\"value\":\"v\",\"flags\":3}\n"
                               "{\"key\":\"plain\",\"value\":\"v\"}\n"
                               "{\"key\":\"edited\",\"value\":\"v\",\"flags\":16}\n";
    input(line, sizeof line - 1);
    RUN(0, "load", s);
    OUT("3\n");
    RUN(1, "dump", "-f", "resp", s);
    SAYS("left out: db 1, key odd\\n: ");
    assert_non_null(strstr((char *)t.out.data, "$5\r\nplain\r\n"));
    assert_non_null(strstr((char *)t.out.data, "$6\r\nedited\r\n")); /* a string all the same */
    RUN(0, "dump", s);
    assert_non_null(strstr((char *)t.out.data, "\"flags\":3}"));
}

static void test_tool__resp_dump__goes_through_redis_cli_into_a_server(void **state)
{
    (void)state;
    char port[16];
    char data[PATH_SIZE];
    struct bk_buf held = {0};
    fill(in_dir("a"), 5, 300, false);
    server.options[0] = "--databases";
    server.options[1] = "8192";
    start();
    tmpdir_join(&server.dir, "data", data, sizeof data);
    snprintf(port, sizeof port, "%d", server.port);
    RUN(0, "dump", "-f", "resp", in_dir("a"));
    pipe_on(&held);
    assert_int_equal(
        toolrun_argv(&t, (const char *const[]){"redis-cli", "-p", port, "--pipe", NULL}), 0);
    assert_non_null(strstr((char *)t.out.data, "errors: 0,"));
    assert_int_equal(server_stop(&server), 0);
    assert_true(same_stores(in_dir("a"), data) > 200);
    bk_buf_fini(&held);
}

static void load_fails(const char *format, const char *text, size_t len, const char *says,
                       const char *left)
{
    const char *s = in_dir("bad");
    tmpdir_remove_tree(s);
    input(text, len);
    RUN(2, "load", "--format", format, s);
    SAYS(says);
    SAYS(" records before were loaded");
    RUN(0, "keys", s);
    OUT(left);
}

#define GOOD "{\"key\":\"one\",\"value\":\"1\"}\n"
#define JSON(text, says) load_fails("json", text, sizeof(text) - 1, says, "")
static void test_tool__load_of_bad_lines__stops_there_and_says_where(void **state)
{
    (void)state;
    static const char second[] = GOOD "\n{\"key\":\"two\",\"value\":}\n" GOOD;
    load_fails("json", second, sizeof second - 1, "line 3: ", "one\n");
    JSON("[]\n", "line 1: no object");
    JSON("{\"key\":\"k\"}\n", "one of value and value64");
    JSON("{\"key\":\"k\",\"value\":\"v\",\"value64\":\"\"}\n", "one of value and value64");
    JSON("{\"key\":\"k\",\"key\":\"l\",\"value\":\"v\"}\n", "line 1: ");
    JSON("{\"key\":\"k\",\"value\":5}\n", "value is no string");
    JSON("{\"key\":\"k\",\"value64\":\"QQ=\"}\n", "value64 is no base64");
    JSON("{\"key\":\"k\",\"value\":\"v\",\"db\":8192}\n", "db is no number from 0 to 8191");
    JSON("{\"key\":\"k\",\"value\":\"v\",\"pxat\":0}\n", "pxat is no number");
    JSON("{\"key\":\"k\",\"value\":\"v\",\"px\":5}\n", "no member of this name: px");
    JSON("{\"key\":\"k\",\"value\":\"v\",\"flags\":256}\n", "flags is no number");
    JSON("{\"key\":\"k\",\"value\":\"v\"", "line 1: ");
}

#define SET_ONE "*3\r\n$3\r\nSET\r\n$3\r\none\r\n$1\r\n1\r\n"
#define RESP(text, says) load_fails("resp", SET_ONE text, sizeof(SET_ONE text) - 1, says, "one\n")
static void test_tool__load_of_bad_commands__stops_there_and_says_where(void **state)
{
    (void)state;
    RESP("GET one\r\n", "command 2, byte ");
    RESP("*2\r\n$3\r\nGET\r\n$3\r\none\r\n", "neither SELECT nor SET");
    RESP("*3\r\n$3\r\nSET\r\n$3\r\ntwo\r\n", "ends in a command");
    RESP("*3\r\n$3\r\nSET\r\n$3\r\ntwo\r\n$9999999999\r\n", "longer than it may be");
    RESP("*3\r\n$3\r\nSET\r\n$3\r\ntwo\r\n$4000000000\r\nx", "ends in a command");
    RESP("*5\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\nEX\r\n$1\r\n5\r\n", "PXAT alone");
    RESP("*2\r\n$6\r\nSELECT\r\n$4\r\n8192\r\n", "no number of a database");
    RESP("*3\r\n$3\r\nSET\r\n$3\r\ntwoXX$1\r\n1\r\n", "no end of line");
}

/* $0 is the tool. */
static int by_shell(const char *script, const char *path)
{
    return toolrun_argv(&t, (const char *const[]){"sh", "-c", script, TEST_TOOL, path, NULL});
}

/* Of input that goes on for ever: whoever waited for the end of the line would be ended by timeout,
 * or gather it until there is no memory. */
static void test_tool__load_of_what_is_no_dump__ends_at_the_first_wrong_byte(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *says, *left; /* bytes: for printf */
    } rows[] = {
        {"\\000", "line 1: no text: it has the byte 0x00 at column 1", ""},
        {"x", "line 1: no object", ""},
        {" \t\"", "line 1: no object", ""},
        {GOOD "\n{\"key\":\"\\001", "line 3: no text: it has the byte 0x01 at column 9", "one\n"},
    };
    const char *s = in_dir("s");
    RUN(0, "put", s, "k", "v");
    RUN(0, "del", s, "k");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char script[400];
        snprintf(script, sizeof script,
                 "mkfifo \"$1.%zu\" && exec 3<>\"$1.%zu\" && printf '%s' >&3 && "
                 "exec timeout 100 \"$0\" load \"$1\" <\"$1.%zu\"",
                 i, i, rows[i].bytes, i);
        assert_int_equal(by_shell(script, s), 2);
        SAYS(rows[i].says);
        RUN(0, "keys", s);
        OUT(rows[i].left);
    }
    assert_int_equal(by_shell("exec timeout 100 \"$0\" load \"$1\" </dev/zero", s), 2);
    SAYS("line 1: no text");
    SAYS("0 records before were loaded");
}

/* What it says is loaded is there, in a store that is well. */
static void test_tool__load_when_no_more_fits__tells_how_much_is_there(void **state)
{
    (void)state;
    struct bk_buf lines = {0};
    char want[64];
    const char *s = in_dir("s");
    for (unsigned i = 0; i < 6000; i++) {
        bk_buf_printf(&lines, "{\"key\":\"%u\",\"value\":\"%05000u\"}\n", i, i);
    }
    t.input = bk_buf_span(&lines);
    assert_int_equal(by_shell("trap '' XFSZ; ulimit -f 40000; exec \"$0\" load \"$1\"", s), 2);
    const char *at = strstr((char *)t.err.data, " records before were loaded");
    assert_non_null(at);
    while (at > (char *)t.err.data && at[-1] >= '0' && at[-1] <= '9') {
        at--;
    }
    assert_int_not_equal(strtoull(at, NULL, 10), 0);
    snprintf(want, sizeof want, "no damage: %llu keys, ", strtoull(at, NULL, 10));
    RUN(0, "check", s);
    assert_int_equal(strncmp((char *)t.out.data, want, strlen(want)), 0);
    bk_buf_fini(&lines);
}

/* With standard output as the shell makes it by redirect. */
static void expect_no_output(const char *redirect, const char *why)
{
    static const char *const verbs[] = {"dump", "keys", "stats", "check", "get \"$1\" k #"};
    const char *s = in_dir("s");
    RUN(0, "put", s, "k", "v");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        char script[100];
        snprintf(script, sizeof script, "exec %s; exec \"$0\" %s \"$1\"", redirect, verbs[i]);
        assert_int_equal(by_shell(script, s), 2);
        SAYS(why);
    }
}

static void test_tool__output_that_cannot_be_written__is_status_2(void **state)
{
    (void)state;
    expect_no_output(">/dev/full", "cannot write to standard output: No space left on device");
}

/* A file of the store would get the number of a stream that is closed, and messages with it. */
static void test_tool__closed_streams__leave_the_store_alone(void **state)
{
    (void)state;
    static const char *const closed[] = {"2>&-", ">&- 2>&-", "<&- >&- 2>&-"};
    static const char bad[] = GOOD "no record\n";
    const char *s = in_dir("s");
    RUN(0, "put", s, "k", "v");
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        char script[100];
        snprintf(script, sizeof script, "exec \"$0\" load \"$1\" %s", closed[i]);
        input(bad, sizeof bad - 1);
        assert_int_equal(by_shell(script, s), 2);
        RUN(0, "check", s);
    }
    RUN(0, "get", s, "one");
    OUT("1");
    RUN(0, "get", s, "k");
    OUT("v");
}

static void test_tool__closed_stream_that_is_needed__is_told(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    expect_no_output(">&-", "cannot write to standard output: Bad file descriptor");
    assert_int_equal(by_shell("exec \"$0\" put \"$1\" l <&-", s), 2);
    SAYS("cannot read standard input");
    assert_int_equal(by_shell("exec \"$0\" load \"$1\" <&-", s), 2);
    SAYS("cannot read standard input");
    RUN(0, "keys", s);
    OUT("k\n");
}

/* ---- Losses ---- */

/* Where no file can grow, the lock cannot be told whose it is, and nothing more is made. */
static void test_tool__first_write_that_fails__leaves_room_for_another(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    assert_int_equal(by_shell("trap '' XFSZ; ulimit -f 0; exec \"$0\" put \"$1\" k v", s), 2);
    assert_int_equal(access(in_dir("s/LOCK"), F_OK), 0);
    RUN(0, "put", s, "k", "v");
    RUN(0, "check", s);
}

/* What the feeder waits for, a minute at most. */
#define UNTIL(what) "n=0; until " what " || [ $n = 600 ]; do sleep 0.1; n=$((n + 1)); done; "

/*
 * A record that is not yet synced, and one so large that it gets a file of its own: the first one's
 * file is synced then, which fails and drops what was written (lib/preload_sync.c). By the time the
 * input ends, that file was written again without it.
 */
static void test_tool__load_that_a_failed_sync_has_lost_a_part_of__says_so(void **state)
{
    (void)state;
    static const char script[] =
        "{ printf '*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\none\\r\\n$1\\r\\n1\\r\\n'; "
        /* Once the next file is there, the first one has had the syncs of its making. */
        UNTIL(
            "[ -s \"$1/0000000002.data\" ]") "printf 'once sync data drop' >\"$FAILING_CONTROL\"; "
                                             "printf "
                                             "'*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\ntwo\\r\\n$"
                                             "268435456\\r\\n'; "
                                             "head -c 268435456 /dev/zero | tr '\\0' v; printf "
                                             "'\\r\\n'; " UNTIL("grep -q 'was written again' "
                                                                "\"$1.err\"") "} | "
                                                                              "LD_PRELOAD=$FAILING_"
                                                                              "LIBRARY \"$0\" load "
                                                                              "-f resp \"$1\" "
                                                                              "2>\"$1.err\"; "
                                                                              "status=$?; cat "
                                                                              "\"$1.err\" >&2; "
                                                                              "exit $status";
    char library[512];
    const char *s = in_dir("s");
    snprintf(library, sizeof library - 64, "%s", TEST_TOOL);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_sync.so");
    assert_int_equal(access(library, R_OK), 0);
    setenv("FAILING_LIBRARY", library, 1);
    setenv("FAILING_CONTROL", in_dir("control"), 1);
    setenv("FAILING_DIR", in_dir("s/0000000001.data"), 1);
    int status = by_shell(script, s);
    unsetenv("FAILING_LIBRARY");
    unsetenv("FAILING_CONTROL");
    unsetenv("FAILING_DIR");
    SAYS("was written again after its sync had failed");
    assert_int_equal(status, 2);
    SAYS(" bytes were found damaged while it was written to: see bitkv check");
    SAYS("not everything that was read is in ");
    RUN(1, "get", s, "one");
}

/* ---- Maintenance ---- */

static void test_tool__merge__reclaims_and_keeps_what_is_live(void **state)
{
    (void)state;
    char line[64];
    const char *s = in_dir("s");
    fill(s, 7, 400, true);
    RUN(0, "snapshot", s, in_dir("before"));
    RUN(0, "dump", s);
    struct bk_buf all = {0};
    pipe_on(&all);
    RUN(0, "load", s); /* every record once more: the old ones are dead */
    RUN(0, "merge", s);
    assert_int_equal(strncmp((char *)t.out.data, "runs:", 5), 0);
    const char *at = strstr((char *)t.out.data, "reclaimed_bytes:");
    assert_non_null(at);
    assert_true(strtoull(at + strlen("reclaimed_bytes:"), NULL, 10) > 100000);
    RUN(0, "stats", s);
    snprintf(line, sizeof line, "dead_bytes:");
    at = strstr((char *)t.out.data, line);
    assert_non_null(at);
    assert_true(strtoull(at + strlen(line), NULL, 10) < 10000);
    assert_true(same_stores(in_dir("before"), s) > 300);
    bk_buf_fini(&all);
}

static void test_tool__snapshot_and_restore__hold_the_moment(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    RUN(0, "put", s, "k", "then");
    RUN(0, "snapshot", s, in_dir("snap"));
    assert_non_null(strstr((char *)t.out.data, "files:1\n"));
    RUN(2, "snapshot", s, in_dir("snap"));
    RUN(0, "put", s, "k", "now");
    RUN(0, "restore", in_dir("snap"), in_dir("r"));
    RUN(0, "get", in_dir("r"), "k");
    OUT("then");
    RUN(0, "put", in_dir("r"), "k", "mine");
    RUN(0, "get", in_dir("snap"), "k");
    OUT("then");
    RUN(2, "restore", in_dir("snap"), in_dir("r"));
    RUN(2, "restore", dir.path, in_dir("q"));
}

/* The name that a copy has until it is whole: nothing that has it is touched. */
static void test_tool__other_name_is_taken__is_told_and_left_alone(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    const char *old = in_dir("data.tmp");
    RUN(0, "put", s, "k", "new");
    RUN(0, "snapshot", s, in_dir("snap"));
    RUN(0, "put", old, "k", "old");
    RUN(2, "restore", in_dir("snap"), in_dir("data"));
    SAYS("data.tmp");
    SAYS("remove it");
    RUN(2, "snapshot", s, in_dir("data"));
    RUN(2, "snapshot", old, in_dir("data"));
    RUN(0, "get", old, "k");
    OUT("old");
    RUN(0, "snapshot", s, in_dir("w.tmp"));
    RUN(2, "restore", in_dir("w.tmp"), in_dir("w"));
    RUN(0, "get", in_dir("w.tmp"), "k");
    OUT("new");
    RUN(0, "restore", in_dir("w.tmp"), in_dir("else"));
}

static void test_tool__copy_to_a_slash_or_a_dot__is_made(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    const char *snap = in_dir("snap");
    const char *here = in_dir("here");
    RUN(0, "put", s, "k", "v");
    RUN(0, "snapshot", s, in_dir("snap//"));
    RUN(0, "get", snap, "k");
    RUN(0, "restore", snap, in_dir("r/"));
    RUN(0, "get", in_dir("r"), "k");
    assert_int_equal(mkdir(here, 0700), 0);
    assert_int_equal(run_in(here, "restore", snap, "."), 0);
    RUN(0, "get", here, "k");
    OUT("v");
}

static void test_tool__restore_into_the_snapshot__is_refused(void **state)
{
    (void)state;
    struct dirlist before;
    struct dirlist after;
    const char *snap = in_dir("snap");
    RUN(0, "put", in_dir("s"), "k", "v");
    RUN(0, "snapshot", in_dir("s"), snap);
    assert_int_equal(mkdir(in_dir("snap/sub"), 0700), 0);
    dirlist_read(&before, snap);
    RUN(2, "restore", snap, in_dir("snap/new"));
    SAYS("which is only read");
    RUN(2, "restore", snap, in_dir("snap/sub/new"));
    SAYS("which is only read");
    assert_int_equal(run_in(snap, "restore", ".", "new"), 2);
    assert_int_equal(run_in(in_dir("snap/sub"), "restore", "..", "new"), 2);
    SAYS("which is only read");
    dirlist_read(&after, snap);
    assert_string_equal(dirlist_difference(&before, &after), "");
}

/* As it stands there, with more keys than a pipe and a command line hold. */
static void test_tool__manuals_way_to_delete_by_a_pattern__deletes_all(void **state)
{
    (void)state;
    struct bk_buf lines = {0};
    char line[200] = "";
    char script[400];
    FILE *f = fopen("src/tools/bitkv.1", "r");
    assert_non_null(f); /* tests run at the top of the tree */
    while (strstr(line, "xargs") == NULL && fgets(line, sizeof line, f) != NULL) {
    }
    fclose(f);
    assert_non_null(strstr(line, "xargs"));
    for (unsigned i = 0; i < 120; i++) {
        bk_buf_printf(&lines, "{\"key\":\"session:%02000u\",\"value\":\"v\"}\n", i);
    }
    t.input = bk_buf_span(&lines);
    RUN(0, "load", in_dir("data"));
    bk_buf_fini(&lines);
    RUN(0, "put", in_dir("data"), "other", "v");
    snprintf(script, sizeof script, "cd \"$1\" && PATH=\"${0%%/*}:$PATH\" && %s", line);
    assert_int_equal(by_shell(script, dir.path), 0);
    RUN(0, "keys", in_dir("data"));
    OUT("other\n");
}

/* Of one that its owner lets nobody write to. */
static void test_tool__restore__makes_nothing_in_the_snapshot(void **state)
{
    (void)state;
    struct dirlist before;
    struct dirlist after;
    const char *snap = in_dir("snap");
    RUN(0, "put", in_dir("s"), "k", "v");
    RUN(0, "snapshot", in_dir("s"), snap);
    assert_int_equal(chmod(snap, 0500), 0);
    dirlist_read(&before, snap);
    RUN(0, "restore", snap, in_dir("r"));
    dirlist_read(&after, snap);
    assert_int_equal(chmod(snap, 0700), 0);
    assert_string_equal(dirlist_difference(&before, &after), "");
    RUN(0, "get", in_dir("r"), "k");
    OUT("v");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_each, teardown_each)
    const struct CMUnitTest tests[] = {
        T(test_tool__dump_and_load__give_the_same_store),
        T(test_tool__resp_of_what_is_no_string__is_left_out_and_named),
        T(test_tool__resp_dump__goes_through_redis_cli_into_a_server),
        T(test_tool__load_of_bad_lines__stops_there_and_says_where),
        T(test_tool__load_of_bad_commands__stops_there_and_says_where),
        T(test_tool__load_of_what_is_no_dump__ends_at_the_first_wrong_byte),
        T(test_tool__load_when_no_more_fits__tells_how_much_is_there),
        T(test_tool__output_that_cannot_be_written__is_status_2),
        T(test_tool__closed_streams__leave_the_store_alone),
        T(test_tool__closed_stream_that_is_needed__is_told),
        T(test_tool__first_write_that_fails__leaves_room_for_another),
        T(test_tool__load_that_a_failed_sync_has_lost_a_part_of__says_so),
        T(test_tool__merge__reclaims_and_keeps_what_is_live),
        T(test_tool__snapshot_and_restore__hold_the_moment),
        T(test_tool__other_name_is_taken__is_told_and_left_alone),
        T(test_tool__copy_to_a_slash_or_a_dot__is_made),
        T(test_tool__restore_into_the_snapshot__is_refused),
        T(test_tool__restore__makes_nothing_in_the_snapshot),
        T(test_tool__manuals_way_to_delete_by_a_pattern__deletes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
