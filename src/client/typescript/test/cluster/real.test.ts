import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { LockstepError, PreconditionFailed, type WatchMessage } from "../../src/index.js";
import { NearCache } from "../../src/near/index.js";
import { CacheSynchronizer } from "../../src/sync/index.js";
import { RealCluster, until } from "../support/cluster.js";
import { MapCache } from "../support/sync.js";

let cluster: RealCluster;

before(async () => {
  cluster = await RealCluster.start();
});

after(() => cluster.stop());

/** Whether this server has sessions and locks, and watches of them: earlier releases have not. */
async function hasSessions(): Promise<boolean> {
  const client = cluster.client();
  try {
    await client.sessions.list();
    for await (const message of client.watch({ prefix: "none", keys: false, locks: true })) return message.type === "subscribed";
    return false;
  } catch (error) {
    if (error instanceof LockstepError && (error.code === "no_route" || error.code === "invalid_query")) return false;
    throw error;
  }
}

test("keys, conditions, counters, batches and pages", async () => {
  const client = cluster.client();
  const put = await client.put("real:a", "ada", { contentType: "text/plain", ttlMs: 60_000, sliding: true });
  assert.equal(put.created, true);
  const entry = await client.get("real:a");
  assert.deepEqual([entry?.text(), entry?.contentType, entry?.revision, entry?.version, entry?.origin, entry?.slidingMs], ["ada", "text/plain", put.revision, 1, "test", 60_000]);
  assert.ok((entry?.ttlMs ?? 0) > 50_000 && (entry?.modifiedAtMs ?? 0) > 1.7e12);
  const again = await client.put("real:a", new Uint8Array([0, 255]), { ifRevision: put.revision, previous: true });
  assert.equal(again.previous?.text(), "ada");
  assert.deepEqual((await client.get("real:a"))?.bytes(), new Uint8Array([0, 255]));
  await assert.rejects(client.put("real:a", "x", { ifRevision: put.revision }), (error: unknown) => error instanceof PreconditionFailed && error.revision === again.revision);
  assert.equal((await client.read("real:a", { ifNoneMatch: again.revision })).notModified, true);
  assert.equal((await client.incr("real:n", 9007199254740993n)).value, 9007199254740993n);
  await client.expire("real:n", 60_000);
  await client.persist("real:n");
  assert.equal((await client.delete("real:a", { previous: true })).previous?.revision, again.revision);
  assert.equal((await client.delete("real:a")).found, false);
  const read = await client.read("real:a");
  assert.deepEqual([read.entry, read.gone?.cause], [null, "delete"]);
  await assert.rejects(client.put("real:a", "x", { ifAbsentSince: put.revision }), (error: unknown) => error instanceof PreconditionFailed && error.gone?.cause === "delete");
  const { results } = await client.batch(
    [
      { op: "put", key: "real:b", value: "1", ifAbsentSince: read.index },
      { op: "put", key: "real:n", value: "2", ifAbsent: true, previous: true },
      { op: "delete", key: "real:a", ifRevision: 1 },
      { op: "incr", key: "real:n", by: 1 },
    ].slice(0, 3) as Parameters<typeof client.batch>[0],
    { mode: "each" },
  );
  assert.ok(results[0]?.op === "put" && results[0].refused === undefined && results[0].created);
  assert.ok(results[1]?.op === "put" && results[1].refused?.entry?.text() === "9007199254740993" && results[1].refused.hasValue);
  assert.ok(results[2]?.op === "delete" && results[2].refused?.gone?.cause === "delete");
  const found = await client.getMany(["real:b", "real:a"]);
  assert.deepEqual(found.map(({ entry: each, gone }) => each?.text() ?? gone?.cause), ["1", "delete"]);
  const names: string[] = [];
  for await (const { key } of client.keys({ prefix: "real:", pageSize: 1 })) names.push(key);
  for await (const each of client.entries({ prefix: "real:", pageSize: 1 })) names.push(each.text());
  assert.deepEqual(names, ["real:b", "real:n", "1", "9007199254740993"]);
  const { timeMs } = await client.time();
  assert.ok(Math.abs(timeMs - Date.now()) < 60_000);
  const page = await client.changes(put.revision - 1, { prefix: "real:", values: true });
  assert.deepEqual(page.changes.map((change) => `${change.kind} ${"key" in change ? change.key : change.prefix}`).sort(), ["entry real:b", "entry real:n", "gone real:a"]);
  assert.equal((await client.clear({ prefix: "real:" })).removed, 2);
  assert.ok((await client.changes(page.next)).changes.some((change) => change.kind === "clear"));
  assert.ok((await client.lineage()).histories.length >= 1);
});

