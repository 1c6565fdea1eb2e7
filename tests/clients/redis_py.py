#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis_py.py - the 40 things of README.md, with redis-py."""
import sys
import time

import redis

URL = sys.argv[1]
number = 0


def test(name):
    """Runs the function behind it at once, as the next number."""

    def run(body):
        global number
        number += 1
        try:
            said = body()
            print(f"ok {number} {name}{said or ''}", flush=True)
        except Exception as e:
            print(f"not ok {number} {name}\n# {type(e).__name__}: {str(e)[:300]}", flush=True)

    return run


def same(got, expected):
    if got != expected or type(got) is not type(expected):
        raise AssertionError(f"got {got!r:.200}, expected {expected!r:.200}")


def refused(words, call, *args):
    try:
        call(*args)
    except redis.RedisError as e:
        if words not in str(e):
            raise AssertionError(f"error {e}, expected {words}") from e
        return
    raise AssertionError("no error")


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in 10 s")
        time.sleep(0.005)


r = redis.Redis.from_url(URL)


@test("connect by URL")
def _():
    r.flushall()
    same(r.client_info()["db"], 3)
    same(r.client_info()["user"], "default")


@test("wrong password")
def _():
    refused("invalid username-password pair", redis.Redis.from_url(URL.replace("secret", "wrong")).ping)


@test("connection name")
def _():
    same(redis.Redis.from_url(URL, client_name="a-name").client_getname(), "a-name")


@test("ping and echo")
def _():
    same(r.ping(), True)
    same(r.echo("text"), b"text")


@test("info")
def _():
    same(r.info()["redis_version"], "7.0.15")
    same(r.info("clients")["connected_clients"] > 0, True)


@test("set and get")
def _():
    same(r.set("key", "value"), True)
    same(r.get("key"), b"value")


@test("missing key")
def _():
    same(r.get("missing"), None)
    same(r.exists("missing"), 0)


@test("binary value")
def _():
    value = bytes(range(256)) + b"\r\n$-1\r\n"
    r.set("binary", value)
    same(r.get("binary"), value)


@test("binary key")
def _():
    key = b"\x00\r\n\xff"
    r.set(key, "v")
    same(r.exists(key), 1)
    same(r.keys(b"\x00*"), [key])


@test("empty value")
def _():
    r.set("empty", "")
    same(r.get("empty"), b"")


@test("utf-8 text")
def _():
    text = redis.Redis.from_url(URL, decode_responses=True)
    text.set("text", "žluťoučký 馬 🐎")
    same(text.get("text"), "žluťoučký 馬 🐎")
    same(text.strlen("text"), len("žluťoučký 馬 🐎".encode()))


@test("big value")
def _():
    value = bytes(range(256)) * (8 * 4096)
    r.set("big", value)
    same(r.strlen("big"), 8 << 20)
    same(r.get("big"), value)


@test("parts of a value")
def _():
    same(r.append("parts", "hello"), 5)
    same(r.append("parts", " world"), 11)
    same(r.setrange("parts", 6, "redis"), 11)
    same(r.getrange("parts", 3, -3), b"lo red")
    same(r.strlen("parts"), 11)


@test("counters")
def _():
    same(r.incr("counter"), 1)
    same(r.incrby("counter", 9007199254740993), 9007199254740994)
    same(r.decrby("counter", 9007199254740984), 10)
    same(r.incrbyfloat("counter", 0.5), 10.5)


@test("error reply")
def _():
    refused("value is not an integer or out of range", r.incr, "key")
    same(r.get("key"), b"value")


@test("unknown command")
def _():
    refused("unknown command 'NOSUCH'", r.execute_command, "NOSUCH", "a")
    same(r.ping(), True)


@test("several keys")
def _():
    same(r.mset({"m1": "1", "m3": "3"}), True)
    same(r.mget("m1", "m2", "m3"), [b"1", None, b"3"])


@test("conditional set")
def _():
    same(r.set("once", 1, nx=True), True)
    same(r.set("once", 2, nx=True), None)
    same(r.set("never", 1, xx=True), None)
    same(r.set("once", 3, xx=True), True)
    same(r.get("once"), b"3")


@test("old value")
def _():
    same(r.set("once", 4, get=True), b"3")


@test("get and delete")
def _():
    same(r.getdel("once"), b"4")
    same(r.getdel("once"), None)


@test("delete")
def _():
    r.mset({"d1": 1, "d2": 2, "d3": 3})
    same(r.exists("d1", "d2", "d3", "d3"), 4)
    same(r.delete("d1", "d2", "d4"), 2)
    same(r.unlink("d3", "d4"), 1)
    same(r.exists("d1", "d2", "d3"), 0)


@test("rename and type")
def _():
    r.set("from", "x")
    same(r.rename("from", "to"), True)
    same(r.type("to"), b"string")
    same(r.type("from"), b"none")
    refused("no such key", r.rename, "from", "to")


@test("expiry")
def _():
    same(r.ttl("to"), -1)
    same(r.ttl("from"), -2)
    same(r.expire("to", 100), True)
    same(0 < r.ttl("to") <= 100, True)
    same(r.persist("to"), True)
    same(r.ttl("to"), -1)


