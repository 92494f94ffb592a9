import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, OutcomeUnknown } from "../../src/index.js";
import { NearCache } from "../../src/near/index.js";
import { Freshness } from "../../src/near/freshness.js";
import { FakeClock, settle } from "../support/clock.js";
import { FakeCluster, refusal } from "../support/fake.js";

async function setUp() {
  const cluster = new FakeCluster();
  const clock = new FakeClock();
  cluster.now = clock.logTime;
  const client = new Client({ urls: "http://n1,http://n2", fetch: cluster.fetch, clock });
  const near = new NearCache(client);
  await near.start();
  return { cluster, clock, client, near };
}

test("a delete that is answered again is no news of the key", async () => {
  const { cluster, clock, near } = await setUp();
  cluster.put("k", "1");
  await settle();
  let first = true;
  cluster.fault = ({ method }) => {
    if (method !== "DELETE" || !first) return undefined;
    first = false;
    // Another process stores the key before the delete is sent again.
    queueMicrotask(() => setImmediate(() => cluster.put("k", "2")));
    return { kind: "after" };
  };
  assert.equal(await clock.drive(near.delete("k")), true);
  assert.equal(cluster.entries.get("k")?.value.toString(), "2");
  assert.equal((await near.get("k", "any"))?.text(), "2");
  await clock.drive(near.close());
});

test("a fill does not store over a delete that came while it ran", async () => {
  const { cluster, clock, near } = await setUp();
  let made: (value: string) => void = () => {};
  const filled = near.getOrFill("k", () => new Promise<string>((resolve) => (made = resolve)));
  await settle();
  cluster.put("k", "of another");
  cluster.remove("k");
  await settle();
  made("of before the delete");
  const entry = await clock.drive(filled);
  assert.deepEqual([entry?.text(), entry?.revision], ["of before the delete", 0]);
  assert.equal(cluster.entries.has("k"), false);
  assert.equal(cluster.locks.size, 0);
  await clock.drive(near.close());
});

test("a lock whose release fails ends with its session", async () => {
  const { cluster, clock, near } = await setUp();
  cluster.fault = ({ method, path }) => (method === "DELETE" && path.startsWith("/v1/locks") ? { kind: "before" } : undefined);
  assert.equal((await clock.drive(near.getOrFill("k", () => "1")))?.text(), "1");
  await clock.drive(settle());
  assert.equal(cluster.locks.size, 0);
  cluster.fault = () => undefined;
  assert.equal((await clock.drive(near.getOrFill("l", () => "2")))?.text(), "2");
  await clock.drive(near.close());
});

test("a lock that may have been acquired ends with its session", async () => {
  const { cluster, clock, near } = await setUp();
  cluster.fault = ({ method, path }) => (method === "POST" && path.startsWith("/v1/locks") ? { kind: "after" } : undefined);
  await assert.rejects(clock.drive(near.getOrFill("k", () => "1")), OutcomeUnknown);
  await clock.drive(settle());
  assert.equal(cluster.locks.size, 0);
  await clock.drive(near.close());
});

test("who waits for a fill waits no longer than told, also if no stream of locks begins", async () => {
  const { cluster, clock, near, client } = await setUp();
  const session = await client.sessions.open("elsewhere", 3_600_000);
  await client.locks.tryAcquire("fill:k", session);
  cluster.fault = ({ path }) => (path.startsWith("/v1/watch") ? refusal(503, "busy") : undefined);
  let ended = false;
  const filled = near.getOrFill("k", () => "1", { waitMs: 3000 });
  filled.then(
    () => (ended = true),
    () => (ended = true),
  );
  for (let round = 0; round < 10; round++) await clock.advance(500);
  assert.ok(ended);
  await assert.rejects(filled, /locked/);
  // And one who waits sees a release that nobody tells.
  const second = near.getOrFill("k", () => "2", { waitMs: 10_000 });
  await clock.advance(500);
  cluster.locks.delete("fill:k");
  assert.equal((await clock.drive(second))?.text(), "2");
  cluster.fault = () => undefined;
  await clock.drive(near.close());
});

test("a node in another history does not end what the stream keeps fresh", async () => {
  const { cluster, near } = await setUp();
  cluster.put("a", "1");
  await settle();
  await near.get("a");
  await near.put("own", "mine");
  cluster.fault = ({ path }) =>
    path.startsWith("/v1/kv/b") && path.includes("consistency=stale") ? refusal(409, "other_history") : undefined;
  assert.equal(await near.get("b", "session"), null);
  assert.equal(near.getNow("a", "any")?.text(), "1");
  cluster.put("a", "2");
  await settle();
  await near.get("a");
  assert.equal(near.getNow("a", "any")?.text(), "2");
  await near.close();
});

test("the stream begins anew as soon as a majority answers of another history", async () => {
  const { cluster, near } = await setUp();
  cluster.put("a", "1");
  await settle();
  // The node of the stream has not noticed.
  cluster.cut = () => {};
  cluster.fork("restored");
  await near.get("a", "linearizable");
  await settle();
  await settle();
  await near.get("a", "linearizable");
  assert.equal(near.getNow("a", "any")?.text(), "1");
  await near.close();
});

test("a bookmark confirms nothing where the difference of the clocks is not known, or not any more", () => {
  const fresh = new Freshness();
  fresh.confirmed(5_000, 1_000);
  assert.equal(fresh.confirmedAt, -Infinity);
  fresh.sample(10_000, 6_000);
  fresh.confirmed(11_000, 6_500);
  assert.equal(fresh.confirmedAt, 10_499);
  assert.equal(fresh.localTime(6_500, 610_000), 10_499);
  assert.equal(fresh.localTime(6_500, 610_001), undefined);
});