test("a watch misses nothing while nodes are killed", async () => {
  const client = cluster.client();
  const stop = new AbortController();
  const seen: string[] = [];
  let begun = false;
  const watching = (async () => {
    for await (const message of client.watch({ prefix: "watched:", signal: stop.signal }) as AsyncIterable<WatchMessage>) {
      begun = true;
      assert.notEqual(message.type, "resync");
      if (message.type === "change") for (const event of message.events) if (event.cause === "put") seen.push(event.value ?? "");
    }
  })();
  await until("the watch", () => begun);
  const written: string[] = [];
  for (let at = 0; at < 60; at++) {
    await client.put("watched:k", String(at));
    written.push(String(at));
    // The node that the watch is at, sooner or later.
    if (at === 20) cluster.kill(await cluster.leader());
    if (at === 40) cluster.revive();
  }
  await until("all changes", () => seen.length >= written.length);
  assert.deepEqual(seen, written);
  stop.abort();
  await watching;
});

test("a near cache is kept fresh, and bounded reads go on while a node is killed", async () => {
  const client = cluster.client();
  const near = new NearCache(client, { prefix: "near:" });
  await near.start();
  await client.put("near:a", "0");
  const writer = cluster.client();
  let last = -1;
  for (let at = 0; at < 40; at++) {
    await writer.put("near:a", String(at));
    if (at === 10) cluster.kill(((await cluster.leader()) + 1) % 3);
    if (at === 30) cluster.revive();
    assert.equal((await near.get("near:a", "linearizable"))?.text(), String(at));
    const bounded = Number((await near.get("near:a", { maxStaleMs: 500 }))?.text());
    assert.ok(bounded >= last);
    last = bounded;
  }
  await until("a hit", async () => {
    const { hits } = near.stats;
    await near.get("near:a", { maxStaleMs: 5_000 });
    return near.stats.hits > hits;
  });
  await until("the last bookmark", () => near.stats.ageMs < 5_000);
  if (await hasSessions()) {
    const other = new NearCache(cluster.client(), { prefix: "near:" });
    await other.start();
    let fills = 0;
    const fill = async () => {
      fills++;
      return `made ${fills}`;
    };
    const values = await Promise.all([near, other, near].map((cache) => cache.getOrFill("near:filled", fill, { ttlMs: 60_000 })));
    assert.deepEqual(values.map((entry) => entry?.text()), ["made 1", "made 1", "made 1"]);
    await other.close();
  }
  await near.close();
});

test("sessions and locks", async (t) => {
  if (!(await hasSessions())) return t.skip("this server has no sessions");
  const client = cluster.client();
  const one = (await client.sessions.open("one", 5_000)).keepAlive();
  const two = (await client.sessions.open("two", 5_000)).keepAlive();
  const lock = await client.locks.acquire("real-lock", one);
  assert.equal((await client.locks.holder("real-lock"))?.session, one.id);
  const waiting = client.locks.acquire("real-lock", two);
  assert.deepEqual(await one.close(), ["real-lock"]);
  const next = await waiting;
  assert.ok(next.token > lock.token);
  assert.equal(await next.release(), true);
  assert.equal((await client.sessions.list("two")).length, 1);
  await two.close();
});

test("two synchronizers meet in the cluster, while nodes are killed", async () => {
  const site = () => {
    const cache = new MapCache();
    const sync = new CacheSynchronizer({ client: cluster.client(), syncInterval: 200, groups: [{ name: "s", prefix: "s:" }] });
    sync.registerCache(cache);
    return { sync, cache };
  };
  const one = site();
  const two = site();
  await one.sync.connect("one");
  await two.sync.connect("two");
  for (let at = 0; at < 60; at++) {
    const { sync } = at % 2 === 0 ? one : two;
    await sync.set(`s:${at % 20}`, `value ${at}`);
    await sync.add("s:count", 1);
    if (at === 20) cluster.kill(await cluster.leader());
    if (at === 40) cluster.revive();
    if (at % 5 === 0) await sync.sync();
  }
  await one.sync.sync();
  await two.sync.sync();
  await until("both to be equal", () => JSON.stringify(one.cache) === JSON.stringify(two.cache) && one.sync.getStatus().pending + two.sync.getStatus().pending === 0);
  assert.equal(one.cache.map.size, 21);
  assert.equal(one.cache.map.get("s:count"), "60");
  const remote = new Map<string, string>();
  for await (const entry of cluster.client().entries({ prefix: "s:" })) remote.set(entry.key, entry.text());
  assert.deepEqual(Object.fromEntries(remote), { ...one.cache.toJSON() });
  await one.sync.close();
  await two.sync.close();
});

