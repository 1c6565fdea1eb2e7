// SPDX-License-Identifier: MIT
// node_redis.mjs - the 40 things of README.md, with node-redis.
import { createClient, RESP_TYPES, WatchError } from "redis";
import { test, same, refused, until, Queue, restart, allBytes, bigValue, text, oddBytes } from "./tap.mjs";

const url = process.argv[2];
const clients = [];

async function connect(options = {}) {
    const client = createClient({ url, ...options });
    client.on("error", () => {}); // reconnecting: the test sees whether it works
    clients.push(client);
    await client.connect();
    return client;
}

const r = await connect();
const bytes = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

await test("connect by URL", async () => {
    await r.flushAll();
    const info = await r.clientInfo();
    same([info.db, info.user], [3, "default"]);
});

await test("wrong password", async () => {
    const wrong = createClient({ url: url.replace("secret", "wrong"), socket: { reconnectStrategy: false } });
    wrong.on("error", () => {});
    await refused("WRONGPASS", wrong.connect());
});

await test("connection name", async () => {
    same(await (await connect({ name: "a-name" })).clientGetName(), "a-name");
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
    same(await bytes.get("binary"), allBytes);
});

await test("binary key", async () => {
    await r.set(oddBytes, "v");
    same(await r.exists(oddBytes), 1);
    same(await bytes.keys(Buffer.from([0, 42])), [oddBytes]);
});

await test("empty value", async () => {
    await r.set("empty", "");
    same(await r.get("empty"), "");
});

await test("utf-8 text", async () => {
    await r.set("text", text);
    same([await r.get("text"), await r.strLen("text")], [text, Buffer.byteLength(text)]);
});

await test("big value", async () => {
    await r.set("big", bigValue);
    same(await r.strLen("big"), 8 << 20);
    same((await bytes.get("big")).equals(bigValue), true);
});

await test("parts of a value", async () => {
    same([await r.append("parts", "hello"), await r.append("parts", " world")], [5, 11]);
    same(await r.setRange("parts", 6, "redis"), 11);
    same([await r.getRange("parts", 3, -3), await r.strLen("parts")], ["lo red", 11]);
});

await test("counters", async () => {
    same([await r.incr("counter"), await r.incrBy("counter", 41), await r.decrBy("counter", 32)], [1, 42, 10]);
    same(Number(await r.incrByFloat("counter", 0.5)), 10.5);
});

await test("error reply", async () => {
    await refused("value is not an integer or out of range", r.incr("key"));
    same(await r.get("key"), "value");
});

await test("unknown command", async () => {
    await refused("unknown command 'NOSUCH'", r.sendCommand(["NOSUCH", "a"]));
    same(await r.ping(), "PONG");
});

await test("several keys", async () => {
    same(await r.mSet({ m1: "1", m3: "3" }), "OK");
    same(await r.mGet(["m1", "m2", "m3"]), ["1", null, "3"]);
});

await test("conditional set", async () => {
    same([await r.set("once", "1", { NX: true }), await r.set("once", "2", { NX: true })], ["OK", null]);
    same([await r.set("never", "1", { XX: true }), await r.set("once", "3", { XX: true })], [null, "OK"]);
    same(await r.get("once"), "3");
});

await test("old value", async () => {
    same(await r.set("once", "4", { GET: true }), "3");
});

await test("get and delete", async () => {
    same([await r.getDel("once"), await r.getDel("once")], ["4", null]);
});

await test("delete", async () => {
    await r.mSet({ d1: "1", d2: "2", d3: "3" });
    same(await r.exists(["d1", "d2", "d3", "d3"]), 4);
    same([await r.del(["d1", "d2", "d4"]), await r.unlink(["d3", "d4"])], [2, 1]);
    same(await r.exists(["d1", "d2", "d3"]), 0);
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
    await r.set("brief", "x", { PX: 30 });
    await until(async () => (await r.get("brief")) === null);
    same(await r.exists("brief"), 0);
});

await test("expiry at a time", async () => {
    same([await r.expireAt("to", 4102444800), await r.expireTime("to")], [1, 4102444800]);
});

await test("scan", async () => {
    const wanted = Array.from({ length: 1000 }, (_, i) => `scan:${i}`).sort();
    await r.mSet(Object.fromEntries(wanted.map((key) => [key, "x"])));
    const found = [];
    for await (const keys of r.scanIterator({ MATCH: "scan:*", COUNT: 100 })) {
        found.push(...keys);
    }
    same(found.sort(), wanted);
});

await test("databases", async () => {
    const other = await connect({ url: url.replace("/3", "/4") });
    same(await other.dbSize(), 0);
    await other.set("key", "other");
    same([await r.get("key"), await other.dbSize()], ["value", 1]);
    await other.flushDb();
    same((await r.dbSize()) > 1000, true);
});

