import assert from "node:assert/strict";
import { test } from "node:test";
import { Keyv } from "keyv";
import { Keyv as Keyv6 } from "keyv6";
import { Client } from "../../src/index.js";
import { type AdapterOptions, Keyv6Lockstep, KeyvLockstep } from "../../src/keyv/index.js";
import { FakeClock } from "../support/clock.js";
import { FakeCluster } from "../support/fake.js";

function setUp(options: AdapterOptions = {}): { cluster: FakeCluster; store: KeyvLockstep; store6: Keyv6Lockstep } {
  const cluster = new FakeCluster();
  const client = new Client({ urls: "http://n1", fetch: cluster.fetch, unreachableMs: 0 });
  return { cluster, store: new KeyvLockstep({ client, ...options }), store6: new Keyv6Lockstep({ client, ...options }) };
}

test("long keys and keys that the cluster does not allow are hashed, and are iterated over by their own names", async () => {
  const { cluster, store } = setUp();
  const keyv = new Keyv({ store, namespace: "ns" });
  const long = "x".repeat(1000);
  for (const key of [long, "a\nb", "short", "Ä".repeat(300)]) {
    await keyv.set(key, `value of ${key.length}`);
    assert.equal(await keyv.get(key), `value of ${key.length}`);
  }
  const names = [...cluster.entries.keys()];
  assert.equal(names.filter((name) => /^ns~[A-Za-z0-9_-]{43}$/.test(name)).length, 3);
  assert.ok(names.includes("ns:short"));
  const seen = new Map<string, unknown>();
  for await (const [key, value] of keyv.iterator?.({}) as AsyncIterable<[string, unknown]>) seen.set(key, value);
  assert.deepEqual([...seen.keys()].sort(), [long, "a\nb", "short", "Ä".repeat(300)].sort());
  assert.equal(await keyv.delete(long), true);
  assert.equal(await keyv.delete(long), false);
  assert.equal(await keyv.get(long), undefined);
});

test("clear removes what is in the namespace and nothing else", async () => {
  const { cluster, store } = setUp();
  const keyv = new Keyv({ store, namespace: "a" });
  cluster.put("a", "of another program");
  cluster.put("ab:1", "of another namespace");
  cluster.put("a~b:1", "of another namespace");
  await keyv.set("1", 1);
  await keyv.set("y".repeat(500), 1);
  await keyv.clear();
  assert.deepEqual([...cluster.entries.keys()].sort(), ["a", "ab:1", "a~b:1"]);
  const bare = setUp().store;
  await assert.rejects(bare.clear(), TypeError);
  const prefixed = setUp({ prefix: "app/" });
  prefixed.cluster.put("other", "1");
  await prefixed.store.set("k", "v");
  assert.deepEqual([...prefixed.cluster.entries.keys()].sort(), ["app/k", "other"]);
  await prefixed.store.clear();
  assert.deepEqual([...prefixed.cluster.entries.keys()], ["other"]);
});

test("many keys take one request", async () => {
  const { cluster, store } = setUp();
  const keyv = new Keyv({ store, namespace: "ns" });
  await keyv.setMany([{ key: "a", value: 1 }, { key: "b", value: { c: 2 }, ttl: 60_000 }, { key: "a", value: 3 }]);
  assert.deepEqual(await keyv.getMany(["a", "none", "b"]), [3, undefined, { c: 2 }]);
  assert.deepEqual(await store.hasMany(["ns:a", "ns:none"]), [true, false]);
  assert.equal(await keyv.deleteMany(["a", "b", "none"]), true);
  assert.equal(cluster.entries.size, 0);
  assert.equal(cluster.seen.length, 4);
});

test("when the cluster cannot be asked: raise throws, miss answers as if nothing was there", async () => {
  const strict = setUp();
  strict.cluster.fault = () => ({ kind: "refused" });
  await assert.rejects(strict.store.get("k"));
  const lenient = setUp({ onError: "miss" });
  const errors: unknown[] = [];
  lenient.store.on("error", (error) => errors.push(error));
  await lenient.store.set("k", "v");
  lenient.cluster.fault = () => ({ kind: "refused" });
  assert.equal(await lenient.store.get("k"), undefined);
  assert.equal(await lenient.store.set("k", "v"), false);
  assert.equal(await lenient.store.delete("k"), false);
  assert.equal(errors.length, 3);
  const clock = new FakeClock();
  const { cluster } = setUp();
  cluster.fault = () => ({ kind: "hang" });
  const slow = new KeyvLockstep({ client: new Client({ urls: "http://n1,http://n2", fetch: cluster.fetch, clock }) });
  await assert.rejects(clock.drive(slow.get("k")));
  assert.ok(clock.now <= 2_100, "a second is the deadline");
});

test("the shape of Keyv 6: namespaces and points in time", async () => {
  const { cluster, store6 } = setUp();
  const keyv = new Keyv6({ store: store6, namespace: "six" });
  await keyv.set("a", { b: 1 }, 60_000);
  await keyv.set("forever", 1);
  assert.deepEqual(await keyv.get("a"), { b: 1 });
  assert.deepEqual([...cluster.entries.keys()].sort(), ["six:a", "six:forever"]);
  const left = (cluster.entries.get("six:a")?.deadline ?? 0) - Date.now();
  assert.ok(left > 55_000 && left <= 60_000, String(left));
  const keys: unknown[] = [];
  for await (const [key] of keyv.iterator()) keys.push(key);
  assert.deepEqual(keys.sort(), ["a", "forever"]);
  assert.equal(await store6.set("over", "x", Date.now() - 1), true);
  assert.equal(await keyv.get("over"), undefined);
  assert.equal(await keyv.delete("a"), true);
  cluster.put("other", "1");
  await keyv.clear();
  assert.deepEqual([...cluster.entries.keys()], ["other"]);
});
