/* SPDX-License-Identifier: MIT */
/* test_notify.c - what commands tell of keys: in which order, when, with which position of the log,
 * and once. The events of each command are compared with Redis's in tests/server/test_events.c. */
#include "command/command.h"
#include "command/notify.h"
#include "engine/bitkv.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000
#define ARGS_MAX 16

struct fixture {
    struct tmpdir dir;
    struct bk_db *db;
    struct keyspace *ks;
    struct server_watch watch;
    struct pubsub_ops pubsub;
    struct server_ops ops;
    struct exec *exec;
    struct session s;
    struct bk_buf out;
    struct resp_writer reply;
    struct exec_slice *slice;
    struct resp_arg argv[ARGS_MAX];
    struct resp_command cmd;
    uint64_t pos;
    int64_t now_ms;
    struct bk_buf heard; /* "channel message\n" */
    uint64_t heard_pos;  /* of the last one */
    bool nobody;
};

static bool no_password(void *arg)
{
    (void)arg;
    return false;
}

static bool no_limit(void *arg)
{
    (void)arg;
    return false;
}

static uint64_t bulk_max(void *arg)
{
    (void)arg;
    return 1u << 20;
}

static size_t hear(void *arg, struct session *from, enum topic_kind kind, struct bk_span channel,
                   struct bk_span message, uint64_t pos)
{
    struct fixture *f = arg;
    assert_ptr_equal(from, &f->s);
    assert_int_equal(kind, TOPIC_CHANNEL);
    bk_buf_printf(&f->heard, "%.*s %.*s\n", (int)channel.len, (const char *)channel.data,
                  (int)message.len, (const char *)message.data);
    f->heard_pos = pos;
    return 1;
}

static bool somebody(void *arg)
{
    return !((struct fixture *)arg)->nobody;
}

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof(*f));
    struct bk_options o;
    tmpdir_make(&f->dir, "notify");
    bk_options_init(&o);
    o.dir = f->dir.path;
    o.stepped = true;
    o.log_buffer_bytes = 65536;
    assert_int_equal(bk_open(&f->db, &o, NULL), BK_OK);
    f->ks = ks_new(f->db, o.databases);
    f->pubsub = (struct pubsub_ops){.arg = f, .watch = &f->watch, .publish = hear, .any = somebody};
    f->ops = (struct server_ops){.arg = f,
                                 .auth_required = no_password,
                                 .memory_over = no_limit,
                                 .proto_max_bulk_len = bulk_max,
                                 .pubsub = &f->pubsub};
    f->exec = exec_new(f->ks, &f->ops);
    f->s.authenticated = true;
    f->reply = (struct resp_writer){.out = &f->out, .proto = 2};
    f->now_ms = NOW;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    exec_slice_free(&f->slice);
    exec_free(&f->exec);
    ks_free(&f->ks);
    assert_int_equal(bk_close(&f->db, NULL), BK_OK);
    bk_buf_fini(&f->out);
    bk_buf_fini(&f->heard);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

static void want(struct fixture *f, const char *letters)
{
    atomic_store(&f->watch.notify, notify_classes(bk_span_str(letters)));
}

static enum exec_result run(struct fixture *f)
{
    f->out.len = 0;
    f->pos = 0;
    return exec_command(f->exec, &f->s, &f->cmd, f->now_ms, &f->reply, &f->pos, &f->slice);
}

/* Commits what lies in the log's buffer. */
static void settle(struct fixture *f)
{
    bk_flush(f->db, bk_tail(f->db));
    while (bk_step(f->db)) {
    }
}

static void name(struct fixture *f, const char *line)
{
    static char words[256];
    char *rest = words;
    f->cmd = (struct resp_command){.argv = f->argv};
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        f->argv[f->cmd.argc++] = (struct resp_arg){bk_span_str(w), NULL};
    }
}

static void expect_heard(struct fixture *f, const char *heard)
{
    bk_buf_append(&f->heard, "", 1);
    assert_string_equal((const char *)f->heard.data, heard);
    f->heard.len = 0;
}

/* Runs the command; what is heard must be this. */
static void expect(struct fixture *f, const char *line, const char *heard)
{
    name(f, line);
    assert_int_equal(run(f), EXEC_DONE);
    expect_heard(f, heard);
}

static void test_notify__letters__are_redis_s(void **state)
{
    (void)state;
    assert_int_equal(notify_classes(bk_span_str("")), 0);
    assert_int_equal(notify_classes(bk_span_str("KE")), NOTIFY_KEYSPACE | NOTIFY_KEYEVENT);
    assert_int_equal(notify_classes(bk_span_str("Kx")), NOTIFY_KEYSPACE | NOTIFY_EXPIRED);
    assert_int_equal(notify_classes(bk_span_str("A")), notify_classes(bk_span_str("g$lshzxetd")));
    assert_int_equal(notify_classes(bk_span_str("Anm")),
                     notify_classes(bk_span_str("A")) | NOTIFY_NEW | NOTIFY_MISS);
}

static void test_notify__classes__choose_what_is_heard(void **state)
{
    struct fixture *f = *state;
    expect(f, "set a 1", "");
    want(f, "g$");
    expect(f, "set a 1", ""); /* neither K nor E */
    want(f, "K$");
    expect(f, "set a 1", "__keyspace@0__:a set\n");
    expect(f, "del a", "");
    want(f, "Eg");
    expect(f, "set a 1 ex 100", "__keyevent@0__:expire a\n");
    want(f, "KEA");
    expect(f, "set a 1 ex 100",
           "__keyspace@0__:a set\n__keyevent@0__:set a\n"
           "__keyspace@0__:a expire\n__keyevent@0__:expire a\n");
    f->nobody = true;
    expect(f, "set a 1", "");
    f->nobody = false;
    atomic_store(&f->s.db, 3);
    want(f, "Emn");
    expect(f, "get b", "__keyevent@3__:keymiss b\n");
    expect(f, "mset b 1 c 2 b 3", "__keyevent@3__:new b\n__keyevent@3__:new c\n");
}

