import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Clock } from "../../src/index.js";
import { CacheSynchronizer, IndexedDbStorage, MemoryStorage, SyncError } from "../../src/sync/index.js";
import { FileStorage } from "../../src/sync/file.js";
import { settle } from "../support/clock.js";
import { MapCache, World } from "../support/sync.js";

const TEXT = { contentType: "text/plain" };

test("network partitions", async () => {
  const world = new World();
  world.cluster.put("shared", "1", TEXT);
  const { sync, cache } = await world.connected({ syncInterval: 1000 });
  world.cluster.fault = () => ({ kind: "refused" });
  world.cluster.cut();
  await world.clock.advance(20_000);
  assert.equal(sync.getStatus().connected, false);
  assert.equal(sync.getDetails().stalenessMs, Infinity);
  await sync.set("mine", "made in the partition");
  world.cluster.put("theirs", "made on the other side", TEXT);
  assert.equal(cache.map.get("shared"), "1", "what is here can be read on");
  assert.equal(sync.getStatus().pending, 1);
  world.cluster.fault = () => undefined;
  await world.clock.advance(20_000);
  assert.deepEqual(cache.toJSON(), { mine: "made in the partition", shared: "1", theirs: "made on the other side" });
  assert.deepEqual(cache.toJSON(), world.remote);
  assert.deepEqual([sync.getStatus().connected, sync.getStatus().pending, sync.getStatus().conflicts], [true, 0, 0]);
  await world.run(sync.close());
});

test("concurrent updates", async () => {
  const world = new World();
  world.cluster.put("k", "base", TEXT);
  const sites = [await world.connected(), await world.connected(), await world.connected()];
  for (const [at, { sync }] of sites.entries()) await sync.set("k", `site ${at}`);
  await world.run(Promise.all(sites.map(({ sync }) => sync.sync())));
  await settle();
  const winner = world.remote["k"];
  assert.match(winner ?? "", /^site \d$/);
  for (const { cache, sync } of sites) {
    assert.equal(cache.map.get("k"), winner);
    assert.equal(sync.getStatus().pending, 0);
  }
  assert.equal(sites.reduce((sum, { sync }) => sum + sync.getStatus().conflicts, 0), 2);
  for (const { sync } of sites) await world.run(sync.close());
});

test("clock skew", async () => {
  const world = new World();
  const skewed = (skew: number): Clock => ({
    monotonic: () => world.clock.monotonic(),
    wall: () => world.clock.wall() + skew,
    after: (ms, then) => world.clock.after(ms, then),
  });
  const site = (skew: number) => {
    const cache = new MapCache();
    const clock = skewed(skew);
    const sync = new CacheSynchronizer({ client: world.client({ clock }), clock, syncInterval: 0 });
    sync.registerCache(cache);
    return { sync, cache };
  };
  world.cluster.put("k", "base", TEXT);
  const ahead = site(3_600_000);
  const behind = site(-3_600_000);
  for (const { sync } of [ahead, behind]) {
    await world.run(sync.connect("node-1"));
    await world.run(sync.sync());
  }
  assert.deepEqual([ahead.sync.getDetails().clock?.offsetMs, behind.sync.getDetails().clock?.offsetMs], [-3_600_000, 3_600_000]);
  await ahead.sync.set("k", "earlier, by a clock that is ahead");
  await world.clock.advance(100);
  await behind.sync.set("k", "later, by a clock that is behind");
  await world.run(behind.sync.sync());
  await world.run(ahead.sync.sync());
  assert.equal(world.remote["k"], "later, by a clock that is behind");
  await settle();
  assert.equal(ahead.cache.map.get("k"), "later, by a clock that is behind");
  for (const { sync } of [ahead, behind]) await world.run(sync.close());
});

