/* SPDX-License-Identifier: MIT */
/*
 * Clients that keep values in caches of their own: the same scripts against redis-server, byte for
 * byte. That no cache keeps an old value: test_tracking_caches.c.
 */
#include "base/buf.h"
#include "server/one_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START(...) start((const char *const[]){"--io-threads", "4", __VA_ARGS__, NULL})

/* ---- Beside Redis ---- */

/* "WHO COMMAND; COMMAND ...": one client sends them at once. @x is the id of client x. */
static const char *const modes_script[] = {
    "a hello 3",
    "a client tracking on",
    "a client trackinginfo",
    "a get k",
    "b set k 1",
    "b set k 2",
    "a get k",
    "a set k 3",
    "a get k",
    "a mget k l m",
    "b mset k 1 l 2 m 3 n 4",
    "a set k 5; ping",
    "a get k; set k 6; ping",
    "a multi; get k; set k 5; set k 6; exec; ping",
    "b set k 7",
    "a multi; set q 1; get q; exec",
    "b set q 2",
    "a multi; get w; set w 1; get w; exec",
    "b set w 2",
    "a multi; set w 3; get w; set w 4; exec",
    "b set w 5",
    "a get k",
    "b flushall",
    "b set k 1",
    "a get k",
    "a flushdb; ping",
    "a get k",
    "a multi; get k; flushall; get l; exec",
    "b mset k 1 l 1",
    "a get k",
    "a select 4; get z",
    "b set k 2",
    "b set z 2",
    "a select 0; client tracking off",
    "a get k",
    "b set k 9",
    "a client tracking on; get k; client tracking off",
    "b set k 9",
    "a client tracking on noloop; get k",
    "a set k 8",
    "b set k 8",
    "a multi; set k 1; get k; exec",
    "b set k 2",
    "a client trackinginfo; client tracking off",
    "a client tracking on bcast",
    "b set k 1",
    "b mset b 1 a 2 c 3 a 4",
    "a set z 1",
    "a multi; set y 1; set x 1; exec",
    "b flushall",
    "a client tracking on bcast prefix aa prefix b",
    "a client tracking off; client tracking on bcast prefix aa prefix b noloop",
    "a client tracking on bcast prefix aa",
    "a client tracking on bcast prefix c",
    "a client trackinginfo",
    "b mset aab 1 b 2 c 3 d 4",
    "a mset aab 1 b 2 c 3 d 4",
    "a client tracking on bcast prefix d noloop; mset aab 1 b 2 c 3 d 4",
    "a multi; set c 1; client tracking off; set c 2; exec",
    "b set c 3",
    "a multi; client tracking on; get t1; exec",
    "b set t1 1",
    "a reset",
    "a client trackinginfo",
    "a client getredir",
    NULL};

static const char *const words_script[] = {
    "a client tracking",
    "a client tracking foo",
    "a client tracking on foo",
    "a client tracking on redirect",
    "a client tracking on redirect x",
    "a client tracking on redirect 0",
    "a client tracking on redirect 99999999",
    "a client tracking on redirect -5",
    "a client tracking on redirect @b redirect @b",
    "a client tracking on prefix foo",
    "a client tracking on prefix",
    "a client tracking on optin optout",
    "a client tracking on bcast optin",
    "a client tracking on bcast prefix foo prefix foobar",
    "a client tracking on bcast prefix foobar prefix foo",
    "a client caching",
    "a client caching yes",
    "a client caching foo",
    "a client tracking off",
    "a client trackinginfo",
    "a client tracking ON OPTIN NOLOOP",
    "a client tracking on bcast",
    "a client tracking on optout",
    "a client caching no",
    "a client caching foo",
    "a client trackinginfo foo",
    "a client caching yes; client trackinginfo; ping; client trackinginfo",
    "a client caching yes; nosuch; client trackinginfo",
    "a client caching yes; multi; ping; exec; client trackinginfo",
    "a client caching yes; get a b; client trackinginfo",
    "a hello 3",
    "a get k",
    "b set k 1",
    "a client caching yes; get k; get l",
    "b mset k 1 l 1",
    "a client caching yes; client id; mget k l",
    "b mset k 1 l 1",
    "a client caching yes; multi; get k; get l; exec; get m",
    "b mset k 1 l 1 m 1",
    "a client caching yes; discard; get k",
    "b set k 1",
    "a client tracking off; client tracking on optout; client caching yes",
    "a client caching no; client trackinginfo",
    "a client caching no; get k; get l",
    "b mset k 1 l 1",
    "a client trackinginfo",
    NULL};

