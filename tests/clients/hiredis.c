/* SPDX-License-Identifier: MIT */
/*
 * hiredis.c - the 40 things of README.md, with hiredis.
 *
 * The library knows no URLs, no pipelines of its own and no reconnecting beyond one call: a program
 * does these things with redisAppendCommand() and redisReconnect(), as here. A test that fails ends
 * its function by longjmp.
 */
#include "lib/hireply.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG (8u << 20)

static struct {
    char password[64];
    char host[64];
    int port;
    int database;
} url;

static redisContext *r;
static redisContext *one;
static redisContext *two;
static const char odd[] = {'\0', '\r', '\n', '\xff'};

static redisContext *dial(const char *password, int database)
{
    struct timeval limit = {10, 0};
    redisContext *c = redisConnectWithTimeout(url.host, url.port, limit);
    if (c == NULL || c->err != 0) {
        hi_fail("cannot connect: %s", c != NULL ? c->errstr : "no memory");
    }
    redisSetTimeout(c, limit);
    hi_is(HI(c, "AUTH default %s", password), "OK");
    hi_is(HI(c, "SELECT %d", database), "OK");
    return c;
}

static void parse_url(const char *text)
{
    char port[16];
    char database[16];
    if (sscanf(text, "redis://default:%63[^@]@%63[^:]:%15[0-9]/%15[0-9]", url.password, url.host,
               port, database) != 4) {
        fprintf(stderr, "usage: hiredis redis://default:PASSWORD@HOST:PORT/DATABASE\n");
        exit(2);
    }
    url.port = (int)strtol(port, NULL, 10);
    url.database = (int)strtol(database, NULL, 10);
}

/* Asks every 5 ms, for 10 s. */
static void until(bool (*condition)(void))
{
    for (int i = 0; !condition(); i++) {
        if (i == 2000) {
            hi_fail("it did not happen in 10 s");
        }
        (void)poll(NULL, 0, 5);
    }
}

static void info_has(redisContext *c, const char *words)
{
    redisReply *reply = HI(c, "CLIENT INFO");
    bool has = reply->str != NULL && strstr(reply->str, words) != NULL;
    freeReplyObject(reply);
    if (!has) {
        hi_fail("CLIENT INFO without%s", words);
    }
}

/* ---- Connections ---- */

static void connect_by_url(void)
{
    r = dial(url.password, url.database);
    one = dial(url.password, url.database);
    two = dial(url.password, url.database);
    hi_is(HI(r, "FLUSHALL"), "OK");
    info_has(r, " db=3 ");
    info_has(r, " user=default ");
}

static void wrong_password(void)
{
    redisContext *c = redisConnect(url.host, url.port);
    hi_is_error(HI(c, "AUTH default wrong"), "WRONGPASS");
    redisFree(c);
}

static void connection_name(void)
{
    hi_is(HI(r, "CLIENT SETNAME a-name"), "OK");
    hi_is(HI(r, "CLIENT GETNAME"), "a-name");
}

static void ping_and_echo(void)
{
    hi_is(HI(r, "PING"), "PONG");
    hi_is(HI(r, "PING text"), "text");
    hi_is(HI(r, "ECHO text"), "text");
}

static void info(void)
{
    redisReply *reply = HI(r, "INFO");
    bool has = strstr(reply->str, "redis_version:7.0.15\r\n") != NULL &&
               strstr(reply->str, "connected_clients:") != NULL;
    freeReplyObject(reply);
    hi_same(has, true);
}

/* ---- Values ---- */

static void set_and_get(void)
{
    hi_is(HI(r, "SET key value"), "OK");
    hi_is(HI(r, "GET key"), "value");
}

static void missing_key(void)
{
    hi_is_null(HI(r, "GET missing"));
    hi_is_number(HI(r, "EXISTS missing"), 0);
}

static void binary_value(void)
{
    char value[262];
    for (int i = 0; i < 256; i++) {
        value[i] = (char)i;
    }
    memcpy(value + 256, "\r\n$-1\r", 6);
    hi_is(HI(r, "SET binary %b", value, sizeof value), "OK");
    hi_is_text(HI(r, "GET binary"), value, sizeof value);
}

