import { randomUUID } from "node:crypto";
import { FakeSessions } from "./fake_sessions.js";
import { changesPage, keysPage } from "./fake_pages.js";
import { type FakeChange, FakeWatchers } from "./fake_watch.js";
import { absentSince, conditions, type Fault, type Gone, type Json, parseBig, problem, problemBody, Refused, type Seen, stringify, unwire, wireValue } from "./wire.js";

export { type Fault, refusal, type Seen } from "./wire.js";

/** An entry of the fake cluster. Times are log time, in milliseconds. */
export interface Stored {
  value: Buffer;
  contentType: string | null;
  revision: number;
  version: number;
  created: number;
  modified: number;
  deadline: number | null;
  sliding: number | null;
  origin: string | null;
}

/** A cluster in memory that keeps the rules of the HTTP API, and meets the faults that a test asks for. */
export class FakeCluster {
  clusterId: string = randomUUID();
  /** Up to which index the outcomes of writes are forgotten. */
  private forgotten = 0;
  histories = [{ number: 1, id: randomUUID() as string, kind: "founded", fork_index: 0, start_index: 0 }];
  index = 10;
  readonly entries = new Map<string, Stored>();
  readonly seen: Seen[] = [];
  /** Log entries that requests made. */
  logEntries = 0;
  /** What the next requests meet. */
  fault: (seen: Seen) => Fault | undefined = () => undefined;
  now: () => number = () => Date.now();
  /** Told of every value that is stored. */
  onStore: (key: string, value: string) => void = () => {};
  /** Changes before this index are not kept. */
  floor = 0;
  token: string | undefined;
  members = ["n1", "n2", "n3"];
  leader = "http://n1";
  readonly silent = new Map<string, number | null>();
  pageBytes = 8 * 1024 * 1024;
  private readonly held = new FakeSessions({
    entry: (work) => this.entry(work),
    tell: (event) => this.events.push(event),
    now: () => this.now(),
    index: () => this.index,
  });
  readonly gones = new Map<string, Gone>();
  readonly clears: { prefix: string; gone: Gone }[] = [];
  private readonly remembered = new Map<string, { request: string; status: number; headers: Json; body: string }>();
  readonly changes: FakeChange[] = [];
  private readonly streams = new FakeWatchers(this);

  get history() {
    return this.histories.at(-1) as (typeof this.histories)[number];
  }

