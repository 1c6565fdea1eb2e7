/* SPDX-License-Identifier: MIT */
/* The offline tool on stores that are damaged: what check finds, what repair saves, and that the
 * originals stay as they are. */
#include "tool_test.h"

#include <sys/socket.h>

#define SECRET "the value that will be damaged, long enough to be found"

/* Two files and their hints, an index image, a key whose value stands out. */
static void make_store(const char *s)
{
    fill(s, 3, 300, true);
    RUN(0, "put", "-n", "5", s, "victim\n", SECRET);
    RUN(0, "merge", s); /* makes the hints too */
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void flip(const char *path, uint64_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* Where text stands in a file; or -1. */
static int64_t find_in(const char *path, const char *text)
{
    struct bk_buf all = {0};
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = size_of(path);
    all.len = fread(bk_buf_reserve(&all, n + 1), 1, n, f);
    fclose(f);
    uint8_t *at = memmem(all.data, all.len, text, strlen(text));
    int64_t offset = at == NULL ? -1 : at - all.data;
    bk_buf_fini(&all);
    return offset;
}

/* Damages the value of the victim; its file's name in out. */
static void damage_victim(const char *s, char out[64])
{
    struct dirlist l;
    dirlist_read(&l, s);
    for (unsigned i = 0; i < l.n; i++) {
        char path[2 * PATH_SIZE];
        snprintf(path, sizeof path, "%s/%s", s, l.row[i].name);
        int64_t at = strstr(l.row[i].name, ".data") == NULL ? -1 : find_in(path, SECRET);
        if (at >= 0) {
            flip(path, (uint64_t)at + 9);
            snprintf(out, 64, "%s", l.row[i].name);
            return;
        }
    }
    fail();
}

static void test_tool__check_of_what_is_well__says_so_and_leaves_it(void **state)
{
    (void)state;
    char data[PATH_SIZE];
    struct dirlist before;
    struct dirlist after;
    make_store(in_dir("s"));
    RUN(0, "check", in_dir("s"));
    assert_int_equal(strncmp((char *)t.out.data, "no damage: ", 11), 0);
    RUN(0, "snapshot", in_dir("s"), in_dir("snap"));
    RUN(0, "check", in_dir("snap"));
    for (int killed = 0; killed < 2; killed++) {
        start();
        tmpdir_join(&server.dir, "data", data, sizeof data);
        struct respc *c = expect_connection(&server);
        expect_reply(c, "+OK", "MSET", "k", "v", "l", "w", NULL);
        expect_reply(c, ":1", "DEL", "l", NULL);
        respc_close(&c);
        RUN(2, "check", data);
        SAYS("has this directory open");
        RUN(2, "repair", data, in_dir("r"));
        SAYS("has this directory open");
        int end = killed ? server_signal(&server, SIGKILL) : server_stop(&server);
        assert_int_equal(end, killed ? -SIGKILL : 0);
        dirlist_read(&before, data);
        RUN(0, "check", data);
        dirlist_read(&after, data);
        assert_string_equal(dirlist_difference(&before, &after), "");
    }
}

/* The engine's test flips every byte; this one that the tool passes it on. */
static void test_tool__check_of_a_flipped_byte__names_the_file(void **state)
{
    (void)state;
    struct dirlist l;
    struct rng rng = {rng_seed_from_env("BITKV_SEED")};
    print_message("BITKV_SEED=%llu\n", (unsigned long long)rng.state);
    const char *s = in_dir("s");
    make_store(s);
    dirlist_read(&l, s);
    unsigned kinds = 0;
    for (unsigned i = 0; i < l.n; i++) {
        char path[2 * PATH_SIZE];
        const char *name = l.row[i].name;
        if (strcmp(name, "LOCK") == 0) {
            continue;
        }
        kinds |= strstr(name, ".data") != NULL   ? 1u
                 : strstr(name, ".hint") != NULL ? 2u
                 : strcmp(name, "MANIFEST") == 0 ? 4u
                                                 : 8u;
        snprintf(path, sizeof path, "%s/%s", s, name);
        uint64_t at = 12 + rng_below(&rng, size_of(path) - 12);
        flip(path, at);
        RUN(1, "check", s);
        if (strstr((char *)t.out.data, name) == NULL) {
            print_error("byte %llu of %s\n", (unsigned long long)at, name);
            fail();
        }
        SAYS(" places do not check");
        flip(path, at);
    }
    assert_int_equal(kinds, 15);
    RUN(0, "check", s);
}

static void test_tool__check_and_dump_of_a_damaged_value__name_the_key(void **state)
{
    (void)state;
    char file[64];
    const char *s = in_dir("s");
    make_store(s);
    damage_victim(s, file);
    RUN(1, "check", s);
    assert_non_null(strstr((char *)t.out.data, file));
    assert_non_null(
        strstr((char *)t.out.data, ": the value does not check (db 5, key victim\\n)\n"));
    RUN(1, "dump", s);
    SAYS("left out: db 5, key victim\\n: its record is damaged");
    assert_true(t.out.len > 1000);
    input("victim\n", 7);
    RUN(1, "get", "-k", "-n", "5", s);
    OUT("");
    SAYS("does not check");
}

/* Each line of text is the tool's, or one of the log; both kinds are there. */
static void expect_whole_lines(char *text)
{
    unsigned said = 0;
    unsigned logged = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t digits = strspn(line, "0123456789");
        if (strncmp(line, "bitkv: ", 7) == 0) {
            said++;
        } else if (digits > 0 && strncmp(line + digits, ":M ", 3) == 0) {
            logged++;
        } else {
            print_error("neither's: %s\n", line);
            fail();
        }
    }
    assert_true(said > 0 && logged > 0);
}

/* The log and the tool write to one place, one behind the other. */
static void test_tool__errors_to_a_file__have_whole_lines(void **state)
{
    (void)state;
    char file[64];
    const char *s = in_dir("s");
    make_store(s);
    damage_victim(s, file);
    RUN(1, "dump", s); /* its standard error is a file */
    SAYS("left out: db 5, key victim\\n: its record is damaged\n");
    SAYS("bitkv: 1 records were left out\n");
    expect_whole_lines((char *)t.err.data);
}

static void test_tool__errors_to_a_socket__are_all_there(void **state)
{
    (void)state;
    char file[64];
    char seen[4096] = "";
    size_t n = 0;
    ssize_t got;
    int ends[2];
    int status = 0;
    const char *s = in_dir("s");
    make_store(s);
    damage_victim(s, file);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, 1);
        dup2(ends[1], 2);
        execl(TEST_TOOL, TEST_TOOL, "dump", s, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while (n + 1 < sizeof seen && (got = read(ends[0], seen + n, sizeof seen - 1 - n)) > 0) {
        n += (size_t)got;
    }
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    seen[n] = '\0';
    expect_whole_lines(seen);
}

static void test_tool__repair__saves_the_rest_and_never_touches_the_originals(void **state)
{
    (void)state;
    char file[64];
    struct dirlist before;
    struct dirlist after;
    const char *s = in_dir("s");
    make_store(s);
    RUN(0, "snapshot", s, in_dir("snap"));
    RUN(0, "restore", in_dir("snap"), in_dir("good"));
    RUN(0, "dump", in_dir("good")); /* a copy of its own: links would be damaged too */
    struct bk_buf held = {0};
    pipe_on(&held);
    RUN(0, "load", in_dir("copy"));
    bk_buf_fini(&held);
    damage_victim(s, file);
    dirlist_read(&before, s);
    RUN(1, "repair", s);
    dirlist_read(&after, s);
    assert_string_equal(dirlist_difference(&before, &after), "");
    assert_non_null(strstr((char *)t.out.data, "lost: db 5, key victim\\n\n"));
    assert_non_null(strstr((char *)t.out.data, " keys copied, 1 lost\n"));
    char repaired[PATH_SIZE];
    tmpdir_join(&dir, "s.repaired", repaired, sizeof repaired);
    RUN(0, "check", repaired);
    input("victim\n", 7);
    RUN(0, "del", "-k", "-n", "5", in_dir("copy"));
    assert_true(same_stores(in_dir("copy"), repaired) > 200);
    RUN(2, "repair", s);
    SAYS("is there already");
}

static void test_tool__repair_with_nothing_lost__is_the_same_store(void **state)
{
    (void)state;
    struct dirlist before;
    struct dirlist after;
    char path[2 * PATH_SIZE];
    const char *s = in_dir("s");
    make_store(s);
    RUN(0, "repair", s, in_dir("one"));
    assert_true(same_stores(s, in_dir("one")) > 200);
    snprintf(path, sizeof path, "%s/MANIFEST", s);
    assert_int_equal(unlink(path), 0);
    dirlist_read(&before, s);
    RUN(1, "check", s);
    assert_non_null(strstr((char *)t.out.data, "MANIFEST: the file is missing\n"));
    RUN(0, "repair", s, in_dir("two"));
    dirlist_read(&after, s);
    assert_string_equal(dirlist_difference(&before, &after), "");
    assert_true(same_stores(in_dir("one"), in_dir("two")) > 200);
    RUN(0, "check", in_dir("two"));
    RUN(2, "repair", in_dir("none"), in_dir("three"));
    RUN(2, "repair", s, in_dir("no/such/parent"));
}

static void test_tool__repair_of_a_dot__lies_beside_the_store(void **state)
{
    (void)state;
    struct dirlist before;
    struct dirlist after;
    const char *s = in_dir("s");
    const char *repaired = in_dir("s.repaired");
    static const char *const dots[] = {".", "./", "../s/.", "../s//.//", "sub/.."};
    static const char *const inside[] = {"new", "./new/", "sub/../new", "../s/new", "sub/new"};
    fill(s, 3, 50, true);
    assert_int_equal(mkdir(in_dir("s/sub"), 0700), 0);
    dirlist_read(&before, s);
    for (size_t i = 0; i < sizeof dots / sizeof dots[0]; i++) {
        assert_int_equal(run_in(s, "repair", dots[i], NULL), 0);
        assert_non_null(strstr((char *)t.out.data, "/s.repaired: "));
        RUN(0, "check", repaired);
        tmpdir_remove_tree(repaired);
    }
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        assert_int_equal(run_in(s, "repair", ".", inside[i]), 2);
        SAYS("would lie in ., which is only read");
    }
    dirlist_read(&after, s);
    assert_string_equal(dirlist_difference(&before, &after), "");
}