static void binary_key(void)
{
    hi_is(HI(r, "SET %b v", odd, sizeof odd), "OK");
    hi_is_number(HI(r, "EXISTS %b", odd, sizeof odd), 1);
    redisReply *keys = HI(r, "KEYS %b*", odd, (size_t)1);
    hi_is_array(keys, 1);
    hi_same(memcmp(keys->element[0]->str, odd, sizeof odd), 0);
    freeReplyObject(keys);
}

static void empty_value(void)
{
    hi_is(HI(r, "SET empty %s", ""), "OK");
    hi_is(HI(r, "GET empty"), "");
}

static void utf8_text(void)
{
    const char *text = "žluťoučký 馬 🐎";
    hi_is(HI(r, "SET text %s", text), "OK");
    hi_is(HI(r, "GET text"), text);
    hi_is_number(HI(r, "STRLEN text"), (long long)strlen(text));
}

static void big_value(void)
{
    char *value = malloc(BIG);
    if (value == NULL) {
        hi_fail("no memory");
    }
    for (size_t i = 0; i < BIG; i++) {
        value[i] = (char)(i * 2654435761u >> 13);
    }
    hi_is(HI(r, "SET big %b", value, (size_t)BIG), "OK");
    hi_is_number(HI(r, "STRLEN big"), BIG);
    redisReply *reply = HI(r, "GET big");
    bool equal = reply->len == BIG && memcmp(reply->str, value, BIG) == 0;
    freeReplyObject(reply);
    free(value);
    hi_same(equal, true);
}

static void parts_of_a_value(void)
{
    hi_is_number(HI(r, "APPEND parts hello"), 5);
    hi_is_number(HI(r, "APPEND parts %s", " world"), 11);
    hi_is_number(HI(r, "SETRANGE parts 6 redis"), 11);
    hi_is(HI(r, "GETRANGE parts 3 -3"), "lo red");
    hi_is_number(HI(r, "STRLEN parts"), 11);
}

static void counters(void)
{
    hi_is_number(HI(r, "INCR counter"), 1);
    hi_is_number(HI(r, "INCRBY counter 9007199254740993"), 9007199254740994);
    hi_is_number(HI(r, "DECRBY counter 9007199254740984"), 10);
    hi_is(HI(r, "INCRBYFLOAT counter 0.5"), "10.5");
}

static void error_reply(void)
{
    hi_is_error(HI(r, "INCR key"), "value is not an integer or out of range");
    hi_is(HI(r, "GET key"), "value");
}

static void unknown_command(void)
{
    hi_is_error(HI(r, "NOSUCH a"), "unknown command 'NOSUCH'");
    hi_is(HI(r, "PING"), "PONG");
}

static void several_keys(void)
{
    hi_is(HI(r, "MSET m1 1 m3 3"), "OK");
    redisReply *reply = HI(r, "MGET m1 m2 m3");
    hi_is_array(reply, 3);
    hi_same(strcmp(reply->element[0]->str, "1"), 0);
    hi_same(reply->element[1]->type, REDIS_REPLY_NIL);
    hi_same(strcmp(reply->element[2]->str, "3"), 0);
    freeReplyObject(reply);
}

static void conditional_set(void)
{
    hi_is(HI(r, "SET once 1 NX"), "OK");
    hi_is_null(HI(r, "SET once 2 NX"));
    hi_is_null(HI(r, "SET never 1 XX"));
    hi_is(HI(r, "SET once 3 XX"), "OK");
    hi_is(HI(r, "GET once"), "3");
}

static void old_value(void)
{
    hi_is(HI(r, "SET once 4 GET"), "3");
}

static void get_and_delete(void)
{
    hi_is(HI(r, "GETDEL once"), "4");
    hi_is_null(HI(r, "GETDEL once"));
}

/* ---- Keys ---- */

