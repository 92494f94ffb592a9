import type { Client, ConditionOptions, ReadResult, WriteOptions } from "../client.js";
import type { Clock } from "../clock.js";
import { Entry } from "../entry.js";
import { LockstepError } from "../errors.js";
import type { Lifetime } from "../batch.js";
import { encodeValue, fromBase64, type Value } from "../values.js";
import { sameHistory, type Watch, type WatchEvent, type WatchMessage } from "../watch.js";
import { type FillOptions, Fills, type Filling } from "./fills.js";
import { Freshness } from "./freshness.js";
import { Store } from "./store.js";

/**
 * How old an answer may be.
 * - `linearizable`: not older than what was acknowledged before the read began; always asks the cluster, without sending the value again
 * - `session`: not older than what was written through this near cache, nor than any value that it has read
 * - `{ maxStaleMs }`: it was the truth at most so many milliseconds ago
 * - `any`: what is here, however old; also without a connection
 */
export type Want = "linearizable" | "session" | "any" | { maxStaleMs: number };

/** What a near cache does. */
export interface NearOptions {
  /** Which keys it holds: those that start with one of these, up to 16. All by default. Others are read through. */
  prefix?: string | readonly string[];
  /** What reads want that do not say: `{ maxStaleMs: 1000 }` by default. */
  want?: Want;
  /** The most keys: 10,000 by default. */
  maxEntries?: number;
  /** About the most bytes: 64 MiB by default. */
  maxBytes?: number;
  /** `invalidate` (default): a changed key is dropped. `update`: a changed key that is held gets its new value from the stream. */
  mode?: "invalidate" | "update";
  /** How often to ask the cluster for its index while changes come without a pause and bounded reads are made: 1,000 ms by default. */
  probeMs?: number;
  /** Before the names of the locks of {@link NearCache.getOrFill}: `fill:` by default. */
  lockPrefix?: string;
  /** Called when the stream is lost (with the error) and when it ends for good. */
  onLost?: (error: unknown) => void;
}

/** What a near cache has done since it began. */
export interface NearStats {
  /** Reads that were answered here. */
  hits: number;
  /** Reads that went to the cluster. */
  misses: number;
  /** Of these, those for which the value held was still right. */
  validated: number;
  /** Answers that were not kept, because the key was told to have changed meanwhile. */
  discarded: number;
  evictions: number;
  entries: number;
  bytes: number;
  /** Milliseconds since everything held was known to be the truth; Infinity if never. */
  ageMs: number;
}

/** A key that is being read or written: what the stream tells of it meanwhile. */
interface InFlight {
  /** The highest index at which the key was told to have changed. */
  told: number;
  readers: number;
  /** A read that others can share, and when it began. */
  read: Promise<ReadResult> | undefined;
  begunAt: number;
}

/** An answer, and where in the log it is from. */
export interface Placed {
  entry: Entry | null;
  index: number;
  history: string;
}

/** A cache in this process that the cluster keeps fresh. */
export class NearCache {
  private readonly store: Store;
  private readonly fresh = new Freshness();
  private readonly clock: Clock;
  private readonly prefixes: readonly string[] | undefined;
  private readonly inFlight = new Map<string, InFlight>();
  private readonly stop = new AbortController();
  private readonly fills: Fills;
  private hits = 0;
  private misses = 0;
  private validated = 0;
  private discarded = 0;
  /** Up to where the stream has told everything; undefined before it began and between two histories. */
  private place: number | undefined;
  private history: string | undefined;
  /** The highest revision that this near cache has written, or seen in a value. */
  private floor = 0;
  private following: Promise<void> | undefined;
  private begun: Promise<void> | undefined;
  /** Whether bounded reads and changes came since the last probe. */
  private boundedReads = false;
  private changed = false;
  private callOffProbe = () => {};
  /** Ends the stream, so that another one begins. */
  private watching: AbortController | undefined;
  private stopped = () => {};

