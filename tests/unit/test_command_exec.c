/* SPDX-License-Identifier: MIT */
/* The executor: what it refuses, replies that are cut back, slices, reply modes, statistics,
 * positions. */
#include "command/command.h"
#include "engine/bitkv.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define NOW 1000000
#define ARGS_MAX 16
#define LOG_BUFFER 65536

/* What the commands ask of the server. */
struct host {
    bool password;
    bool memory_over;
    uint64_t bulk_max;
    bool save_refused;
    enum save_state save_state;
    unsigned saves;
};

struct fixture {
    struct tmpdir dir;
    struct bk_db *db;
    struct keyspace *ks;
    struct host host;
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
};

static bool auth_required(void *arg)
{
    return ((struct host *)arg)->password;
}

static bool memory_over(void *arg)
{
    return ((struct host *)arg)->memory_over;
}

static uint64_t bulk_max(void *arg)
{
    return ((struct host *)arg)->bulk_max;
}

static uint64_t sparse_max(void *arg)
{
    (void)arg;
    return 3000;
}

static uint64_t save_begin(void *arg, struct bk_buf *error)
{
    struct host *h = arg;
    if (h->save_refused) {
        bk_buf_printf(error, "ERR Background save already in progress");
        return 0;
    }
    h->save_state = SAVE_RUNNING;
    return ++h->saves;
}

static enum save_state save_state(void *arg, uint64_t number)
{
    struct host *h = arg;
    assert_int_equal(number, h->saves);
    return h->save_state;
}

static int64_t last_save_s(void *arg)
{
    (void)arg;
    return 1234;
}

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof(*f));
    struct bk_options o;
    tmpdir_make(&f->dir, "exec");
    bk_options_init(&o);
    o.dir = f->dir.path;
    o.stepped = true;
    o.log_buffer_bytes = LOG_BUFFER;
    assert_int_equal(bk_open(&f->db, &o, NULL), BK_OK);
    f->ks = ks_new(f->db, o.databases);
    f->host.bulk_max = 1000;
    f->ops = (struct server_ops){.arg = &f->host,
                                 .auth_required = auth_required,
                                 .memory_over = memory_over,
                                 .save_begin = save_begin,
                                 .save_state = save_state,
                                 .last_save_s = last_save_s,
                                 .proto_max_bulk_len = bulk_max,
                                 .hll_sparse_max_bytes = sparse_max};
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
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

static void arguments(struct fixture *f, const char *first, va_list ap)
{
    f->cmd = (struct resp_command){.argv = f->argv};
    for (const char *a = first; a != NULL; a = va_arg(ap, const char *)) {
        assert_true(f->cmd.argc < ARGS_MAX);
        f->argv[f->cmd.argc++] = (struct resp_arg){bk_span_str(a), NULL};
    }
}

static enum exec_result run_command(struct fixture *f)
{
    return exec_command(f->exec, &f->s, &f->cmd, f->now_ms, &f->reply, &f->pos, &f->slice);
}

/* Commits what lies in the log's buffer. */
static void settle(struct fixture *f)
{
    bk_flush(f->db, bk_tail(f->db));
    while (bk_step(f->db)) {
    }
}

/* Runs the command to its end; its reply must be want. Arguments end with NULL. */
static void expect(struct fixture *f, const char *want, const char *first, ...)
{
    enum exec_result result;
    va_list ap;
    va_start(ap, first);
    arguments(f, first, ap);
    va_end(ap);
    result = run_command(f);
    if (result == EXEC_NO_ROOM) {
        settle(f);
        result = run_command(f);
    }
    assert_int_equal(result, EXEC_DONE);
    bk_buf_append(&f->out, "", 1);
    assert_string_equal((char *)f->out.data, want);
    f->out.len = 0;
}

static void stats(struct fixture *f, const char *want_part)
{
    struct bk_buf text = {0};
    exec_commandstats(&f->exec, 1, &text);
    bk_buf_append(&text, "", 1);
    if (strstr((char *)text.data, want_part) == NULL) {
        fail_msg("'%s' is not in: %s", want_part, (char *)text.data);
    }
    bk_buf_fini(&text);
}

