/* SPDX-License-Identifier: MIT */
/* BGSAVE, SAVE, LASTSAVE: snapshots of a server at work, and servers started on them. */
#include "base/span.h"
#include "lib/expect.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 300
#define NAMES_MAX 16
#define SHM "/dev/shm"
#define PIPELINE 20u
#define PROGRESS "ERR Background save already in progress"

static struct server server, second;
static struct respc *client;

static int setup_none(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    second = (struct server){.redis = false};
    client = NULL;
    return 0;
}

static int teardown_servers(void **state)
{
    (void)state;
    respc_close(&client);
    server_fini(&second);
    server_fini(&server);
    return 0;
}

static void set_options(struct server *s, const char *const *options)
{
    size_t i = 0;
    for (; options[i] != NULL; i++) {
        s->options[i] = options[i];
    }
    s->options[i] = NULL;
}
#define OPTIONS(s, ...) set_options(s, (const char *const[]){__VA_ARGS__, NULL})

static void start(void)
{
    assert_true(server_start(&server));
    client = expect_connection(&server);
}

static void stop(void)
{
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
}

#define OK(...) expect_reply(client, "+OK", __VA_ARGS__, NULL)

/* A field of INFO; "" when it is not there. */
static const char *field(struct respc *c, const char *name)
{
    static char value[512];
    char line[128];
    struct reply *r = respc_command(c, "INFO", NULL);
    assert_non_null(r);
    snprintf(line, sizeof line, "\n%s:", name);
    const char *at = strstr(r->text, line);
    value[0] = '\0';
    if (at != NULL) {
        at += strlen(line);
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    }
    reply_free(&r);
    return value;
}

static long long number(struct respc *c, const char *name)
{
    const char *text = field(c, name);
    assert_true(text[0] != '\0');
    return strtoll(text, NULL, 10);
}

/* A background save is waited for as every client of Redis does it. */
static void wait_for_save(void)
{
    for (long ms = 0; number(client, "rdb_bgsave_in_progress") != 0; ms += 2) {
        assert_true(ms < RESPC_PATIENCE_MS);
        poll(NULL, 0, 2);
    }
}

/* ---- What lies in snapshot-dir ---- */

struct names {
    char name[NAMES_MAX][64];
    size_t n;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list(const char *dir, struct names *l)
{
    struct dirent *e;
    DIR *d = opendir(dir);
    l->n = 0;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            assert_true(l->n < NAMES_MAX && strlen(e->d_name) < sizeof l->name[0]);
            memcpy(l->name[l->n++], e->d_name, strlen(e->d_name) + 1);
        }
    }
    closedir(d);
    qsort(l->name, l->n, sizeof l->name[0], by_name);
}

static void snapshot_dir(char *out)
{
    tmpdir_join(&server.dir, "data/snapshots", out, PATH_SIZE);
}

/* The newest snapshot in dir; its number must be this. */
static void newest(const char *dir, unsigned long long want, char *out)
{
    struct names l;
    list(dir, &l);
    assert_true(l.n > 0);
    assert_int_equal(strtoull(l.name[l.n - 1], NULL, 10), want);
    snprintf(out, PATH_SIZE, "%s/%s", dir, l.name[l.n - 1]);
}

/* ---- Load ---- */

struct load {
    pthread_t thread;
    atomic_bool stop, failed;
    atomic_ullong acked; /* keys 0 .. acked - 1 are answered */
};

/* Key i holds "v<i>" and padding; each pipeline ends with an MSET of two keys that must stay one.
 */
