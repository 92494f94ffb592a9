import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Unreachable } from "../../src/index.js";
import { CacheSynchronizer, type SyncChange, SyncError, type SyncOptions } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { FakeCluster, refusal } from "../support/fake.js";
import { MapCache, World } from "../support/sync.js";

const TEXT = { contentType: "text/plain" };

test("one operation that a whole batch is refused for is stuck, and the others go on", async () => {
  const world = new World();
  const { sync } = await world.connected();
  await sync.set("allowed", "1");
  await sync.set("secret", "1");
  world.cluster.fault = ({ path, body }) => (path === "/v1/batch" && body.includes('"secret"') ? refusal(403, "forbidden", { op: 1 }) : undefined);
  await world.run(sync.sync());
  assert.equal(world.remote["allowed"], "1");
  assert.deepEqual(sync.getDetails().stuck.map(({ key }) => key), ["secret"]);
  await world.run(sync.close());
});

test("more local changes than may wait are rejected", async () => {
  const world = new World();
  const { sync, cache } = world.site({ maxPending: 2 });
  await sync.set("a", 1);
  await sync.set("b", 1);
  await sync.set("a", 2);
  await assert.rejects(sync.set("c", 1), (error: unknown) => error instanceof SyncError && error.code === "pending_full");
  assert.equal(cache.map.has("c"), false);
  assert.equal(sync.getStatus().pending, 2);
});

test("groups: prefixes, directions, policies and priorities", async () => {
  const world = new World();
  world.cluster.put("down:1", "theirs", { contentType: "text/plain" });
  world.cluster.put("up:1", "theirs", { contentType: "text/plain" });
  world.cluster.put("cached:1", "theirs", { contentType: "text/plain" });
  world.cluster.put("cached:2", "theirs", { contentType: "text/plain" });
  world.cluster.put("private", "theirs");
  const site = world.site({
    batchSize: 2,
    groups: [
      { name: "down", prefix: "down:", direction: "down" },
      { name: "up", prefix: "up:", direction: "up", conflict: "oldest" },
      { name: "cached", prefix: "cached:", mode: "cached" },
      { name: "low", prefix: "low:", priority: -1 },
      { name: "high", prefix: ["high:", "urgent:"], priority: 5 },
    ],
  });
  const { sync, cache } = site;
  cache.map.set("cached:1", "old copy");
  cache.map.set("mine", "is in no group");
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { "cached:1": "theirs", "down:1": "theirs", mine: "is in no group" });
  await assert.rejects(sync.set("down:2", "x"), SyncError);
  await assert.rejects(sync.set("nowhere", "x"), SyncError);
  for (let at = 0; at < 20; at++) await sync.set(`low:${at}`, "x");
  for (let at = 0; at < 20; at++) await sync.set(`urgent:${at}`, "x");
  await sync.set("up:2", "mine");
  const order: string[] = [];
  world.cluster.fault = ({ path, body }) => {
    if (path === "/v1/batch") order.push((JSON.parse(body) as { ops: { key: string }[] }).ops.map(({ key }) => key[0]).join(""));
    return undefined;
  };
  await world.run(sync.sync());
  assert.deepEqual(order.slice(0, 9), ["uu", "uu", "uu", "uu", "uu", "uu", "uu", "ll", "uu"]);
  assert.equal(world.remote["up:2"], "mine");
  world.cluster.put("cached:2", "new");
  world.cluster.put("cached:1", "new", { contentType: "text/plain" });
  await settle();
  assert.deepEqual([cache.map.get("cached:1"), cache.map.get("cached:2")], ["new", undefined]);
  await world.run(sync.close());
});

