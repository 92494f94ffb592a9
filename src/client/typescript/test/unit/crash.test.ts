import assert from "node:assert/strict";
import { test } from "node:test";
import { CacheSynchronizer, MemoryStorage } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { Mortal } from "../support/mortal.js";
import { MapCache, World } from "../support/sync.js";

/** What the application was told to be kept. */
interface Accepted {
  sets: { key: string; value: string }[];
  added: number;
  /** Of the call that was not answered. */
  maybeAdded: number;
}

/** A process that changes keys, meets a conflict, and syncs, until it is through or dead. */
async function live(world: World, mortal: Mortal, storage: MemoryStorage, cache: MapCache): Promise<Accepted> {
  const accepted: Accepted = { sets: [], added: 0, maybeAdded: 0 };
  const client = world.client({ fetch: mortal.fetch(world.cluster.fetch), timeoutMs: 500, unreachableMs: 100 });
  const sync = new CacheSynchronizer({ client, clock: world.clock, storage: mortal.storage(storage), syncInterval: 0, batchSize: 2 });
  sync.registerCache(mortal.cache(cache));
  const set = async (key: string, value: string) => {
    await world.run(sync.set(key, value));
    accepted.sets.push({ key, value });
  };
  const add = async (by: number) => {
    accepted.maybeAdded = by;
    await world.run(sync.add("n", by));
    accepted.added += by;
    accepted.maybeAdded = 0;
  };
  try {
    await set("offline", "1");
    await add(1);
    await world.run(sync.connect("node-1"));
    await set("a", "1");
    await set("b", "loses");
    await add(5);
    await world.clock.advance(100);
    world.cluster.put("b", "wins", { contentType: "text/plain" });
    await world.run(sync.sync());
    await set("a", "2");
    await world.run(sync.delete("c"));
    await add(7);
    world.cluster.put("d", "theirs", { contentType: "text/plain" });
    await world.run(sync.sync());
  } catch (error) {
    if (!mortal.dead) throw error;
  }
  mortal.kill();
  void sync.close().catch(() => undefined);
  await world.clock.advance(1000);
  return accepted;
}

/** Another process takes over what is left, and has nothing to do in the end. */
async function revive(world: World, storage: MemoryStorage, cache: MapCache): Promise<CacheSynchronizer> {
  const { sync } = world.site({}, { storage, cache });
  await world.run(sync.connect("node-1"));
  await world.run(sync.sync());
  await world.run(sync.sync());
  assert.equal(sync.getStatus().pending, 0);
  assert.deepEqual(cache.toJSON(), world.remote, "the cache and the cluster agree");
  await world.run(sync.close());
  return sync;
}

function prepare(): { world: World; storage: MemoryStorage; cache: MapCache } {
  const world = new World();
  for (const key of ["b", "c"]) world.cluster.put(key, "base", { contentType: "text/plain" });
  return { world, storage: new MemoryStorage(), cache: new MapCache() };
}

function check(world: World, { sets, added, maybeAdded }: Accepted): void {
  const { remote } = world;
  const last = (key: string) => sets.filter((each) => each.key === key).at(-1)?.value;
  if (last("offline") !== undefined) assert.equal(remote["offline"], "1");
  if (last("a") !== undefined) assert.ok(Number(remote["a"]) >= Number(last("a")), `a is ${remote["a"]}`);
  if (last("b") !== undefined && remote["d"] !== undefined) assert.equal(remote["b"], "wins");
  const n = Number(remote["n"] ?? 0);
  assert.ok(n === added || n === added + maybeAdded, `${n} was added, of ${added} and perhaps ${maybeAdded}`);
}

for (const after of [false, true]) {
  test(`a process that dies ${after ? "after" : "before"} any of its calls loses nothing, and does nothing twice`, async () => {
    for (let dieAt = 1; ; dieAt++) {
      const { world, storage, cache } = prepare();
      const mortal = new Mortal(dieAt, after);
      const accepted = await live(world, mortal, storage, cache);
      await revive(world, storage, cache);
      try {
        check(world, accepted);
      } catch (error) {
        throw new Error(`death at call ${dieAt}: ${String(error)}`);
      }
      if (mortal.calls < dieAt) {
        assert.ok(dieAt > 60, `${dieAt} calls`);
        break;
      }
    }
  });
}

test("a process that dies once more while it takes over loses nothing either", async () => {
  for (let dieAt = 5; dieAt < 120; dieAt += 9) {
    for (let again = 1; again < 40; again += 2) {
      const { world, storage, cache } = prepare();
      const accepted = await live(world, new Mortal(dieAt, true), storage, cache);
      const second = new Mortal(again, again % 4 === 1);
      const client = world.client({ fetch: second.fetch(world.cluster.fetch), timeoutMs: 500, unreachableMs: 100 });
      const sync = new CacheSynchronizer({ client, clock: world.clock, storage: second.storage(storage), syncInterval: 0 });
      sync.registerCache(second.cache(cache));
      await world.run(sync.connect("node-1")).then(() => world.run(sync.sync())).catch((error: unknown) => {
        if (!second.dead) throw error;
      });
      second.kill();
      void sync.close().catch(() => undefined);
      await world.clock.advance(1000);
      await revive(world, storage, cache);
      check(world, accepted);
    }
  }
});

test("a storage that loses its end, by lines or in the middle of one, costs no more than what was in it", async () => {
  const whole = prepare();
  await live(whole.world, new Mortal(), whole.storage, whole.cache);
  const total = whole.storage.lines.length;
  assert.ok(total > 10);
  for (let lost = 1; lost <= total; lost++) {
    for (const half of [false, true]) {
      const { world, storage, cache } = prepare();
      await live(world, new Mortal(), storage, cache);
      const cut = storage.lines.splice(total - lost);
      if (half) storage.lines.push((cut[0] as string).slice(0, (cut[0] as string).length >> 1));
      const sync = await revive(world, storage, cache);
      assert.equal(sync.getDetails().damaged, half ? 1 : 0);
      assert.equal(storage.aside.length, half ? 1 : 0);
      assert.equal(world.remote["a"], "2");
      assert.equal(world.remote["d"], "theirs");
    }
  }
});

test("a damaged line anywhere in the journal is set aside and told, and the rest counts", async () => {
  const whole = prepare();
  await live(whole.world, new Mortal(60, true), whole.storage, whole.cache);
  const total = whole.storage.lines.length;
  for (let at = 0; at < total; at++) {
    const { world, storage, cache } = prepare();
    await live(world, new Mortal(60, true), storage, cache);
    const line = storage.lines[at] as string;
    storage.lines[at] = line.slice(0, 30) + String.fromCharCode(line.charCodeAt(30) ^ 1) + line.slice(31);
    let told = 0;
    const { sync } = world.site({ onDamage: (lines) => (told += lines.length) }, { storage, cache });
    await world.run(sync.connect("node-1"));
    await world.run(sync.sync());
    assert.deepEqual([told, storage.aside.length], [1, 1], `line ${at}`);
    assert.equal(sync.getStatus().pending, 0);
    assert.deepEqual(cache.toJSON(), world.remote, `line ${at}`);
    await world.run(sync.close());
    await settle();
  }
});