static void delete_keys(void)
{
    hi_is(HI(r, "MSET d1 1 d2 2 d3 3"), "OK");
    hi_is_number(HI(r, "EXISTS d1 d2 d3 d3"), 4);
    hi_is_number(HI(r, "DEL d1 d2 d4"), 2);
    hi_is_number(HI(r, "UNLINK d3 d4"), 1);
    hi_is_number(HI(r, "EXISTS d1 d2 d3"), 0);
}

static void rename_and_type(void)
{
    hi_is(HI(r, "SET from x"), "OK");
    hi_is(HI(r, "RENAME from to"), "OK");
    hi_is(HI(r, "TYPE to"), "string");
    hi_is(HI(r, "TYPE from"), "none");
    hi_is_error(HI(r, "RENAME from to"), "no such key");
}

static void expiry(void)
{
    hi_is_number(HI(r, "TTL to"), -1);
    hi_is_number(HI(r, "TTL from"), -2);
    hi_is_number(HI(r, "EXPIRE to 100"), 1);
    long long left = hi_number(HI(r, "TTL to"));
    hi_same(left > 0 && left <= 100, true);
    hi_is_number(HI(r, "PERSIST to"), 1);
    hi_is_number(HI(r, "TTL to"), -1);
}

static bool brief_is_gone(void)
{
    redisReply *reply = HI(r, "GET brief");
    bool gone = reply->type == REDIS_REPLY_NIL;
    freeReplyObject(reply);
    return gone;
}

static void expired_key(void)
{
    hi_is(HI(r, "SET brief x PX 30"), "OK");
    until(brief_is_gone);
    hi_is_number(HI(r, "EXISTS brief"), 0);
}

static void expiry_at_a_time(void)
{
    hi_is_number(HI(r, "EXPIREAT to 4102444800"), 1);
    hi_is_number(HI(r, "EXPIRETIME to"), 4102444800);
}

static void scan(void)
{
    bool seen[1000] = {false};
    char cursor[32] = "0";
    for (int i = 0; i < 1000; i++) {
        hi_is(HI(r, "SET scan:%d x", i), "OK");
    }
    do {
        redisReply *page = HI(r, "SCAN %s MATCH scan:* COUNT 100", cursor);
        hi_is_array(page, 2);
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        for (size_t i = 0; i < page->element[1]->elements; i++) {
            long n = strtol(page->element[1]->element[i]->str + strlen("scan:"), NULL, 10);
            hi_same(n >= 0 && n < 1000 && !seen[n], true);
            seen[n] = true;
        }
        freeReplyObject(page);
    } while (strcmp(cursor, "0") != 0);
    for (int i = 0; i < 1000; i++) {
        hi_same(seen[i], true);
    }
}

static void databases(void)
{
    redisContext *other = dial(url.password, 4);
    hi_is_number(HI(other, "DBSIZE"), 0);
    hi_is(HI(other, "SET key other"), "OK");
    hi_is(HI(r, "GET key"), "value");
    hi_is_number(HI(other, "DBSIZE"), 1);
    hi_is(HI(other, "FLUSHDB"), "OK");
    redisFree(other);
    hi_same(hi_number(HI(r, "DBSIZE")) > 1000, true);
}

/* ---- Many at once ---- */

static void pipeline(void)
{
    for (int i = 0; i < 1000; i++) {
        redisAppendCommand(r, "SET p%d %d", i, i);
    }
    for (int i = 0; i < 1000; i++) {
        redisAppendCommand(r, "GET p%d", i);
    }
    for (int i = 0; i < 1000; i++) {
        hi_is(hi_next(r), "OK");
    }
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        hi_is(hi_next(r), text);
    }
}

static void error_in_a_pipeline(void)
{
    redisAppendCommand(r, "SET e1 1");
    redisAppendCommand(r, "INCR key");
    redisAppendCommand(r, "SET e2 2");
    hi_is(hi_next(r), "OK");
    hi_is_error(hi_next(r), "not an integer");
    hi_is(hi_next(r), "OK");
    hi_is(HI(r, "GET e1"), "1");
    hi_is(HI(r, "GET e2"), "2");
}