static void test_exec__unknown_command__is_quoted_within_limits(void **state)
{
    struct fixture *f = *state;
    char longer[200];
    char want[600];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    expect(f, "-ERR unknown command 'foo', with args beginning with: \r\n", "foo", NULL);
    expect(f, "-ERR unknown command 'foo', with args beginning with: 'a b' 'c' \r\n", "foo", "a\nb",
           "c", NULL);
    snprintf(want, sizeof(want),
             "-ERR unknown command '%.128s', with args beginning with: '%.128s' \r\n", longer,
             longer);
    expect(f, want, longer, longer, "more", NULL);
    snprintf(want, sizeof(want),
             "-ERR unknown command 'foo', with args beginning with: 'a' '%.124s' \r\n", longer);
    expect(f, want, "foo", "a", longer, "more", NULL);
    expect(f, "-ERR unknown subcommand 'no'. Try CONFIG HELP.\r\n", "config", "no", NULL);
}

/* An argument of over 2 GiB, of which only what an error may show is there. */
static void test_exec__argument_beyond_int__is_cut_in_errors(void **state)
{
    struct fixture *f = *state;
    const size_t shown = 1u << 20;
    uint8_t *text = mmap(NULL, 2 * shown, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(text, MAP_FAILED);
    assert_int_equal(mprotect(text, shown, PROT_READ | PROT_WRITE), 0);
    memset(text, 'x', shown);
    static const char *const commands[][2] = {{"client", "setinfo"}, {"hello", "3"}};
    for (size_t i = 0; i < 2; i++) {
        struct resp_arg argv[] = {{bk_span_str(commands[i][0]), NULL},
                                  {bk_span_str(commands[i][1]), NULL},
                                  {{text, (size_t)INT32_MAX + 6}, NULL},
                                  {bk_span_str("v"), NULL}};
        f->cmd = (struct resp_command){.argc = 4, .argv = argv};
        assert_int_equal(run_command(f), EXEC_DONE);
        assert_in_range(f->out.len, shown, shown + 100);
        assert_true(f->out.data[0] == '-' && f->out.data[f->out.len - 1] == '\n');
        f->out.len = 0;
    }
    munmap(text, 2 * shown);
}

static void test_exec__wrong_arity__names_the_command(void **state)
{
    struct fixture *f = *state;
    expect(f, "-ERR wrong number of arguments for 'get' command\r\n", "GET", NULL);
    expect(f, "-ERR wrong number of arguments for 'set' command\r\n", "set", "k", NULL);
    expect(f, "-ERR wrong number of arguments for 'config|get' command\r\n", "config", "GET", NULL);
    expect(f, "-ERR wrong number of arguments for 'mset' command\r\n", "mset", "a", "1", "b", NULL);
    stats(f, "cmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n");
    stats(f, "failed_calls=1");
}

static void test_exec__refusals__come_in_the_order_of_redis(void **state)
{
    struct fixture *f = *state;
    f->host = (struct host){.password = true, .memory_over = true};
    f->s.authenticated = false;
    expect(f, "-ERR wrong number of arguments for 'get' command\r\n", "get", NULL);
    expect(f, "-NOAUTH Authentication required.\r\n", "set", "k", "v", NULL);
    f->s.authenticated = true;
    expect(f, "-OOM command not allowed when used memory > 'maxmemory'.\r\n", "set", "k", "v",
           NULL);
    expect(f, ":0\r\n", "del", "k", NULL);
    expect(f, "$-1\r\n", "get", "k", NULL);
    f->host.memory_over = false;
    f->host.password = false;
    f->s.authenticated = false;
    expect(f, "+OK\r\n", "set", "k", "v", NULL);
}

static void test_exec__reply_modes__drop_and_bring_back_replies(void **state)
{
    struct fixture *f = *state;
    f->s.reply_mode = REPLY_OFF;
    expect(f, "", "set", "k", "v", NULL);
    expect(f, "", "nosuch", NULL);
    f->s.reply_mode = REPLY_SKIP;
    expect(f, "", "get", "k", NULL);
    expect(f, "$1\r\nv\r\n", "get", "k", NULL);
    /* As CLIENT REPLY SKIP leaves it. */
    f->s.reply_mode = REPLY_SKIP_NEXT;
    expect(f, "", "get", "k", NULL);
    expect(f, "", "get", "k", NULL);
    expect(f, "$1\r\nv\r\n", "get", "k", NULL);
}

/* The log is full: the reply vanishes, nothing has changed, and the same command works once there
 * is room. */
static void test_exec__no_room_in_the_log__leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    static char value[8192];
    enum exec_result result = EXEC_DONE;
    struct exec_totals totals;
    int i = 0;
    memset(value, 'v', sizeof(value) - 1);
    resp_write_int(&f->reply, 7);
    while (i < 1000 && result == EXEC_DONE) {
        char key[32];
        struct resp_arg argv[] = {{bk_span_str("set"), NULL},
                                  {{0}, NULL},
                                  {bk_span_str(value), NULL},
                                  {bk_span_str("GET"), NULL}};
        snprintf(key, sizeof(key), "key:%d", i++);
        argv[1].bytes = bk_span_str(key);
        f->cmd = (struct resp_command){.argc = 4, .argv = argv};
        f->out.len = 4;
        result = run_command(f);
    }
    assert_int_equal(result, EXEC_NO_ROOM);
    assert_true(f->out.len == 4 && memcmp(f->out.data, ":7\r\n", 4) == 0);
    assert_int_equal(ks_count(f->ks, 0), i - 1);
    exec_totals(f->exec, &totals);
    assert_int_equal(totals.commands, i - 1);
    f->out.len = 0;
    settle(f);
    expect(f, "+OK\r\n", "set", "again", "v", NULL);
}