static const char *const redirect_script[] = {"a client tracking on",
                                              "a get k",
                                              "b set k x",
                                              "b subscribe __redis__:invalidate",
                                              "a client tracking on redirect @b; client getredir",
                                              "a get k",
                                              "c set k x",
                                              "a get k",
                                              "a set k y",
                                              "a get k",
                                              "c flushall",
                                              "c hello 3",
                                              "c client tracking on redirect @b",
                                              "a get k1",
                                              "c get k2",
                                              "c mset k1 x k2 x",
                                              "c client tracking off",
                                              "a client tracking off",
                                              "a client tracking on redirect @b bcast noloop",
                                              "a set k x",
                                              "c set k x",
                                              "a client tracking off; hello 3",
                                              "a client tracking on redirect @b noloop",
                                              "a get k",
                                              "c get k",
                                              "c set k x",
                                              "a get k",
                                              "a set k x",
                                              "c set k x",
                                              "b unsubscribe",
                                              "a get k",
                                              "c set k x",
                                              "b hello 3",
                                              "a get k",
                                              "c set k x",
                                              "a get k; mget l m",
                                              "b quit",
                                              "c set k x",
                                              "a client trackinginfo",
                                              "c set l x",
                                              "a client tracking on; client trackinginfo",
                                              "a get k",
                                              "c set k x",
                                              NULL};

static const char *const commands_script[] = {"a hello 3",
                                              "a client tracking on bcast",
                                              "b set k v",
                                              "b set k v EX 100",
                                              "b set k v KEEPTTL",
                                              "b set k v NX",
                                              "b set k2 v NX GET",
                                              "b set k3 v XX",
                                              "b setnx k3 v",
                                              "b setnx k3 v",
                                              "b setex k4 100 v",
                                              "b msetnx a 1 zz 2",
                                              "b msetnx a 1 zy 2",
                                              "b getset g 1",
                                              "b append k x",
                                              "b append ap x",
                                              "b append k %",
                                              "b setrange sr 3 x",
                                              "b setrange sr 0 %",
                                              "b incr i",
                                              "b incrbyfloat f 1.5",
                                              "b getdel f",
                                              "b getdel f",
                                              "b getex k ex 10",
                                              "b getex k persist",
                                              "b getex k persist",
                                              "b getex k exat 1",
                                              "b expireat a 9000000000",
                                              "b expireat a 9000000000",
                                              "b expireat a 9000000000 nx",
                                              "b persist a",
                                              "b persist a",
                                              "b expire a -1",
                                              "b del zz nosuch i",
                                              "b set i 1",
                                              "b unlink k2 k2 i",
                                              "b set r1 v",
                                              "b rename r1 r2",
                                              "b rename r2 r2",
                                              "b renamenx r2 r3",
                                              "b setbit b1 3 1",
                                              "b setbit b1 3 1",
                                              "b bitop and d b1 sr",
                                              "b bitop and d nosuch",
                                              "b bitfield b1 set u8 0 5",
                                              "b bitfield b1 get u8 0",
                                              "b bitfield b1 set u8 0 5",
                                              "b pfadd h a b c",
                                              "b pfadd h a",
                                              "b pfcount h",
                                              "b pfcount h",
                                              "b pfmerge h2 h",
                                              "b copy r3 r4",
                                              "b copy r3 r4",
                                              "b copy r3 r4 replace",
                                              "b move r4 3",
                                              "b touch r3",
                                              "b set dst x",
                                              "b sort nokey store dst",
                                              "b sort nokey store dst",
                                              "b set s abc",
                                              "b incr s",
                                              "b mset s",
                                              "b multi; set m1 v; del m1; nosuch; exec",
                                              "b multi; set m1 v; del m1; exec",
                                              "b flushdb",
                                              "b flushall async",
                                              "b flushall foo",
                                              NULL};

static const char *const reads_script[] = {"a hello 3",
                                           "a client tracking on",
                                           "b set t 1",
                                           "a type t",
                                           "b set t 1",
                                           "a object encoding t",
                                           "b set t 1",
                                           "a exists t",
                                           "b set t 1",
                                           "a ttl t",
                                           "b set t 1",
                                           "a strlen t",
                                           "b set t 1",
                                           "a getrange t 0 -1",
                                           "b set t 1",
                                           "a bitcount t",
                                           "b set t 1",
                                           "a dump t",
                                           "b del t",
                                           "a sort_ro t",
                                           "b set t 1",
                                           "a lcs t u",
                                           "b set u 1",
                                           "b set t 1",
                                           "a getbit t 0",
                                           "b set t 1",
                                           "a touch t",
                                           "b set t 1",
                                           "a get t u",
                                           "b set t 1",
                                           "a watch t; unwatch",
                                           "b set t 1",
                                           "a set t 1 get",
                                           "b set t 1",
                                           "a getex t",
                                           "b set t 1",
                                           "a incr t",
                                           "b pfadd h a b",
                                           "a pfcount h",
                                           "b pfadd h c d",
                                           "a pfcount h; ping",
                                           "b pfadd h e f",
                                           "a get h",
                                           "b pfcount h",
                                           "a dbsize",
                                           "b set t 1",
                                           "a hello 2",
                                           "a get t",
                                           "b set t 1",
                                           "a ping",
                                           NULL};

#define CLIENTS 3

struct stage {
    struct respc *c[CLIENTS]; /* a, b, c; NULL once closed */
    char id[CLIENTS][24];
    unsigned lines;
    struct bk_buf *out; /* borrowed */
};

