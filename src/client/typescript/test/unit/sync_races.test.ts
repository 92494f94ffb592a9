import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError, OutcomeUnknown, Unreachable } from "../../src/index.js";
import { SyncError } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { MapCache, World } from "../support/sync.js";

const TEXT = { contentType: "text/plain" };

test("what was heard of a key with a local change is not forgotten by a crash", async () => {
  const world = new World();
  world.cluster.put("deleted", "1", TEXT);
  const site = await world.connected();
  world.cluster.remove("deleted");
  await settle();
  // One change is sent, and its answer is lost; another waits.
  await site.sync.set("sent", "mine");
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind: "after" } : undefined);
  await assert.rejects(world.run(site.sync.sync()), OutcomeUnknown);
  await site.sync.delete("deleted");
  await world.clock.advance(100);
  // Both are changed by others, which is only noted; then a change that is taken over moves the place on.
  world.cluster.remove("sent");
  world.cluster.put("deleted", "2", TEXT);
  world.cluster.put("other", "1", TEXT);
  await settle();
  assert.equal(site.sync.getDetails().place, world.cluster.index);
  world.cluster.fault = () => undefined;
  await world.run(site.sync.close());
  const next = await world.connected({}, site);
  assert.deepEqual(world.remote, { deleted: "2", other: "1" });
  assert.deepEqual(next.cache.toJSON(), world.remote);
  assert.equal(next.sync.getStatus().pending, 0);
  await world.run(next.sync.close());
});

test("an addition whose outcome is forgotten is not counted twice, wherever the clock is set", async () => {
  for (const kind of ["after", "before"] as const) {
    const world = new World();
    world.cluster.put("sold", "7", TEXT);
    const { sync, cache } = await world.connected();
    await sync.add("sold", 1);
    await sync.set("k", "mine");
    world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind } : undefined);
    await assert.rejects(world.run(sync.sync()), OutcomeUnknown);
    world.cluster.put("other", "1", TEXT);
    world.cluster.forgetOutcomes();
    world.cluster.fault = () => undefined;
    await world.clock.advance(7_200_000);
    world.clock.skew = -7_100_000;
    await world.run(sync.sync());
    await settle();
    await world.run(sync.sync());
    assert.deepEqual(world.remote, { k: "mine", other: "1", sold: kind === "after" ? "8" : "7" }, kind);
    assert.deepEqual(cache.toJSON(), world.remote, kind);
    assert.deepEqual(sync.getDetails().unknown, [{ key: "sold", by: 1n }], kind);
    assert.equal(sync.getStatus().pending, 0, kind);
    await world.run(sync.close());
  }
});

test("a full read does not let an older local change raise a key that was deleted meanwhile", async () => {
  for (const restarted of [false, true]) {
    const world = new World();
    for (const key of ["deleted", "expired", "stale"]) world.cluster.put(key, "1", TEXT);
    let site = await world.connected();
    const { cache } = site;
    await site.sync.set("stale", "older");
    await world.clock.advance(100);
    // It is heard of, but not what becomes of it then.
    world.cluster.put("stale", "2", TEXT);
    await settle();
    world.cluster.fault = () => ({ kind: "refused" });
    world.cluster.cut();
    for (const key of ["deleted", "expired"]) await site.sync.set(key, "older");
    await world.clock.advance(1000);
    for (const key of ["deleted", "stale"]) world.cluster.remove(key);
    world.cluster.remove("expired", "expire");
    world.cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
    if (restarted) {
      await world.run(site.sync.close());
      site = world.site({}, site);
    } else site.sync.registerCache(cache.copy());
    await world.run(site.sync.sync());
    assert.deepEqual(world.remote, { expired: "older" });
    assert.deepEqual(cache.toJSON(), world.remote);
    const { pending, conflicts } = site.sync.getStatus();
    assert.deepEqual([pending, conflicts], [0, 2]);
    await world.run(site.sync.close());
  }
});

/** Refuses what is put into it while it is full. */
class FullCache extends MapCache {
  full = false;

  override async set(key: string, value: unknown): Promise<void> {
    if (this.full) throw new Error("the cache is full");
    await super.set(key, value);
  }
}