test("hints are shown at once, ignored if they are not newer, and checked by the next sync", async () => {
  const world = new World();
  const revision = world.cluster.put("k", "1", { contentType: "text/plain" });
  const { sync, cache } = await world.connected();
  const hint = (value: unknown, timestamp: number, node = "app", version = 1) => sync.handleUpdate({ key: "k", value, timestamp, node, version });
  await hint("old", world.clock.logTime() - 60_000);
  assert.equal(cache.map.get("k"), "1");
  await hint("of a node, but older", world.clock.logTime() + 1, "n2", revision);
  assert.equal(cache.map.get("k"), "1");
  await world.clock.advance(10);
  await hint("newer", world.clock.logTime());
  await hint("newer", world.clock.logTime());
  assert.equal(cache.map.get("k"), "newer");
  await world.clock.advance(10);
  await hint("newest", world.clock.logTime());
  assert.equal(cache.map.get("k"), "newest");
  assert.equal(sync.getStatus().pending, 0, "a hint is no local change");
  await world.run(sync.sync());
  assert.equal(cache.map.get("k"), "1", "the cluster knows nothing of it");
  assert.deepEqual(world.remote, { k: "1" });
  await world.clock.advance(10);
  await hint(undefined, world.clock.logTime());
  assert.equal(cache.map.has("k"), false);
  await world.run(sync.sync());
  assert.equal(cache.map.get("k"), "1");
  await sync.set("k", "local");
  await world.clock.advance(10);
  await hint("against a local change", world.clock.logTime());
  assert.equal(cache.map.get("k"), "local");
  await world.run(sync.close());
});

test("without a node connect fails, with offline it goes on by itself", async () => {
  const world = new World();
  world.cluster.fault = () => ({ kind: "refused" });
  const strict = world.site();
  await assert.rejects(world.run(strict.sync.connect("node-1")), Unreachable);
  assert.equal(strict.sync.getStatus().connected, false);
  const { sync } = world.site({ offline: true, syncInterval: 1000 });
  await sync.connect("node-1");
  await sync.set("k", "kept");
  await world.clock.advance(5_000);
  assert.equal(sync.getStatus().pending, 1);
  world.cluster.fault = () => undefined;
  await world.clock.advance(30_000);
  assert.deepEqual(world.remote, { k: "kept" });
  assert.equal(sync.getStatus().connected, true);
  await assert.rejects(sync.connect("another name"), TypeError);
  await world.run(sync.close());
  await world.run(strict.sync.close());
});

test("another cluster and an older history are refused, a later history is gone over to", async () => {
  const world = new World();
  for (const key of ["kept", "lost", "dirty"]) world.cluster.put(key, "1", { contentType: "text/plain" });
  const site = await world.connected();
  const fork = world.cluster.index;
  world.cluster.put("lost", "2", { contentType: "text/plain" });
  world.cluster.put("dirty", "2", { contentType: "text/plain" });
  await settle();
  await site.sync.set("dirty", "mine");
  await world.run(site.sync.close());
  const old = world.cluster.histories.slice();
  world.cluster.fork("restored", fork);
  world.cluster.put("dirty", "other", { contentType: "text/plain" });
  world.cluster.put("kept", "1", { contentType: "text/plain" });
  await world.clock.advance(1000);
  const next = world.site({}, site);
  await world.run(next.sync.connect("node-1"));
  await world.run(next.sync.sync());
  assert.deepEqual(next.cache.toJSON(), { dirty: "other", kept: "1" });
  assert.deepEqual(next.cache.toJSON(), world.remote);
  assert.equal(next.sync.getStatus().conflicts, 1);
  await world.run(next.sync.close());
  world.cluster.histories = old;
  const behind = world.site({}, site);
  await assert.rejects(world.run(behind.sync.connect("node-1")), (error: unknown) => error instanceof SyncError && error.code === "older_history");
  world.cluster.clusterId = "another";
  const lost = world.site({}, site);
  await assert.rejects(world.run(lost.sync.connect("node-1")), (error: unknown) => error instanceof SyncError && error.code === "other_cluster");
  await world.run(behind.sync.close());
  await world.run(lost.sync.close());
});

