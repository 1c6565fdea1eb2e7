// SPDX-License-Identifier: MIT
// ioredis.mjs - the 40 things of README.md, with ioredis.
import Redis from "ioredis";
import { test, same, refused, until, Queue, restart, allBytes, bigValue, text, oddBytes } from "./tap.mjs";

const url = process.argv[2];

function connect(options = {}, to = url) {
    const client = new Redis(to, options);
    client.on("error", () => {}); // reconnecting: the test sees whether it works
    return client;
}

const r = connect();
const one = connect();
const two = connect();

await test("connect by URL", async () => {
    await r.flushall();
    const info = await r.client("INFO");
    same([/ db=3 /.test(info), / user=default /.test(info)], [true, true]);
});

await test("wrong password", async () => {
    const wrong = connect({ lazyConnect: true, retryStrategy: null }, url.replace("secret", "wrong"));
    const told = new Promise((_, no) => wrong.on("error", no));
    wrong.connect().catch(() => {}); // says only that the connection is closed
    await refused("WRONGPASS", told);
    wrong.disconnect();
});

await test("connection name", async () => {
    const named = connect({ connectionName: "a-name" });
    same(await named.client("GETNAME"), "a-name");
    await named.quit();
});

await test("ping and echo", async () => {
    same([await r.ping(), await r.ping("text"), await r.echo("text")], ["PONG", "text", "text"]);
});

await test("info", async () => {
    same((await r.info()).match(/redis_version:(.*)\r/)[1], "7.0.15");
    same(Number((await r.info("clients")).match(/connected_clients:(.*)\r/)[1]) > 0, true);
});

await test("set and get", async () => {
    same([await r.set("key", "value"), await r.get("key")], ["OK", "value"]);
});

await test("missing key", async () => {
    same([await r.get("missing"), await r.exists("missing")], [null, 0]);
});

await test("binary value", async () => {
    await r.set("binary", allBytes);
    same(await r.getBuffer("binary"), allBytes);
});

await test("binary key", async () => {
    await r.set(oddBytes, "v");
    same(await r.exists(oddBytes), 1);
    same(await r.keysBuffer(Buffer.from([0, 42])), [oddBytes]);
});

await test("empty value", async () => {
    await r.set("empty", "");
    same(await r.get("empty"), "");
});

await test("utf-8 text", async () => {
    await r.set("text", text);
    same([await r.get("text"), await r.strlen("text")], [text, Buffer.byteLength(text)]);
});

await test("big value", async () => {
    await r.set("big", bigValue);
    same(await r.strlen("big"), 8 << 20);
    same((await r.getBuffer("big")).equals(bigValue), true);
});

await test("parts of a value", async () => {
    same([await r.append("parts", "hello"), await r.append("parts", " world")], [5, 11]);
    same(await r.setrange("parts", 6, "redis"), 11);
    same([await r.getrange("parts", 3, -3), await r.strlen("parts")], ["lo red", 11]);
});

await test("counters", async () => {
    same([await r.incr("counter"), await r.incrby("counter", 41), await r.decrby("counter", 32)], [1, 42, 10]);
    same(await r.incrbyfloat("counter", 0.5), "10.5");
});

await test("error reply", async () => {
    await refused("value is not an integer or out of range", r.incr("key"));
    same(await r.get("key"), "value");
});

await test("unknown command", async () => {
    await refused("unknown command 'NOSUCH'", r.call("NOSUCH", "a"));
    same(await r.ping(), "PONG");
});

await test("several keys", async () => {
    same(await r.mset({ m1: "1", m3: "3" }), "OK");
    same(await r.mget("m1", "m2", "m3"), ["1", null, "3"]);
});

await test("conditional set", async () => {
    same([await r.set("once", "1", "NX"), await r.set("once", "2", "NX")], ["OK", null]);
    same([await r.set("never", "1", "XX"), await r.set("once", "3", "XX")], [null, "OK"]);
    same(await r.get("once"), "3");
});

await test("old value", async () => {
    same(await r.set("once", "4", "GET"), "3");
});

await test("get and delete", async () => {
    same([await r.getdel("once"), await r.getdel("once")], ["4", null]);
});

await test("delete", async () => {
    await r.mset({ d1: "1", d2: "2", d3: "3" });
    same(await r.exists("d1", "d2", "d3", "d3"), 4);
    same([await r.del("d1", "d2", "d4"), await r.unlink("d3", "d4")], [2, 1]);
    same(await r.exists("d1", "d2", "d3"), 0);
});

await test("rename and type", async () => {
    await r.set("from", "x");
    same(await r.rename("from", "to"), "OK");
    same([await r.type("to"), await r.type("from")], ["string", "none"]);
    await refused("no such key", r.rename("from", "to"));
});

await test("expiry", async () => {
    same([await r.ttl("to"), await r.ttl("from"), await r.expire("to", 100)], [-1, -2, 1]);
    const left = await r.ttl("to");
    same(left > 0 && left <= 100, true);
    same([await r.persist("to"), await r.ttl("to")], [1, -1]);
});