/* What cannot be made is told before the store is read. */
static void test_tool__repair__takes_slashes_and_refuses_what_cannot_be(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    const char *damaged = in_dir("s/MANIFEST");
    fill(s, 3, 50, true);
    RUN(0, "repair", s, in_dir("new//"));
    RUN(0, "check", in_dir("new"));
    assert_int_equal(unlink(damaged), 0);
    assert_int_equal(mkdir(damaged, 0700), 0); /* who opens the store fails, and says so */
    static const char *const bad[] = {"no/such", "no/such/", "no/."};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        RUN(2, "repair", s, in_dir(bad[i]));
        SAYS("No such file or directory");
        assert_null(strstr((char *)t.err.data, "MANIFEST)"));
    }
    RUN(2, "repair", s, "");
    SAYS("not a name for a directory");
}

/* Three keys in one file, and the record of the second in the place of the first's too. */
static void make_misdirected(const char *s)
{
    static const char *const keys[] = {"key one", "key two", "key three"};
    struct bk_options o;
    struct bk_db *db = NULL;
    uint8_t record[28 + 7 + sizeof SECRET];
    char path[2 * PATH_SIZE];
    bk_options_init(&o);
    o.dir = s;
    assert_int_equal(bk_open(&db, &o, NULL), BK_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bk_put(db, 0, bk_span_str(keys[i]), bk_span_str(SECRET), 0), BK_OK);
    }
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    snprintf(path, sizeof path, "%s/0000000001.data", s);
    int64_t one = find_in(path, "key one" SECRET) - 28;
    int64_t two = find_in(path, "key two" SECRET) - 28;
    assert_true(one > 0 && two > 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = (ssize_t)sizeof record - 1;
    assert_int_equal(pread(fd, record, (size_t)n, two), n);
    assert_int_equal(pwrite(fd, record, (size_t)n, one), n);
    close(fd);
}

