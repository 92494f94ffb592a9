import { Client, type ClientOptions } from "../../src/index.js";
import { type CacheInstance, CacheSynchronizer, MemoryStorage, type SyncOptions } from "../../src/sync/index.js";
import { FakeClock } from "./clock.js";
import { FakeCluster } from "./fake.js";

/** A local cache: a map. */
export class MapCache implements CacheInstance {
  readonly map = new Map<string, unknown>();

  async get(key: string): Promise<unknown> {
    return this.map.get(key);
  }

  async set(key: string, value: unknown): Promise<void> {
    this.map.set(key, value);
  }

  async delete(key: string): Promise<void> {
    this.map.delete(key);
  }

  async getKeys(): Promise<string[]> {
    return [...this.map.keys()];
  }

  /** Another cache with the same values. */
  copy(): MapCache {
    const other = new MapCache();
    for (const [key, value] of this.map) other.map.set(key, value);
    return other;
  }

  toJSON(): Record<string, unknown> {
    return Object.fromEntries([...this.map].sort(([one], [other]) => (one < other ? -1 : 1)));
  }
}

/** One synchronizer with a cache and a storage, which a new one can take over. */
export interface Site {
  sync: CacheSynchronizer;
  cache: MapCache;
  storage: MemoryStorage;
}

/** A fake cluster, a clock, and synchronizers on them. */
export class World {
  readonly cluster = new FakeCluster();
  readonly clock = new FakeClock();

  constructor() {
    this.cluster.now = this.clock.logTime;
  }

  client(more: Partial<ClientOptions> = {}): Client {
    return new Client({ urls: "http://n1,http://n2", fetch: this.cluster.fetch, clock: this.clock, timeoutMs: 2_000, ...more });
  }

  /** A synchronizer that is not connected yet. */
  site(options: SyncOptions = {}, from: Partial<Site> = {}, track = false): Site {
    const storage = from.storage ?? new MemoryStorage();
    const cache = from.cache ?? new MapCache();
    const sync = new CacheSynchronizer({ syncInterval: 0, client: this.client(), clock: this.clock, storage, ...options });
    if (track) sync.track(cache);
    else sync.registerCache(cache);
    return { sync, cache, storage };
  }

  async connected(options: SyncOptions = {}, from: Partial<Site> = {}): Promise<Site> {
    const site = this.site(options, from);
    await this.run(site.sync.connect("node-1"));
    await this.run(site.sync.sync());
    return site;
  }

  /**
   * A client that gets answers to requests of this path late: once they are released, until they are held again. `reached`: the first of
   * them was answered.
   */
  lateClient(path: string): { client: Client; reached: Promise<void>; hold: () => void; release: () => void } {
    let release = () => {};
    let reach = () => {};
    let released: Promise<void>;
    const hold = () => {
      released = new Promise<void>((resolve) => (release = resolve));
    };
    hold();
    const reached = new Promise<void>((resolve) => (reach = resolve));
    const fetch = (async (input: string, init: RequestInit) => {
      const answer = await this.cluster.fetch(input, init);
      if (new URL(input).pathname === path) {
        reach();
        await released;
      }
      return answer;
    }) as typeof globalThis.fetch;
    return { client: this.client({ fetch }), reached, hold, release: () => release() };
  }

  /** Waits for something, and moves the clock as far as it needs. */
  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.drive(work);
  }

  /**
   * Waits for something in which the disk has a part: that takes as long as it takes, and meanwhile {@link run} may have moved the clock so
   * far that a stream has to be begun anew.
   */
  async eventually(what: string, attempt: () => boolean): Promise<void> {
    const end = Date.now() + 20_000;
    while (!attempt()) {
      if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
      await this.clock.advance(20);
    }
  }

  /** What the cluster has, as text. */
  get remote(): Record<string, string> {
    return Object.fromEntries([...this.cluster.entries].map(([key, { value }]) => [key, value.toString()]).sort(([one], [other]) => ((one as string) < (other as string) ? -1 : 1)));
  }

  /** Requests since the count was taken. */
  get requests(): number {
    return this.cluster.seen.filter(({ path }) => !path.startsWith("/v1/watch")).length;
  }
}
