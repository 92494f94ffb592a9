import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../../src/index.js";
import { NearCache, type NearOptions } from "../../src/near/index.js";
import { FakeClock, settle } from "../support/clock.js";
import { FakeCluster, type Fault } from "../support/fake.js";
import { delayed, Random, seeds } from "../support/network.js";

interface World {
  cluster: FakeCluster;
  clock: FakeClock;
  client: Client;
  near: NearCache;
  requests: () => number;
}

async function setUp(options: NearOptions = {}): Promise<World> {
  const cluster = new FakeCluster();
  const clock = new FakeClock();
  cluster.now = clock.logTime;
  const client = new Client({ urls: "http://n1,http://n2", fetch: cluster.fetch, clock });
  const near = new NearCache(client, options);
  await near.start();
  return { cluster, clock, client, near, requests: () => cluster.seen.filter(({ path }) => path.startsWith("/v1/kv/")).length };
}

test("what was read is answered here, until the stream tells that it has changed", async () => {
  const { cluster, near, requests } = await setUp();
  cluster.put("a", "1");
  await settle();
  assert.equal((await near.get("a"))?.text(), "1");
  assert.equal((await near.get("a"))?.text(), "1");
  assert.equal(await near.get("none"), null);
  assert.equal(await near.get("none"), null);
  assert.equal(requests(), 2);
  cluster.put("a", "2");
  cluster.put("none", "now");
  await settle();
  assert.equal((await near.get("a"))?.text(), "2");
  assert.equal((await near.get("none"))?.text(), "now");
  cluster.clear("");
  await settle();
  assert.equal(await near.get("a"), null);
  assert.deepEqual([near.stats.hits, near.stats.misses], [2, 5]);
  await near.close();
});

test("keys outside the prefixes are read through", async () => {
  const { cluster, near, requests } = await setUp({ prefix: ["a:", "b:"] });
  cluster.put("c", "1");
  await near.get("c");
  await near.get("c");
  assert.equal(requests(), 2);
  await near.close();
});

test("a lost stream lets the age grow: bounded reads ask the cluster, which does not send the value again", async () => {
  const { cluster, clock, near, requests } = await setUp();
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  cluster.fault = ({ path }): Fault | undefined => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
  cluster.cut();
  await clock.advance(900);
  assert.equal((await near.get("a", { maxStaleMs: 1000 }))?.text(), "1");
  assert.equal(requests(), 1);
  await clock.advance(200);
  assert.equal((await near.get("a", { maxStaleMs: 1000 }))?.text(), "1");
  assert.equal(requests(), 2);
  assert.equal(near.stats.validated, 1);
  assert.ok(cluster.seen.some(({ headers }) => headers.get("if-none-match") !== null));
  cluster.put("a", "2");
  await clock.advance(500);
  assert.equal((await near.get("a", { maxStaleMs: 1000 }))?.text(), "1", "within its bound");
  assert.equal((await near.get("a", { maxStaleMs: 100 }))?.text(), "2");
  cluster.put("a", "3");
  assert.equal((await near.get("a", "any"))?.text(), "2");
  assert.equal((await near.get("a", "linearizable"))?.text(), "3");
  cluster.fault = () => undefined;
  cluster.put("a", "4");
  await clock.advance(3000);
  assert.equal((await near.get("a", "any"))?.text(), "4", "the stream went on from its place");
  await near.close();
});

test("a bookmark that was long on its way proves nothing about the present", async () => {
  const { cluster, clock, near, requests } = await setUp();
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  await clock.advance(8_000);
  cluster.bookmark();
  await settle();
  // Log time is cut to whole milliseconds.
  assert.equal(near.stats.ageMs, 1);
  const then = cluster.now();
  await clock.advance(8_000);
  cluster.now = () => then;
  cluster.bookmark();
  await settle();
  assert.equal(near.stats.ageMs, 8_001);
  await near.get("a", { maxStaleMs: 5_000 });
  assert.equal(requests(), 2);
  await near.close();
});

test("while changes come without a pause, the index of a read confirms the stream", async () => {
  const { cluster, clock, near } = await setUp({ probeMs: 500 });
  cluster.put("a", "1");
  cluster.put("b", "1");
  await settle();
  await near.get("a");
  await near.get("b");
  for (let step = 0; step < 100; step++) {
    cluster.put("busy", String(step));
    await clock.advance(100);
    await near.get("a", { maxStaleMs: 1000 });
    await near.get("b", { maxStaleMs: 1000 });
  }
  const asked = cluster.seen.filter(({ path }) => path === "/v1/kv/a").length;
  assert.ok(asked < 12, `${asked} reads of 100 went to the cluster`);
  assert.ok(cluster.seen.length < 60, `${cluster.seen.length} requests for 200 reads`);
  await near.close();
});