await test("expired key", async () => {
    await r.set("brief", "x", "PX", 30);
    await until(async () => (await r.get("brief")) === null);
    same(await r.exists("brief"), 0);
});

await test("expiry at a time", async () => {
    same([await r.expireat("to", 4102444800), await r.expiretime("to")], [1, 4102444800]);
});

await test("scan", async () => {
    const wanted = Array.from({ length: 1000 }, (_, i) => `scan:${i}`).sort();
    await r.mset(Object.fromEntries(wanted.map((key) => [key, "x"])));
    const found = [];
    for await (const keys of r.scanStream({ match: "scan:*", count: 100 })) {
        found.push(...keys);
    }
    same(found.sort(), wanted);
});

await test("databases", async () => {
    const other = connect({}, url.replace("/3", "/4"));
    same(await other.dbsize(), 0);
    await other.set("key", "other");
    same([await r.get("key"), await other.dbsize()], ["value", 1]);
    await other.flushdb();
    same((await r.dbsize()) > 1000, true);
    await other.quit();
});

await test("pipeline", async () => {
    const p = r.pipeline();
    for (let i = 0; i < 1000; i++) { p.set(`p${i}`, i); }
    for (let i = 0; i < 1000; i++) { p.get(`p${i}`); }
    const wanted = [...Array(1000).fill("OK"), ...Array.from({ length: 1000 }, (_, i) => `${i}`)];
    same(await p.exec(), wanted.map((reply) => [null, reply]));
});

await test("error in a pipeline", async () => {
    const replies = await r.pipeline().set("e1", 1).incr("key").set("e2", 2).exec();
    same([replies[0], replies[2]], [[null, "OK"], [null, "OK"]]);
    same(/not an integer/.test(replies[1][0].message), true);
    same(await r.mget("e1", "e2"), ["1", "2"]);
});

await test("configuration", async () => {
    const old = (await r.config("GET", "timeout"))[1];
    same(await r.config("SET", "timeout", 123), "OK");
    same(await r.config("GET", "timeout"), ["timeout", "123"]);
    await r.config("SET", "timeout", old);
});

await test("transaction", async () => {
    same(await r.multi().set("t1", 1).incr("t1").get("t1").get("t2").exec(),
        [[null, "OK"], [null, 2], [null, "2"], [null, null]]);
});

await test("discard", async () => {
    same(await one.multi({ pipeline: false }), "OK");
    same(await one.set("t1", 9), "QUEUED");
    same(await one.discard(), "OK");
    same(await r.get("t1"), "2");
});

await test("watch", async () => {
    await one.watch("t1");
    const value = Number(await one.get("t1"));
    same(await one.multi().set("t1", value + 1).exec(), [[null, "OK"]]);
    same(await r.get("t1"), "3");
});

await test("watch conflict", async () => {
    await one.watch("t1");
    await r.set("t1", "theirs");
    same(await one.multi().set("t1", "ours").exec(), null);
    same(await r.get("t1"), "theirs");
});

// Counts once; between() runs after the first look only. How many tries it took.
async function addOne(client, between) {
    for (let tries = 1; ; tries++) {
        await client.watch("count");
        const value = Number((await client.get("count")) ?? 0);
        if (tries === 1) { await between(); }
        if ((await client.multi().set("count", value + 1).exec()) !== null) { return tries; }
    }
}

await test("counting by watch", async () => {
    for (let i = 0; i < 20; i++) {
        same(await addOne(one, async () => same(await addOne(two, async () => {}), 1)), 2);
    }
    same(await r.get("count"), "40");
});

await test("error in a transaction", async () => {
    const replies = await r.multi().set("x1", 1).incr("key").set("x2", 2).exec();
    same([replies[0], replies[2]], [[null, "OK"], [null, "OK"]]);
    same(/not an integer/.test(replies[1][0].message), true);
    same(await r.mget("x1", "x2"), ["1", "2"]);
});

await test("subscribe", async () => {
    const queue = new Queue();
    one.on("message", (channel, message) => queue.push(message));
    same(await one.subscribe("news"), 1);
    const wanted = Array.from({ length: 100 }, (_, i) => `${i}`);
    for (const message of wanted) { same(await r.publish("news", message), 1); }
    same(await queue.take(100), wanted);
    same(await one.unsubscribe("news"), 0);
    same(await r.publish("news", "x"), 0);
    same(await one.get("count"), "40");
});

await test("subscribe to a pattern", async () => {
    const queue = new Queue();
    one.on("pmessageBuffer", (pattern, channel, message) => queue.push([String(pattern), String(channel), message]));
    await one.psubscribe("n?ws.*");
    await r.publish("other", "x");
    await r.publish("news.one", oddBytes);
    same(await queue.take(1), [["n?ws.*", "news.one", oddBytes]]);
    await one.punsubscribe("n?ws.*");
});

await test("restart", async () => {
    await r.set("kept", "through the restart");
    await restart();
    await until(() => r.ping().then(() => true, () => false));
    same([await r.get("kept"), / db=3 /.test(await r.client("INFO"))], ["through the restart", true]);
});

await test("resp3", async () => " # SKIP the library speaks RESP2 only");

process.exit(0);
