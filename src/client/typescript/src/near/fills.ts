import { timeLimit } from "../clock.js";
import { Entry } from "../entry.js";
import { Locked, LockstepError, OtherHistory, PreconditionFailed } from "../errors.js";
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
  /** The one that it has become. */
  private current: Session | undefined;
  /** Fills that run under each session. */
  private readonly users = new WeakMap<Session, number>();
  /** Sessions that are to end, because a lock may be held under them that nobody wants. */
  private readonly givenUp = new Set<Session>();
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
    const all = session === undefined ? [...this.givenUp] : [session, ...this.givenUp];
    await Promise.all(all.map((each) => each.close().catch(() => undefined)));
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
      this.users.set(session, (this.users.get(session) ?? 0) + 1);
      try {
        const filled = await this.attempt(name, key, fill, options, session);
        if (!(filled instanceof Locked)) return filled;
        if (!(await this.wait(name, deadline, filled))) throw filled;
      } finally {
        this.ended(session);
      }
      const filled = await this.near.get(key, "linearizable");
      if (filled !== null) return filled;
    }
  }

  /** Fills under the lock; or who holds it. */
  private async attempt(name: string, key: string, fill: Fill, options: FillOptions, session: Session): Promise<Entry | null | Locked> {
    let lock;
    try {
      lock = await this.near.client.locks.tryAcquire(name, session, { signal: this.stop });
    } catch (error) {
      if (error instanceof Locked) return error;
      // It may be held, or be acquired yet.
      if (!(error instanceof LockstepError) || error.effect === "unknown") this.giveUp(session);
      throw error;
    }
    try {
      // It may have been filled between the read and the lock.
      const before = await this.near.askMajority(key);
      if (before.entry !== null) return before.entry;
      const value = await fill({ key, signal: session.signal, token: lock.token });
      if (value === null) return null;
      return await this.store(key, value, options, `${before.index}@${before.history}`);
    } finally {
      // It may be held still, or the release may come late. Both end with the session.
      await lock.release({ signal: this.stop }).catch(() => this.giveUp(session));
    }
  }

  /** Stores a value, if the key was absent since this place in the log. */
  private async store(key: string, value: Value, options: FillOptions, ifAbsentSince: string): Promise<Entry | null> {
    const { ttlMs, contentType } = options;
    const encoded = encodeValue(value, contentType);
    const made = (revision: number) =>
      new Entry(key, encoded.body, { revision, contentType: encoded.contentType ?? null, ttlMs: typeof ttlMs === "number" ? ttlMs : null });
    try {
      // What was stored or deleted since then is newer than what this value was made of: another process has filled because this one was
      // taken for dead, or the application has said that the value is not right any more.
      return made(await this.near.put(key, value, { ttlMs, contentType, ifAbsentSince }));
    } catch (error) {
      if (!(error instanceof PreconditionFailed) && !(error instanceof OtherHistory)) throw error;
      return (await this.near.get(key, "linearizable")) ?? made(0);
    }
  }

  /** No lock is acquired under the session any more. It ends when the last fill under it has ended. */
  private giveUp(session: Session): void {
    this.givenUp.add(session);
    if (this.current !== session) return;
    this.current = undefined;
    this.session = undefined;
  }

  /** A fill under the session has ended. */
  private ended(session: Session): void {
    const left = (this.users.get(session) ?? 1) - 1;
    this.users.set(session, left);
    if (left > 0 || !this.givenUp.delete(session)) return;
    // If that does not arrive either, it ends because nobody renews it.
    void session.close().catch(() => undefined);
  }

  /** The session of this near cache, which is alive. */
  private async open(ttlMs: number): Promise<Session> {
    const before = await this.session?.catch(() => undefined);
    if (before?.isAlive === true) return before;
    this.session = this.near.client.sessions.open(`fill-${randomId().slice(0, 8)}`, ttlMs).then((session) => (this.current = session.keepAlive()));
    return this.session;
  }

  /** Waits until a lock may be free; false if that took too long. */
  private async wait(name: string, deadline: number, locked: Locked): Promise<boolean> {
    this.listen();
    const { clock } = this.near.client.transport;
    for (;;) {
      const left = deadline - clock.monotonic();
      const limit = timeLimit(clock, Math.max(Math.min(left, LOOK_MS), 0), this.stop, () => locked);
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
        if (left <= 0) return false;
        if (await woken) return true;
        this.stop.throwIfAborted();
      } finally {
        limit.done();
        wakers.delete(wake);
        if (wakers.size === 0) this.waiting.delete(name);
      }
    }
  }

  /** Hears of all locks of fills that are released, if the nodes let it. Begins with the first who waits, who looks by himself, too. */
  private listen(): void {
    if (this.end !== undefined) return;
    const watch = this.near.client.watch({ prefix: this.lockPrefix, keys: false, locks: true, signal: this.stop });
    const hear = async () => {
      for await (const message of watch) {
        if (message.type === "resync") for (const wakers of this.waiting.values()) for (const wake of wakers) wake();
        if (message.type !== "change") continue;
        for (const event of message.events) {
          if (event.cause === "unlock") for (const wake of this.waiting.get(event.name) ?? []) wake();
        }
      }
    };
    this.end = hear().catch(() => {
      this.end = undefined;
    });
  }
}

/** How often one who waits looks by himself whether the lock is free: the stream that tells may be lost. */
const LOOK_MS = 1000;
