/* SPDX-License-Identifier: MIT */
/*
 * slow_abuse.c - 200 connections that do not behave: they vanish in the middle of a command,
 * reconnect, send garbage, pipeline deep, hold replies back, close one side; while merges,
 * snapshots, flushes and CONFIG SET run beside them. Values up to 1 MiB, a bounded set of keys.
 *
 * One thread drives all of it from a seed. Every value that is read names its key and checks. At
 * two quiet points, after the warm-up and at the end, with all connections closed, the server's
 * resident set and descriptors are compared, its open data files with those that it counts. There
 * have been snapshots and merges then. The longest tick of a loop without the time that its thread
 * waited for a processor is printed, and with ABUSE_STRICT=1 must be 100 ms or less.
 *
 * Environment: ABUSE_SECONDS (default 180, both quiet points included), ABUSE_SEED, ABUSE_STRICT,
 * ABUSE_RSS=0 (print memory only: a sanitizer's server), BITKV_SERVER.
 */
#include "base/buf.h"
#include "lib/moment.h"
#include "lib/rawconn.h"
#include "lib/rng.h"
#include "lib/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS 200u
#define KEYS 3000u
#define BIG_KEYS 40u /* the first ones: up to 1 MiB */
#define BIG_MAX (1u << 20)
#define SMALL_MAX 4096u
#define STABLE 500u /* written once, read throughout */
#define DEPTH_MAX 2000u
#define PATIENCE_US 60000000
#define QUIET_US 5000000 /* what ends with the connections may take a moment */
#define TICK_US_MAX 100000ul

enum want { WANT_OK, WANT_VALUE, WANT_STABLE, WANT_ANY };

struct asked {
    enum want want;
    unsigned key;
};

enum mood { MOOD_NORMAL, MOOD_VANISH, MOOD_GARBAGE, MOOD_HALF_CLOSED };

struct slot {
    struct rawconn conn;
    bool open;
    enum mood mood;
    struct bk_buf out;
    size_t sent;
    struct asked asked[DEPTH_MAX];
    unsigned asked_n, answered;
    int64_t hold_until_us; /* nothing is read before */
    int64_t until_us;      /* open without an answer until then at most */
};

struct state {
    struct server server;
    struct respc *admin;
    struct rng rng;
    struct slot slots[SLOTS];
    unsigned serial;
    uint8_t *value, *expect; /* BIG_MAX each */
    unsigned long commands, values, vanished, garbage, held, connections, admin_commands, saves;
};

static struct state T;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- Values ---- */

/* Key, serial, then words from both: a value that is another's, or mixed of two, does not check. */
static size_t value_of(uint64_t key, uint64_t serial, uint8_t *out)
{
    struct rng r = {key << 32 ^ serial};
    size_t max = key < BIG_KEYS ? BIG_MAX : SMALL_MAX;
    size_t len = 16 + (size_t)rng_below(&r, max - 16);
    memcpy(out, &key, 8);
    memcpy(out + 8, &serial, 8);
    for (size_t at = 16; at < len; at += 8) {
        uint64_t word = rng_next(&r);
        memcpy(out + at, &word, len - at < 8 ? len - at : 8);
    }
    return len;
}

static void check_value(struct raw reply, unsigned key)
{
    struct raw text = raw_text(reply);
    uint64_t named[2];
    T.values++;
    if (raw_is_null(reply)) {
        return; /* deleted, expired or flushed */
    }
    assert_true(text.len >= sizeof named);
    memcpy(named, text.data, sizeof named);
    assert_int_equal(named[0], key);
    assert_true(named[1] <= T.serial);
    assert_int_equal(value_of(key, named[1], T.expect), text.len);
    assert_memory_equal(text.data, T.expect, text.len);
}

static void check_stable(struct raw reply, unsigned key)
{
    struct raw text = raw_text(reply);
    T.values++;
    assert_int_equal(value_of(KEYS + key, 0, T.expect), text.len);
    assert_memory_equal(text.data, T.expect, text.len);
}

static void check_reply(struct raw reply, struct asked asked)
{
    if (raw_is_error(reply)) {
        fail_msg("an error: %.*s", reply.len > 200 ? 200 : (int)reply.len, reply.data);
    }
    switch (asked.want) {
    case WANT_OK:
        assert_true(raw_is(raw_text(reply), "OK"));
        break;
    case WANT_VALUE:
        check_value(reply, asked.key);
        break;
    case WANT_STABLE:
        check_stable(reply, asked.key);
        break;
    case WANT_ANY:
        break;
    }
}