  /** `fetch` of this cluster, whatever the host. */
  readonly fetch = (async (input: string | URL | Request, init: RequestInit = {}) => {
    const url = new URL(String(input));
    const body = init.body == null ? "" : typeof init.body === "string" ? init.body : Buffer.from(init.body as Uint8Array).toString("latin1");
    const text = typeof init.body === "string" ? body : Buffer.from(body, "latin1").toString();
    const seen: Seen = {
      method: init.method ?? "GET",
      path: url.pathname + url.search,
      url: url.origin,
      headers: new Headers(init.headers),
      body: text,
    };
    const raw = init.body == null ? Buffer.alloc(0) : typeof init.body === "string" ? Buffer.from(init.body) : Buffer.from(init.body as Uint8Array);
    await Promise.resolve();
    if (init.signal?.aborted) throw init.signal.reason;
    this.seen.push(seen);
    const fault = this.fault(seen);
    if (fault?.kind === "refused") throw new TypeError("fetch failed", { cause: Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }) });
    if (fault?.kind === "before") throw new TypeError("fetch failed", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
    if (fault?.kind === "hang") return new Promise<Response>((_, reject) => init.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
    if (fault?.kind === "answer") {
      const headers = { "content-type": "application/problem+json", ...fault.headers };
      return new Response(typeof fault.body === "string" ? fault.body : JSON.stringify(fault.body ?? {}), { status: fault.status, headers });
    }
    const response = this.answer(seen, raw, init.signal ?? undefined);
    if (fault?.kind === "after") throw new TypeError("fetch failed", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
    if (fault?.kind === "half") {
      const whole = new Uint8Array(await response.arrayBuffer());
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          if (whole.length > 1) controller.enqueue(whole.slice(0, whole.length >> 1));
        },
        pull(controller) {
          controller.error(new TypeError("terminated"));
        },
      });
      return new Response(stream, { status: response.status, headers: response.headers });
    }
    return response;
  }) as typeof fetch;

  /** A write from elsewhere. */
  put(key: string, value: string | Buffer, more: Partial<Stored> = {}): number {
    return this.entry((index) => this.store(key, Buffer.from(value as string), index, more), { origin: more.origin ?? undefined });
  }

  remove(key: string, cause: Gone["cause"] = "delete", at?: number): number {
    return this.entry((index) => this.drop(key, cause, index, at));
  }

  clear(prefix: string): number {
    return this.entry((index) => this.wipe(prefix, index));
  }

  /** An entry that changes nothing. */
  tick(): void {
    this.index++;
  }

  /** Forgets tombstones and changes up to now. */
  forget(): void {
    this.floor = this.index;
    this.gones.clear();
    this.clears.length = 0;
    this.changes.length = 0;
  }

  /** Forgets the outcomes of all writes, as if many others had come since. */
  forgetOutcomes(): void {
    this.forgotten = this.index;
    this.remembered.clear();
  }

  /** Begins another history, in which what was written after `fork` never happened. */
  fork(kind = "restored", fork = this.index): void {
    const start_index = this.index + 10_000;
    this.histories.push({ number: this.histories.length + 1, id: randomUUID(), kind, fork_index: fork, start_index });
    for (const [key, entry] of [...this.entries]) if (entry.revision > fork) this.entries.delete(key);
    this.index = start_index;
    this.forget();
    this.cut("another history");
  }

  bookmark(index = this.index): void {
    this.streams.tell({ type: "bookmark", index, at_ms: this.now() });
  }

  resync(): void {
    this.streams.tell({ type: "resync", from: 0, index: this.index, at_ms: this.now() });
  }

  get sessions() {
    return this.held.sessions;
  }

  get locks() {
    return this.held.locks;
  }

  /** Breaks all streams, without a word or with one. */
  cut(reason?: string): void {
    this.streams.cut(reason);
  }

  get watching(): number {
    return this.streams.size;
  }

  /** Ends sessions whose time is up. */
  expireSessions(): void {
    this.held.expire();
  }

  private events: Json[] = [];

  private entry(work: (index: number) => void, more: { origin?: string | undefined; idempotency_key?: string | undefined } = {}): number {
    const index = ++this.index;
    this.logEntries++;
    this.events = [];
    try {
      work(index);
    } finally {
      const { events } = this;
      if (events.length > 0) {
        const change = { index, at_ms: this.now(), ...(more.origin === undefined ? {} : { origin: more.origin }), events };
        this.changes.push(change);
        this.streams.told(change);
      }
    }
    return index;
  }

  live(key: string): Stored | undefined {
    const entry = this.entries.get(key);
    if (entry?.deadline != null && entry.deadline <= this.now()) {
      const index = ++this.index;
      this.events = [];
      this.drop(key, "expire", index);
      this.changes.push({ index, at_ms: this.now(), events: this.events });
      this.streams.told({ index, at_ms: this.now(), events: this.events });
      return undefined;
    }
    return entry;
  }

  private store(key: string, value: Buffer, revision: number, more: Partial<Stored>): boolean {
    const before = this.entries.get(key);
    const now = this.now();
    const entry: Stored = {
      value,
      contentType: null,
      revision,
      version: (before?.version ?? 0) + 1,
      created: before?.created ?? now,
      modified: now,
      deadline: null,
      sliding: null,
      origin: null,
      ...more,
    };
    this.entries.set(key, entry);
    this.onStore(key, value.toString());
    this.gones.delete(key);
    const put: Json = { cause: "put", key, created: before === undefined, bytes: value.length, ...wireValue(value) };
    if (entry.contentType !== null) put["content_type"] = entry.contentType;
    if (entry.deadline !== null) put["expires_at_ms"] = entry.deadline;
    this.events.push({ ...put, version: entry.version, created_at_ms: entry.created, modified_at_ms: entry.modified });
    return before === undefined;
  }

  private drop(key: string, cause: Gone["cause"], revision: number, at = this.now()): boolean {
    const had = this.entries.delete(key);
    if (had) {
      this.gones.set(key, { cause, revision, at_ms: at });
      this.events.push({ cause, key });
    }
    return had;
  }

  private wipe(prefix: string, revision: number): number {
    let removed = 0;
    const gone: Gone = { cause: "clear", revision, at_ms: this.now() };
    for (const key of [...this.entries.keys()]) {
      if (!key.startsWith(prefix)) continue;
      this.entries.delete(key);
      removed++;
    }
    for (const key of this.gones.keys()) if (key.startsWith(prefix)) this.gones.delete(key);
    this.clears.push({ prefix, gone });
    this.events.push({ cause: "clear", ...(prefix === "" ? {} : { prefix }), removed });
    return removed;
  }

  /** How a key went, and whether a null means that it was never there. */
  private goneOf(key: string): { gone: Gone | null; complete: boolean } {
    const own = this.gones.get(key);
    const cleared = this.clears.filter(({ prefix }) => key.startsWith(prefix)).at(-1)?.gone;
    const gone = own !== undefined && (cleared === undefined || own.revision > cleared.revision) ? own : (cleared ?? null);
    return { gone, complete: this.floor === 0 };
  }

  /** Throws unless the condition of an operation holds. */
  private check(key: string, op: Json): void {
    const entry = this.live(key);
    const refuse = (detail: string): never => {
      const now = entry === undefined ? this.goneOf(key) : { revision: entry.revision };
      throw new Refused(412, "precondition_failed", { detail, ...now });
    };
    const { if_revision, if_revisions, if_none, if_absent, if_present } = op;
    const if_absent_since = absentSince(op, this.history.id);
    if (if_revision !== undefined && entry?.revision !== if_revision) refuse("another revision");
    if (Array.isArray(if_revisions) && !if_revisions.includes(entry?.revision)) refuse("another revision");
    if (Array.isArray(if_none) && if_none.includes(entry?.revision)) refuse("this revision");
    if (if_absent === true && entry !== undefined) refuse("it exists");
    if (if_present === true && entry === undefined) refuse("it does not exist");
    if (if_absent_since !== undefined) {
      if (entry !== undefined) refuse("it exists");
      const { gone } = this.goneOf(key);
      if (gone !== null && gone.revision > if_absent_since) refuse("it was there since");
      if (gone === null && this.floor > if_absent_since) refuse("it may have been there since");
    }
  }

  private apply(op: Json, index: number, origin: string | null): Json {
    const key = String(op["key"]);
    if (op["op"] === "get") {
      const entry = this.live(key);
      return { op: "get", ...(entry === undefined ? { found: false } : { found: true, ...this.wire(entry) }) };
    }
    this.check(key, op);
    const before = this.live(key);
    const previous = op["previous"] === true ? { previous: before === undefined ? null : this.wire(before) } : {};
    if (op["op"] === "delete") return { op: "delete", found: this.drop(key, "delete", index), ...previous };
    const ttl = typeof op["ttl_ms"] === "number" ? op["ttl_ms"] : null;
    const life = { deadline: ttl === null ? null : this.now() + ttl, sliding: op["sliding"] === true ? ttl : null, origin };
    if (op["op"] === "put") {
      const value = op["raw"] instanceof Buffer ? op["raw"] : typeof op["value_base64"] === "string" ? Buffer.from(op["value_base64"], "base64") : Buffer.from(String(op["value"]));
      const created = this.store(key, value, index, { contentType: (op["content_type"] as string | undefined) ?? null, ...life });
      return { op: "put", created, ...previous };
    }
    const text = before?.value.toString() ?? String(op["initial"] ?? 0);
    if (!/^-?\d{1,19}$/.test(text)) throw new Refused(409, "not_a_number");
    const value = BigInt(text) + BigInt(String(op["by"] ?? 1));
    if (BigInt.asIntN(64, value) !== value) throw new Refused(409, "overflow");
    const kept = before === undefined ? life : { deadline: before.deadline, sliding: before.sliding, origin, contentType: before.contentType };
    const created = this.store(key, Buffer.from(value.toString()), index, kept);
    return { op: "incr", value, created };
  }

  wire(entry: Stored, values = true): Json {
    return {
      revision: entry.revision,
      version: entry.version,
      created_at_ms: entry.created,
      modified_at_ms: entry.modified,
      ttl_ms: entry.deadline === null ? null : Math.max(0, entry.deadline - this.now()),
      sliding_ms: entry.sliding,
      origin: entry.origin,
      content_type: entry.contentType,
      ...(values ? wireValue(entry.value) : {}),
    };
  }

  /** A batch in mode `all` is carried out on a copy first. */
  private batch(body: Json, origin: string | null): Json {
    const ops = (body["ops"] as Json[]).map((op) => op);
    if (ops.length === 0 || ops.length > 1024) throw new Refused(400, "invalid_batch");
    const written = ops.filter((op) => op["op"] !== "get").map((op) => op["key"]);
    if (new Set(written).size < written.length) throw new Refused(400, "invalid_batch");
    const bytes = ops.reduce((sum, op) => sum + String(op["key"]).length + 64 + String(op["value"] ?? op["value_base64"] ?? "").length, 0);
    if (bytes > 2 * 1024 * 1024) throw new Refused(413, "too_large");
    // What is wrong with this refuses the whole batch.
    for (const op of ops) absentSince(op, this.history.id);
    const results: Json[] = [];
    let revision = this.index;
    const each = body["mode"] === "each";
    if (!each) for (const [op, at] of ops.map((op, at) => [op, at] as const)) {
      try {
        if (op["op"] !== "get") this.check(String(op["key"]), op);
      } catch (error) {
        if (error instanceof Refused) error.more["op"] = at;
        throw error;
      }
    }
    revision = this.entry((index) => {
      for (const op of ops) {
        try {
          results.push(this.apply(op, index, origin));
        } catch (error) {
          if (!each || !(error instanceof Refused)) throw error;
          const entry = this.entries.get(String(op["key"]));
          const state = entry === undefined ? { found: false, ...this.goneOf(String(op["key"])) } : { found: true, ...this.wire(entry, op["previous"] === true) };
          results.push({ op: op["op"], refused: { code: error.code, detail: error.code, ...state } });
        }
      }
    }, { origin: origin ?? undefined });
    return { revision, results };
  }

  private answer(seen: Seen, raw: Buffer, signal: AbortSignal | undefined): Response {
    const headers: Record<string, string> = {
      "lockstep-history": this.history.id,
      "lockstep-index": String(this.index),
      "lockstep-time-ms": String(this.now()),
      "content-type": "application/json",
    };
    // What is refused before the log is not remembered.
    if (this.token !== undefined && seen.headers.get("authorization") !== `Bearer ${this.token}`) return problem(new Refused(401, "unauthorized"), headers);
    const expected = seen.headers.get("lockstep-expect-history");
    if (expected !== null && !this.history.id.startsWith(expected)) return problem(new Refused(409, "other_history"), headers);
    const key = seen.headers.get("idempotency-key");
    const request = `${seen.method} ${seen.path} ${seen.body}`;
    const before = key === null ? undefined : this.remembered.get(key);
    if (before !== undefined) {
      if (before.request !== request) return problem(new Refused(422, "idempotency_key_reused"), headers);
      return new Response(before.body === "" ? null : before.body, { status: before.status, headers: { ...(before.headers as Record<string, string>), "idempotency-replayed": "true", "lockstep-index": String(this.index) } });
    }
    const sentAfter = /^(\d+)@(.+)$/.exec(seen.headers.get("idempotency-sent-after") ?? "");
    if (sentAfter !== null) {
      if (!this.history.id.startsWith(sentAfter[2] as string)) return problem(new Refused(409, "other_history"), headers);
      if (Number(sentAfter[1]) < this.forgotten) return problem(new Refused(422, "outcome_forgotten"), headers);
    }
    let status = 200;
    let body: string | Buffer | ReadableStream<Uint8Array> | null;
    try {
      const answer = this.route(seen, raw, headers, signal);
      status = answer.status ?? 200;
      body = answer.raw ?? (answer.json === undefined ? null : stringify(answer.json));
      if (answer.json === undefined && answer.raw === undefined) delete headers["content-type"];
      headers["lockstep-index"] = String(this.index);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const response = problem(error, headers);
      status = error.status;
      body = problemBody(error);
      if (key !== null) this.remembered.set(key, { request, status, headers, body });
      return response;
    }
    if (key !== null && typeof body !== "object") this.remembered.set(key, { request, status, headers: { ...headers }, body });
    if (key !== null && body === null) this.remembered.set(key, { request, status, headers: { ...headers }, body: "" });
    return new Response(body as BodyInit | null, { status, headers });
  }

  private route(seen: Seen, raw: Buffer, headers: Record<string, string>, signal: AbortSignal | undefined): { status?: number; json?: unknown; raw?: Buffer | ReadableStream<Uint8Array> } {
    const url = new URL(seen.path, "http://x");
    const query = url.searchParams;
    const parts = url.pathname.split("/").slice(2).map(decodeURIComponent);
    const origin = seen.headers.get("lockstep-origin");
    const body = () => (seen.body === "" ? {} : parseBig(seen.body)) as Json;
    const name = parts[1] ?? "";
    switch (`${seen.method} ${parts[0]}`) {
      case "PUT kv": {
        const op: Json = { op: "put", key: name, raw, content_type: seen.headers.get("content-type") ?? undefined, previous: query.get("previous") === "true", ...conditions(seen, query) };
        if (query.has("ttl_ms") && query.get("ttl_ms") !== "never") op["ttl_ms"] = Number(query.get("ttl_ms"));
        if (query.get("sliding") === "true") op["sliding"] = true;
        let result: Json = {};
        const revision = this.entry((index) => (result = this.apply(op, index, origin)), { origin: origin ?? undefined });
        headers["etag"] = `"${revision}"`;
        const previous = result["previous"] as Json | null | undefined;
        if (previous == null) return { status: result["created"] === true ? 201 : 204 };
        headers["lockstep-previous-revision"] = String(previous["revision"]);
        headers["content-type"] = String(previous["content_type"] ?? "application/octet-stream");
        return { raw: unwire(previous) };
      }
      case "GET kv": {
        const entry = this.live(name);
        if (entry === undefined) throw new Refused(404, "not_found", this.goneOf(name));
        headers["etag"] = `"${entry.revision}"`;
        headers["content-type"] = entry.contentType ?? "application/octet-stream";
        if (entry.deadline !== null) headers["lockstep-ttl-ms"] = String(entry.deadline - this.now());
        const sliding = entry.sliding === null ? "" : `, sliding_ms=${entry.sliding}`;
        const from = entry.origin === null ? "" : `, origin="${entry.origin}"`;
        headers["lockstep-entry"] = `version=${entry.version}, created_at_ms=${entry.created}, modified_at_ms=${entry.modified}${sliding}${from}`;
        if (seen.headers.get("if-none-match") === `"${entry.revision}"`) return { status: 304 };
        return { raw: entry.value };
      }
      case "DELETE kv": {
        if (parts[1] === undefined) {
          let removed = 0;
          const revision = this.entry((index) => (removed = this.wipe(query.get("prefix") ?? "", index)));
          return { json: { removed, revision } };
        }
        let result: Json = {};
        const op = { op: "delete", key: name, previous: query.get("previous") === "true", ...conditions(seen, query) };
        this.entry((index) => (result = this.apply(op, index, origin)), { origin: origin ?? undefined });
        if (result["found"] !== true) throw new Refused(404, "not_found");
        const previous = result["previous"] as Json | undefined;
        if (previous === undefined) return { status: 204 };
        headers["lockstep-previous-revision"] = String(previous["revision"]);
        return { raw: unwire(previous) };
      }
      case "POST kv": {
        if (parts[2] === "incr") {
          let result: Json = {};
          const revision = this.entry((index) => (result = this.apply({ op: "incr", key: name, ...body(), ...conditions(seen, query) }, index, origin)));
          return { json: { value: result["value"], revision, created: result["created"] } };
        }
        const entry = this.live(name);
        if (entry === undefined) throw new Refused(404, "not_found");
        const ttl = parts[2] === "expire" ? Number(body()["ttl_ms"]) : null;
        const revision = this.entry((index) => {
          entry.revision = index;
          entry.version++;
          entry.deadline = ttl === null ? null : this.now() + ttl;
          this.events.push({ cause: "lifetime", key: name, ...(ttl === null ? {} : { expires_at_ms: entry.deadline }) });
        });
        return { json: { revision, ttl_ms: ttl } };
      }
      case "POST batch":
        return { json: this.batch(body(), origin) };
      case "POST get": {
        const keys = body()["keys"] as string[];
        const results: Json[] = [];
        let bytes = 0;
        for (const each of keys) {
          if (bytes >= 8 * 1024 * 1024) break;
          const entry = this.live(each);
          bytes += entry?.value.length ?? 0;
          results.push(entry === undefined ? { found: false, ...this.goneOf(each) } : { found: true, ...this.wire(entry) });
        }
        return { json: { results, next: results.length < keys.length ? results.length : null, index: this.index } };
      }
      case "GET keys":
        return keysPage(this, query);
      case "GET changes":
        return { json: changesPage(this, query) };
      case "GET time":
        return { json: { time_ms: this.now(), index: this.index } };
      case "GET status":
        return {
          json: {
            cluster_id: this.clusterId,
            history: this.history,
            node: { id: 1, name: "n1" },
            role: "leader",
            leader: { id: 1, name: "n1", http: this.leader },
            members: this.members.map((each, at) => ({ id: at + 1, name: each, http: `http://${each}`, silent_ms: this.silent.has(each) ? this.silent.get(each) : 0 })),
          },
        };
      case "GET lineage":
        return { json: { node: { id: 1, name: "n1" }, cluster_id: this.clusterId, histories: this.histories, applied_index: this.index } };
      case "GET watch":
        return { raw: this.streams.begin(query, headers, signal) };
      default:
        return this.held.route(seen, parts, query, body);
    }
  }

}