static void test_exec__keys__is_served_in_slices(void **state)
{
    struct fixture *f = *state;
    enum exec_result result;
    struct resp_arg argv[] = {{bk_span_str("keys"), NULL}, {bk_span_str("key:*"), NULL}};
    unsigned slices = 1;
    for (int i = 0; i < 9000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%s:%d", i < 6000 ? "key" : "other", i);
        expect(f, "+OK\r\n", "set", key, "v", NULL);
    }
    f->cmd = (struct resp_command){.argc = 2, .argv = argv};
    result = run_command(f);
    while (result == EXEC_MORE) {
        struct exec_slice *mine = f->slice;
        assert_int_equal(f->out.len, 0);
        /* Another connection of the loop gets its turn. */
        f->slice = NULL;
        expect(f, "$1\r\nv\r\n", "get", "key:1", NULL);
        f->slice = mine;
        f->cmd = (struct resp_command){.argc = 2, .argv = argv};
        result = exec_resume(f->exec, &f->s, &f->cmd, f->now_ms, &f->reply, &f->pos, &f->slice);
        slices++;
    }
    assert_int_equal(result, EXEC_DONE);
    assert_null(f->slice);
    assert_in_range(slices, 3, 1000);
    assert_true(f->out.len > 7 && memcmp(f->out.data, "*6000\r\n", 7) == 0);
    stats(f, "cmdstat_keys:calls=1,");
}

static void test_exec__totals__count_hits_misses_and_errors(void **state)
{
    struct fixture *f = *state;
    struct exec_totals totals;
    expect(f, "+OK\r\n", "set", "k", "v", NULL);
    expect(f, "$1\r\nv\r\n", "get", "k", NULL);
    expect(f, "$-1\r\n", "get", "none", NULL);
    expect(f, ":1\r\n", "exists", "k", "none", NULL);
    expect(f, "-ERR value is not an integer or out of range\r\n", "incr", "k", NULL);
    expect(f, "-ERR syntax error\r\n", "set", "k", "v", "what", NULL);
    exec_totals(f->exec, &totals);
    assert_int_equal(totals.commands, 6);
    assert_int_equal(totals.errors, 2);
    assert_int_equal(totals.keyspace_hits, 2);
    assert_int_equal(totals.keyspace_misses, 2);
    stats(f, "cmdstat_set:calls=2,");
    exec_resetstat(f->exec);
    exec_totals(f->exec, &totals);
    assert_int_equal(totals.commands + totals.errors + totals.keyspace_hits, 0);
}