test("data corruption", async () => {
  const world = new World();
  world.cluster.put("good", "1", TEXT);
  const folder = await mkdtemp(join(tmpdir(), "lockstep-sync-"));
  try {
    const path = join(folder, "journal");
    const first = world.site({ storage: new FileStorage(path) });
    await first.sync.set("kept", "1");
    await first.sync.set("damaged", "1");
    await first.sync.set("last", "1");
    await world.run(first.sync.close());
    const lines = (await readFile(path, "utf8")).split("\n");
    await writeFile(path, lines.map((line) => line.replace('"damaged"', '"damagex"')).join("\n"));
    await truncate(path, Buffer.byteLength(lines.join("\n")) - 10);
    const told: string[] = [];
    const second = world.site({ storage: new FileStorage(path), onDamage: (damaged) => told.push(...damaged) });
    await world.run(second.sync.connect("node-1"));
    await world.run(second.sync.sync());
    assert.deepEqual(world.remote, { good: "1", kept: "1" });
    assert.equal(told.length, 2);
    assert.equal(second.sync.getDetails().damaged, 2);
    assert.equal((await readFile(`${path}.damaged`, "utf8")).split("\n").length, 3);
    // A value that the codec cannot read is told, and what is here stays.
    second.cache.map.set("value", "mine");
    await world.run(second.sync.sync());
    world.cluster.put("value", "{broken", { contentType: "application/json" });
    await world.eventually("the broken value", () => second.sync.getDetails().unresolved.length > 0);
    assert.equal(second.cache.map.get("value"), "mine");
    assert.match(second.sync.getDetails().unresolved[0]?.why ?? "", /cannot be read/);
    world.cluster.put("value", '{"mended":1}', { contentType: "application/json" });
    await world.eventually("the mended value", () => second.cache.map.get("value") !== "mine");
    assert.deepEqual(second.cache.map.get("value"), { mended: 1 });
    assert.deepEqual(second.sync.getDetails().unresolved, []);
    await world.run(second.sync.close());
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("node failures", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  let dead = "http://n1";
  world.cluster.fault = ({ url }) => (url === dead ? { kind: "refused" } : undefined);
  for (const [at, node] of ["http://n1", "http://n2", "http://n1"].entries()) {
    dead = node;
    world.cluster.cut();
    await sync.set(`mine ${at}`, "1");
    world.cluster.put(`theirs ${at}`, "1", TEXT);
    await world.run(sync.sync());
    await world.clock.advance(5_000);
    assert.equal(sync.getStatus().connected, true, `without ${node}`);
  }
  assert.equal(cache.map.size, 6);
  assert.deepEqual(cache.toJSON(), world.remote);
  assert.equal(sync.getDetails().place, world.cluster.index, "the stream went on from its place");
  await world.run(sync.close());
});

test("partial updates", async () => {
  const world = new World();
  const storage = new MemoryStorage();
  const { sync, cache } = await world.connected({ batchSize: 4 }, { storage });
  for (let at = 0; at < 12; at++) await sync.set(`k${at}`, "1");
  let batches = 0;
  world.cluster.fault = ({ path }) => (path === "/v1/batch" && ++batches > 2 ? { kind: "refused" } : undefined);
  await assert.rejects(world.run(sync.sync()));
  assert.equal(Object.keys(world.remote).length, 8, "whole batches only");
  assert.equal(sync.getStatus().pending, 4, "and the others wait");
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind: "half" } : undefined);
  await assert.rejects(world.run(sync.sync()));
  assert.equal(sync.getStatus().pending, 4, "half an answer confirms nothing");
  world.cluster.fault = () => undefined;
  await world.run(sync.sync());
  assert.equal(sync.getStatus().pending, 0);
  assert.ok([...world.cluster.entries.values()].every(({ version }) => version === 1), "nothing was written twice");
  assert.deepEqual(cache.toJSON(), world.remote);
  await world.run(sync.close());
});

test("version conflicts", async () => {
  const world = new World();
  world.cluster.put("k", "1", TEXT);
  world.cluster.put("untouched", "1", TEXT);
  const versions: unknown[] = [];
  const { sync, cache } = await world.connected({
    conflict: "custom",
    resolve: ({ base, local, remote }) => {
      versions.push([base?.revision, remote.revision]);
      return { value: `${String(local.value)}, ${String(remote.value)}` };
    },
  });
  const base = world.cluster.entries.get("k")?.revision;
  await sync.set("k", "2 here");
  const theirs = world.cluster.put("k", "2 there", TEXT);
  // Between the decision and its batch the key changes once more.
  let once = true;
  let again = 0;
  world.cluster.fault = ({ path }) => {
    if (path === "/v1/batch" && once) {
      once = false;
      again = world.cluster.put("k", "3 there", TEXT);
    }
    return undefined;
  };
  await settle();
  await world.run(sync.sync());
  assert.deepEqual(versions, [[base, theirs], [theirs, again]]);
  assert.equal(world.remote["k"], "2 here, 2 there, 3 there");
  assert.equal(cache.map.get("k"), "2 here, 2 there, 3 there");
  assert.equal(sync.getStatus().conflicts, 2);
  assert.equal(world.cluster.entries.get("untouched")?.version, 1);
  await world.run(sync.close());
});