  constructor(
    readonly client: Client,
    private readonly options: NearOptions = {},
  ) {
    this.clock = client.transport.clock;
    this.store = new Store(options.maxEntries ?? 10_000, options.maxBytes ?? 64 * 1024 * 1024);
    const { prefix } = options;
    this.prefixes = prefix === undefined || prefix === "" ? undefined : typeof prefix === "string" ? [prefix] : prefix;
    this.fills = new Fills(this, options.lockPrefix ?? "fill:", this.stop.signal);
  }

  /**
   * Begins to follow the cluster's changes. Ends when the stream has begun; before that nothing is held.
   * @throws LockstepError if the nodes refuse the watch for good, or the near cache was closed
   */
  start(): Promise<void> {
    this.begun ??= new Promise((resolve, reject) => {
      this.following = this.follow(resolve).then(
        () => reject(new LockstepError("the near cache was closed", { code: "closed", effect: "none" })),
        (error: unknown) => {
          reject(error);
          this.options.onLost?.(error);
        },
      );
    });
    return this.begun;
  }

  /** Stops following, and drops everything. */
  async close(): Promise<void> {
    this.callOffProbe();
    this.stop.abort(new LockstepError("the near cache was closed", { code: "closed", effect: "none" }));
    this.begun?.catch(() => undefined);
    await this.fills.close();
    await this.following;
    this.flush();
  }

  /** What is held of a key, if it is fresh enough: null says that there is no such key, undefined that the cluster must be asked. */
  getNow(key: string, want: Want = this.options.want ?? DEFAULT_WANT): Entry | null | undefined {
    const slot = this.store.get(key);
    if (slot === undefined) return undefined;
    const now = this.clock.monotonic();
    if (now >= slot.expiresAt) {
      this.store.delete(key);
      return undefined;
    }
    if (typeof want === "object") {
      const { confirmedAt } = this.fresh;
      if (now - (confirmedAt > slot.checkedAt ? confirmedAt : slot.checkedAt) > want.maxStaleMs) {
        this.boundedReads = true;
        return undefined;
      }
    } else if (want === "session") {
      if (slot.asOf < this.floor && (this.place === undefined || this.place < this.floor)) return undefined;
    } else if (want !== "any") {
      return undefined;
    }
    slot.used = true;
    this.hits++;
    return slot.entry;
  }

  /** A key's value, or null if there is none; from here if that is fresh enough, else from the cluster. */
  get(key: string, want: Want = this.options.want ?? DEFAULT_WANT): Promise<Entry | null> {
    const held = this.getNow(key, want);
    return held === undefined ? this.ask(key, want) : Promise.resolve(held);
  }

  /** Stores a value in the cluster. Reads that want `session` see it from then on. Options as those of {@link Client.put}. */
  async put(
    key: string,
    value: Value,
    options: WriteOptions & Lifetime & ConditionOptions & { contentType?: string | undefined } = {},
  ): Promise<number> {
    const { body, contentType } = encodeValue(value, options.contentType);
    const sentAt = this.clock.monotonic();
    const { revision } = await this.write(key, () => this.client.put(key, value, options), (result, place) => {
      // The cluster's default TTL is not known here.
      if (options.ttlMs === undefined || place === undefined) return;
      const ttlMs = options.ttlMs === "never" ? null : options.ttlMs;
      const parts = { revision: result.revision, contentType: contentType ?? null, ttlMs, slidingMs: options.sliding === true ? ttlMs : null };
      const entry = new Entry(key, body, parts);
      this.store.set(key, entry, result.revision, sentAt, ttlMs === null ? Infinity : sentAt + ttlMs);
    });
    return revision;
  }

  /** Removes a key from the cluster; whether there was one. */
  async delete(key: string, options: WriteOptions & ConditionOptions = {}): Promise<boolean> {
    const sentAt = this.clock.monotonic();
    const { found } = await this.write(
      key,
      async () => {
        const result = await this.client.delete(key, options);
        return { ...result, revision: result.index };
      },
      (result) => {
        // One that is answered again was done earlier: others may have stored the key since then.
        if (!result.replayed) this.store.set(key, null, result.revision, sentAt, Infinity);
      },
    );
    return found;
  }