test("an answer is not kept if the key was told to have changed while it was on its way", async () => {
  const cluster = new FakeCluster();
  const clock = new FakeClock();
  cluster.now = clock.logTime;
  const client = new Client({ urls: "http://n1", fetch: delayed(cluster, clock, (what) => (what === "answer" ? 100 : 0)), clock });
  const near = new NearCache(client);
  await clock.drive(near.start());
  cluster.put("a", "1");
  const reading = near.get("a");
  await clock.advance(50);
  cluster.put("a", "2");
  assert.equal((await clock.drive(reading))?.text(), "1");
  assert.equal(near.stats.discarded, 1);
  assert.equal(near.getNow("a", "any"), undefined);
  const again = near.get("a");
  await clock.advance(50);
  cluster.put("other", "2");
  assert.equal((await clock.drive(again))?.text(), "2");
  assert.equal(near.getNow("a", "any")?.text(), "2");
  await clock.drive(near.close());
});

test("resync and another history drop everything, also what was on its way", async () => {
  const { cluster, clock, near } = await setUp();
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  cluster.resync();
  await settle();
  assert.equal(near.stats.entries, 0);
  await near.get("a");
  assert.equal(near.stats.entries, 1);
  cluster.put("lost", "1");
  await settle();
  await near.get("lost");
  cluster.fork("restored", cluster.index - 1);
  await settle();
  // The stream does not know yet; an answer names the other history.
  assert.equal(await near.get("lost", "linearizable"), null);
  assert.equal(near.getNow("a", "any"), undefined);
  await clock.advance(2000);
  assert.equal((await near.get("a"))?.text(), "1");
  assert.equal(near.getNow("a", "any")?.text(), "1");
  await near.close();
});

test("a revision that is known here means nothing in another history", async () => {
  const { cluster, near } = await setUp();
  cluster.put("a", "of the first");
  await settle();
  await near.get("a");
  const stored = cluster.entries.get("a");
  assert(stored !== undefined);
  // The same revision, and another value: no node compares histories by revisions.
  cluster.cut = () => {};
  cluster.fork("restored");
  cluster.entries.set("a", { ...stored, value: Buffer.from("of the second") });
  assert.equal((await near.get("a", "linearizable"))?.text(), "of the second");
  await near.close();
});

test("a node that is behind with log time proves nothing about the age", async () => {
  const { cluster, clock, near } = await setUp();
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  const { now } = cluster;
  // It answers what is not linearizable, and its log time is four seconds behind.
  cluster.now = () => now() - 4_000;
  near.flush();
  await near.get("a", "any");
  cluster.now = now;
  const then = now();
  await clock.advance(8_000);
  cluster.now = () => then;
  cluster.bookmark();
  await settle();
  assert(near.stats.ageMs >= 8_000, String(near.stats.ageMs));
  await near.close();
});

test("entries expire here by the monotonic clock, also without a connection", async () => {
  const { cluster, clock, near } = await setUp({ want: "any" });
  cluster.put("a", "1", { deadline: cluster.now() + 1000 });
  await settle();
  await near.get("a");
  cluster.fault = () => ({ kind: "refused" });
  cluster.cut();
  clock.skew = -100_000;
  await clock.advance(999);
  assert.equal(near.getNow("a")?.text(), "1");
  await clock.advance(1);
  assert.equal(near.getNow("a"), undefined);
  await near.close();
});

test("with mode update the stream brings the new values", async () => {
  const { cluster, clock, near, requests } = await setUp({ mode: "update", want: "any" });
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  cluster.put("a", "2", { deadline: cluster.now() + 500 });
  cluster.put("unread", "1");
  await settle();
  assert.equal(near.getNow("a")?.text(), "2");
  assert.equal(near.getNow("unread"), undefined);
  await clock.advance(500);
  assert.equal(near.getNow("a"), undefined);
  assert.equal(requests(), 1);
  await near.close();
});

test("it keeps to its bounds, and evicts what was not used", async () => {
  const { cluster, near } = await setUp({ maxEntries: 10, want: "any" });
  for (let at = 0; at < 100; at++) {
    cluster.put(`k${at}`, "x");
    await settle();
    await near.get(`k${at}`);
    near.getNow("k0");
  }
  assert.equal(near.stats.entries, 10);
  assert.equal(near.getNow("k0")?.text(), "x", "used all the time");
  await near.close();
  const small = await setUp({ maxBytes: 5_000, want: "any" });
  for (let at = 0; at < 20; at++) small.cluster.put(`k${at}`, "x".repeat(at === 10 ? 9_000 : 500));
  await settle();
  for (let at = 0; at < 20; at++) await small.near.get(`k${at}`);
  assert.ok(small.near.stats.bytes <= 5_000);
  assert.ok(small.near.stats.entries > 2);
  await small.near.close();
});

test("session reads see the own writes, wherever they are read", async () => {
  const { cluster, near, requests } = await setUp({ want: "session" });
  cluster.put("a", "0");
  await settle();
  await near.get("a");
  await near.put("a", "1", { ttlMs: "never" });
  assert.equal((await near.get("a"))?.text(), "1");
  await near.put("a", "2");
  assert.equal((await near.get("a"))?.text(), "2");
  assert.equal(await near.incr("n", 4), 4n);
  assert.equal((await near.get("n"))?.text(), "4");
  assert.equal(await near.delete("a"), true);
  assert.equal(await near.get("a"), null);
  const reads = cluster.seen.filter(({ method, path }) => method === "GET" && path.startsWith("/v1/kv/"));
  assert.ok(reads.slice(1).every(({ path }) => path.includes("min_index=")));
  assert.ok(requests() > 0);
  await near.close();
});