test("recovery scenarios", async () => {
  const world = new World();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-sync-"));
  try {
    const path = join(folder, "journal");
    for (const key of ["a", "b"]) world.cluster.put(key, "1", TEXT);
    const first = world.site({ storage: new FileStorage(path) });
    await world.run(first.sync.connect("node-1"));
    await world.run(first.sync.sync());
    await first.sync.set("offline", "kept");
    await world.run(first.sync.close());
    // While it was away: changes that are not kept any more, and a delete.
    world.cluster.remove("a");
    world.cluster.put("b", "2", TEXT);
    world.cluster.forget();
    world.cluster.put("c", "1", TEXT);
    const second = world.site({ storage: new FileStorage(path) }, { cache: first.cache });
    await world.run(second.sync.connect("node-1"));
    await world.run(second.sync.sync());
    assert.deepEqual(second.cache.toJSON(), { b: "2", c: "1", offline: "kept" });
    assert.deepEqual(second.cache.toJSON(), world.remote);
    // The place was noted: what comes next is read from there.
    await world.run(second.sync.close());
    world.cluster.put("d", "1", TEXT);
    const walks = () => world.cluster.seen.filter(({ path: each }) => each.startsWith("/v1/keys")).length;
    const before = walks();
    const third = world.site({ storage: new FileStorage(path) });
    for (const [key, value] of second.cache.map) third.cache.map.set(key, value);
    await world.run(third.sync.connect("node-1"));
    await world.run(third.sync.sync());
    assert.equal(third.cache.map.get("d"), "1");
    assert.ok(walks() - before <= 1);
    await world.run(third.sync.close());
    // A backup was restored, in which nothing of this has happened.
    world.cluster.entries.clear();
    world.cluster.put("restored", "1", TEXT);
    world.cluster.fork("restored");
    const fourth = world.site({ storage: new FileStorage(path) }, { cache: third.cache });
    await world.run(fourth.sync.connect("node-1"));
    await world.run(fourth.sync.sync());
    assert.deepEqual(fourth.cache.toJSON(), { restored: "1" });
    await world.run(fourth.sync.close());
    world.cluster.clusterId = "another";
    const wrong = world.site({ storage: new FileStorage(path) });
    await assert.rejects(world.run(wrong.sync.connect("node-1")), SyncError);
    await world.run(wrong.sync.close());
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a journal in a file belongs to one process, and survives replacing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-sync-"));
  try {
    const path = join(folder, "deep", "journal");
    const storage = new FileStorage(path);
    assert.deepEqual(await storage.load(), []);
    await storage.append(["one", "two"]);
    await storage.replace(["three"]);
    await storage.append(["four"]);
    await writeFile(`${path}.new`, "of a replacement that was not finished");
    await storage.close();
    const next = new FileStorage(path);
    assert.deepEqual(await next.load(), ["three", "four"]);
    await next.close();
    // Process 1 is always alive.
    await writeFile(`${path}.lock`, "1");
    await assert.rejects(new FileStorage(path).load(), /open in the process 1/);
    await writeFile(`${path}.lock`, "999999999");
    const after = new FileStorage(path);
    assert.equal((await after.load()).length, 2);
    await after.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a journal in a browser's database survives its page", async () => {
  const world = new World();
  const first = world.site({ storage: new IndexedDbStorage("test") });
  await first.sync.set("a", 1);
  await first.sync.set("b", 2);
  await world.run(first.sync.close());
  const storage = new IndexedDbStorage("test");
  const lines = await storage.load();
  await storage.replace([...lines, "damaged"]);
  await storage.close();
  const second = world.site({ storage: new IndexedDbStorage("test") });
  await world.run(second.sync.connect("node-1"));
  await world.run(second.sync.sync());
  assert.deepEqual(world.remote, { a: "1", b: "2" });
  assert.equal(second.sync.getDetails().damaged, 1);
  await world.run(second.sync.close());
});
