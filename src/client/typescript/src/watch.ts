import { pause } from "./clock.js";
import { type ErrorCode, LockstepError, OtherCluster, passes, Unavailable } from "./errors.js";
import { serverSentEvents } from "./sse.js";
import { innermost, type Transport } from "./transport.js";

/** A history of the cluster: its number, and its id, which names it. */
export interface HistoryName {
  number: number;
  id: string;
}

/** A place in the log. Means something in this history only. */
export interface Cursor {
  index: number;
  history: string;
}

/** One event of a change. */
export type WatchEvent =
  | {
      cause: "put";
      key: string;
      created: boolean;
      bytes: number;
      value?: string;
      value_base64?: string;
      content_type?: string;
      expires_at_ms?: number;
      version?: number;
      created_at_ms?: number;
      modified_at_ms?: number;
      sliding_ms?: number;
    }
  | { cause: "lifetime"; key: string; expires_at_ms?: number; sliding_ms?: number }
  | { cause: "delete" | "expire" | "evict"; key: string }
  | { cause: "clear"; prefix?: string; removed: number }
  | { cause: "config"; config: unknown }
  | { cause: "session"; id: number; name: string; ttl_ms: number }
  | { cause: "session_end"; id: number; name: string; why: "closed" | "expired" }
  | { cause: "lock" | "unlock"; name: string; session: number; token: number };

/** A message of a watch. Times are log time, in milliseconds since 1970. */
export type WatchMessage =
  | { type: "subscribed"; index: number; cluster_id: string; history: HistoryName; at_ms?: number }
  | {
      type: "change";
      index: number;
      at_ms: number;
      by?: number;
      merged_from?: string;
      origin?: string;
      idempotency_key?: string;
      events: WatchEvent[];
    }
  | { type: "bookmark"; index: number; at_ms?: number }
  /** Changes are missing: read a state of `index` or later. `history`: the cluster is in another history than before. */
  | { type: "resync"; index: number; from?: number; at_ms?: number; why: "gap" | "history" };

type WireMessage =
  | Exclude<WatchMessage, { type: "resync" }>
  | { type: "resync"; from: number; index: number; at_ms?: number }
  | { type: "cut"; resume: number; reason: string; code?: ErrorCode };

/** What to watch. */
export interface WatchOptions {
  /** Only keys, and names of sessions and locks, that start with one of these: up to 16. */
  prefix?: string | readonly string[];
  /** Changes after this place; without it, from now on. */
  from?: Cursor | number;
  /** The cluster that it must be. */
  clusterId?: string;
  /** Whether values are sent with the changes; true by default. */
  values?: boolean;
  /** Whether the changes of keys are sent; true by default. */
  keys?: boolean;
  /** Whether sessions that begin and end are sent. */
  sessions?: boolean;
  /** Whether locks that are taken and released are sent. */
  locks?: boolean;
  /** `low`: cut first when a node has too many watchers. */
  priority?: "low";
  signal?: AbortSignal;
  /** Called whenever the stream is lost, before another node is asked. */
  onLost?: (error: unknown) => void;
}

/** A node sends a bookmark every five seconds. One that is silent for longer is given up. */
const SILENCE_MS = 15_000;
const PAUSE_LAST_MS = 2_000;

/**
 * Changes as they come, each exactly once and in order. A lost stream goes on from its place at another node, as long as it takes;
 * what cannot be made up for is told as `resync`.
 */
export class Watch implements AsyncIterable<WatchMessage> {
  private place: Cursor | number | undefined;
  private cluster: string | undefined;
  /** The history of a place that was given up. */
  private left: string | undefined;

  constructor(
    private readonly transport: Transport,
    private readonly options: WatchOptions,
  ) {
    this.place = options.from;
    this.cluster = options.clusterId;
  }

  /** After the last message: where another watch can go on. */
  get cursor(): Cursor | undefined {
    return typeof this.place === "object" ? this.place : undefined;
  }