static void add_command(struct bk_buf *to, const struct stage *s, char *text)
{
    struct bk_span argv[16];
    size_t argc = 0;
    char *rest = text;
    for (char *w = strtok_r(text, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < sizeof argv / sizeof argv[0]);
        argv[argc++] = w[0] == '@'   ? bk_span_str(s->id[w[1] - 'a'])
                       : w[0] == '%' ? bk_span_str("")
                                     : bk_span_str(w);
    }
    respc_format_argv(to, argc, argv);
}

/* One line, with ids by the names of the clients. */
static void add_line(struct stage *s, unsigned who, char *text)
{
    bk_buf_printf(s->out, "%c: ", (int)('a' + who));
    while (*text != '\0') {
        unsigned i = 0;
        while (i < CLIENTS && strncmp(text, s->id[i], strlen(s->id[i])) != 0) {
            i++;
        }
        if (i < CLIENTS) {
            bk_buf_printf(s->out, "@%c", (int)('a' + i));
            text += strlen(s->id[i]);
        } else {
            bk_buf_append(s->out, text++, 1);
        }
    }
    bk_buf_append(s->out, "\n", 1);
}

/* Everything that the client has been sent up to the answer of a PING, or its end. */
static void gather(struct stage *s, unsigned who)
{
    struct bk_buf text = {0};
    char pong[2][64];
    bool more = s->c[who] != NULL;
    struct bk_buf ping = {0};
    snprintf(pong[0], sizeof pong[0], "$\"line %u\"", s->lines);
    snprintf(pong[1], sizeof pong[1], "*2 [$\"pong\" $\"line %u\"]", s->lines);
    if (more) {
        char word[24];
        snprintf(word, sizeof word, "line %u", s->lines);
        respc_format(&ping, "PING", word, NULL);
        more = respc_send(s->c[who], ping.data, ping.len);
    }
    while (more) {
        struct reply *r = respc_read(s->c[who]);
        text.len = 0;
        if (r == NULL) {
            add_line(s, who, (char[]){"closed"});
            respc_close(&s->c[who]);
            break;
        }
        reply_format(r, &text);
        more = strcmp((char *)text.data, pong[0]) != 0 && strcmp((char *)text.data, pong[1]) != 0;
        if (more) {
            add_line(s, who, (char *)text.data);
        }
        reply_free(&r);
    }
    bk_buf_fini(&ping);
    bk_buf_fini(&text);
}

static void play_line(struct stage *s, const char *line)
{
    struct bk_buf b = {0};
    unsigned who = (unsigned)(line[0] - 'a');
    char text[160];
    char *rest = text;
    snprintf(text, sizeof text, "%s", line + 2);
    bk_buf_printf(s->out, "> %s\n", line);
    for (char *one = strtok_r(text, ";", &rest); one != NULL; one = strtok_r(NULL, ";", &rest)) {
        add_command(&b, s, one);
    }
    assert_true(respc_send(s->c[who], b.data, b.len));
    s->lines++;
    /* What it has done is done: others are asked behind it. Twice, because Redis may have taken the
     * first PING in the same turn, and broadcasts at the end of it. */
    gather(s, who);
    gather(s, who);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (i != who) {
            gather(s, i);
        }
    }
    bk_buf_fini(&b);
}

static void play(struct server *srv, const char *const *script, struct bk_buf *out)
{
    struct stage s = {.out = out};
    struct respc *spare[200];
    /* Ids of their own length, so that no other number in a reply is taken for one. */
    for (unsigned i = 0; i < 200; i++) {
        spare[i] = expect_connection(srv);
        respc_close(&spare[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        s.c[i] = expect_connection(srv);
        struct reply *r = respc_command(s.c[i], "CLIENT", "ID", NULL);
        assert_non_null(r);
        assert_true(r->integer > 200);
        snprintf(s.id[i], sizeof s.id[i], "%lld", (long long)r->integer);
        reply_free(&r);
    }
    for (size_t i = 0; script[i] != NULL; i++) {
        play_line(&s, script[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        respc_close(&s.c[i]);
    }
    bk_buf_append(out, "", 1);
}

static void compare(const char *const *script)
{
    static const char *const options[] = {"--io-threads", "4", "--appendfsync", "no", NULL};
    expect_as_redis(options, script, play);
}

static void test_tracking__what_clients_hear_in_each_mode__is_redis_s(void **state)
{
    (void)state;
    compare(modes_script);
}

static void test_tracking__words_and_errors__are_redis_s(void **state)
{
    (void)state;
    compare(words_script);
}

static void test_tracking__redirected__is_redis_s(void **state)
{
    (void)state;
    compare(redirect_script);
}

static void test_tracking__each_command_that_changes_keys__is_told_of_as_in_redis(void **state)
{
    (void)state;
    compare(commands_script);
}

static void test_tracking__each_command_that_reads_keys__makes_them_remembered(void **state)
{
    (void)state;
    compare(reads_script);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tracking__what_clients_hear_in_each_mode__is_redis_s),
        TEST(test_tracking__words_and_errors__are_redis_s),
        TEST(test_tracking__redirected__is_redis_s),
        TEST(test_tracking__each_command_that_changes_keys__is_told_of_as_in_redis),
        TEST(test_tracking__each_command_that_reads_keys__makes_them_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
