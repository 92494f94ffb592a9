import { type Json, Refused } from "./wire.js";

interface Watcher {
  controller: ReadableStreamDefaultController<Uint8Array>;
  prefixes: string[];
  query: URLSearchParams;
}

/** A change of the fake cluster, as watchers are told. */
export interface FakeChange {
  index: number;
  at_ms: number;
  origin?: string;
  events: Json[];
}

/** What the streams need of their cluster. */
export interface Watched {
  readonly clusterId: string;
  readonly history: { number: number; id: string };
  readonly index: number;
  readonly floor: number;
  readonly changes: readonly FakeChange[];
  now(): number;
}

/** The streams of the fake cluster. */
export class FakeWatchers {
  private readonly watchers = new Set<Watcher>();

  constructor(private readonly host: Watched) {}

  get size(): number {
    return this.watchers.size;
  }

  /** Tells all watchers of a change. */
  told(change: FakeChange): void {
    for (const watcher of this.watchers) this.sayTo(watcher, change);
  }

  begin(query: URLSearchParams, headers: Record<string, string>, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
    headers["content-type"] = "text/event-stream";
    const [digits, history] = (query.get("from") ?? "").split("@");
    const foreign = history !== undefined && !this.host.history.id.startsWith(history);
    let from = digits === "" || digits === undefined ? this.host.index : Number(digits);
    if (!foreign && from > this.host.index) throw new Refused(409, "conflict");
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        const watcher = { controller, prefixes: query.getAll("prefix").filter((prefix) => prefix !== ""), query };
        const subscribed = () => this.say(watcher, { type: "subscribed", index: from, cluster_id: this.host.clusterId, history: { number: this.host.history.number, id: this.host.history.id }, at_ms: this.host.now() });
        if (foreign || from < this.host.floor) {
          this.say(watcher, { type: "resync", from, index: this.host.index, at_ms: this.host.now() });
          from = this.host.index;
        }
        subscribed();
        for (const change of this.host.changes) if (change.index > from) this.sayTo(watcher, change);
        this.watchers.add(watcher);
        signal?.addEventListener("abort", () => {
          if (this.watchers.delete(watcher)) controller.error(signal.reason);
        });
      },
    });
  }

  tell(message: Json): void {
    for (const watcher of this.watchers) this.say(watcher, message);
  }

  private sayTo(watcher: Watcher, change: { index: number; events: Json[] }): void {
    const { query, prefixes } = watcher;
    const events = change.events
      .filter((event) => {
        const cause = String(event["cause"]);
        if (cause === "session" || cause === "session_end") return query.get("sessions") === "true";
        if (cause === "lock" || cause === "unlock") return query.get("locks") === "true";
        return query.get("keys") !== "false";
      })
      .filter((event) => {
        if (event["cause"] === "clear") return true;
        const name = String(event["key"] ?? event["name"]);
        return prefixes.length === 0 || prefixes.some((prefix) => name.startsWith(prefix));
      })
      .map((event) => {
        if (query.get("values") !== "false") return event;
        const { value: _, value_base64: __, ...rest } = event;
        return rest;
      });
    if (events.length > 0) this.say(watcher, { type: "change", ...change, events });
  }

  /** Breaks all streams, without a word or with one. */
  cut(reason?: string): void {
    for (const watcher of [...this.watchers]) {
      if (reason !== undefined) this.say(watcher, { type: "cut", resume: this.host.index, reason });
      this.watchers.delete(watcher);
      watcher.controller.error(new TypeError("terminated"));
    }
  }

  private say(watcher: Watcher, message: Json): void {
    const id = `${String(message["index"] ?? message["resume"])}@${this.host.history.id.slice(0, 8)}`;
    watcher.controller.enqueue(Buffer.from(`event: ${String(message["type"])}\nid: ${id}\ndata: ${JSON.stringify(message)}\n\n`));
  }
}