test("no read is older than it may be, whatever is late, cut or lost", async () => {
  for (const seed of seeds(25)) {
    const random = new Random(seed);
    const cluster = new FakeCluster();
    const clock = new FakeClock();
    cluster.now = clock.logTime;
    // Now the answers are slow, now the stream.
    const slow = random.pick([
      { request: 5, answer: 200, stream: 5 },
      { request: 5, answer: 5, stream: 3000 },
      { request: 50, answer: 50, stream: 50 },
    ]);
    const net = delayed(cluster, clock, (what) => (random.chance(0.4) ? random.below(5) : random.below(slow[what])));
    const client = new Client({ urls: "http://n1,http://n2", fetch: net, clock });
    const mode = random.pick(["invalidate", "update"] as const);
    const near = new NearCache(client, { mode, maxEntries: random.pick([2, 4]), probeMs: 200 });
    const log: { key: string; value: string | null; at: number }[] = [];
    const keys = ["a", "b", "c"];
    for (const key of keys) log.push({ key, value: null, at: -Infinity });
    await clock.drive(near.start());
    const reads: Promise<void>[] = [];
    for (let step = 0; step < 400; step++) {
      const key = random.pick(keys);
      const what = random.next();
      if (what < 0.25) {
        const value = random.chance(0.8) ? String(step) : null;
        if (value === null) cluster.remove(key);
        else cluster.put(key, value);
        log.push({ key, value, at: clock.now });
      } else if (what < 0.26) cluster.cut(random.chance(0.5) ? "stopping" : undefined);
      else if (what < 0.265) cluster.resync();
      else if (what < 0.4) cluster.bookmark();
      else {
        const maxStaleMs = random.pick([0, 20, 200, 2000]);
        const begun = clock.now;
        const read = near.get(key, random.chance(0.2) ? "linearizable" : { maxStaleMs });
        reads.push(
          read.then((entry) => {
            const value = entry?.text() ?? null;
            const of = log.filter((write) => write.key === key);
            const good = of.some((write, at) => write.value === value && write.at <= clock.now && (of[at + 1]?.at ?? Infinity) >= begun - maxStaleMs);
            assert.ok(good, `seed ${seed}, step ${step}: ${key} was ${value}, ${maxStaleMs} ms`);
          }),
        );
      }
      if (random.chance(0.5)) await clock.advance(random.below(60));
    }
    await clock.drive(Promise.all(reads));
    await clock.drive(near.close());
  }
});

test("of all processes that miss a key at once one fills it", async () => {
  const { cluster, clock, near } = await setUp();
  const others = [1, 2].map(() => new NearCache(new Client({ urls: "http://n1", fetch: cluster.fetch, clock })));
  for (const other of others) await other.start();
  let fills = 0;
  const fill = async () => {
    fills++;
    await new Promise<void>((resolve) => void clock.after(500, resolve));
    return "made";
  };
  const all = [near, ...others].flatMap((cache) => [cache.getOrFill("k", fill), cache.getOrFill("k", fill)]);
  const values = await clock.drive(Promise.all(all));
  assert.deepEqual(values.map((entry) => entry?.text()), Array(6).fill("made"));
  assert.equal(fills, 1);
  assert.equal(cluster.locks.size, 0);
  for (const cache of [near, ...others]) await clock.drive(cache.close());
});

test("when the process that fills dies its session ends, and another fills", async () => {
  const { cluster, clock, near } = await setUp();
  const dying = new Client({ urls: "http://n9", fetch: cluster.fetch, clock });
  const dead = new NearCache(dying);
  await dead.start();
  let late: (value: string) => void = () => {};
  const stuck = dead.getOrFill("k", () => new Promise<string>((resolve) => (late = resolve)), { sessionTtlMs: 3000 });
  await clock.advance(100);
  cluster.fault = ({ url }) => (url === "http://n9" ? { kind: "hang" } : undefined);
  const filled = near.getOrFill("k", () => "second");
  await clock.advance(2000);
  assert.equal(cluster.entries.has("k"), false);
  await clock.advance(2000);
  cluster.expireSessions();
  assert.equal((await clock.drive(filled))?.text(), "second");
  cluster.fault = () => undefined;
  late("first, too late");
  assert.equal((await clock.drive(stuck))?.text(), "second", "it does not overwrite");
  await clock.drive(near.close());
  await clock.drive(dead.close());
});

test("a fill that fails is the caller's error, and others fill", async () => {
  const { clock, near, cluster } = await setUp();
  await assert.rejects(clock.drive(near.getOrFill("k", () => Promise.reject(new Error("no database")))), /no database/);
  assert.equal(cluster.locks.size, 0);
  assert.equal((await clock.drive(near.getOrFill("k", () => "x", { ttlMs: 50 })))?.text(), "x");
  assert.equal(await clock.drive(near.getOrFill("nothing", () => null)), null);
  await clock.drive(near.close());
});