/* ---- What is sent ---- */

static void ask(struct slot *s, enum want want, unsigned key)
{
    s->asked[s->asked_n++] = (struct asked){want, key};
    T.commands++;
}

static unsigned draw_key(void)
{
    /* A large value now and then. */
    return rng_percent(&T.rng, 2) ? (unsigned)rng_below(&T.rng, BIG_KEYS)
                                  : BIG_KEYS + (unsigned)rng_below(&T.rng, KEYS - BIG_KEYS);
}

static void add_set(struct slot *s, unsigned key)
{
    size_t len = value_of(key, ++T.serial, T.value);
    bk_buf_printf(&s->out, "*3\r\n$3\r\nSET\r\n$5\r\nk%04u\r\n$%zu\r\n", key, len);
    bk_buf_append(&s->out, T.value, len);
    bk_buf_append(&s->out, "\r\n", 2);
    ask(s, WANT_OK, key);
}

static void add_command(struct slot *s)
{
    unsigned what = (unsigned)rng_below(&T.rng, 100);
    unsigned key = draw_key();
    if (what < 30) {
        add_set(s, key);
    } else if (what < 65) {
        bk_buf_printf(&s->out, "GET k%04u\r\n", key);
        ask(s, WANT_VALUE, key);
    } else if (what < 80) {
        key = (unsigned)rng_below(&T.rng, STABLE);
        bk_buf_printf(&s->out, "GET s%04u\r\n", key);
        ask(s, WANT_STABLE, key);
    } else if (what < 85) {
        bk_buf_printf(&s->out, "DEL k%04u\r\n", key);
        ask(s, WANT_ANY, key);
    } else if (what < 90) {
        bk_buf_printf(&s->out, "PEXPIRE k%04u %u\r\n", key, (unsigned)rng_below(&T.rng, 5000));
        ask(s, WANT_ANY, key);
    } else if (what < 97) {
        bk_buf_printf(&s->out, "MGET k%04u s0000 k%04u\r\n", key, draw_key());
        ask(s, WANT_ANY, key);
    } else {
        bk_buf_printf(&s->out, "SCAN %u COUNT 20\r\n", (unsigned)rng_below(&T.rng, 4000));
        ask(s, WANT_ANY, key);
    }
}

static void add_garbage(struct slot *s)
{
    static const char *const wrong[] = {"*3\r\n$3\r\nSET\r\n$-7\r\n",
                                        "*1000000000\r\n",
                                        "*2\r\n$3\r\nGET\r\n$999999999999\r\n",
                                        "SET \"unbalanced\r\n",
                                        "*1\r\n:5\r\n",
                                        "*-5\r\n$1\r\n",
                                        "GET\r\n\r\n\r\n*",
                                        "*2\r\n$3\r\nGETX\r\n$0\r\n"};
    unsigned what = (unsigned)rng_below(&T.rng, 16);
    if (what < sizeof wrong / sizeof wrong[0]) {
        bk_buf_append(&s->out, wrong[what], strlen(wrong[what]));
    } else {
        size_t n = (size_t)rng_range(&T.rng, 1, 5000);
        rng_fill(&T.rng, bk_buf_reserve(&s->out, n), n);
        s->out.len += n;
    }
}

/* A connection that has nothing to do draws what it does next. */
static void next_deed(struct slot *s, int64_t now)
{
    unsigned what = (unsigned)rng_below(&T.rng, 100);
    unsigned n = what < 10 ? (unsigned)rng_range(&T.rng, 200, DEPTH_MAX)
                           : (unsigned)rng_range(&T.rng, 1, 20);
    s->out.len = s->sent = 0;
    s->asked_n = s->answered = 0;
    s->mood = MOOD_NORMAL;
    s->until_us = now + PATIENCE_US;
    for (unsigned i = 0; i < n && s->out.len < (4u << 20); i++) {
        add_command(s);
    }
    if (what >= 10 && what < 20) {
        s->hold_until_us = now + (int64_t)rng_below(&T.rng, 3000000);
        T.held++;
    } else if (what >= 20 && what < 32) {
        s->mood = MOOD_VANISH;
        s->out.len = (size_t)rng_below(&T.rng, s->out.len);
        T.vanished++;
    } else if (what >= 32 && what < 37) {
        s->mood = MOOD_GARBAGE;
        s->until_us = now + 500000;
        add_garbage(s);
        T.garbage++;
    } else if (what >= 37 && what < 40) {
        s->mood = MOOD_HALF_CLOSED;
    }
}

