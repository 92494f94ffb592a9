import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeUnknown, Unreachable } from "../../src/index.js";
import { type DecidedConflict, type SyncChange, SyncError, type SyncOptions } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { MapCache, World } from "../support/sync.js";

test("what only one side has goes to the other", async () => {
  const world = new World();
  world.cluster.put("there", "1", { contentType: "text/plain" });
  const { sync, cache } = world.site();
  cache.map.set("here", { a: 1 });
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  assert.deepEqual(world.remote, { here: '{"a":1}', there: "1" });
  assert.deepEqual(cache.toJSON(), { here: { a: 1 }, there: "1" });
  assert.deepEqual({ ...sync.getStatus(), lastSync: 0 }, { connected: true, lastSync: 0, peers: ["n1", "n2", "n3"], pending: 0, conflicts: 0 });
  assert.ok(sync.getStatus().lastSync > 1.7e12);
  await world.run(sync.close());
});

test("the first sync of 10,000 equal keys takes few requests and no log entry", async () => {
  const world = new World();
  const { sync, cache } = world.site();
  for (let at = 0; at < 10_000; at++) {
    world.cluster.put(`key:${at}`, `value ${at}`, { contentType: "text/plain" });
    cache.map.set(`key:${at}`, `value ${at}`);
  }
  const entries = world.cluster.logEntries;
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  assert.equal(world.cluster.logEntries, entries);
  assert.ok(world.cluster.seen.length <= 12, `${world.cluster.seen.length} requests`);
  assert.equal(sync.getStatus().pending, 0);
  assert.equal(sync.getStatus().conflicts, 0);
  await world.run(sync.close());
});

test("100 queued writes with 51 conflicts take at most four requests", async () => {
  const world = new World();
  for (let at = 0; at < 100; at++) world.cluster.put(`k${at}`, "old", { contentType: "text/plain" });
  const { sync, cache } = await world.connected();
  world.cluster.fault = () => ({ kind: "refused" });
  world.cluster.cut();
  for (let at = 0; at < 100; at++) {
    await sync.set(`k${at}`, "local");
    await world.clock.advance(1);
  }
  for (let at = 0; at < 51; at++) world.cluster.put(`k${at}`, "remote", { contentType: "text/plain" });
  world.cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
  await world.clock.advance(5000);
  const before = world.requests;
  const entries = world.cluster.logEntries;
  await world.run(sync.sync());
  assert.ok(world.requests - before <= 4, `${world.requests - before} requests`);
  assert.equal(world.cluster.logEntries - entries, 1);
  assert.equal(sync.getStatus().conflicts, 51);
  assert.equal(sync.getStatus().pending, 0);
  const won = Object.values(world.remote);
  assert.equal(won.filter((value) => value === "remote").length, 51);
  assert.deepEqual(cache.toJSON(), world.remote);
  await world.run(sync.close());
});

test("2,000 keys of 20 kB are sent and read in batches and pages that fit", async () => {
  const world = new World();
  const { sync, cache } = world.site({ batchSize: 1024 });
  const value = "x".repeat(20_000);
  for (let at = 0; at < 2_000; at++) cache.map.set(`big:${at}`, `${at}${value}`);
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  assert.equal(Object.keys(world.remote).length, 2_000);
  const other = await world.connected();
  assert.equal(other.cache.map.size, 2_000);
  assert.equal(other.cache.map.get("big:77"), `77${value}`);
  assert.ok(world.cluster.seen.filter(({ path }) => path === "/v1/batch").length < 30);
  await world.run(sync.close());
  await world.run(other.sync.close());
});

test("changes of others come at once, with what they are", async () => {
  const world = new World();
  const changes: SyncChange[] = [];
  const { sync, cache } = await world.connected({ onChange: (change) => changes.push(change) });
  world.cluster.put("a", "1", { contentType: "text/plain" });
  await settle();
  assert.equal(cache.map.get("a"), "1");
  world.cluster.remove("a");
  world.cluster.put("b:1", "1");
  world.cluster.put("b:2", "1");
  world.cluster.clear("b:");
  await settle();
  assert.deepEqual(cache.toJSON(), {});
  assert.deepEqual(changes.map((change) => ("key" in change ? `${change.cause} ${change.key} ${change.origin}` : "")), ["set a remote", "delete a remote", "set b:1 remote", "set b:2 remote", "clear b:1 remote", "clear b:2 remote"]);
  await world.run(sync.close());
});

test("several caches get each other's changes through the cluster, and a cache that comes later gets all", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  const second = new MapCache();
  sync.registerCache(second);
  cache.map.set("a", "from the first");
  second.map.set("b", "from the second");
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), { a: "from the first", b: "from the second" });
  assert.deepEqual(second.toJSON(), cache.toJSON());
  second.map.set("a", "changed by the second");
  await world.run(sync.sync());
  assert.equal(cache.map.get("a"), "changed by the second");
  assert.equal(sync.getStatus().conflicts, 0);
  const third = new MapCache();
  sync.registerCache(third);
  await world.run(sync.sync());
  assert.deepEqual(third.toJSON(), cache.toJSON());
  await world.run(sync.close());
});