  /** Adds to a counter in the cluster. */
  async incr(key: string, by: number | bigint = 1, options: WriteOptions & Lifetime & ConditionOptions = {}): Promise<bigint> {
    return (await this.write(key, () => this.client.incr(key, by, options), () => {})).value;
  }

  /**
   * A key's value; if there is none, `fill` makes it. Of all processes that ask at the same time one fills, and the others wait for
   * its value. If the one dies its session ends, and another fills.
   * @throws what `fill` throws; Locked if the value did not come within `waitMs`
   */
  getOrFill(key: string, fill: (filling: Filling) => Promise<Value | null> | Value | null, options: FillOptions = {}): Promise<Entry | null> {
    return this.fills.getOrFill(key, fill, options);
  }

  /** Drops everything that is held. */
  flush(): void {
    this.store.clear();
    this.inFlight.clear();
  }

  get stats(): NearStats {
    const { hits, misses, validated, discarded, store } = this;
    const ageMs = this.clock.monotonic() - this.fresh.confirmedAt;
    return { hits, misses, validated, discarded, evictions: store.evictions, entries: store.size, bytes: store.bytes, ageMs };
  }

  private holds(key: string): boolean {
    return this.prefixes === undefined || this.prefixes.some((prefix) => key.startsWith(prefix));
  }

  /** Asks the cluster, and keeps the answer if nothing else was told of the key meanwhile. */
  private async ask(key: string, want: Want, withHeld = true): Promise<Entry | null> {
    return (await this.askAt(key, want, withHeld)).entry;
  }

  /** Asks a majority for a key, and tells where in the log the answer is from. */
  askMajority(key: string): Promise<Placed> {
    return this.askAt(key, "linearizable", true);
  }

  private async askAt(key: string, want: Want, withHeld: boolean): Promise<Placed> {
    this.misses++;
    const now = this.clock.monotonic();
    const running = this.inFlight.get(key);
    if (running?.read !== undefined && (want === "any" || (typeof want === "object" && now - running.begunAt <= want.maxStaleMs))) {
      // What the other read holds already was too old for this one, or there was nothing.
      const shared = await running.read;
      if (!shared.notModified) return shared;
    }
    const held = withHeld ? this.store.get(key) : undefined;
    const flight = this.begin(key);
    const place = this.place;
    const strict = want === "linearizable" || typeof want === "object";
    try {
      const read = this.client.read(key, {
        ifNoneMatch: held?.entry?.revision,
        consistency: strict ? "linearizable" : "stale",
        minIndex: strict ? undefined : this.minIndex(want === "session"),
      });
      if (strict && held === undefined) {
        flight.read = read;
        flight.begunAt = now;
        // Whoever shares it handles its failure.
        read.catch(() => undefined);
      }
      const result = await read;
      const isOurs = this.isOurs(result.history);
      if (!isOurs) {
        // A node that the cluster goes on without answers stale reads, too, and says nothing about the others.
        if (strict) this.leave();
        // The revision that was known here means nothing there.
        if (result.notModified) return await this.askAt(key, "linearizable", false);
      } else {
        // A node that is behind may be behind with log time, too.
        if (strict) this.fresh.sample(result.sentAt, result.timeMs);
        this.floor = Math.max(this.floor, result.entry?.revision ?? 0);
        if (strict && this.place !== undefined) this.fresh.answered(result.index, result.sentAt, this.place);
      }
      const entry = result.notModified ? (held?.entry ?? null) : result.entry;
      const current = isOurs && this.inFlight.get(key) === flight && this.place !== undefined && place !== undefined && this.holds(key);
      const isNewest = (this.store.get(key)?.asOf ?? 0) <= result.index;
      if (current && isNewest && result.index >= flight.told && result.index >= place) {
        const ttl = result.ttlMs ?? (result.notModified ? null : (entry?.ttlMs ?? null));
        const expiresAt = ttl !== null ? result.sentAt + ttl : result.notModified ? (held?.expiresAt ?? Infinity) : Infinity;
        if (result.notModified) this.validated++;
        // An answer of a node that is behind was true when it had applied that, not when it was asked.
        this.store.set(key, entry, result.index, strict ? result.sentAt : -Infinity, expiresAt);
      } else if (current) this.discarded++;
      return { entry, index: result.index, history: result.history };
    } catch (error) {
      if (error instanceof LockstepError && error.code === "other_history" && want !== "linearizable") {
        // That node may be one that the cluster goes on without: a majority tells.
        return await this.askAt(key, "linearizable", true);
      }
      throw error;
    } finally {
      this.end(key, flight);
    }
  }