/* ---- Connections ---- */

static void open_slot(struct slot *s)
{
    assert_true(rawconn_open(&s->conn, T.server.port));
    s->open = true;
    s->mood = MOOD_NORMAL;
    s->asked_n = s->answered = 0;
    s->out.len = s->sent = 0;
    s->hold_until_us = 0;
    s->until_us = INT64_MAX;
    T.connections++;
}

static void close_slot(struct slot *s)
{
    struct linger reset = {1, 0};
    if (s->open && rng_percent(&T.rng, 50)) {
        setsockopt(s->conn.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    if (s->open) {
        rawconn_close(&s->conn);
    }
    s->open = false;
}

static void send_some(struct slot *s)
{
    ssize_t n =
        send(s->conn.fd, s->out.data + s->sent, s->out.len - s->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        s->sent += (size_t)n;
    }
    if (s->sent == s->out.len && s->mood == MOOD_HALF_CLOSED) {
        rawconn_end_sending(&s->conn);
    }
}

static void read_some(struct slot *s)
{
    struct raw reply;
    char waste[4096];
    if (s->mood == MOOD_GARBAGE) {
        ssize_t n = recv(s->conn.fd, waste, sizeof waste, MSG_DONTWAIT);
        if (n == 0) {
            close_slot(s);
        }
        return;
    }
    bool there = rawconn_poll(&s->conn);
    while (s->answered < s->asked_n && rawconn_next(&s->conn, &reply)) {
        check_reply(reply, s->asked[s->answered++]);
    }
    if (!there) {
        /* After our own half was closed the server ends it, with every reply before. */
        assert_int_equal(s->mood, MOOD_HALF_CLOSED);
        assert_int_equal(s->answered, s->asked_n);
        close_slot(s);
    }
}

static unsigned port_of(const struct slot *s)
{
    struct sockaddr_in a = {0};
    socklen_t len = sizeof a;
    bool known = getsockname(s->conn.fd, (struct sockaddr *)&a, &len) == 0;
    return known ? ntohs(a.sin_port) : 0;
}

/* What both sides know of a connection that has waited too long. */
static void tell_stuck(const struct slot *s)
{
    const char *const ask_server[][2] = {{"CLIENT", "LIST"}, {"INFO", "all"}};
    print_message("port %u, mood %d: %u of %u replies, %zu of %zu bytes sent, %zu bytes read that "
                  "are not a whole reply\n",
                  port_of(s), (int)s->mood, s->answered, s->asked_n, s->sent, s->out.len,
                  s->conn.len - s->conn.at);
    for (size_t i = 0; i < 2; i++) {
        struct reply *r = respc_command(T.admin, ask_server[i][0], ask_server[i][1], NULL);
        print_message("%s\n", r == NULL ? "no answer" : r->text);
        reply_free(&r);
    }
}

static void work(struct slot *s, short events, int64_t now)
{
    if ((events & POLLOUT) != 0 && s->sent < s->out.len) {
        send_some(s);
    }
    if (s->mood == MOOD_VANISH && s->sent == s->out.len) {
        close_slot(s);
    }
    if (s->open && (events & (POLLIN | POLLHUP | POLLERR)) != 0 && now >= s->hold_until_us) {
        read_some(s);
    }
    if (s->open && now > s->until_us) {
        if (s->mood != MOOD_GARBAGE) {
            tell_stuck(s);
        }
        assert_int_equal(s->mood, MOOD_GARBAGE); /* it may wait for the rest of what it takes for a
                                                  * command; nobody else may wait for ever */
        close_slot(s);
    }
    if (s->open && s->mood == MOOD_NORMAL && s->answered == s->asked_n && s->sent == s->out.len) {
        next_deed(s, now);
    }
}

static void drive(int64_t until)
{
    struct pollfd fds[SLOTS];
    for (int64_t now = now_us(); now < until; now = now_us()) {
        for (unsigned i = 0; i < SLOTS; i++) {
            struct slot *s = &T.slots[i];
            if (!s->open && rng_percent(&T.rng, 30)) {
                open_slot(s);
            }
            short events = s->sent < s->out.len ? POLLOUT : 0;
            events = (short)(events | (now >= s->hold_until_us ? POLLIN : 0));
            fds[i] = (struct pollfd){s->open ? s->conn.fd : -1, events, 0};
        }
        assert_true(poll(fds, SLOTS, 10) >= 0);
        now = now_us();
        for (unsigned i = 0; i < SLOTS; i++) {
            if (T.slots[i].open) {
                work(&T.slots[i], fds[i].revents, now);
            }
        }
    }
}

/* ---- Beside them ---- */

static void admin(const char *a, const char *b, const char *c, const char *d)
{
    struct reply *r = respc_command(T.admin, a, b, c, d, NULL);
    assert_non_null(r);
    bool save = strcmp(a, "BGSAVE") == 0;
    bool busy = save && strstr(r->text, "Background save already in progress") != NULL;
    if (r->type == '-' && !busy) {
        fail_msg("%s %s %s: %s", a, b == NULL ? "" : b, c == NULL ? "" : c, r->text);
    }
    T.saves += save && !busy;
    T.admin_commands++;
    reply_free(&r);
}

static void random_admin(void)
{
    static const char *const settings[][2] = {
        {"appendfsync", "always"},   {"appendfsync", "everysec"}, {"appendfsync", "no"},
        {"cache-size", "0"},         {"cache-size", "16mb"},      {"cache-size", "1mb"},
        {"merge-dead-ratio", "10"},  {"merge-dead-ratio", "50"},  {"max-file-size", "2mb"},
        {"max-file-size", "8mb"},    {"merge-rate", "20mb"},      {"merge-rate", "600mb"},
        {"log-buffer-size", "64kb"}, {"log-buffer-size", "8mb"},  {"timeout", "0"}};
    const char *const *set = settings[rng_below(&T.rng, sizeof settings / sizeof settings[0])];
    admin("CONFIG", "SET", set[0], set[1]);
    switch (rng_below(&T.rng, 12)) {
    case 0:
    case 1:
        admin("BITKV", "MERGE", "NOW", NULL);
        break;
    case 2:
    case 3:
        admin("BGSAVE", NULL, NULL, NULL);
        break;
    case 4:
        admin("CLIENT", "LIST", NULL, NULL);
        break;
    case 5:
        admin("SELECT", "1", NULL, NULL);
        admin("SET", "in", "1", NULL);
        admin("FLUSHDB", NULL, NULL, NULL);
        admin("SELECT", "0", NULL, NULL);
        break;
    default:
        admin("INFO", "all", NULL, NULL);
        break;
    }
}

/* What stands behind a line's name, in out. */
static void info_text(const char *name, char out[64])
{
    char line[80];
    struct reply *r = respc_command(T.admin, "INFO", "all", NULL);
    assert_non_null(r);
    snprintf(line, sizeof line, "\n%s:", name);
    const char *at = strstr(r->text, line);
    assert_non_null(at);
    at += strlen(line);
    snprintf(out, 64, "%.*s", (int)strcspn(at, "\r\n"), at);
    reply_free(&r);
}

static unsigned long info_num(const char *name)
{
    char text[64];
    info_text(name, text);
    return strtoul(text, NULL, 10);
}

/* Once nothing is in the middle of being made or dropped, the data files that are open are those
 * that the store counts: none is lost, none is kept after it was dropped. */
static void settle_files(struct server_files *files)
{
    unsigned long counted = 0;
    bool same = false;
    for (int64_t start = now_us(); !same && now_us() - start < PATIENCE_US;) {
        counted = info_num("files");
        *files = server_open_files(&T.server);
        same = files->data == counted && files->deleted == 0;
        if (!same) {
            moment_pass(100000);
        }
    }
    if (!same) {
        fail_msg("%u data files are open, and %u that are deleted; the store counts %lu",
                 files->data, files->deleted, counted);
    }
}

/* Everybody goes; then the least that the server holds, less the free pages its allocator keeps. */
static long quiet(struct server_files *files)
{
    int64_t start = now_us();
    long least = -1;
    for (unsigned i = 0; i < SLOTS; i++) {
        close_slot(&T.slots[i]);
    }
    /* What CONFIG SET has drawn is no growth. */
    admin("CONFIG", "SET", "cache-size", "0");
    admin("CONFIG", "SET", "log-buffer-size", "1mb");
    while (info_num("connected_clients") != 1 || info_num("rdb_bgsave_in_progress") != 0 ||
           info_num("aof_rewrite_in_progress") != 0) {
        assert_true(now_us() - start < PATIENCE_US);
        moment_pass(10000);
    }
    for (start = now_us(); now_us() - start < QUIET_US;) {
        admin("MEMORY", "PURGE", NULL, NULL);
        long kib = server_memory_kib(&T.server, "VmRSS:");
        least = least < 0 || kib < least ? kib : least;
        moment_pass(100000);
    }
    settle_files(files);
    print_message("quiet: %ld KiB resident; %u data files, as the store counts, and %u other files "
                  "open\n",
                  least, files->data, files->other);
    return least;
}

static void write_stable(void)
{
    char key[16];
    for (unsigned i = 0; i < STABLE; i++) {
        snprintf(key, sizeof key, "s%04u", i);
        struct bk_span argv[] = {bk_span_str("SET"), bk_span_str(key),
                                 bk_span_of(T.value, value_of(KEYS + i, 0, T.value))};
        struct reply *r = respc_command_argv(T.admin, 3, argv);
        assert_true(r != NULL && r->type == '+');
        reply_free(&r);
    }
}

static void abuse_for(int64_t us)
{
    int64_t end = now_us() + us;
    admin("BGSAVE", NULL, NULL, NULL);
    while (now_us() < end) {
        drive(now_us() + (int64_t)rng_below(&T.rng, 1000000));
        random_admin();
    }
}

/* That nothing is wrong with snapshots and merges shows only where there were some. */
static void judge_background(void)
{
    char last[64];
    info_text("rdb_last_bgsave_status", last);
    assert_string_equal(last, "ok");
    assert_true(T.saves > 0 && info_num("snapshots") > 0);
    assert_true(info_num("merge_runs") > 0);
}

static void judge(long rss_before, long rss, const struct server_files *before,
                  const struct server_files *after)
{
    unsigned long ran_us = info_num("tick_ran_us_max");
    const char *measure = getenv("ABUSE_RSS");
    print_message("%lu commands, %lu values checked; %lu connections, %lu vanished in a command, "
                  "%lu sent garbage, %lu held replies back; %lu commands beside, %lu snapshots; "
                  "%lu merges\n",
                  T.commands, T.values, T.connections, T.vanished, T.garbage, T.held,
                  T.admin_commands, T.saves, info_num("merge_runs"));
    print_message("longest tick %lu us, without waits for a processor %lu us\n",
                  info_num("tick_us_max"), ran_us);
    assert_int_equal(after->other, before->other);
    if (measure == NULL || strcmp(measure, "0") != 0) {
        assert_true(rss <= rss_before + rss_before / 10 + (8 << 10));
    }
    if (getenv("ABUSE_STRICT") != NULL) {
        assert_true(ran_us <= TICK_US_MAX);
    }
    judge_background();
    assert_false(server_log_has(&T.server, "DAMAGE"));
    assert_false(server_log_has(&T.server, "Sanitizer"));
    assert_false(server_log_has(&T.server, "runtime error"));
}

static void test_abuse__connections_that_misbehave__nothing_leaks_and_values_are_right(void **state)
{
    const char *text = getenv("ABUSE_SECONDS");
    int64_t us = (text == NULL ? 180 : (int64_t)strtoul(text, NULL, 10)) * 1000000;
    uint64_t seed = rng_seed_from_env("ABUSE_SEED");
    struct server_files before, after;
    const char *options[] = {"--io-threads",  "2",    "--max-file-size",  "4mb",
                             "--cache-size",  "16mb", "--merge-interval", "200",
                             "--tcp-backlog", "511"};
    (void)state;
    us = us > 4 * QUIET_US ? us - 2 * QUIET_US : us;
    print_message("ABUSE_SEED=%llu\n", (unsigned long long)seed);
    T.rng.state = seed;
    T.value = malloc(BIG_MAX + 8);
    T.expect = malloc(BIG_MAX + 8);
    memcpy(T.server.options, options, sizeof options);
    assert_true(server_start(&T.server));
    T.admin = server_connect(&T.server);
    assert_true(T.value != NULL && T.expect != NULL && T.admin != NULL);
    write_stable();
    abuse_for(us / 3);
    long rss_before = quiet(&before);
    abuse_for(us - us / 3);
    long rss = quiet(&after);
    judge(rss_before, rss, &before, &after);
    respc_close(&T.admin);
    assert_int_equal(server_stop(&T.server), 0);
    server_fini(&T.server);
    for (unsigned i = 0; i < SLOTS; i++) {
        bk_buf_fini(&T.slots[i].out);
    }
    free(T.value);
    free(T.expect);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_abuse__connections_that_misbehave__nothing_leaks_and_values_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