test("a history that changes while it is connected is gone over to by the next sync", async () => {
  const world = new World();
  world.cluster.put("a", "1", { contentType: "text/plain" });
  const { sync, cache } = await world.connected();
  const fork = world.cluster.index;
  world.cluster.put("b", "1", { contentType: "text/plain" });
  await settle();
  assert.equal(cache.map.get("b"), "1");
  world.cluster.fork("restored", fork);
  world.cluster.put("c", "1", { contentType: "text/plain" });
  await sync.set("d", "mine");
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { a: "1", c: "1", d: "mine" });
  await world.clock.advance(1000);
  world.cluster.put("e", "1", { contentType: "text/plain" });
  await world.clock.advance(1000);
  await world.run(sync.sync());
  assert.equal(cache.map.get("e"), "1");
  await world.run(sync.close());
});

test("what is answered in another history is not taken for the known one", async () => {
  for (const path of ["/v1/changes", "/v1/get", "/v1/batch"]) {
    const world = new World();
    const { sync, cache } = await world.connected();
    const fork = world.cluster.index;
    await sync.set("sent", "mine");
    let forked = false;
    world.cluster.fault = (request) => {
      if (!forked && request.path.startsWith(path)) {
        forked = true;
        world.cluster.fork("restored", fork);
        world.cluster.put("sent", "theirs", { contentType: "text/plain" });
      }
      return undefined;
    };
    await world.run(sync.sync());
    const { history } = sync.getDetails();
    assert.ok(forked, path);
    assert.equal(history, world.cluster.history.id, path);
    assert.deepEqual(cache.toJSON(), world.remote, path);
    assert.deepEqual([sync.getStatus().pending, sync.getStatus().conflicts], [0, 1], path);
    await world.run(sync.close());
  }
});

test("a TTL that passes before the change is sent ends it", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  await sync.set("short", "x", { ttlMs: 500 });
  await sync.set("long", "x", { ttlMs: 60_000 });
  await world.clock.advance(1000);
  await world.run(sync.sync());
  assert.deepEqual(Object.keys(world.remote), ["long"]);
  assert.ok((world.cluster.entries.get("long")?.deadline ?? 0) <= world.clock.logTime() + 59_000, "it counts from when it was set");
  assert.equal(cache.map.has("short"), false);
  await world.run(sync.close());
});

test("syncs come by themselves, one at a time", async () => {
  const world = new World();
  const { sync, cache } = world.site({ syncInterval: 1000 });
  await world.run(sync.connect("node-1"));
  cache.map.set("k", "1");
  await world.clock.advance(1100);
  assert.deepEqual(world.remote, { k: "1" });
  cache.map.set("k", "2");
  const [one, two] = [sync.sync(), sync.sync()];
  cache.map.set("k", "3");
  const three = sync.sync();
  assert.equal(two, three);
  await world.run(Promise.all([one, two, three]));
  assert.deepEqual(world.remote, { k: "3" });
  await world.run(sync.close());
});

test("with presence the synchronizers see each other", async () => {
  const world = new World();
  const one = world.site({ presence: true });
  const two = world.site({ presence: true });
  await world.run(one.sync.connect("app-1"));
  await world.run(two.sync.connect("app-2"));
  assert.deepEqual(two.sync.getStatus().peers, ["n1", "n2", "n3", "app-1"]);
  await world.run(one.sync.close());
  assert.equal(world.cluster.sessions.size, 1);
  await world.run(two.sync.close());
});

test("changes can be awaited one by one; a gap is told", async () => {
  const world = new World();
  const { sync } = await world.connected();
  const stop = new AbortController();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const change of sync.changes(stop.signal)) seen.push("key" in change ? `${change.cause} ${change.key} ${change.origin}` : change.cause);
  })();
  await sync.set("a", 1);
  world.cluster.put("b", "1");
  await settle();
  world.cluster.resync();
  await settle();
  await world.run(sync.sync());
  stop.abort();
  await reading;
  assert.deepEqual(seen, ["set a local", "set b remote", "resync", "set a local"]);
  await world.run(sync.close());
});

