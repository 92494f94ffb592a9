import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../src/index.js";
import { type CacheInstance, CacheSynchronizer, MemoryStorage } from "../../src/sync/index.js";
import { settle } from "../support/clock.js";
import { type Fault, refusal } from "../support/fake.js";
import { Mortal } from "../support/mortal.js";
import { Random, seeds } from "../support/network.js";
import { MapCache, World } from "../support/sync.js";

/** A process with a cache and a storage that outlive it. */
class Process {
  readonly storage = new MemoryStorage();
  readonly cache = new MapCache();
  readonly losers = new Set<unknown>();
  unknown = 0;
  mortal!: Mortal;
  sync!: CacheSynchronizer;
  /** Through this one changes of the cache are told. */
  tracked!: CacheInstance;
  cut = false;

  constructor(
    private readonly world: World,
    readonly name: string,
    private readonly skew: number,
    private readonly fault: () => Fault | undefined,
  ) {
    this.start();
  }

  start(): void {
    const { world } = this;
    this.mortal = new Mortal();
    const clock: Clock = {
      monotonic: () => world.clock.monotonic(),
      wall: () => world.clock.wall() + this.skew,
      after: (ms, then) => world.clock.after(ms, then),
    };
    const fetch = (async (input: string, init: RequestInit) => {
      const fault = this.cut ? ({ kind: "refused" } as const) : String(input).includes("/v1/watch") ? undefined : this.fault();
      const before = world.cluster.fault;
      world.cluster.fault = () => fault;
      try {
        return await world.cluster.fetch(input, init);
      } finally {
        world.cluster.fault = before;
      }
    }) as typeof globalThis.fetch;
    const client = world.client({ fetch: this.mortal.fetch(fetch), clock, timeoutMs: 1000, unreachableMs: 200 });
    this.sync = new CacheSynchronizer({
      client,
      clock,
      storage: this.mortal.storage(this.storage),
      syncInterval: 300,
      batchSize: 3,
      offline: true,
      onConflict: ({ winner, local }) => {
        if (winner === "remote") this.losers.add(local.value);
      },
    });
    this.tracked = this.sync.track(this.mortal.cache(this.cache));
    void this.sync.connect(this.name).catch(() => undefined);
  }

  /** It dies at once, and another one takes over. */
  crash(): void {
    this.unknown += this.sync.getDetails().unknown.length;
    this.mortal.kill();
    void this.sync.close().catch(() => undefined);
    this.start();
  }
}

test("no local change vanishes, and when it is quiet everything is equal everywhere", async () => {
  for (const seed of seeds(30)) {
    const random = new Random(seed);
    const world = new World();
    const stored = new Set<string>();
    world.cluster.onStore = (_, value) => stored.add(value);
    let faulty = true;
    const fault = (): Fault | undefined => {
      if (!faulty || random.chance(0.75)) return undefined;
      return random.pick<Fault>([{ kind: "refused" }, { kind: "before" }, { kind: "after" }, { kind: "half" }, refusal(503, "unavailable", {}, { "retry-after": "0" }), refusal(504, "outcome_unknown")]);
    };
    const processes = ["one", "two", "three"].map((name) => new Process(world, name, random.pick([-3_600_000, -500, 0, 40, 86_400_000]), fault));
    const keys = ["a", "b", "c", "d", "e", "f"];
    /** What was accepted, in the order of each process. */
    const changes: { process: Process; key: string; value: string | null }[] = [];
    let added = 0;
    world.cluster.put("n", "0");
    for (let step = 0; step < 150; step++) {
      const process = random.pick(processes);
      const key = random.pick(keys);
      const value = `${process.name} ${step}`;
      const dice = random.next();
      const attempt = async (work: () => Promise<void>, change: { key: string; value: string | null } | undefined) => {
        const { mortal } = process;
        if (change !== undefined) changes.push({ process, ...change });
        try {
          await work();
        } catch (error) {
          assert.ok(mortal.dead, `seed ${seed}, step ${step}: ${String(error)}`);
        }
      };
      if (dice < 0.3) await attempt(() => process.sync.set(key, value), { key, value });
      else if (dice < 0.4) await attempt(() => process.tracked.set(key, value), { key, value });
      else if (dice < 0.47) await attempt(() => process.sync.delete(key), { key, value: null });
      else if (dice < 0.55 && process.cache.map.has("n")) {
        await attempt(async () => {
          await process.sync.add("n", 3);
          added += 3;
        }, undefined);
      } else if (dice < 0.65) world.cluster.put(key, value, { contentType: "text/plain" });
      else if (dice < 0.7) world.cluster.remove(key, random.pick(["delete", "evict"] as const));
      else if (dice < 0.74) process.crash();
      else if (dice < 0.78) world.cluster.cut();
      else if (dice < 0.82) process.cut = !process.cut;
      else if (dice < 0.84) world.cluster.forget();
      else if (dice < 0.86) world.cluster.resync();
      else if (dice < 0.9) await Promise.race([process.sync.sync().catch(() => undefined), settle()]);
      await world.clock.advance(random.below(200));
    }
    faulty = false;
    for (const process of processes) process.cut = false;
    await world.clock.advance(30_000);
    for (let round = 0; round < 3; round++) {
      for (const process of processes) {
        process.sync.retry();
        await world.run(process.sync.sync());
      }
      await world.clock.advance(1_000);
    }
    for (const process of processes) {
      assert.equal(process.sync.getStatus().pending, 0, `seed ${seed}: ${process.name}: ${JSON.stringify(process.sync.getDetails(), (_, each: unknown) => (typeof each === "bigint" ? String(each) : each))}`);
      assert.deepEqual(process.cache.toJSON(), world.remote, `seed ${seed}: ${process.name}`);
    }
    for (const [at, { process, key, value }] of changes.entries()) {
      if (value === null) continue;
      const superseded = changes.slice(at + 1).some((later) => later.process === process && later.key === key);
      assert.ok(stored.has(value) || process.losers.has(value) || superseded, `seed ${seed}: ${value} of ${key} vanished`);
    }
    const unknown = processes.reduce((sum, process) => sum + process.unknown + process.sync.getDetails().unknown.length, 0);
    if (unknown === 0) assert.equal(Number(world.remote["n"]), added, `seed ${seed}`);
    for (const process of processes) await world.run(process.sync.close());
  }
});