static void *load_main(void *arg)
{
    struct load *l = arg;
    struct respc *c = server_connect(&server);
    struct bk_buf out = {0};
    char pad[400];
    memset(pad, 'p', sizeof pad - 1);
    pad[sizeof pad - 1] = '\0';
    for (unsigned long long i = 0; c != NULL && !atomic_load(&l->stop); i += PIPELINE) {
        char key[32];
        char value[500];
        out.len = 0;
        for (unsigned k = 0; k < PIPELINE; k++) {
            snprintf(key, sizeof key, "k%llu", i + k);
            snprintf(value, sizeof value, "v%llu%s", i + k, pad);
            respc_format(&out, "SET", key, value, NULL);
        }
        snprintf(value, sizeof value, "%llu", i);
        respc_format(&out, "MSET", "left", value, "right", value, NULL);
        if (!respc_exchange(c, out.data, out.len, PIPELINE + 1)) {
            atomic_store(&l->failed, true);
            break;
        }
        atomic_store(&l->acked, i + PIPELINE);
    }
    atomic_store(&l->failed, atomic_load(&l->failed) || c == NULL);
    bk_buf_fini(&out);
    respc_close(&c);
    return NULL;
}

static void load_start(struct load *l)
{
    *l = (struct load){.acked = 0};
    assert_int_equal(pthread_create(&l->thread, NULL, load_main, l), 0);
}

static void load_reach(struct load *l, unsigned long long acked)
{
    while (atomic_load(&l->acked) < acked && !atomic_load(&l->failed)) {
        poll(NULL, 0, 1);
    }
    assert_false(atomic_load(&l->failed));
}

static void load_stop(struct load *l)
{
    atomic_store(&l->stop, true);
    assert_int_equal(pthread_join(l->thread, NULL), 0);
    assert_false(atomic_load(&l->failed));
}

static bool holds(struct respc *c, unsigned long long i)
{
    char key[32];
    char begin[32];
    snprintf(key, sizeof key, "k%llu", i);
    int len = snprintf(begin, sizeof begin, "v%llup", i);
    struct reply *r = respc_command(c, "GET", key, NULL);
    assert_non_null(r);
    bool there = !r->null;
    assert_true(!there || strncmp(r->text, begin, (size_t)len) == 0);
    reply_free(&r);
    return there;
}

/* Starts a second server on the snapshot: a prefix of the load's writes, at least those before. */
static void expect_prefix_at(const char *path, unsigned long long before, unsigned long long all)
{
    OPTIONS(&second, "--dir", path, "--on-corruption", "refuse");
    assert_true(server_start(&second));
    struct respc *c = expect_connection(&second);
    unsigned long long n = before;
    for (unsigned long long i = 0; i < before; i++) {
        assert_true(holds(c, i));
    }
    while (n < all && holds(c, n)) {
        n++;
    }
    for (unsigned long long i = n; i < all; i++) {
        assert_false(holds(c, i));
    }
    struct reply *r = respc_command(c, "MGET", "left", "right", NULL);
    assert_non_null(r);
    assert_true(reply_equal(r->elem[0], r->elem[1]));
    /* A pipeline's MSET is its last write, behind it comes the next pipeline's first. */
    unsigned long long left = r->elem[0]->null ? 0 : strtoull(r->elem[0]->text, NULL, 10);
    assert_true(n <= left + 2 * PIPELINE && (r->elem[0]->null || n >= left + PIPELINE));
    reply_free(&r);
    expect_reply(c, "+OK", "SET", "own", "write", NULL);
    respc_close(&c);
    assert_int_equal(server_stop(&second), 0);
}

static void bgsave_under_load(const char *dir)
{
    struct load l;
    char path[PATH_SIZE];
    load_start(&l);
    load_reach(&l, 2000);
    unsigned long long before = atomic_load(&l.acked);
    expect_reply(client, "+Background saving started", "BGSAVE", NULL);
    wait_for_save();
    assert_string_equal(field(client, "rdb_last_bgsave_status"), "ok");
    load_reach(&l, atomic_load(&l.acked) + 1000);
    load_stop(&l);
    newest(dir, 1, path);
    expect_prefix_at(path, before, atomic_load(&l.acked));
    assert_true(holds(client, atomic_load(&l.acked) - 1));
}

static void test_trap36__bgsave_under_load__a_server_starts_on_a_prefix(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    OPTIONS(&server, "--max-file-size", "64kb");
    start();
    snapshot_dir(dir);
    bgsave_under_load(dir);
    assert_int_equal(number(client, "snapshot_last_copied_bytes"), 0);
    assert_true(number(client, "rdb_changes_since_last_save") >= 1000);
    stop();
}