/* A write that went to the wrong place: looking again does not help. */
static void test_tool__record_of_another_key_in_the_place__is_damage(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    make_misdirected(s);
    RUN(1, "get", s, "key one");
    SAYS("does not check");
    RUN(0, "get", s, "key two");
    RUN(1, "dump", s);
    SAYS("left out: db 0, key key one: its record is damaged");
    RUN(1, "repair", s, in_dir("left"));
    assert_non_null(strstr((char *)t.out.data, "left: 2 keys copied, 1 lost\n"));
}

/* The one way to give a file up. */
static void test_tool__repair_without_a_data_file__is_a_store_without_its_keys(void **state)
{
    (void)state;
    char name[64];
    char line[128];
    char path[2 * PATH_SIZE];
    const char *s = in_dir("s");
    make_store(s);
    damage_victim(s, name);
    snprintf(path, sizeof path, "%s/%s", s, name);
    assert_int_equal(unlink(path), 0);
    RUN(0, "stats", s);
    snprintf(line, sizeof line, "damage:file=%s,offset=0,", name);
    assert_non_null(strstr((char *)t.out.data, line));
    assert_non_null(strstr((char *)t.out.data, ",lost=yes,what=the file is missing\n"));
    RUN(0, "stats", "--json", s);
    assert_non_null(strstr((char *)t.out.data, "\"what\": \"the file is missing\""));
    RUN(2, "snapshot", s, in_dir("snap"));
    SAYS("bitkv repair");
    RUN(1, "repair", s, in_dir("left"));
    assert_non_null(strstr((char *)t.out.data, "lost: db 5, key victim\\n\n"));
    RUN(0, "check", in_dir("left"));
    RUN(0, "snapshot", in_dir("left"), in_dir("snap"));
}