static void test_notify__refused_command__tells_nothing(void **state)
{
    struct fixture *f = *state;
    want(f, "EA");
    expect(f, "set a x", "__keyevent@0__:set a\n");
    expect(f, "incr a", "");
    expect(f, "expire nosuch 10", "");
    expect(f, "setnx a 1", "");
    expect(f, "renamenx a a", "");
    expect(f, "set a", "");
}

/* The position of the reply; and a command that has to run again tells once. */
static void test_notify__no_room_in_the_log__is_told_once_when_it_is_done(void **state)
{
    struct fixture *f = *state;
    static char value[8192];
    enum exec_result result = EXEC_DONE;
    int i = 0;
    want(f, "E$");
    memset(value, 'v', sizeof(value) - 1);
    while (i < 1000 && result == EXEC_DONE) {
        f->heard.len = 0;
        f->argv[0] = (struct resp_arg){bk_span_str("set"), NULL};
        f->argv[1] = (struct resp_arg){bk_span_str("key"), NULL};
        f->argv[2] = (struct resp_arg){bk_span_str(value), NULL};
        f->cmd = (struct resp_command){.argv = f->argv, .argc = 3};
        result = run(f);
        i++;
    }
    assert_int_equal(result, EXEC_NO_ROOM);
    expect_heard(f, "");
    assert_int_equal(run(f), EXEC_NO_ROOM);
    expect_heard(f, "");
    settle(f);
    assert_int_equal(run(f), EXEC_DONE);
    expect_heard(f, "__keyevent@0__:set key\n");
    assert_true(f->pos != 0);
    assert_int_equal(f->heard_pos, f->pos);
}

/* ---- Expired keys ---- */

static void test_notify__command_names_an_expired_key__tells_of_it_first_and_once(void **state)
{
    struct fixture *f = *state;
    want(f, "EA");
    expect(f, "psetex a 5 v", "__keyevent@0__:set a\n__keyevent@0__:expire a\n");
    settle(f);
    f->now_ms += 5;
    expect(f, "get a", ""); /* its last millisecond */
    f->now_ms++;
    expect(f, "get a", "__keyevent@0__:expired a\n");
    expect(f, "get a", "");
    expect(f, "psetex a 5 v", "__keyevent@0__:set a\n__keyevent@0__:expire a\n");
    settle(f);
    f->now_ms += 6;
    expect(f, "set a w", "__keyevent@0__:expired a\n__keyevent@0__:set a\n");
    expect(f, "get a", "");
}

/* COPY and MOVE reach into another database, SORT finds its destination by itself. */
static void test_notify__expired_key_in_another_database__is_told_of_there(void **state)
{
    struct fixture *f = *state;
    want(f, "Ex");
    expect(f, "set a v", "");
    atomic_store(&f->s.db, 3);
    expect(f, "psetex a 5 v", "");
    atomic_store(&f->s.db, 0);
    expect(f, "psetex to 5 v", "");
    settle(f);
    f->now_ms += 6;
    expect(f, "copy a a db 3", "__keyevent@3__:expired a\n");
    expect(f, "sort nosuch store to", "__keyevent@0__:expired to\n");
}

/* It may have to be undone, and is told of later. */
static void test_notify__expired_but_not_committed__waits(void **state)
{
    struct fixture *f = *state;
    want(f, "Ex");
    expect(f, "psetex a 5 v", "");
    f->now_ms += 6;
    expect(f, "get a", "");
    settle(f);
    expect(f, "get a", "__keyevent@0__:expired a\n");
}

static void count_expired(void *arg, uint32_t num, struct bk_span key)
{
    unsigned *counts = arg;
    assert_int_equal(num, 0);
    char digits[8] = "";
    memcpy(digits, key.data + 1, key.len - 1);
    counts[strtol(digits, NULL, 10)]++;
}

/* Whoever finds them, commands or the expiry step: each of them once. */
static void test_notify__step_and_commands__tell_of_each_key_once(void **state)
{
    struct fixture *f = *state;
    enum { KEYS = 300 };
    unsigned counts[KEYS] = {0};
    char line[64];
    bool more = true;
    want(f, "Ex");
    for (int i = 0; i < KEYS; i++) {
        snprintf(line, sizeof line, "set k%d v px 1", i);
        expect(f, line, "");
    }
    settle(f);
    f->now_ms += 2;
    for (int i = 0; i < KEYS; i += 3) {
        snprintf(line, sizeof line, i % 2 == 0 ? "get k%d" : "del k%d", i);
        name(f, line);
        assert_int_equal(run(f), EXEC_DONE);
        counts[i] += f->heard.len > 0;
        f->heard.len = 0;
    }
    /* The wheel turns by the clock: they come up a tick after they were filed. */
    for (size_t removed = KEYS / 3; removed < KEYS;) {
        removed += bk_expire_each(f->db, 64, &more, count_expired, counts);
    }
    assert_int_equal(bk_expire_step(f->db, 64, &more), 0);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(counts[i], 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_notify__letters__are_redis_s),
        TEST(test_notify__classes__choose_what_is_heard),
        TEST(test_notify__refused_command__tells_nothing),
        TEST(test_notify__no_room_in_the_log__is_told_once_when_it_is_done),
        TEST(test_notify__command_names_an_expired_key__tells_of_it_first_and_once),
        TEST(test_notify__expired_key_in_another_database__is_told_of_there),
        TEST(test_notify__expired_but_not_committed__waits),
        TEST(test_notify__step_and_commands__tell_of_each_key_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