test("a key that a cache has no more is no delete; a tracked one tells deletes", async () => {
  const world = new World();
  world.cluster.put("a", "1");
  world.cluster.put("b", "1");
  const { sync, cache } = world.site({}, {}, false);
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  cache.map.delete("a");
  await world.run(sync.sync());
  assert.deepEqual(Object.keys(world.remote), ["a", "b"]);
  const tracked = sync.track(new MapCache());
  await world.run(sync.sync());
  await tracked.set("c", "new");
  await tracked.delete("b");
  assert.equal(sync.getStatus().pending, 2);
  await world.run(sync.sync());
  assert.deepEqual(Object.keys(world.remote), ["a", "c"]);
  assert.equal(cache.map.has("b"), false);
  await world.run(sync.close());
  const strict = await world.connected({ absence: "delete" });
  strict.cache.map.delete("c");
  await world.run(strict.sync.sync());
  assert.deepEqual(Object.keys(world.remote), ["a"]);
  await world.run(strict.sync.close());
});

test("newest, oldest and custom decide conflicts; each is told with its loser", async () => {
  for (const [options, expected] of [
    [{ conflict: "newest" }, "remote"],
    [{ conflict: "oldest" }, "local"],
    [{ conflict: "custom", resolve: () => "local" }, "local"],
    [{ conflict: "custom", resolve: () => Promise.resolve("remote") }, "remote"],
    [{ conflict: "custom", resolve: ({ local, remote }) => ({ value: `${String(local.value)}+${String(remote.value)}` }) }, "local+remote"],
    [{ conflict: "custom", resolve: () => "delete" }, undefined],
  ] as [SyncOptions, string | undefined][]) {
    const world = new World();
    world.cluster.put("k", "base", { contentType: "text/plain" });
    const told: DecidedConflict[] = [];
    const { sync, cache } = await world.connected({ ...options, onConflict: (conflict) => told.push(conflict) });
    await sync.set("k", "local");
    await world.clock.advance(100);
    world.cluster.put("k", "remote", { contentType: "text/plain", origin: "app-2" });
    await settle();
    await world.run(sync.sync());
    assert.equal(world.remote["k"], expected);
    assert.equal(cache.map.get("k"), expected);
    assert.equal(sync.getStatus().conflicts, 1);
    assert.equal(told.length, 1);
    assert.deepEqual([told[0]?.local.value, told[0]?.remote.value, told[0]?.remote.origin], ["local", "remote", "app-2"]);
    assert.equal(sync.getStatus().pending, 0);
    await world.run(sync.close());
  }
});

test("a conflict that is deferred, or whose resolver fails, waits until something new is known", async () => {
  const world = new World();
  world.cluster.put("k", "base", { contentType: "text/plain" });
  world.cluster.put("other", "base", { contentType: "text/plain" });
  let answer: "defer" | "local" = "defer";
  const { sync } = await world.connected({
    conflict: "custom",
    resolve: ({ key }) => {
      if (key === "other") throw new Error("no idea");
      return answer;
    },
  });
  await sync.set("k", "local");
  await sync.set("other", "local");
  await sync.set("third", "local");
  world.cluster.put("k", "remote");
  world.cluster.put("other", "remote");
  await settle();
  await world.run(sync.sync());
  assert.deepEqual(sync.getDetails().unresolved.map(({ key, why }) => `${key}: ${why}`), ["k: deferred", "other: resolve failed: no idea"]);
  assert.equal(sync.getStatus().pending, 2);
  assert.ok(sync.getStatus().lastSync > 0);
  assert.equal(world.remote["third"], "local", "the rest went on");
  answer = "local";
  sync.retry("k");
  await world.run(sync.sync());
  assert.equal(world.remote["k"], "local");
  assert.equal(world.remote["other"], "remote");
  await world.run(sync.close());
});

test("a local change that is older than the delete of its key loses: the key stays gone", async () => {
  const world = new World();
  for (const key of ["older", "newer", "evicted"]) world.cluster.put(key, "base", { contentType: "text/plain" });
  const { sync, cache } = await world.connected();
  world.cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
  world.cluster.cut();
  await sync.set("older", "local");
  await world.clock.advance(1000);
  world.cluster.remove("older");
  world.cluster.remove("newer");
  await sync.set("evicted", "local");
  world.cluster.remove("evicted", "evict");
  await world.clock.advance(1000);
  await sync.set("newer", "local");
  await world.run(sync.sync());
  assert.deepEqual(world.remote, { evicted: "local", newer: "local" });
  assert.deepEqual(cache.toJSON(), { evicted: "local", newer: "local" });
  await world.run(sync.close());
  const unheard = world.site();
  await assert.rejects(world.run(unheard.sync.connect("node-2")), Unreachable, "no stream of changes begins");
  world.cluster.fault = () => undefined;
  // Met for the first time: of unknown age, so the delete that the cluster remembers wins.
  const late = world.site();
  late.cache.map.set("older", "a copy from long ago");
  late.cache.map.set("never", "there");
  await world.run(late.sync.connect("node-2"));
  await world.run(late.sync.sync());
  assert.equal(world.cluster.entries.has("older"), false);
  assert.equal(late.cache.map.has("older"), false);
  assert.equal(world.cluster.entries.get("never")?.value.toString(), "there");
  await world.run(late.sync.close());
});

