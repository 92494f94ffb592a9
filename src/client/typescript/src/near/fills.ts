import { timeLimit } from "../clock.js";
import { Entry } from "../entry.js";
import { Locked, PreconditionFailed } from "../errors.js";
import type { Session } from "../sessions.js";
import { encodeValue, randomId, type Value } from "../values.js";
import type { NearCache, Want } from "./cache.js";

/** How a missing value is made. */
export interface FillOptions {
  /** How old a value that is there may be; the near cache's default. */
  want?: Want;
  /** The TTL of the value that is made, in milliseconds; the cluster's default. */
  ttlMs?: number | "never";
  contentType?: string;
  /** How long to wait for another process's value, in milliseconds: 30,000 by default. */
  waitMs?: number;
  /** After how many milliseconds without a sign of life another process may fill: 10,000 by default. For all fills of a near cache. */
  sessionTtlMs?: number;
}

/** What a fill function gets. */
export interface Filling {
  key: string;
  /** Aborted when another process may be filling. */
  signal: AbortSignal;
  /** Rises with each fill of this key. */
  token: number;
}

type Fill = (filling: Filling) => Promise<Value | null> | Value | null;

/** One fill at a time for each key, among all processes. */
export class Fills {
  private readonly running = new Map<string, Promise<Entry | null>>();
  private readonly waiting = new Map<string, Set<() => void>>();
  private session: Promise<Session> | undefined;
  private listening: Promise<void> | undefined;
  private end: Promise<void> | undefined;

  constructor(
    private readonly near: NearCache,
    private readonly lockPrefix: string,
    private readonly stop: AbortSignal,
  ) {}

  getOrFill(key: string, fill: Fill, options: FillOptions): Promise<Entry | null> {
    const held = this.near.getNow(key, options.want);
    if (held !== undefined && held !== null) return Promise.resolve(held);
    const running = this.running.get(key);
    if (running !== undefined) return running;
    const work = this.run(key, fill, options).finally(() => this.running.delete(key));
    this.running.set(key, work);
    return work;
  }

  /** Ends the session: what is being filled here may be filled elsewhere. */
  async close(): Promise<void> {
    for (const wakers of this.waiting.values()) for (const wake of wakers) wake();
    const session = await this.session?.catch(() => undefined);
    await session?.close().catch(() => undefined);
    await this.end;
  }

  private async run(key: string, fill: Fill, options: FillOptions): Promise<Entry | null> {
    const there = await this.near.get(key, options.want);
    if (there !== null) return there;
    const name = this.lockPrefix + key;
    const waitMs = options.waitMs ?? 30_000;
    const { clock } = this.near.client.transport;
    const deadline = clock.monotonic() + waitMs;
    for (;;) {
      this.stop.throwIfAborted();
      const session = await this.open(options.sessionTtlMs ?? 10_000);
      let lock;
      try {
        lock = await this.near.client.locks.tryAcquire(name, session, { signal: this.stop });
      } catch (error) {
        if (!(error instanceof Locked)) throw error;
        if (!(await this.wait(name, deadline, error))) throw error;
        const filled = await this.near.get(key, "linearizable");
        if (filled !== null) return filled;
        continue;
      }
      try {
        // It may have been filled between the read and the lock.
        const before = await this.near.get(key, "linearizable");
        if (before !== null) return before;
        const value = await fill({ key, signal: session.signal, token: lock.token });
        if (value === null) return null;
        return await this.store(key, value, options);
      } finally {
        await lock.release({ signal: this.stop }).catch(() => undefined);
      }
    }
  }

  private async store(key: string, value: Value, options: FillOptions): Promise<Entry | null> {
    const { ttlMs, contentType } = options;
    try {
      // A process that was given up as dead must not overwrite the value of the one that filled in its place.
      const revision = await this.near.put(key, value, { ttlMs, contentType, ifAbsent: true });
      const encoded = encodeValue(value, contentType);
      const parts = { revision, contentType: encoded.contentType ?? null, ttlMs: typeof ttlMs === "number" ? ttlMs : null };
      return new Entry(key, encoded.body, parts);
    } catch (error) {
      if (!(error instanceof PreconditionFailed)) throw error;
      return this.near.get(key, "linearizable");
    }
  }

  /** The session of this near cache, which is alive. */
  private async open(ttlMs: number): Promise<Session> {
    const before = await this.session?.catch(() => undefined);
    if (before?.isAlive === true) return before;
    this.session = this.near.client.sessions.open(`fill-${randomId().slice(0, 8)}`, ttlMs).then((session) => session.keepAlive());
    return this.session;
  }

  /** Waits until a lock may be free; false if that took too long. */
  private async wait(name: string, deadline: number, locked: Locked): Promise<boolean> {
    await this.listen();
    const { clock } = this.near.client.transport;
    const limit = timeLimit(clock, Math.max(deadline - clock.monotonic(), 0), this.stop, () => locked);
    let wake = () => {};
    const woken = new Promise<boolean>((resolve) => {
      wake = () => resolve(true);
      limit.signal.addEventListener("abort", () => resolve(false), { once: true });
      if (limit.signal.aborted) resolve(false);
    });
    const wakers = this.waiting.get(name) ?? new Set();
    this.waiting.set(name, wakers.add(wake));
    try {
      // It may have been released before anybody listened.
      if ((await this.near.client.locks.holder(name, { signal: this.stop })) === null) return true;
      return await woken;
    } finally {
      limit.done();
      wakers.delete(wake);
      if (wakers.size === 0) this.waiting.delete(name);
    }
  }

  /** Hears of all locks of fills that are released. Begins with the first who waits. */
  private listen(): Promise<void> {
    this.listening ??= new Promise((resolve, reject) => {
      const watch = this.near.client.watch({ prefix: this.lockPrefix, keys: false, locks: true, signal: this.stop });
      const hear = async () => {
        for await (const message of watch) {
          if (message.type === "subscribed") resolve();
          if (message.type === "resync") for (const wakers of this.waiting.values()) for (const wake of wakers) wake();
          if (message.type !== "change") continue;
          for (const event of message.events) {
            if (event.cause === "unlock") for (const wake of this.waiting.get(event.name) ?? []) wake();
          }
        }
      };
      this.end = hear().then(
        () => reject(this.stop.reason),
        (error: unknown) => {
          this.listening = undefined;
          reject(error);
        },
      );
    });
    return this.listening;
  }
}