await test("pipeline", async () => {
    const sent = [];
    for (let i = 0; i < 1000; i++) { sent.push(r.set(`p${i}`, `${i}`)); }
    for (let i = 0; i < 1000; i++) { sent.push(r.get(`p${i}`)); }
    same(await Promise.all(sent), [...Array(1000).fill("OK"), ...Array.from({ length: 1000 }, (_, i) => `${i}`)]);
});

await test("error in a pipeline", async () => {
    const replies = await Promise.allSettled([r.set("e1", "1"), r.incr("key"), r.set("e2", "2")]);
    same(replies.map((reply) => reply.status), ["fulfilled", "rejected", "fulfilled"]);
    same(await r.mGet(["e1", "e2"]), ["1", "2"]);
});

await test("configuration", async () => {
    const old = (await r.configGet("timeout")).timeout;
    same(await r.configSet("timeout", "123"), "OK");
    same((await r.configGet("timeout")).timeout, "123");
    await r.configSet("timeout", old);
});

await test("transaction", async () => {
    same(await r.multi().set("t1", "1").incr("t1").get("t1").get("t2").exec(), ["OK", 2, "2", null]);
});

await test("discard", async () => {
    same(await r.sendCommand(["MULTI"]), "OK");
    same(await r.sendCommand(["SET", "t1", "9"]), "QUEUED");
    same(await r.sendCommand(["DISCARD"]), "OK");
    same(await r.get("t1"), "2");
});

const one = await connect();
const two = await connect();

await test("watch", async () => {
    await one.watch("t1");
    const value = Number(await one.get("t1"));
    same(await one.multi().set("t1", `${value + 1}`).exec(), ["OK"]);
    same(await r.get("t1"), "3");
});

await test("watch conflict", async () => {
    await one.watch("t1");
    await r.set("t1", "theirs");
    let error;
    await one.multi().set("t1", "ours").exec().catch((e) => { error = e; });
    same(error instanceof WatchError, true);
    same(await r.get("t1"), "theirs");
});

// Counts once; between() runs after the first look only. How many tries it took.
async function addOne(client, between) {
    for (let tries = 1; ; tries++) {
        await client.watch("count");
        const value = Number((await client.get("count")) ?? 0);
        if (tries === 1) { await between(); }
        try {
            await client.multi().set("count", `${value + 1}`).exec();
            return tries;
        } catch (e) {
            if (!(e instanceof WatchError)) { throw e; }
        }
    }
}

await test("counting by watch", async () => {
    for (let i = 0; i < 20; i++) {
        same(await addOne(one, async () => same(await addOne(two, async () => {}), 1)), 2);
    }
    same(await r.get("count"), "40");
});

await test("error in a transaction", async () => {
    const replies = await r.multi().set("x1", "1").incr("key").set("x2", "2").exec().catch((e) => e.replies);
    same([replies[0], replies[2]], ["OK", "OK"]);
    same(/not an integer/.test(replies[1].message), true);
    same(await r.mGet(["x1", "x2"]), ["1", "2"]);
});

await test("subscribe", async () => {
    const queue = new Queue();
    await one.subscribe("news", (message) => queue.push(message));
    const wanted = Array.from({ length: 100 }, (_, i) => `${i}`);
    for (const message of wanted) { same(await r.publish("news", message), 1); }
    same(await queue.take(100), wanted);
    await one.unsubscribe("news");
    same(await r.publish("news", "x"), 0);
    same(String(await one.get("count")), "40"); // a Buffer, for this library, on a connection that has subscribed
});

await test("subscribe to a pattern", async () => {
    const queue = new Queue();
    await one.pSubscribe("n?ws.*", (message, channel) => queue.push([channel.toString(), message]), true);
    await r.publish("other", "x");
    await r.publish("news.one", oddBytes);
    same(await queue.take(1), [["news.one", oddBytes]]);
    await one.pUnsubscribe("n?ws.*");
});

await test("restart", async () => {
    await r.set("kept", "through the restart");
    await restart();
    await until(() => r.ping().then(() => true, () => false));
    same([await r.get("kept"), (await r.clientInfo()).db], ["through the restart", 3]);
});

await test("resp3", async () => {
    const three = await connect({ RESP: 3 });
    const hello = await three.hello();
    same([hello.proto, hello.version], [3, "7.0.15"]);
    const asMap = three.withTypeMapping({ [RESP_TYPES.MAP]: Map });
    same(await asMap.configGet("timeout"), new Map([["timeout", "0"]]));
    same(await three.get("missing"), null);
    same(await three.multi().set("t3", "1").get("t3").exec(), ["OK", "1"]);
    const queue = new Queue();
    await three.subscribe("news", (message) => queue.push(message));
    await r.publish("news", "a push");
    same([await queue.take(1), await three.get("t3")], [["a push"], "1"]);
});

clients.forEach((client) => client.destroy());
process.exit(0);