static void configuration(void)
{
    hi_is(HI(r, "CONFIG SET timeout 123"), "OK");
    redisReply *reply = HI(r, "CONFIG GET timeout");
    hi_is_array(reply, 2);
    hi_same(strcmp(reply->element[1]->str, "123"), 0);
    freeReplyObject(reply);
    hi_is(HI(r, "CONFIG SET timeout 0"), "OK");
}

/* ---- Transactions ---- */

static void transaction(void)
{
    hi_is(HI(r, "MULTI"), "OK");
    hi_is(HI(r, "SET t1 1"), "QUEUED");
    hi_is(HI(r, "INCR t1"), "QUEUED");
    hi_is(HI(r, "GET t1"), "QUEUED");
    hi_is(HI(r, "GET t2"), "QUEUED");
    redisReply *reply = HI(r, "EXEC");
    hi_is_array(reply, 4);
    hi_same(strcmp(reply->element[0]->str, "OK"), 0);
    hi_same(reply->element[1]->integer, 2);
    hi_same(strcmp(reply->element[2]->str, "2"), 0);
    hi_same(reply->element[3]->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

static void discard(void)
{
    hi_is(HI(one, "MULTI"), "OK");
    hi_is(HI(one, "SET t1 9"), "QUEUED");
    hi_is(HI(one, "DISCARD"), "OK");
    hi_is(HI(one, "GET t1"), "2");
}

/* Whether EXEC did it. */
static bool set_in_transaction(redisContext *c, const char *key, const char *value)
{
    hi_is(HI(c, "MULTI"), "OK");
    hi_is(HI(c, "SET %s %s", key, value), "QUEUED");
    redisReply *reply = HI(c, "EXEC");
    bool done = reply->type != REDIS_REPLY_NIL;
    if (done) {
        hi_is_array(reply, 1);
        hi_same(strcmp(reply->element[0]->str, "OK"), 0);
    }
    freeReplyObject(reply);
    return done;
}

static void watch(void)
{
    hi_is(HI(one, "WATCH t1"), "OK");
    hi_is(HI(one, "GET t1"), "2");
    hi_same(set_in_transaction(one, "t1", "3"), true);
    hi_is(HI(r, "GET t1"), "3");
}

static void watch_conflict(void)
{
    hi_is(HI(one, "WATCH t1"), "OK");
    hi_is(HI(r, "SET t1 theirs"), "OK");
    hi_same(set_in_transaction(one, "t1", "ours"), false);
    hi_is(HI(r, "GET t1"), "theirs");
}

/* Looks at the counter, and says in a transaction what it should be next. */
static void look(redisContext *c, char next_value[32])
{
    hi_is(HI(c, "WATCH count"), "OK");
    redisReply *reply = HI(c, "GET count");
    long value = reply->type == REDIS_REPLY_STRING ? strtol(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    snprintf(next_value, 32, "%ld", value + 1);
}

static void counting_by_watch(void)
{
    char ours[32];
    char theirs[32];
    for (int i = 0; i < 20; i++) {
        look(one, ours);
        look(two, theirs);
        hi_same(set_in_transaction(two, "count", theirs), true);
        hi_same(set_in_transaction(one, "count", ours), false);
        look(one, ours);
        hi_same(set_in_transaction(one, "count", ours), true);
    }
    hi_is(HI(r, "GET count"), "40");
}

static void error_in_a_transaction(void)
{
    hi_is(HI(r, "MULTI"), "OK");
    hi_is(HI(r, "SET x1 1"), "QUEUED");
    hi_is(HI(r, "INCR key"), "QUEUED");
    hi_is(HI(r, "SET x2 2"), "QUEUED");
    redisReply *reply = HI(r, "EXEC");
    hi_is_array(reply, 3);
    hi_same(reply->element[1]->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    hi_is(HI(r, "GET x1"), "1");
    hi_is(HI(r, "GET x2"), "2");
}

/* ---- Messages ---- */

static void subscribe(void)
{
    hi_is_subscription(HI(one, "SUBSCRIBE news"), "subscribe", 1);
    for (int i = 0; i < 100; i++) {
        hi_is_number(HI(r, "PUBLISH news %d", i), 1);
    }
    for (int i = 0; i < 100; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "%d", i);
        hi_is_message(hi_next(one), 3, (const char *const[]){"message", "news", text}, (size_t)len);
    }
    hi_is_subscription(HI(one, "UNSUBSCRIBE news"), "unsubscribe", 0);
    hi_is_number(HI(r, "PUBLISH news x"), 0);
    hi_is(HI(one, "GET count"), "40");
}

static void subscribe_to_a_pattern(void)
{
    hi_is_subscription(HI(one, "PSUBSCRIBE n?ws.*"), "psubscribe", 1);
    hi_is_number(HI(r, "PUBLISH other x"), 0);
    hi_is_number(HI(r, "PUBLISH news.one %b", odd, sizeof odd), 1);
    hi_is_message(hi_next(one), 4, (const char *const[]){"pmessage", "n?ws.*", "news.one", odd},
                  sizeof odd);
    hi_is_subscription(HI(one, "PUNSUBSCRIBE n?ws.*"), "punsubscribe", 0);
}

/* ---- After a restart ---- */

static bool is_back(void)
{
    if (redisReconnect(r) != REDIS_OK) {
        return false;
    }
    hi_is(HI(r, "AUTH default %s", url.password), "OK");
    hi_is(HI(r, "SELECT %d", url.database), "OK");
    redisReply *reply = HI(r, "PING");
    bool loaded = reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    return loaded;
}

static void restart(void)
{
    char line[64];
    hi_is(HI(r, "SET kept %s", "through the restart"), "OK");
    puts("restart");
    if (fgets(line, sizeof line, stdin) == NULL) {
        hi_fail("nobody restarts the server");
    }
    hi_same(redisCommand(r, "PING") == NULL, true);
    until(is_back);
    hi_is(HI(r, "GET kept"), "through the restart");
    info_has(r, " db=3 ");
}

static const struct {
    const char *name;
    void (*body)(void);
} things[] = {
    {"connect by URL", connect_by_url},
    {"wrong password", wrong_password},
    {"connection name", connection_name},
    {"ping and echo", ping_and_echo},
    {"info", info},
    {"set and get", set_and_get},
    {"missing key", missing_key},
    {"binary value", binary_value},
    {"binary key", binary_key},
    {"empty value", empty_value},
    {"utf-8 text", utf8_text},
    {"big value", big_value},
    {"parts of a value", parts_of_a_value},
    {"counters", counters},
    {"error reply", error_reply},
    {"unknown command", unknown_command},
    {"several keys", several_keys},
    {"conditional set", conditional_set},
    {"old value", old_value},
    {"get and delete", get_and_delete},
    {"delete", delete_keys},
    {"rename and type", rename_and_type},
    {"expiry", expiry},
    {"expired key", expired_key},
    {"expiry at a time", expiry_at_a_time},
    {"scan", scan},
    {"databases", databases},
    {"pipeline", pipeline},
    {"error in a pipeline", error_in_a_pipeline},
    {"configuration", configuration},
    {"transaction", transaction},
    {"discard", discard},
    {"watch", watch},
    {"watch conflict", watch_conflict},
    {"counting by watch", counting_by_watch},
    {"error in a transaction", error_in_a_transaction},
    {"subscribe", subscribe},
    {"subscribe to a pattern", subscribe_to_a_pattern},
    {"restart", restart},
};

int main(int argc, char **argv)
{
    const size_t n = sizeof things / sizeof *things;
    parse_url(argc > 1 ? argv[1] : "");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < n; i++) {
        if (hi_passes(things[i].body)) {
            printf("ok %zu %s\n", i + 1, things[i].name);
        } else {
            printf("not ok %zu %s\n# %s\n", i + 1, things[i].name, hi_why());
        }
    }
    printf("ok %zu resp3 # SKIP the library speaks RESP2 only\n", n + 1);
    return 0;
}