test("10,000 keys and 2,000 keys of 20 kB", async () => {
  const cache = new MapCache();
  for (let at = 0; at < 10_000; at++) cache.map.set(`m:${at}`, `value ${at}`);
  for (let at = 0; at < 2_000; at++) cache.map.set(`m:big:${at}`, `${at}${"x".repeat(20_000)}`);
  const groups = [{ name: "m", prefix: "m:" }];
  const one = new CacheSynchronizer({ client: cluster.client(), syncInterval: 0, batchSize: 1024, groups });
  one.registerCache(cache);
  await one.connect("one");
  await one.sync();
  assert.equal(one.getStatus().pending, 0);
  await one.close();
  let requests = 0;
  const client = cluster.client();
  const send = client.transport.send.bind(client.transport);
  client.transport.send = (...all) => {
    requests++;
    return send(...all);
  };
  const before = (await cluster.client().time()).index;
  const two = new CacheSynchronizer({ client, syncInterval: 0, groups });
  const copy = new MapCache();
  two.registerCache(copy);
  await two.connect("two");
  await two.sync();
  assert.equal(copy.map.size, 12_000);
  assert.deepEqual(copy.toJSON(), cache.toJSON());
  assert.ok(requests <= 20, `${requests} requests for 42 MB`);
  const entries = (await cluster.client().time()).index - before;
  assert.ok(entries <= 5, `${entries} log entries`);
  await two.close();
});

test("a restored backup: near caches and synchronizers go over to the new history", async () => {
  const first = await RealCluster.start();
  const folder = mkdtempSync(join(tmpdir(), "lockstep-backup-"));
  let second: RealCluster | undefined;
  try {
    const client = first.client();
    await client.put("kept", "1", { contentType: "text/plain" });
    const cache = new MapCache();
    const sync = new CacheSynchronizer({ client, syncInterval: 200 });
    sync.registerCache(cache);
    await sync.connect("one");
    const near = new NearCache(first.client());
    await near.start();
    const backup = join(folder, "backup");
    const response = await fetch(`${first.urls[0]}/v1/snapshot`);
    writeFileSync(backup, Buffer.from(await response.arrayBuffer()));
    await client.put("lost", "1", { contentType: "text/plain" });
    await sync.sync();
    assert.deepEqual(cache.toJSON(), { kept: "1", lost: "1" });
    assert.equal((await near.get("lost"))?.text(), "1");
    await first.stop();
    await sync.set("offline", "1");
    second = await RealCluster.start({ backup, port: Number(new URL(first.urls[0] as string).port) });
    await until("the new history", async () => {
      await sync.sync().catch(() => undefined);
      return sync.getStatus().pending === 0 && !cache.map.has("lost");
    });
    assert.deepEqual(cache.toJSON(), { kept: "1", offline: "1" });
    await until("the near cache", async () => (await near.get("lost", "any").catch(() => undefined)) === null);
    assert.equal((await near.get("kept", { maxStaleMs: 100 }))?.text(), "1");
    await until("the stream", () => sync.getStatus().connected);
    await second.client().put("later", "1", { contentType: "text/plain" });
    await until("a change of the new history", () => cache.map.get("later") === "1");
    await near.close();
    await sync.close();
  } finally {
    await first.stop();
    await second?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the exercise's example prints its status", async () => {
  const path = fileURLToPath(new URL("./exercise.js", import.meta.url));
  const child = spawn(process.execPath, [path], { env: { ...process.env, LOCKSTEP_URLS: cluster.urls.join(",") }, stdio: ["ignore", "pipe", "inherit"] });
  let told = "";
  child.stdout.on("data", (part: Buffer) => (told += part.toString()));
  await until("the status", () => told.includes("}"));
  assert.match(told, /^\{\s+connected: true,\s+lastSync: \d{13},\s+peers: \[ 'n1', 'n2', 'n3' \],\s+pending: 0,\s+conflicts: 0\s+\}\s+$/);
  const end = once(child, "exit");
  child.kill();
  await end;
});