  private minIndex(session: boolean): { index: number; history: string } | undefined {
    const index = Math.max(session ? this.floor : 0, this.place ?? 0);
    return index === 0 || this.history === undefined ? undefined : { index, history: this.history };
  }

  /** Writes, and keeps what was written unless the key has changed again meanwhile. */
  private async write<T extends { revision: number; history: string }>(
    key: string,
    work: () => Promise<T>,
    keep: (result: T, place: number | undefined) => void,
  ): Promise<T> {
    const flight = this.begin(key);
    try {
      const result = await work();
      if (!this.isOurs(result.history)) this.leave();
      else this.floor = Math.max(this.floor, result.revision);
      const slot = this.store.get(key);
      if (slot !== undefined && slot.asOf < result.revision) this.store.delete(key);
      if (this.inFlight.get(key) === flight && result.revision >= flight.told && this.place !== undefined && this.holds(key)) {
        keep(result, this.place);
      }
      // A read that was sent before may not know this write.
      flight.told = Math.max(flight.told, result.revision);
      return result;
    } catch (error) {
      // It may have happened.
      this.store.delete(key);
      throw error;
    } finally {
      this.end(key, flight);
    }
  }

  private begin(key: string): InFlight {
    let flight = this.inFlight.get(key);
    if (flight === undefined) {
      flight = { told: 0, readers: 0, read: undefined, begunAt: 0 };
      this.inFlight.set(key, flight);
    }
    flight.readers++;
    return flight;
  }

  private end(key: string, flight: InFlight): void {
    flight.read = undefined;
    if (--flight.readers === 0 && this.inFlight.get(key) === flight) this.inFlight.delete(key);
  }

  private isOurs(history: string): boolean {
    if (history === "") return true;
    this.history ??= history;
    return sameHistory(history, this.history);
  }

  /** The cluster is in another history: nothing that is held is worth anything, and the stream has to begin anew. */
  private leave(): void {
    this.leaveHistory();
    this.watching?.abort();
  }

  private leaveHistory(): void {
    this.flush();
    this.fresh.reset();
    this.place = undefined;
    this.floor = 0;
    this.history = undefined;
  }

  private async follow(subscribed: () => void): Promise<void> {
    let watch = this.watch();
    // Tells how log time and this machine's clock are related; nodes of earlier releases do not know it.
    await this.client.time({ signal: this.stop.signal }).then(
      ({ sentAt, timeMs }) => this.fresh.sample(sentAt, timeMs),
      () => undefined,
    );
    this.scheduleProbe();
    for (; !this.stop.signal.aborted; watch = this.watch()) {
      for await (const message of watch) {
        this.hear(message);
        if (message.type === "subscribed") subscribed();
      }
    }
  }