static void test_trap36__snapshot_dir_elsewhere__is_copied_and_says_so(void **state)
{
    (void)state;
    struct stat there;
    struct stat here;
    char dir[PATH_SIZE];
    if (stat(SHM, &there) != 0 || stat("/tmp", &here) != 0 || here.st_dev == there.st_dev ||
        access(SHM, W_OK) != 0) {
        skip(); /* no second file system */
    }
    snprintf(dir, sizeof dir, SHM "/bitkv-snapshots-%ld", (long)getpid());
    OPTIONS(&server, "--max-file-size", "64kb", "--snapshot-dir", dir);
    start();
    bgsave_under_load(dir);
    assert_true(number(client, "snapshot_last_copied_bytes") > 0);
    assert_int_equal(number(client, "snapshot_last_copied_bytes"),
                     number(client, "snapshot_last_bytes"));
    assert_true(server_log_has(&server, "another file system"));
    stop();
    tmpdir_remove_tree(dir);
}

/* ---- Replies ---- */

/* A second server starts on the snapshot, and has k. */
static void expect_k_at(const char *path)
{
    OPTIONS(&second, "--dir", path);
    assert_true(server_start(&second));
    struct respc *c = expect_connection(&second);
    expect_reply(c, "$\"v\"", "GET", "k", NULL);
    respc_close(&c);
}

static void test_snapshot__save__is_there_when_it_is_answered(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char path[PATH_SIZE];
    start();
    snapshot_dir(dir);
    OK("SET", "k", "v");
    assert_int_equal(number(client, "rdb_changes_since_last_save"), 1);
    OK("SAVE");
    newest(dir, 1, path);
    assert_int_equal(number(client, "rdb_changes_since_last_save"), 0);
    assert_int_equal(number(client, "rdb_saves"), 1);
    char want[64];
    snprintf(want, sizeof want, ":%lld", number(client, "rdb_last_save_time"));
    expect_reply(client, want, "LASTSAVE", NULL);
    assert_true(number(client, "rdb_last_bgsave_time_sec") >= 0);
    expect_k_at(path);
    stop();
}

static void test_snapshot__wrong_arguments__are_refused_as_redis_does(void **state)
{
    (void)state;
    start();
    expect_reply(client, "-ERR syntax error", "BGSAVE", "now", NULL);
    expect_reply(client, "-ERR syntax error", "BGSAVE", "SCHEDULE", "x", NULL);
    expect_reply(client, "-ERR wrong number of arguments for 'save' command", "SAVE", "x", NULL);
    expect_reply(client, "-ERR wrong number of arguments for 'lastsave' command", "LASTSAVE", "x",
                 NULL);
    expect_reply(client, "+Background saving started", "BGSAVE", "schedule", NULL);
    wait_for_save();
    assert_int_equal(number(client, "rdb_saves"), 1);
    stop();
}

/* Not before the EXEC is committed: what it wrote is in the snapshot. */
static void test_snapshot__bgsave_in_exec__holds_what_the_exec_wrote(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char path[PATH_SIZE];
    start();
    snapshot_dir(dir);
    OK("MULTI");
    expect_reply(client, "+QUEUED", "SET", "k", "v", NULL);
    expect_reply(client, "+QUEUED", "BGSAVE", NULL);
    expect_reply(client, "+QUEUED", "INFO", "persistence", NULL);
    expect_reply(client, "+QUEUED", "BGREWRITEAOF", NULL);
    struct reply *r = respc_command(client, "EXEC", NULL);
    assert_true(r != NULL && r->elems == 4);
    assert_string_equal(r->elem[1]->text, "Background saving scheduled");
    assert_non_null(strstr(r->elem[2]->text, "\nrdb_saves:0\r"));
    assert_string_equal(r->elem[3]->text, "Background append only file rewriting scheduled");
    reply_free(&r);
    wait_for_save();
    newest(dir, 1, path);
    expect_k_at(path);
    stop();
}