  /**
   * @throws OtherCluster if another cluster answers, and LockstepError if the nodes refuse the watch for good: a token that is not
   * good, or a malformed prefix.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<WatchMessage, void, void> {
    const { transport, options } = this;
    const { clock } = transport;
    let backoff = 20;
    let renewed = false;
    let refused = 0;
    for (;;) {
      if (options.signal?.aborted) return;
      const { url, at } = transport.nodes.choose(clock.monotonic(), false);
      if (at > 0 && !(await this.rest(at - clock.monotonic()))) return;
      let error: LockstepError;
      try {
        for await (const message of this.stream(url)) {
          backoff = 20;
          renewed = false;
          refused = 0;
          yield message;
        }
        error = new Unavailable(`${url}: the stream ended`, { code: "unavailable", effect: "none", url });
      } catch (caught) {
        if (options.signal?.aborted) return;
        if (!(caught instanceof LockstepError)) throw caught;
        error = caught;
      }
      options.onLost?.(error);
      transport.learn(url, error, clock.monotonic());
      if (error.code === "unauthorized" && !renewed && transport.forgetToken()) {
        renewed = true;
        continue;
      }
      if (error.code === "other_history" && typeof this.place === "object") {
        // The place means nothing there: the watch begins anew, and says so.
        this.left = this.place.history;
        this.place = undefined;
        continue;
      }
      // A node that is behind has not reached the place yet.
      const behind = error.code === "conflict" && this.place !== undefined && ++refused <= 20;
      if (!passes(error) && !behind) throw error;
      if (error.code !== "rate_limited") transport.nodes.failed(url);
      if (!(await this.rest(backoff * (0.5 + Math.random() / 2)))) return;
      backoff = Math.min(backoff * 2, PAUSE_LAST_MS);
    }
  }

  /** Whether the watch is to go on after so many milliseconds. */
  private async rest(ms: number): Promise<boolean> {
    return pause(this.transport.clock, Math.max(ms, 0), this.options.signal).then(
      () => true,
      () => false,
    );
  }

  /** The messages of one node, until it ends the stream. */
  private async *stream(url: string): AsyncGenerator<WatchMessage, void, void> {
    const { clock } = this.transport;
    const controller = new AbortController();
    const aborted = () => controller.abort(this.options.signal?.reason);
    this.options.signal?.addEventListener("abort", aborted, { once: true });
    let callOff = () => {};
    const wake = (ms: number) => {
      callOff();
      callOff = clock.after(ms, () => controller.abort(new Error(`silent for ${ms} ms`)));
    };
    try {
      wake(this.transport.tryTimeoutMs);
      const request = { method: "GET", path: this.path(), headers: { Accept: "text/event-stream" }, retry: "read" } as const;
      const response = await this.transport.open(url, request, controller.signal);
      this.transport.nodes.answered(url);
      wake(SILENCE_MS);
      for await (const { data } of serverSentEvents(response.body as ReadableStream<Uint8Array>)) {
        callOff();
        const message = this.read(JSON.parse(data) as WireMessage, url);
        for (const each of message) yield each;
        wake(SILENCE_MS);
      }
    } catch (error) {
      if (error instanceof LockstepError) throw error;
      throw new Unavailable(`${url}: the stream broke: ${innermost(error)}`, {
        code: "unavailable",
        effect: "none",
        url,
        cause: error,
      });
    } finally {
      callOff();
      this.options.signal?.removeEventListener("abort", aborted);
      controller.abort();
    }
  }

  /** Notes the place after a message. @throws LockstepError if it is the last one, or of another cluster. */
  private read(message: WireMessage, url: string): WatchMessage[] {
    switch (message.type) {
      case "subscribed": {
        if (this.cluster !== undefined && this.cluster !== message.cluster_id) {
          throw new OtherCluster(`${url}: belongs to the cluster ${message.cluster_id}, not to ${this.cluster}`, {
            code: "other_cluster",
            effect: "none",
            url,
          });
        }
        this.cluster = message.cluster_id;
        const before = this.cursor?.history ?? this.left;
        this.left = undefined;
        this.place = { index: message.index, history: message.history.id };
        const index = message.index;
        const other = before !== undefined && !sameHistory(before, message.history.id);
        return other ? [message, { type: "resync", index, why: "history" }] : [message];
      }
      case "resync":
        this.advance(message.index);
        return [{ ...message, why: "gap" }];
      case "cut": {
        this.advance(message.resume);
        const code = message.code ?? "unavailable";
        throw new Unavailable(`${url}: ${message.reason}`, { code, effect: "none", url });
      }
      default:
        this.advance(message.index);
        return [message];
    }
  }

  private advance(index: number): void {
    if (typeof this.place === "object") this.place = { index, history: this.place.history };
    else if (this.place !== undefined) this.place = index;
  }

  private path(): string {
    const { prefix, values, keys, sessions, locks, priority } = this.options;
    const query = new URLSearchParams();
    for (const each of prefix === undefined ? [] : typeof prefix === "string" ? [prefix] : prefix) query.append("prefix", each);
    const place = this.place;
    if (typeof place === "object") query.set("from", `${place.index}@${place.history}`);
    else if (place !== undefined) query.set("from", String(place));
    if (values === false) query.set("values", "false");
    if (keys === false) query.set("keys", "false");
    if (sessions === true) query.set("sessions", "true");
    if (locks === true) query.set("locks", "true");
    if (priority !== undefined) query.set("priority", priority);
    const text = query.toString();
    return text === "" ? "/v1/watch" : `/v1/watch?${text}`;
  }
}

/** Whether two names are of one history: ids may be shortened to eight characters or more. */
export function sameHistory(one: string, other: string): boolean {
  return one.length >= 8 && other.length >= 8 && (one.startsWith(other) || other.startsWith(one));
}
