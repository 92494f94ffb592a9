import { NotFound, passes, Unavailable } from "./errors.js";
import type { CallOptions, Transport } from "./transport.js";
import { decodeUtf8 } from "./values.js";

/** A session as the cluster has it. Times are log time, in milliseconds since 1970. */
export interface SessionInfo {
  /** The log index at which it was opened. */
  id: number;
  name: string;
  ttl_ms: number;
  created_at_ms: number;
  expires_at_ms: number;
}

/** The sessions of a cluster. */
export class Sessions {
  constructor(private readonly transport: Transport) {}

  /** Begins a session, which lasts `ttlMs` unless it is renewed. The name is for people and for {@link list}. */
  async open(name: string, ttlMs: number, options: CallOptions = {}): Promise<Session> {
    const sentAt = this.transport.clock.monotonic();
    const body = JSON.stringify({ name, ttl_ms: ttlMs });
    const request = { method: "POST", path: "/v1/sessions", headers: { "Content-Type": "application/json" }, body } as const;
    const answer = await this.transport.send({ ...request, retry: "keyed" }, options);
    return new Session(this.transport, JSON.parse(decodeUtf8(answer.bytes)) as SessionInfo, sentAt);
  }

  /** The sessions whose names start with a prefix. */
  async list(prefix = "", options: CallOptions = {}): Promise<SessionInfo[]> {
    const path = `/v1/sessions?prefix=${encodeURIComponent(prefix)}`;
    const answer = await this.transport.send({ method: "GET", path, retry: "read" }, options);
    return (JSON.parse(decodeUtf8(answer.bytes)) as { sessions: SessionInfo[] }).sessions;
  }
}

/** A session that this client has begun. */
export class Session {
  readonly id: number;
  readonly name: string;
  readonly ttlMs: number;
  private readonly over = new AbortController();
  private keeping: Promise<void> | undefined;
  /** Until when it lasts for certain, on the monotonic clock. */
  private goodUntil: number;

  constructor(
    private readonly transport: Transport,
    info: SessionInfo,
    sentAt: number,
  ) {
    this.id = info.id;
    this.name = info.name;
    this.ttlMs = info.ttl_ms;
    this.goodUntil = sentAt + this.ttlMs;
  }

  /** Aborted when the session has ended, or may have: what its locks protect must stop then. */
  get signal(): AbortSignal {
    return this.over.signal;
  }

  /** Whether it lasts for certain now. */
  get isAlive(): boolean {
    return !this.over.signal.aborted && this.transport.clock.monotonic() < this.goodUntil;
  }

  /** Makes it last `ttlMs` from now. @throws NotFound if it has ended */
  async renew(options: CallOptions = {}): Promise<void> {
    const sentAt = this.transport.clock.monotonic();
    const path = `/v1/sessions/${this.id}/renew`;
    try {
      // Renewing twice does no harm.
      await this.transport.send({ method: "POST", path, retry: "read" }, options);
    } catch (error) {
      if (error instanceof NotFound) this.over.abort(error);
      throw error;
    }
    this.goodUntil = Math.max(this.goodUntil, sentAt + this.ttlMs);
  }

  /** Renews it in the background, three times in each TTL, until {@link close}. Call it once. */
  keepAlive(): this {
    this.keeping ??= this.keep();
    return this;
  }

  private async keep(): Promise<void> {
    const { clock } = this.transport;
    const { signal } = this.over;
    const lapse = () => {
      const left = this.goodUntil - clock.monotonic();
      if (left > 0) callOff = clock.after(left, lapse);
      else this.over.abort(new Unavailable("the session could not be renewed in time", { code: "unavailable", effect: "none" }));
    };
    let callOff = () => {};
    lapse();
    while (!signal.aborted) {
      try {
        await rest(clock, this.ttlMs / 3, signal);
        if (signal.aborted) break;
        await this.renew({ timeoutMs: this.ttlMs / 3, signal });
      } catch (error) {
        if (!signal.aborted && !passes(error)) this.over.abort(error);
      }
    }
    callOff();
  }

  /** Ends it. Answers the names of the locks that are free now. */
  async close(options: CallOptions = {}): Promise<string[]> {
    this.over.abort(new Unavailable("the session was closed", { code: "closed", effect: "none" }));
    try {
      const path = `/v1/sessions/${this.id}`;
      const answer = await this.transport.send({ method: "DELETE", path, retry: "keyed" }, options);
      return (JSON.parse(decodeUtf8(answer.bytes)) as { released: string[] }).released;
    } catch (error) {
      if (error instanceof NotFound) return [];
      throw error;
    }
  }
}

/** Waits without keeping the process alive. */
function rest(clock: Transport["clock"], ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const callOff = clock.after(ms, () => {
      signal.removeEventListener("abort", aborted);
      resolve();
    });
    const aborted = () => {
      callOff();
      resolve();
    };
    signal.addEventListener("abort", aborted, { once: true });
  });
}