/* They come in one read, within microseconds; a snapshot syncs files. */
static void test_snapshot__while_one_is_made__another_is_refused(void **state)
{
    (void)state;
    struct bk_buf out = {0};
    unsigned refused = 0;
    start();
    OK("SET", "k", "v");
    for (unsigned i = 0; i < 50; i++) {
        respc_format(&out, "BGSAVE", NULL);
    }
    assert_true(respc_send(client, out.data, out.len));
    expect_next(client, "+Background saving started");
    for (unsigned i = 1; i < 50; i++) {
        struct reply *r = respc_read(client);
        assert_non_null(r);
        refused += r->type == '-' && strcmp(r->text, PROGRESS) == 0 ? 1u : 0u;
        assert_true(r->type == '+' || strcmp(r->text, PROGRESS) == 0);
        reply_free(&r);
    }
    assert_true(refused > 0);
    wait_for_save();
    assert_int_equal(number(client, "rdb_saves"), 50 - refused);
    bk_buf_fini(&out);
    stop();
}

static void test_snapshot__no_place_for_it__is_an_error_and_shows(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char data[PATH_SIZE];
    tmpdir_make(&server.dir, "nowhere");
    tmpdir_join(&server.dir, "no/parent", dir, sizeof dir);
    OPTIONS(&server, "--snapshot-dir", dir);
    start();
    long long saved = number(client, "rdb_last_save_time");
    OK("SET", "k", "v");
    expect_reply(client, "-ERR the snapshot failed, see the log", "SAVE", NULL);
    assert_string_equal(field(client, "rdb_last_bgsave_status"), "err");
    assert_non_null(strstr(field(client, "snapshot_last_error"), "No such file"));
    assert_int_equal(number(client, "rdb_last_save_time"), saved);
    assert_true(server_log_has(&server, "The snapshot failed"));
    tmpdir_join(&server.dir, "no", data, sizeof data);
    assert_int_equal(mkdir(data, 0750), 0);
    OK("SAVE");
    assert_string_equal(field(client, "rdb_last_bgsave_status"), "ok");
    assert_string_equal(field(client, "snapshot_last_error"), "none");
    stop();
}

/* ---- What is kept ---- */

static void expect_numbers(const char *dir, const unsigned long long *want, size_t n)
{
    struct names l;
    list(dir, &l);
    assert_int_equal(l.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(strtoull(l.name[i], NULL, 10), want[i]);
    }
    assert_int_equal(number(client, "snapshots"), n);
}
#define NUMBERS(dir, ...)                                          \
    expect_numbers(dir, (const unsigned long long[]){__VA_ARGS__}, \
                   sizeof((const unsigned long long[]){__VA_ARGS__}) / sizeof(long long))

static void test_snapshot__keep__leaves_the_newest(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    OPTIONS(&server, "--snapshot-keep", "2");
    start();
    snapshot_dir(dir);
    for (int i = 0; i < 4; i++) {
        OK("SET", "k", "v");
        OK("SAVE");
    }
    NUMBERS(dir, 3, 4);
    OK("CONFIG", "SET", "snapshot-keep", "3");
    OK("SAVE");
    NUMBERS(dir, 3, 4, 5);
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
    start(); /* numbers go on */
    NUMBERS(dir, 3, 4, 5);
    assert_true(number(client, "snapshot_bytes") > 0);
    OK("SAVE");
    NUMBERS(dir, 5, 6);
    OK("CONFIG", "SET", "snapshot-keep", "1");
    OK("SAVE");
    NUMBERS(dir, 7);
    stop();
}

/* A server that was started on a snapshot keeps it from being removed. */
static void test_snapshot__in_use__is_not_removed(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char path[PATH_SIZE];
    start();
    snapshot_dir(dir);
    OK("SET", "k", "v");
    OK("SAVE");
    newest(dir, 1, path);
    OPTIONS(&second, "--dir", path);
    assert_true(server_start(&second));
    OK("SAVE");
    NUMBERS(dir, 1, 2);
    assert_true(server_log_has(&server, "An old snapshot stays"));
    struct respc *c = expect_connection(&second);
    expect_reply(c, "$\"v\"", "GET", "k", NULL);
    respc_close(&c);
    assert_int_equal(server_stop(&second), 0);
    OK("SAVE");
    NUMBERS(dir, 3);
    stop();
}