/* ---- Sectors that cannot be read (lib/preload_read.c) ---- */

/* From here on runs of the tool do not read the 4 KiB of the file from the offset on. */
static void break_sector(const char *path, uint64_t at)
{
    char library[512];
    char bad[3 * PATH_SIZE];
    snprintf(library, sizeof library - 64, "%s", TEST_TOOL);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_read.so");
    assert_int_equal(access(library, R_OK), 0); /* else everything would be read */
    snprintf(bad, sizeof bad, "%s:%llu", path, (unsigned long long)at);
    setenv("READS_BAD", bad, 1);
    setenv("LD_PRELOAD", library, 1);
}

static void read_again(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv("READS_BAD");
}

static int teardown_sector(void **state)
{
    read_again();
    return teardown_each(state);
}

/* The largest data file. */
static void largest(const char *s, char path[2 * PATH_SIZE])
{
    struct dirlist l;
    uint64_t most = 0;
    dirlist_read(&l, s);
    for (unsigned i = 0; i < l.n; i++) {
        if (strstr(l.row[i].name, ".data") != NULL && l.row[i].size > most) {
            snprintf(path, 2 * PATH_SIZE, "%s/%s", s, l.row[i].name);
            most = l.row[i].size;
        }
    }
    assert_true(most > 100000);
}

/* What the last repair said. */
static void counts(uint64_t *copied, uint64_t *lost)
{
    const char *at = strstr((const char *)t.out.data, "left: ");
    assert_non_null(at);
    char *rest;
    *copied = strtoull(at + 6, &rest, 10);
    assert_int_equal(strncmp(rest, " keys copied, ", 14), 0);
    *lost = strtoull(rest + 14, &rest, 10);
    assert_string_equal(rest, " lost\n");
}

static void test_tool__sector_unreadable__repair_and_dump_save_the_rest(void **state)
{
    (void)state;
    char path[2 * PATH_SIZE];
    struct dirlist before;
    struct dirlist after;
    uint64_t copied;
    uint64_t lost;
    const char *s = in_dir("s");
    make_store(s);
    uint64_t all = same_stores(s, s);
    largest(s, path);
    dirlist_read(&before, s);
    for (int head = 0; head < 2; head++) { /* the file's header too */
        const char *left = in_dir(head ? "head left" : "left");
        break_sector(path, head ? 0 : 40960);
        RUN(1, "check", s);
        assert_non_null(strstr((char *)t.out.data,
                               head ? ", 4032 bytes: these bytes cannot be read\n"
                                    : ", offset 40960, 4096 bytes: these bytes cannot be read\n"));
        RUN(1, "repair", s, left);
        counts(&copied, &lost);
        RUN(1, "dump", s);
        SAYS(": its record cannot be read\n");
        SAYS(" records were left out\n");
        read_again();
        dirlist_read(&after, s);
        assert_string_equal(dirlist_difference(&before, &after), "");
        assert_true(lost > 0 && lost < 40);
        assert_int_equal(copied + lost, all);
        RUN(0, "check", left);
        assert_int_equal(same_stores(left, left), copied);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_each, teardown_each)
    const struct CMUnitTest tests[] = {
        T(test_tool__check_of_what_is_well__says_so_and_leaves_it),
        T(test_tool__check_of_a_flipped_byte__names_the_file),
        T(test_tool__check_and_dump_of_a_damaged_value__name_the_key),
        T(test_tool__errors_to_a_file__have_whole_lines),
        T(test_tool__errors_to_a_socket__are_all_there),
        T(test_tool__repair__saves_the_rest_and_never_touches_the_originals),
        T(test_tool__repair_of_a_dot__lies_beside_the_store),
        T(test_tool__repair__takes_slashes_and_refuses_what_cannot_be),
        T(test_tool__record_of_another_key_in_the_place__is_damage),
        T(test_tool__repair_without_a_data_file__is_a_store_without_its_keys),
        T(test_tool__repair_with_nothing_lost__is_the_same_store),
        cmocka_unit_test_setup_teardown(test_tool__sector_unreadable__repair_and_dump_save_the_rest,
                                        setup_each, teardown_sector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
