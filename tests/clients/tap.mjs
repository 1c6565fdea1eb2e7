// SPDX-License-Identifier: MIT
// tap.mjs - what the two Node programs share: numbered tests, comparing, waiting.
import assert from "node:assert/strict";
import readline from "node:readline";

let number = 0;
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Runs body now, as the next number; a text that it returns is said behind the name.
export async function test(name, body) {
    number += 1;
    let timer;
    try {
        const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error("not done in 20 s")), 20000); });
        const said = await Promise.race([body(), late]);
        console.log(`ok ${number} ${name}${typeof said === "string" ? said : ""}`);
    } catch (e) {
        console.log(`not ok ${number} ${name}\n# ${String(e.message ?? e).split("\n").slice(0, 8).join("\n# ")}`);
    }
    clearTimeout(timer);
}

export const same = assert.deepStrictEqual;

export async function refused(words, promise) {
    await assert.rejects(promise, (e) => e.message.includes(words) || assert.fail(`error ${e.message}, expected ${words}`));
}

export async function until(condition) {
    const end = Date.now() + 10000;
    while (!(await condition())) {
        assert.ok(Date.now() < end, "it did not happen in 10 s");
        await new Promise((go) => setTimeout(go, 5));
    }
}

// A list that others push to and one waits at.
export class Queue {
    items = [];
    waiting = [];
    push(item) {
        const go = this.waiting.shift();
        if (go) { go(item); } else { this.items.push(item); }
    }
    async take(n) {
        const out = [];
        while (out.length < n) {
            out.push(this.items.length > 0 ? this.items.shift() : await new Promise((go) => this.waiting.push(go)));
        }
        return out;
    }
}

export async function restart() {
    console.log("restart");
    await lines.next();
}

export const allBytes = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from("\r\n$-1\r\n")]);
export const bigValue = Buffer.alloc(8 << 20, allBytes.subarray(0, 256));
export const text = "žluťoučký 馬 🐎";
export const oddBytes = Buffer.from([0, 13, 10, 255]);
