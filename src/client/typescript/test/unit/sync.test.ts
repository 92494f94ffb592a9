import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeUnknown, Unreachable } from "../../src/index.js";
import { type DecidedConflict, type SyncChange, SyncError, type SyncOptions } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { refusal } from "../support/fake.js";
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

test("after ten minutes an outcome is looked up; an addition is told as unknown, and not repeated", async () => {
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
  await world.clock.advance(11 * 60_000);
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