test("absence deletes only what a cache had since the process began", async () => {
  const world = new World();
  for (const key of ["a", "b", "cached:1", "down:1"]) world.cluster.put(key, "1", TEXT);
  const options: SyncOptions = {
    absence: "delete",
    groups: [{ name: "cached", prefix: "cached:", mode: "cached" }, { name: "down", prefix: "down:", direction: "down" }, { name: "rest", prefix: "" }],
  };
  const cache = new MapCache();
  cache.map.set("cached:1", "1");
  const site = await world.connected(options, { cache });
  site.cache.map.delete("a");
  site.cache.map.delete("down:1");
  await world.run(site.sync.sync());
  assert.deepEqual(world.remote, { b: "1", "cached:1": "1", "down:1": "1" });
  await world.run(site.sync.close());
  // A process that begins with an empty cache has deleted nothing.
  const next = await world.connected(options, { storage: site.storage });
  // Nor has one that does not hold what others change.
  world.cluster.put("cached:1", "2", TEXT);
  await settle();
  await world.run(next.sync.sync());
  assert.deepEqual(world.remote, { b: "1", "cached:1": "2", "down:1": "1" });
  assert.deepEqual(next.cache.toJSON(), { b: "1", "down:1": "1" });
  next.cache.map.delete("b");
  await world.run(next.sync.sync());
  assert.deepEqual(world.remote, { "cached:1": "2", "down:1": "1" });
  assert.equal(next.sync.getStatus().pending, 0);
  await world.run(next.sync.close());
});

test("a member that the leader has not heard of is no peer, unless nothing is known of any", async () => {
  for (const [silent, peers] of [
    [{ n2: null, n3: 60_000 }, ["n1"]],
    [{ n1: null, n2: null, n3: null }, ["n1", "n2", "n3"]],
  ] as const) {
    const cluster = new FakeCluster();
    for (const [name, ms] of Object.entries(silent)) cluster.silent.set(name, ms);
    const sync = new CacheSynchronizer({ urls: "http://n1", client: new Client({ urls: "http://n1", fetch: cluster.fetch }), syncInterval: 0 });
    await sync.connect("till-1");
    assert.deepEqual(sync.getStatus().peers, peers);
    await sync.close();
  }
});

test("a clock that is set while it runs does not date later changes wrongly", async () => {
  for (const how of ["told", "found"]) {
    const world = new World();
    for (const key of ["later", "earlier"]) world.cluster.put(key, "base", TEXT);
    const { sync, cache } = await world.connected();
    world.cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
    world.cluster.cut();
    const change = async (key: string) => {
      if (how === "told") await sync.set(key, "local");
      else cache.map.set(key, "local");
    };
    // Made before the clock was set, so it is dated by the difference of then; one that is only found has no such date.
    if (how === "told") await change("earlier");
    await world.clock.advance(100);
    for (const key of ["later", "earlier"]) world.cluster.put(key, "remote", TEXT);
    await world.clock.advance(100);
    world.clock.skew = -3_600_000;
    await change("later");
    await world.run(sync.sync());
    assert.deepEqual(world.remote, { earlier: "remote", later: "local" }, how);
    assert.deepEqual(cache.toJSON(), world.remote);
    await world.run(sync.close());
  }
});

test("a full read keeps what was agreed upon of cached keys that no cache holds any more", async () => {
  const world = new World();
  for (const key of ["cached:1", "cached:2", "cached:3"]) world.cluster.put(key, "1", TEXT);
  const cache = new MapCache();
  for (const key of ["cached:1", "cached:2", "cached:3"]) cache.map.set(key, "1");
  const told: SyncChange[] = [];
  const options: SyncOptions = { groups: [{ name: "cached", prefix: "cached:", mode: "cached" }], onChange: (change) => told.push(change) };
  const { sync } = await world.connected(options, { cache });
  cache.map.clear();
  world.cluster.remove("cached:3");
  await settle();
  told.length = 0;
  // It is new, so everything is read.
  sync.registerCache(new MapCache());
  await world.run(sync.sync());
  assert.deepEqual(told, []);
  await sync.set("cached:1", "mine");
  await sync.set("cached:3", "mine");
  await world.run(sync.sync());
  assert.deepEqual(world.remote, { "cached:1": "mine", "cached:2": "1", "cached:3": "mine" });
  const { pending, conflicts } = sync.getStatus();
  assert.deepEqual([pending, conflicts], [0, 0]);
  await world.run(sync.close());
});