static void test_exec__pos__rises_to_what_the_reply_tells_of(void **state)
{
    struct fixture *f = *state;
    uint64_t deleted;
    expect(f, "+OK\r\n", "set", "k", "v", NULL);
    assert_true(f->pos > 0 && f->pos <= bk_tail(f->db));
    expect(f, ":1\r\n", "del", "k", NULL);
    deleted = f->pos;
    f->pos = 0;
    expect(f, "$-1\r\n", "get", "k", NULL);
    assert_true(f->pos >= deleted);
    f->pos = 0;
    expect(f, ":0\r\n", "dbsize", NULL);
    assert_true(f->pos == bk_tail(f->db));
    /* A watch that does not hold: somebody has written. */
    expect(f, "+OK\r\n", "watch", "k", NULL);
    expect(f, "+OK\r\n", "set", "k", "w", NULL);
    expect(f, "+OK\r\n", "multi", NULL);
    expect(f, "+QUEUED\r\n", "ping", NULL);
    f->pos = 0;
    expect(f, "*-1\r\n", "exec", NULL);
    assert_true(f->pos == bk_tail(f->db));
    /* It never falls. */
    f->pos = UINT64_MAX;
    expect(f, "$1\r\nw\r\n", "get", "k", NULL);
    assert_true(f->pos == UINT64_MAX);
}

static void test_commands__expiry__follows_the_clock_that_is_handed_in(void **state)
{
    struct fixture *f = *state;
    expect(f, "+OK\r\n", "set", "k", "v", "px", "100", NULL);
    expect(f, ":100\r\n", "pttl", "k", NULL);
    expect(f, ":1000100\r\n", "pexpiretime", "k", NULL);
    expect(f, ":0\r\n", "expire", "k", "0", "gt", NULL);
    expect(f, ":1\r\n", "append", "new", "v", NULL);
    f->now_ms += 100;
    expect(f, ":0\r\n", "pttl", "k", NULL);
    expect(f, ":2\r\n", "append", "k", "w", NULL);
    f->now_ms++;
    expect(f, ":-2\r\n", "ttl", "k", NULL);
    expect(f, ":-1\r\n", "ttl", "new", NULL);
    expect(f, ":1\r\n", "setnx", "k", "fresh", NULL);
    expect(f, ":-1\r\n", "ttl", "k", NULL);
    expect(f, ":1\r\n", "expire", "k", "-1", NULL);
    expect(f, "$-1\r\n", "get", "k", NULL);
}

static void test_commands__rename__moves_value_and_expiry(void **state)
{
    struct fixture *f = *state;
    expect(f, "-ERR no such key\r\n", "rename", "a", "b", NULL);
    expect(f, "+OK\r\n", "set", "a", "v", "px", "500", NULL);
    expect(f, "+OK\r\n", "set", "b", "w", NULL);
    expect(f, "+OK\r\n", "rename", "a", "a", NULL);
    expect(f, ":0\r\n", "renamenx", "a", "b", NULL);
    expect(f, "+OK\r\n", "rename", "a", "b", NULL);
    expect(f, "*2\r\n$-1\r\n$1\r\nv\r\n", "mget", "a", "b", NULL);
    expect(f, ":500\r\n", "pttl", "b", NULL);
    expect(f, ":1\r\n", "dbsize", NULL);
}

static void test_commands__same_key_twice__sees_its_own_writes(void **state)
{
    struct fixture *f = *state;
    expect(f, "+OK\r\n", "mset", "k", "1", "k", "2", NULL);
    expect(f, "$1\r\n2\r\n", "get", "k", NULL);
    expect(f, ":2\r\n", "exists", "k", "k", NULL);
    expect(f, ":1\r\n", "del", "k", "k", NULL);
    expect(f, ":1\r\n", "msetnx", "k", "1", "k", "2", NULL);
    expect(f, ":0\r\n", "msetnx", "j", "1", "k", "2", NULL);
    expect(f, "$-1\r\n", "get", "j", NULL);
}