static void make_file(const char *dir, const char *name, char path[PATH_SIZE + 64])
{
    snprintf(path, PATH_SIZE + 64, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void make_dir(const char *dir, const char *name, char path[PATH_SIZE + 64])
{
    snprintf(path, PATH_SIZE + 64, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0750), 0);
}

/* A server that was started on a snapshot may have made some of its own in there. */
static void test_snapshot__left_overs__go_and_what_is_foreign_stays(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char path[4][PATH_SIZE + 64];
    start();
    snapshot_dir(dir);
    OK("SET", "k", "v");
    OK("SAVE");
    make_dir(dir, "0000000007-20260131T235959Z.tmp", path[0]);
    make_file(dir, "0000000007-20260131T235959Z.tmp/0000000001.data", path[1]);
    make_dir(dir, "mine.tmp", path[1]);
    make_dir(dir, "0000000006-20260131T235959Z.tmp", path[2]);
    make_file(dir, "0000000006-20260131T235959Z.tmp/MANIFEST.new", path[2]);
    make_dir(dir, "0000000006-20260131T235959Z.tmp/snapshots", path[3]);
    OK("SAVE");
    assert_int_not_equal(access(path[0], F_OK), 0);
    assert_int_equal(access(path[1], F_OK), 0);
    assert_int_equal(access(path[2], F_OK), 0);
    assert_int_equal(access(path[3], F_OK), 0);
    assert_true(server_log_has(&server, "What is left of a snapshot stays: "));
    assert_int_equal(number(client, "snapshots"), 1);
    OK("SAVE");
    assert_int_equal(number(client, "snapshots"), 1);
    stop();
}

/* Files that this server's store does not name are there for the snapshots alone. */
static void test_snapshot__files_the_store_no_longer_has__are_pinned_bytes(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    start();
    snapshot_dir(dir);
    OK("SET", "k", "v");
    OK("SAVE");
    assert_true(number(client, "snapshot_bytes") > 0);
    assert_int_equal(number(client, "snapshot_pinned_bytes"), 0);
    OPTIONS(&second, "--snapshot-dir", dir);
    assert_true(server_start(&second));
    struct respc *c = expect_connection(&second);
    long long bytes = number(c, "snapshot_bytes");
    assert_int_equal(bytes, number(client, "snapshot_bytes"));
    assert_int_equal(number(c, "snapshot_pinned_bytes"), bytes);
    respc_close(&c);
    assert_int_equal(server_stop(&second), 0);
    stop();
}

/* The end of the server does not wait for a snapshot, and what it leaves is in nobody's way. */
static void test_snapshot__shutdown_meanwhile__ends_clean(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 10; i++) {
        char want[64];
        expect_reply(client, "+OK", "SET", "k", "v", NULL);
        expect_reply(client, "+Background saving started", "BGSAVE", NULL);
        stop();
        start();
        expect_reply(client, "$\"v\"", "GET", "k", NULL);
        snprintf(want, sizeof want, "%lld", number(client, "snapshots"));
        assert_true(strcmp(want, "0") == 0 || strcmp(want, "1") == 0);
    }
    OK("SAVE");
    stop();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_servers)
    const struct CMUnitTest tests[] = {
        T(test_trap36__bgsave_under_load__a_server_starts_on_a_prefix),
        T(test_trap36__snapshot_dir_elsewhere__is_copied_and_says_so),
        T(test_snapshot__save__is_there_when_it_is_answered),
        T(test_snapshot__wrong_arguments__are_refused_as_redis_does),
        T(test_snapshot__bgsave_in_exec__holds_what_the_exec_wrote),
        T(test_snapshot__while_one_is_made__another_is_refused),
        T(test_snapshot__no_place_for_it__is_an_error_and_shows),
        T(test_snapshot__keep__leaves_the_newest),
        T(test_snapshot__in_use__is_not_removed),
        T(test_snapshot__left_overs__go_and_what_is_foreign_stays),
        T(test_snapshot__files_the_store_no_longer_has__are_pinned_bytes),
        T(test_snapshot__shutdown_meanwhile__ends_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
