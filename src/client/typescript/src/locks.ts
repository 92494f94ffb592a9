import type { Client } from "./client.js";
import { type Holder, Locked, LockstepError, NotFound } from "./errors.js";
import type { Session } from "./sessions.js";
import { timeLimit } from "./clock.js";
import type { CallOptions } from "./transport.js";
import { decodeUtf8 } from "./values.js";

/** A lock that a session of this client holds. */
export interface Lock {
  name: string;
  session: Session;
  /** The log index of the acquisition: rises with each. Pass it to what the lock protects, so that it can refuse an earlier holder. */
  token: number;
  /** Gives it back; false if the session did not hold it any more. */
  release(options?: CallOptions): Promise<boolean>;
}

/** The locks of a cluster. */
export class Locks {
  constructor(private readonly client: Client) {}

  /** Takes a lock if it is free, or held by the session already. @throws Locked with the `holder`; NotFound if the session has ended */
  async tryAcquire(name: string, session: Session, options: CallOptions = {}): Promise<Lock> {
    const request = {
      method: "POST",
      path: `/v1/locks/${encodeURIComponent(name)}`,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ session: session.id }),
      // The same session gets the same token again, so repeating it does no harm.
      retry: "keyed",
    } as const;
    const answer = await this.client.transport.send(request, options);
    const { token } = JSON.parse(decodeUtf8(answer.bytes)) as { token: number };
    return { name, session, token, release: (call) => this.release(name, session, call) };
  }

  /**
   * Takes a lock, and waits for it if another session holds it: it is told when it is free, and does not ask again and again.
   * `waitMs`: at most so long; 0 means not at all.
   * @throws Locked if it was not free in time; NotFound if the session has ended
   */
  async acquire(name: string, session: Session, options: { waitMs?: number; signal?: AbortSignal } = {}): Promise<Lock> {
    try {
      return await this.tryAcquire(name, session, options);
    } catch (error) {
      if (!(error instanceof Locked) || options.waitMs === 0) throw error;
      return this.wait(name, session, options, error);
    }
  }

  private async wait(
    name: string,
    session: Session,
    options: { waitMs?: number; signal?: AbortSignal },
    locked: Locked,
  ): Promise<Lock> {
    let last = locked;
    const { clock } = this.client.transport;
    const limit = timeLimit(clock, options.waitMs ?? Number.MAX_SAFE_INTEGER, options.signal, () => last);
    const ended = () => stop.abort(session.signal.reason);
    const stop = new AbortController();
    const outer = () => stop.abort(limit.signal.reason);
    limit.signal.addEventListener("abort", outer, { once: true });
    session.signal.addEventListener("abort", ended, { once: true });
    if (session.signal.aborted) ended();
    try {
      const watch = this.client.watch({ prefix: name, keys: false, locks: true, signal: stop.signal });
      for await (const message of watch) {
        const free =
          message.type === "subscribed" ||
          message.type === "resync" ||
          (message.type === "change" && message.events.some((event) => event.cause === "unlock" && event.name === name));
        if (!free) continue;
        try {
          return await this.tryAcquire(name, session, { signal: stop.signal });
        } catch (error) {
          if (!(error instanceof Locked)) throw error;
          last = error;
        }
      }
      throw stop.signal.reason;
    } finally {
      stop.abort();
      limit.done();
      session.signal.removeEventListener("abort", ended);
    }
  }

  /** Gives a lock back; false if the session did not hold it. */
  async release(name: string, session: Session, options: CallOptions = {}): Promise<boolean> {
    const path = `/v1/locks/${encodeURIComponent(name)}?session=${session.id}`;
    try {
      await this.client.transport.send({ method: "DELETE", path, retry: "keyed" }, options);
      return true;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  }

  /** Who holds a lock; null if it is free. */
  async holder(name: string, options: CallOptions = {}): Promise<Holder | null> {
    try {
      const answer = await this.client.transport.send({ method: "GET", path: `/v1/locks/${encodeURIComponent(name)}`, retry: "read" }, options);
      return JSON.parse(decodeUtf8(answer.bytes)) as Holder;
    } catch (error) {
      if (error instanceof LockstepError && error.code === "not_found") return null;
      throw error;
    }
  }

  /** The locks whose names start with a prefix. */
  async list(prefix = "", options: CallOptions = {}): Promise<Holder[]> {
    const path = `/v1/locks?prefix=${encodeURIComponent(prefix)}`;
    const answer = await this.client.transport.send({ method: "GET", path, retry: "read" }, options);
    return (JSON.parse(decodeUtf8(answer.bytes)) as { locks: Holder[] }).locks;
  }
}