test("what a cache could not take while changes were read is read again", async () => {
  const world = new World();
  const cache = new FullCache();
  const { client, reached, release } = world.lateClient("/v1/changes");
  const site = world.site({ client }, { cache });
  await world.run(site.sync.connect("node-1"));
  const syncing = site.sync.sync();
  await reached;
  // The answer that is on its way knows nothing of this.
  cache.full = true;
  world.cluster.put("missed", "1", TEXT);
  await settle();
  cache.full = false;
  release();
  await world.run(syncing);
  world.cluster.put("later", "1", TEXT);
  await settle();
  assert.deepEqual(cache.toJSON(), { later: "1" });
  await world.run(site.sync.sync());
  assert.deepEqual(cache.toJSON(), { later: "1", missed: "1" });
  await world.run(site.sync.close());
});

test("what changes between a full read and the changes read after it is not skipped", async () => {
  const world = new World();
  const { client, reached, release } = world.lateClient("/v1/keys");
  const { sync, cache } = world.site({ client });
  const syncing = sync.sync();
  await reached;
  world.cluster.put("between", "1", TEXT);
  // Its stream begins after that.
  await world.run(sync.connect("node-1"));
  world.cluster.fault = ({ path }) => (path.startsWith("/v1/changes") ? { kind: "refused" } : undefined);
  release();
  await assert.rejects(world.run(syncing), Unreachable);
  world.cluster.put("later", "1", TEXT);
  await settle();
  world.cluster.fault = () => undefined;
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { between: "1", later: "1" });
  await world.run(sync.close());
});

test("what changes between a full read and the beginning of the stream is not skipped", async () => {
  const world = new World();
  let begin = () => {};
  const begun = new Promise<void>((resolve) => (begin = resolve));
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  const fetch = (async (input: string, init: RequestInit) => {
    if (new URL(input).pathname === "/v1/watch") {
      asked();
      await begun;
    }
    return world.cluster.fetch(input, init);
  }) as typeof globalThis.fetch;
  const { sync, cache } = world.site({ client: world.client({ fetch }) });
  const connecting = sync.connect("node-1");
  await isAsked;
  await sync.sync();
  world.cluster.put("between", "1", TEXT);
  begin();
  await world.run(connecting);
  world.cluster.put("later", "1", TEXT);
  await settle();
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { between: "1", later: "1" });
  await world.run(sync.close());
});

test("additions to what is under way or waits lose neither a delete nor a TTL", async () => {
  for (const kind of ["refused", "after", undefined] as const) {
    const world = new World();
    for (const key of ["deleted", "set"]) world.cluster.put(key, "7", TEXT);
    const { client, release } = world.lateClient("/v1/batch");
    const { sync, cache } = await world.connected({ client });
    await sync.set("waiting", "1", { ttlMs: 60_000 });
    await sync.add("waiting", 2);
    await sync.add("added", 5);
    await sync.delete("deleted");
    await sync.set("set", "10", { ttlMs: 60_000 });
    await assert.rejects(sync.add("set", 2n ** 63n - 1n), (error: unknown) => error instanceof SyncError && error.code === "not_a_number");
    world.cluster.fault = ({ path }) => (kind !== undefined && path === "/v1/batch" ? { kind } : undefined);
    const syncing = sync.sync();
    await settle();
    for (const key of ["added", "deleted", "set"]) await sync.add(key, 2);
    release();
    if (kind === undefined) await world.run(syncing);
    else await assert.rejects(world.run(syncing), LockstepError);
    world.cluster.fault = () => undefined;
    await world.run(sync.sync());
    assert.deepEqual(world.remote, { added: "7", deleted: "2", set: "12", waiting: "3" }, kind);
    assert.deepEqual(cache.toJSON(), world.remote);
    for (const key of ["set", "waiting"]) assert.ok(world.cluster.entries.get(key)?.deadline != null, `${key} keeps its TTL`);
    const { pending, conflicts } = sync.getStatus();
    assert.deepEqual([pending, conflicts], [0, 0]);
    await world.run(sync.close());
  }
});