static void test_commands__longest_string__is_bounded_by_the_option(void **state)
{
    struct fixture *f = *state;
    const char *error = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    expect(f, ":1000\r\n", "setrange", "k", "999", "x", NULL);
    expect(f, error, "setrange", "k", "1000", "x", NULL);
    expect(f, error, "append", "k", "x", NULL);
    expect(f, error, "setrange", "k", "9223372036854775807", "x", NULL);
    expect(f, ":1000\r\n", "setrange", "k", "5000", "", NULL);
    expect(f, ":1000\r\n", "strlen", "k", NULL);
    f->host.bulk_max = UINT64_MAX; /* then the store's limit counts, before any memory is taken */
    expect(f, error, "setrange", "k", "1000000000000", "x", NULL);
    expect(f, error, "setrange", "k", "4293918720", "x", NULL);
    f->host.bulk_max = 1000000;
    expect(f, ":200001\r\n", "setrange", "k", "200000", "y", NULL);
    expect(f, "$0\r\n\r\n", "getrange", "k", "1", "0", NULL);
    expect(f, "$1\r\ny\r\n", "getrange", "k", "-1", "-1", NULL);
}

static void test_commands__databases__are_apart(void **state)
{
    struct fixture *f = *state;
    expect(f, "+OK\r\n", "set", "k", "zero", NULL);
    expect(f, "+OK\r\n", "select", "1", NULL);
    expect(f, "$-1\r\n", "get", "k", NULL);
    expect(f, "+OK\r\n", "set", "k", "one", NULL);
    expect(f, "+OK\r\n", "flushdb", "async", NULL);
    expect(f, ":0\r\n", "dbsize", NULL);
    expect(f, "-ERR DB index is out of range\r\n", "select", "16", NULL);
    expect(f, "-ERR DB index is out of range\r\n", "select", "-1", NULL);
    expect(f, "+OK\r\n", "select", "0", NULL);
    expect(f, "$4\r\nzero\r\n", "get", "k", NULL);
    expect(f, "-ERR syntax error\r\n", "flushall", "now", NULL);
    expect(f, "+OK\r\n", "flushall", NULL);
    expect(f, ":0\r\n", "dbsize", NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Its connection is parked, whatever wakes it before the snapshot has ended; nothing else waits. */
static void test_exec__save__waits_without_holding_up_others(void **state)
{
    struct fixture *f = *state;
    static const enum save_state ends[] = {SAVE_DONE, SAVE_FAILED};
    static const char *const replies[] = {"+OK\r\n", "-ERR the snapshot failed, see the log\r\n"};
    for (unsigned i = 0; i < 2; i++) {
        f->out.len = 0;
        f->argv[0] = (struct resp_arg){bk_span_str("SAVE"), NULL};
        f->cmd = (struct resp_command){.argv = f->argv, .argc = 1};
        enum exec_result result = run_command(f);
        for (unsigned woken = 0; woken < 3; woken++) {
            assert_int_equal(result, EXEC_NO_ROOM);
            assert_int_equal(f->out.len, 0);
            struct exec_slice *mine = f->slice;
            assert_non_null(mine);
            f->slice = NULL;
            expect(f, "+PONG\r\n", "PING", NULL); /* of another connection */
            expect(f, "+Background saving started\r\n", "BGSAVE", NULL);
            f->host.saves--; /* as if it had been a server of its own */
            f->slice = mine;
            f->out.len = 0;
            f->cmd = (struct resp_command){.argv = f->argv, .argc = 1};
            f->argv[0] = (struct resp_arg){bk_span_str("SAVE"), NULL};
            f->host.save_state = woken < 2 ? SAVE_RUNNING : ends[i];
            result = exec_resume(f->exec, &f->s, &f->cmd, f->now_ms, &f->reply, &f->pos, &f->slice);
        }
        assert_int_equal(result, EXEC_DONE);
        assert_null(f->slice);
        assert_true(bk_span_eq(bk_buf_span(&f->out), bk_span_str(replies[i])));
    }
}

static void test_exec__save_refused__says_why(void **state)
{
    struct fixture *f = *state;
    f->host.save_refused = true;
    expect(f, "-ERR Background save already in progress\r\n", "SAVE", NULL);
    expect(f, "-ERR Background save already in progress\r\n", "BGSAVE", NULL);
    expect(f, "-ERR Background save already in progress\r\n", "BGSAVE", "SCHEDULE", NULL);
    expect(f, ":1234\r\n", "LASTSAVE", NULL);
    assert_int_equal(f->host.saves, 0);
}

static void reopen_to_read(struct fixture *f)
{
    struct bk_options o;
    exec_free(&f->exec);
    ks_free(&f->ks);
    assert_int_equal(bk_close(&f->db, NULL), BK_OK);
    bk_options_init(&o);
    o.dir = f->dir.path;
    o.stepped = true;
    o.read_only = true;
    assert_int_equal(bk_open(&f->db, &o, NULL), BK_OK);
    f->ks = ks_new(f->db, o.databases);
    f->exec = exec_new(f->ks, &f->ops);
}

static void test_exec__what_a_reading_command_works_out__is_kept_if_the_store_takes_it(void **state)
{
    struct fixture *f = *state;
    expect(f, ":1\r\n", "pfadd", "kept", "a", NULL);
    expect(f, ":1\r\n", "pfadd", "new", "a", "b", NULL);
    expect(f, "$1\r\n\x80\r\n", "getrange", "kept", "15", "15", NULL);
    expect(f, ":1\r\n", "pfcount", "kept", NULL);
    expect(f, "$1\r\n\x01\r\n", "getrange", "kept", "8", "8", NULL);
    settle(f);
    reopen_to_read(f);
    expect(f, "$1\r\n\x01\r\n", "getrange", "kept", "8", "8", NULL);
    expect(f, ":1\r\n", "pfcount", "kept", NULL);
    expect(f, ":2\r\n", "pfcount", "new", NULL);
    expect(f, "$1\r\n\x80\r\n", "getrange", "new", "15", "15", NULL);
    expect(f, "-READONLY You can't write against a read only replica.\r\n", "pfadd", "new", "c",
           NULL);
    expect(f, ":2\r\n", "pfcount", "new", "kept", NULL);
    expect(f, "+PONG\r\n", "ping", NULL); /* nothing is wrong with it */
}

static void test_exec__wait_for_a_replica__is_parked_until_its_time_is_over(void **state)
{
    struct fixture *f = *state;
    static const int64_t steps[] = {0, 1, 50, 99};
    f->argv[0] = (struct resp_arg){bk_span_str("WAIT"), NULL};
    f->argv[1] = (struct resp_arg){bk_span_str("1"), NULL};
    f->argv[2] = (struct resp_arg){bk_span_str("100"), NULL};
    f->cmd = (struct resp_command){.argv = f->argv, .argc = 3};
    assert_int_equal(run_command(f), EXEC_NO_ROOM);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        assert_int_equal(exec_slice_until_ms(f->slice), NOW + 100);
        assert_int_equal(
            exec_resume(f->exec, &f->s, &f->cmd, NOW + steps[i], &f->reply, &f->pos, &f->slice),
            EXEC_NO_ROOM);
        assert_int_equal(f->out.len, 0);
    }
    assert_int_equal(exec_resume(f->exec, &f->s, &f->cmd, NOW + 100, &f->reply, &f->pos, &f->slice),
                     EXEC_DONE);
    assert_true(bk_span_eq(bk_buf_span(&f->out), bk_span_str(":0\r\n")));
    assert_int_equal(exec_slice_until_ms(f->slice), 0);
    f->argv[2] = (struct resp_arg){bk_span_str("0"), NULL};
    assert_int_equal(run_command(f), EXEC_NO_ROOM);
    assert_true(exec_slice_until_ms(f->slice) == EXEC_FOREVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_exec__unknown_command__is_quoted_within_limits),
        T(test_exec__argument_beyond_int__is_cut_in_errors),
        T(test_exec__wrong_arity__names_the_command),
        T(test_exec__refusals__come_in_the_order_of_redis),
        T(test_exec__reply_modes__drop_and_bring_back_replies),
        T(test_exec__no_room_in_the_log__leaves_no_trace),
        T(test_exec__keys__is_served_in_slices),
        T(test_exec__totals__count_hits_misses_and_errors),
        T(test_exec__pos__rises_to_what_the_reply_tells_of),
        T(test_commands__expiry__follows_the_clock_that_is_handed_in),
        T(test_commands__rename__moves_value_and_expiry),
        T(test_commands__same_key_twice__sees_its_own_writes),
        T(test_commands__longest_string__is_bounded_by_the_option),
        T(test_commands__databases__are_apart),
        T(test_exec__save__waits_without_holding_up_others),
        T(test_exec__save_refused__says_why),
        T(test_exec__what_a_reading_command_works_out__is_kept_if_the_store_takes_it),
        T(test_exec__wait_for_a_replica__is_parked_until_its_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