  private watch(): Watch {
    const { signal } = (this.watching = new AbortController());
    const stopped = () => this.watching?.abort(this.stop.signal.reason);
    this.stop.signal.removeEventListener("abort", this.stopped);
    this.stop.signal.addEventListener("abort", (this.stopped = stopped), { once: true });
    if (this.stop.signal.aborted) stopped();
    return this.client.watch({
      ...(this.prefixes === undefined ? {} : { prefix: this.prefixes }),
      values: this.options.mode === "update",
      signal,
      ...(this.options.onLost === undefined ? {} : { onLost: this.options.onLost }),
    });
  }

  /** Applies a message of the stream. */
  private hear(message: WatchMessage): void {
    const now = this.clock.monotonic();
    switch (message.type) {
      case "subscribed":
        if (this.history !== undefined && !sameHistory(this.history, message.history.id)) this.leaveHistory();
        this.history = message.history.id;
        // A stream that begins, rather than goes on, says nothing about what came before.
        if (this.place === undefined || this.place > message.index) this.flush();
        this.place = message.index;
        break;
      case "resync":
        this.flush();
        if (message.why === "history") this.floor = 0;
        this.place = message.index;
        break;
      case "change":
        // Of a history that was left.
        if (this.place === undefined) return;
        this.changed = true;
        for (const event of message.events) this.apply(event, message.index, message.at_ms);
        this.place = message.index;
        break;
      case "bookmark":
        if (this.place === undefined) return;
        this.place = message.index;
        this.fresh.confirmed(now, message.at_ms);
        this.changed = false;
        break;
    }
    this.fresh.reached(message.index);
  }

  private apply(event: WatchEvent, index: number, atMs: number): void {
    if (event.cause === "clear") {
      const prefix = event.prefix ?? "";
      for (const key of this.store.keys()) if (key.startsWith(prefix)) this.outdate(key, index);
      for (const [key, flight] of this.inFlight) if (key.startsWith(prefix)) flight.told = Math.max(flight.told, index);
      return;
    }
    if (!("key" in event)) return;
    const flight = this.inFlight.get(event.key);
    if (flight !== undefined) flight.told = Math.max(flight.told, index);
    const slot = this.store.get(event.key);
    if (slot === undefined || slot.asOf >= index) return;
    this.store.delete(event.key);
    if (event.cause !== "put" || (event.value === undefined && event.value_base64 === undefined)) return;
    const expires = event.expires_at_ms;
    const expiresAt = expires === undefined ? Infinity : this.fresh.localTime(expires, this.clock.monotonic());
    if (expiresAt === undefined) return;
    const entry = new Entry(event.key, event.value ?? fromBase64(event.value_base64 ?? ""), {
      revision: index,
      contentType: event.content_type ?? null,
      version: event.version,
      createdAtMs: event.created_at_ms,
      modifiedAtMs: event.modified_at_ms ?? atMs,
      ttlMs: expires === undefined ? null : expires - atMs,
      slidingMs: event.sliding_ms,
    });
    this.store.set(event.key, entry, index, -Infinity, expiresAt);
  }

  private outdate(key: string, index: number): void {
    const slot = this.store.get(key);
    if (slot !== undefined && slot.asOf < index) this.store.delete(key);
  }

  /** While changes come without a pause there are no bookmarks: the index of a linearizable read confirms the stream in their place. */
  private scheduleProbe(): void {
    this.callOffProbe = this.clock.after(this.options.probeMs ?? 1000, () => {
      if (this.stop.signal.aborted) return;
      const wanted = this.changed && this.boundedReads;
      this.boundedReads = false;
      const done = () => this.scheduleProbe();
      if (wanted) this.probe().then(done, done);
      else done();
    });
  }

  private async probe(): Promise<void> {
    const { index, history, sentAt, timeMs } = await this.client.time({ signal: this.stop.signal });
    if (!this.isOurs(history)) return this.leave();
    // A cache whose reads are all hits learns the difference between the clocks in no other way.
    this.fresh.sample(sentAt, timeMs);
    if (this.place !== undefined) this.fresh.answered(index, sentAt, this.place);
  }
}

const DEFAULT_WANT: Want = { maxStaleMs: 1000 };