@test("expired key")
def _():
    r.set("brief", "x", px=30)
    until(lambda: r.get("brief") is None)
    same(r.exists("brief"), 0)


@test("expiry at a time")
def _():
    same(r.expireat("to", 4102444800), True)
    same(r.execute_command("EXPIRETIME", "to"), 4102444800)


@test("scan")
def _():
    wanted = [b"scan:%d" % i for i in range(1000)]
    r.mset({key: "x" for key in wanted})
    same(sorted(r.scan_iter(match="scan:*", count=100)), sorted(wanted))


@test("databases")
def _():
    other = redis.Redis.from_url(URL.replace("/3", "/4"))
    same(other.dbsize(), 0)
    other.set("key", "other")
    same(r.get("key"), b"value")
    same(other.dbsize(), 1)
    other.flushdb()
    same(r.dbsize() > 1000, True)


@test("pipeline")
def _():
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"p{i}", i)
        for i in range(1000):
            p.get(f"p{i}")
        replies = p.execute()
    same(replies, [True] * 1000 + [b"%d" % i for i in range(1000)])


@test("error in a pipeline")
def _():
    with r.pipeline(transaction=False) as p:
        p.set("e1", 1)
        p.incr("key")
        p.set("e2", 2)
        replies = p.execute(raise_on_error=False)
    same(replies[0], True)
    same(isinstance(replies[1], redis.ResponseError), True)
    same(r.mget("e1", "e2"), [b"1", b"2"])


@test("configuration")
def _():
    old = r.config_get("timeout")["timeout"]
    same(r.config_set("timeout", 123), True)
    same(r.config_get("timeout"), {"timeout": "123"})
    r.config_set("timeout", old)


@test("transaction")
def _():
    with r.pipeline(transaction=True) as p:
        same(p.set("t1", 1).incr("t1").get("t1").get("t2").execute(), [True, 2, b"2", None])


@test("discard")
def _():
    with r.client() as one:
        same(one.execute_command("MULTI"), b"OK")
        same(one.execute_command("APPEND", "t1", "x"), b"QUEUED")
        same(one.execute_command("DISCARD"), b"OK")
        same(one.get("t1"), b"2")


@test("watch")
def _():
    with r.pipeline() as p:
        p.watch("t1")
        value = int(p.get("t1"))
        p.multi()
        p.set("t1", value + 1)
        same(p.execute(), [True])
    same(r.get("t1"), b"3")


@test("watch conflict")
def _():
    with r.pipeline() as p:
        p.watch("t1")
        r.set("t1", "theirs")
        p.multi()
        p.set("t1", "ours")
        try:
            p.execute()
            raise AssertionError("executed in spite of the conflict")
        except redis.WatchError:
            pass
    same(r.get("t1"), b"theirs")


def add_one(between):
    """Counts once; between() runs after the first look only. How many tries it took."""
    tries = 0
    with r.pipeline() as p:
        while True:
            tries += 1
            p.watch("count")
            value = int(p.get("count") or 0)
            if tries == 1:
                between()
            p.multi()
            p.set("count", value + 1)
            try:
                p.execute()
                return tries
            except redis.WatchError:
                continue


@test("counting by watch")
def _():
    for _ in range(20):
        same(add_one(lambda: same(add_one(lambda: None), 1)), 2)
    same(r.get("count"), b"40")


@test("error in a transaction")
def _():
    with r.pipeline(transaction=True) as p:
        replies = p.set("x1", 1).incr("key").set("x2", 2).execute(raise_on_error=False)
    same(replies[0], True)
    same("not an integer" in str(replies[1]), True)
    same(replies[2], True)
    same(r.mget("x1", "x2"), [b"1", b"2"])


@test("subscribe")
def _():
    p = r.pubsub()
    p.subscribe("news")
    same(p.get_message(timeout=10)["type"], "subscribe")
    for i in range(100):
        same(r.publish("news", i), 1)
    same([p.get_message(timeout=10)["data"] for _ in range(100)], [b"%d" % i for i in range(100)])
    p.unsubscribe("news")
    same(p.get_message(timeout=10)["type"], "unsubscribe")
    same(r.publish("news", "x"), 0)
    p.close()


@test("subscribe to a pattern")
def _():
    p = r.pubsub()
    p.psubscribe("n?ws.*")
    same(p.get_message(timeout=10)["type"], "psubscribe")
    r.publish("other", "x")
    r.publish("news.one", b"\x00\r\n\xff")
    same(p.get_message(timeout=10),
         {"type": "pmessage", "pattern": b"n?ws.*", "channel": b"news.one", "data": b"\x00\r\n\xff"})
    p.close()


@test("restart")
def _():
    r.set("kept", "through the restart")
    print("restart", flush=True)
    sys.stdin.readline()

    def back():
        try:
            return r.ping()
        except redis.ConnectionError:
            return False

    until(back)
    same(r.get("kept"), b"through the restart")
    same(r.client_info()["db"], 3)


@test("resp3")
def _():
    return " # SKIP the library speaks RESP2 only"