test("a sync that is asked for sends all groups, also if the interval asked for one at that time", async () => {
  const world = new World();
  const { client, hold, release } = world.lateClient("/v1/changes");
  const groups = [{ name: "rare", prefix: "rare:", everyMs: 60_000 }, { name: "rest", prefix: "" }];
  const { sync } = world.site({ client, groups, syncInterval: 1000 });
  await world.run(sync.connect("node-1"));
  // It marks the rare group as sent.
  release();
  await world.run(sync.sync());
  hold();
  const first = sync.sync();
  const failed = first.then(
    () => assert.fail("no node could be reached"),
    () => (world.cluster.fault = () => undefined),
  );
  await settle();
  // The interval comes while that one runs, so its sync is the next one.
  await world.clock.advance(1100);
  await sync.set("rare:1", "1");
  await sync.set("often", "1");
  const asked = sync.sync();
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind: "refused" } : undefined);
  release();
  await world.run(Promise.all([failed, asked]));
  assert.deepEqual(world.remote, { often: "1", "rare:1": "1" });
  await sync.set("rare:1", "2");
  await sync.set("often", "2");
  await world.clock.advance(1100);
  assert.deepEqual(world.remote, { often: "2", "rare:1": "1" });
  await world.run(sync.close());
});

test("what caches changed by themselves has room, so changes of others are taken over also with all places taken", async () => {
  const world = new World();
  for (const key of ["a", "b"]) world.cluster.put(key, "1", TEXT);
  const errors: unknown[] = [];
  const { sync, cache } = await world.connected({ maxPending: 1, onError: (error) => errors.push(error) });
  await sync.set("waits", "1");
  await assert.rejects(sync.set("refused", "1"), (error: unknown) => error instanceof SyncError && error.code === "pending_full");
  // Nobody noted this before the cluster has something else.
  cache.map.set("a", "mine");
  await world.clock.advance(1000);
  world.cluster.put("a", "2", TEXT);
  world.cluster.put("b", "2", TEXT);
  await settle();
  assert.deepEqual(errors, []);
  assert.deepEqual(cache.toJSON(), { a: "mine", b: "2", waits: "1" });
  assert.equal(sync.getStatus().pending, 2);
  assert.equal(sync.getDetails().place, world.cluster.index);
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), world.remote);
  await world.run(sync.close());
});

test("what was absent as of an index is said with its history, and compared anew if that has ended", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  await sync.set("k", "mine");
  await sync.add("n", 1);
  const before = world.cluster.history.id;
  const told: string[] = [];
  let forked = false;
  world.cluster.fault = ({ path, body }) => {
    if (path !== "/v1/batch") return undefined;
    for (const { if_absent_since } of (JSON.parse(body) as { ops: { if_absent_since: string }[] }).ops) told.push(String(if_absent_since).split("@")[1] ?? "");
    if (!forked) world.cluster.fork();
    forked = true;
    return undefined;
  };
  await world.run(sync.sync());
  assert.deepEqual(told, [before, before, world.cluster.history.id, world.cluster.history.id]);
  assert.deepEqual(world.remote, { k: "mine", n: "1" });
  assert.deepEqual(cache.toJSON(), world.remote);
  const { stuck, pending, history } = sync.getDetails();
  assert.deepEqual([stuck, pending, history], [[], 0, world.cluster.history.id]);
  await world.run(sync.close());
});
