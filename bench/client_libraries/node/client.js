// Traffic by one Node.js library, `node client.js`; bench/client_libraries/messages.py has its messages.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const now = () => (performance.timeOrigin + performance.now()) / 1000;

const OPENERS = {
  async ioredis(spec) {
    const { Cluster } = await import("ioredis");
    const cluster = new Cluster([{ host: spec.host, port: spec.port }], { redisOptions: { password: spec.password } });
    cluster.on("error", (error) => console.error(`event: ${error}`));
    return { set: (key, value) => cluster.set(key, value), get: (key) => cluster.get(key) };
  },

  async "node-redis"(spec) {
    const { createCluster } = await import("redis");
    const cluster = createCluster({
      rootNodes: [{ url: `redis://${spec.host}:${spec.port}` }],
      defaults: { password: spec.password },
    });
    cluster.on("error", (error) => console.error(`event: ${error}`));
    await cluster.connect();
    return { set: (key, value) => cluster.set(key, value), get: (key) => cluster.get(key) };
  },
};

const PACKAGES = { ioredis: "ioredis", "node-redis": "redis" };

/** The last acknowledged value of each key, and values whose writes ended in an error: they may have happened. */
class Expectation {
  constructor() {
    this.values = new Map();
    this.doubtful = new Map();
    this.writes = 0;
  }

  unsure(key, value) {
    this.doubtful.set(key, (this.doubtful.get(key) ?? new Set()).add(value));
  }

  acknowledged(key, value) {
    this.values.set(key, value);
    this.doubtful.delete(key);
    this.writes += 1;
  }

  contradiction(key, found) {
    const expected = this.values.get(key);
    if (expected === undefined || found === expected || this.doubtful.get(key)?.has(found)) return null;
    return `${key} holds ${found}, and ${expected} was acknowledged`;
  }
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const spec = JSON.parse((await lines.next()).value);
const cache = await OPENERS[spec.library](spec);
const expectations = Array.from({ length: spec.workers }, () => new Expectation());
const report = { begun: [], took: [], writes: [], errors: [], lost: [] };
let stopping = false;

async function work(number, begin) {
  const expected = expectations[number];
  for (let turn = 0; !stopping; turn += 1) {
    let due = begin + (turn * spec.workers + number) / spec.rate;
    const early = due - now();
    if (early > 0) {
      await sleep(early * 1000);
      due = now();
    }
    const writing = turn % 2 === 0;
    const key = `${spec.name || spec.library}:${number}:${Math.floor(turn / 2) % spec.keys}`;
    try {
      if (writing) {
        const value = `${number}:${turn}`;
        expected.unsure(key, value);
        await cache.set(key, value);
        expected.acknowledged(key, value);
      } else {
        const contradiction = expected.contradiction(key, await cache.get(key));
        if (contradiction) report.lost.push(`${contradiction}, at ${now().toFixed(3)}`);
      }
    } catch (error) {
      const command = `${writing ? "SET" : "GET"} ${key}`;
      const message = String(error?.message ?? error).slice(0, 300);
      report.errors.push({ begun: due, at: now(), command, kind: error?.constructor?.name ?? typeof error, message });
    }
    report.begun.push(due);
    report.took.push(now() - due);
    report.writes.push(writing);
  }
}

const begin = now();
const running = Promise.all(expectations.map((_, number) => work(number, begin)));
process.stdout.write("\n");
await lines.next();
stopping = true;
await running;

let readBack = 0;
let acknowledged = 0;
for (const expected of expectations) {
  acknowledged += expected.writes;
  for (const key of expected.values.keys()) {
    readBack += 1;
    const contradiction = expected.contradiction(key, await cache.get(key));
    if (contradiction) report.lost.push(`${contradiction}, read back`);
  }
}
const manifest = new URL(`node_modules/${PACKAGES[spec.library]}/package.json`, import.meta.url);
const version = JSON.parse(readFileSync(manifest, "utf8")).version;
const answer = { library: spec.library, version, ...report, acknowledged, read_back: readBack };
process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
