import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LockstepError } from "../../src/index.js";
import { SyncError } from "../../src/sync/index.js";
import { FileStorage } from "../../src/sync/file.js";
import { settle } from "../support/clock.js";
import { refusal } from "../support/fake.js";
import { MapCache, World } from "../support/sync.js";

const TEXT = { contentType: "text/plain" };

test("a change in a cache beside an addition is not lost, before it and after it", async () => {
  const world = new World();
  world.cluster.put("n", "5", TEXT);
  world.cluster.put("m", "5", TEXT);
  const { sync, cache } = await world.connected();
  cache.map.set("n", "10");
  await sync.add("n", 1);
  await sync.add("m", 1);
  cache.map.set("m", "100");
  await world.run(sync.sync());
  await settle();
  await world.run(sync.sync());
  assert.deepEqual(world.remote, { m: "100", n: "11" });
  assert.deepEqual(cache.toJSON(), world.remote);
  await world.run(sync.close());
});

test("additions are still told from changes after a restart", async () => {
  const world = new World();
  world.cluster.put("n", "5", TEXT);
  const site = await world.connected();
  await site.sync.add("n", 1);
  await site.sync.add("n", 1);
  world.cluster.put("n", "20", TEXT);
  await world.run(site.sync.close());
  const next = await world.connected({}, site);
  assert.deepEqual(world.remote, { n: "22" });
  assert.deepEqual(next.cache.toJSON(), world.remote);
  await world.run(next.sync.close());
});

/** Takes no value of this key. */
class Picky extends MapCache {
  refuses = true;

  override async set(key: string, value: unknown): Promise<void> {
    if (key === "large" && this.refuses) throw new Error("too large");
    await super.set(key, value);
  }
}

test("a key that a cache refuses stops neither the others nor local changes", async () => {
  const world = new World();
  for (const key of ["a", "large", "z"]) world.cluster.put(key, "1", TEXT);
  const cache = new Picky();
  const { sync } = world.site({}, { cache });
  await world.run(sync.connect("node-1"));
  await sync.set("mine", "1");
  await assert.rejects(world.run(sync.sync()), /too large/);
  assert.deepEqual(cache.toJSON(), { a: "1", mine: "1", z: "1" });
  assert.equal(world.remote["mine"], "1");
  world.cluster.put("large", "2", TEXT);
  await settle();
  await sync.set("mine", "2");
  await assert.rejects(world.run(sync.sync()), /too large/);
  assert.equal(world.remote["mine"], "2");
  cache.refuses = false;
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { a: "1", large: "2", mine: "2", z: "1" });
  await world.run(sync.close());
});

test("a value that the codec cannot express stops no other key", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  cache.map.set("bad", 1n);
  cache.map.set("good", "1");
  await assert.rejects(world.run(sync.sync()));
  assert.deepEqual(world.remote, { good: "1" });
  cache.map.delete("bad");
  await world.run(sync.sync());
  await world.run(sync.close());
});

test("what a proxy refuses, or a token that has expired, leaves no change stuck", async () => {
  for (const fault of [{ kind: "answer", status: 404, body: "not here" } as const, refusal(401, "unauthorized")]) {
    const world = new World();
    const { sync } = await world.connected();
    await sync.set("k", "1");
    world.cluster.fault = ({ path }) => (path === "/v1/batch" ? fault : undefined);
    await assert.rejects(world.run(sync.sync()), LockstepError);
    assert.deepEqual(sync.getDetails().stuck, []);
    world.cluster.fault = () => undefined;
    await world.run(sync.sync());
    assert.deepEqual(world.remote, { k: "1" });
    await world.run(sync.close());
  }
});

test("a synchronizer that was closed accepts nothing, and its file is not written any more", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-"));
  try {
    const world = new World();
    const storage = new FileStorage(join(folder, "journal"));
    const { sync } = world.site({ storage });
    await sync.set("k", "1");
    await world.run(sync.close());
    const isClosed = (error: unknown) => error instanceof SyncError && error.code === "closed";
    await assert.rejects(sync.set("l", "1"), isClosed);
    await assert.rejects(sync.add("n", 1), isClosed);
    await assert.rejects(storage.append(["line"]), /not open/);
    await assert.rejects(storage.replace(["line"]), /not open/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("of a group that only sends, no values of others are kept", async () => {
  const world = new World();
  world.cluster.put("log:theirs", "much", TEXT);
  const { sync } = await world.connected({ groups: [{ name: "log", prefix: "log:", direction: "up" }] });
  await sync.set("log:mine", "1");
  await world.run(sync.sync());
  world.cluster.put("log:theirs", "more", TEXT);
  world.cluster.put("log:mine", "2", TEXT);
  await settle();
  const { notes } = (sync as unknown as { state: { notes: Map<string, { remote?: { value?: unknown } }> } }).state;
  assert.equal(notes.has("log:theirs"), false);
  assert.equal(notes.get("log:mine")?.remote?.value, undefined);
  await world.clock.advance(1000);
  await sync.set("log:mine", "3");
  await world.run(sync.sync());
  assert.equal(world.remote["log:mine"], "3");
  await world.run(sync.close());
});

test("a hint that is confirmed late does not put an older state over a newer one", async () => {
  const world = new World();
  world.cluster.put("k", "1", TEXT);
  const late = world.lateClient("/v1/get");
  late.release();
  const { sync, cache } = await world.connected({ client: late.client });
  const hint = (value: string, ahead: number) => sync.handleUpdate({ key: "k", value, timestamp: world.clock.logTime() + ahead, node: "app", version: 1 });
  late.hold();
  await world.clock.advance(1000);
  await hint("hint", 1);
  assert.equal(cache.map.get("k"), "hint");
  const syncing = sync.sync();
  await late.reached;
  world.cluster.put("k", "2", TEXT);
  await settle();
  assert.equal(cache.map.get("k"), "2");
  await world.clock.advance(500);
  await hint("newer hint", 1);
  assert.equal(cache.map.get("k"), "newer hint");
  late.release();
  await world.run(syncing);
  assert.notEqual(cache.map.get("k"), "1");
  await world.run(sync.sync());
  assert.equal(cache.map.get("k"), "2");
  await world.run(sync.close());
});

test("a clock that is set forward ends no TTL", async () => {
  for (const knowsLogTime of [false, true]) {
    const world = new World();
    const { sync, cache } = knowsLogTime ? await world.connected() : world.site();
    await sync.set("cart", "full", { ttlMs: 3_600_000 });
    world.clock.skew = 48 * 3_600_000;
    await world.clock.advance(1000);
    await world.run(sync.connect("node-1"));
    await world.run(sync.sync());
    assert.deepEqual(world.remote, { cart: "full" }, String(knowsLogTime));
    assert.deepEqual(cache.toJSON(), world.remote);
    await world.run(sync.close());
  }
});