test("additions of all sides are summed up", async () => {
  const world = new World();
  world.cluster.put("n", "10");
  const { sync, cache } = await world.connected();
  await sync.add("n", 5);
  await sync.add("n", 2n);
  assert.equal(cache.map.get("n"), "17");
  world.cluster.put("n", "100");
  await world.run(sync.sync());
  assert.equal(world.remote["n"], "107");
  assert.equal(cache.map.get("n"), "107");
  await sync.add("fresh", 1);
  await world.run(sync.sync());
  assert.equal(world.remote["fresh"], "1");
  await sync.set("fresh", "text");
  await assert.rejects(sync.add("fresh", 1), SyncError);
  assert.equal(sync.getStatus().conflicts, 0);
  await world.run(sync.close());
});

test("a batch whose outcome is unknown is repeated under its key, and an addition is counted once", async () => {
  const world = new World();
  const { sync, storage } = await world.connected();
  await sync.add("n", 5);
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind: "after" } : undefined);
  await assert.rejects(world.run(sync.sync()), OutcomeUnknown);
  assert.equal(world.remote["n"], "5");
  assert.equal(sync.getStatus().pending, 1);
  await sync.add("n", 1);
  world.cluster.fault = () => undefined;
  // In another process, after a crash.
  const next = world.site({}, { storage });
  await world.run(next.sync.connect("node-1"));
  await world.run(next.sync.sync());
  assert.equal(world.remote["n"], "6");
  assert.equal(next.sync.getStatus().pending, 0);
  assert.equal(next.cache.map.get("n"), "6");
  await world.run(next.sync.close());
});

test("an outcome that is forgotten is looked up; an addition is told as unknown, and not repeated", async () => {
  const world = new World();
  world.cluster.put("set2", "x");
  const { sync } = await world.connected();
  await sync.add("n", 5);
  await sync.set("set1", "mine");
  await sync.set("set2", "mine");
  let sent = 0;
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? (sent++ === 0 ? { kind: "after" } : { kind: "before" }) : undefined);
  await assert.rejects(world.run(sync.sync()), OutcomeUnknown);
  world.cluster.fault = () => undefined;
  world.cluster.put("set2", "later", { contentType: "text/plain" });
  world.cluster.forgetOutcomes();
  await world.run(sync.sync());
  assert.deepEqual(world.remote, { n: "5", set1: "mine", set2: "later" });
  assert.deepEqual(sync.getDetails().unknown, [{ key: "n", by: 5n }]);
  assert.equal(sync.getStatus().pending, 0);
  await world.run(sync.close());
});

test("a key that is refused again and again is stuck, and the others go on", async () => {
  const world = new World();
  world.cluster.put("k", "base");
  const { sync } = await world.connected({ conflict: "oldest", retries: 2 });
  await sync.set("k", "local");
  await sync.set("other", "local");
  await world.clock.advance(10);
  world.cluster.fault = ({ path }) => {
    // Somebody is always faster.
    if (path === "/v1/batch") world.cluster.put("k", `remote ${world.cluster.index}`);
    return undefined;
  };
  await world.run(sync.sync());
  assert.deepEqual(sync.getDetails().stuck.map(({ key }) => key), ["k"]);
  assert.equal(world.remote["other"], "local");
  assert.equal(sync.getStatus().pending, 1);
  assert.ok(world.cluster.seen.filter(({ path }) => path === "/v1/batch").length <= 5);
  world.cluster.fault = () => undefined;
  sync.retry();
  await world.run(sync.sync());
  assert.equal(world.remote["k"], "local");
  await world.run(sync.close());
});

test("values that a page of changes had no room for are read", async () => {
  const world = new World();
  const { sync, cache } = await world.connected();
  world.cluster.pageBytes = 1;
  world.cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? { kind: "refused" } : undefined);
  world.cluster.cut();
  const keys = Array.from({ length: 10 }, (_, at) => `k${at}`);
  await world.client().batch(keys.map((key) => ({ op: "put", key, value: `value of ${key}`, contentType: "text/plain" })));
  await world.run(sync.sync());
  assert.deepEqual(cache.toJSON(), Object.fromEntries(keys.map((key) => [key, `value of ${key}`])));
  assert.equal(sync.getStatus().conflicts, 0);
  await world.run(sync.close());
});
