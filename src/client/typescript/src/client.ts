import {
  type BatchResult,
  decodeResult,
  encodeOp,
  type Lifetime,
  type Op,
  parseCounters,
  type WireResult,
} from "./batch.js";
import { type Entry, entryOf, type WireEntry } from "./entry.js";
import { Garbled, type Gone, NotFound } from "./errors.js";
import { entryIn, integer, revisionOf } from "./headers.js";
import { Locks } from "./locks.js";
import type {
  Change,
  ChangesPage,
  ConditionOptions,
  DeleteResult,
  EntriesPage,
  FoundOrGone,
  KeyInfo,
  Lineage,
  PutResult,
  ReadOptions,
  ReadResult,
  Status,
  WriteOptions,
  WriteResult,
} from "./results.js";
import { Sessions } from "./sessions.js";
import { type Answer, type CallOptions, type ClientOptions, type Request, Transport } from "./transport.js";
import { decodeUtf8, encodeValue, type Value } from "./values.js";
import { type Cursor, Watch, type WatchOptions } from "./watch.js";

export type * from "./results.js";

/** A client of one cluster. */
export class Client {
  /** How requests are sent. */
  readonly transport: Transport;
  /** Sessions, which end when their client does not renew them. */
  readonly sessions: Sessions;
  /** Locks, which sessions hold. */
  readonly locks: Locks;

  /** @throws TypeError: no URL, a malformed one, or a malformed `origin`. */
  constructor(options: ClientOptions | string) {
    this.transport = new Transport(typeof options === "string" ? { urls: options } : options);
    this.sessions = new Sessions(this.transport);
    this.locks = new Locks(this);
  }

  /** A key's value, or null if there is none. */
  async get(key: string, options: ReadOptions = {}): Promise<Entry | null> {
    return (await this.read(key, options)).entry;
  }

  /** The same, with all that the answer said. `ifNoneMatch`: a revision that the caller has, so that it is not sent again. */
  async read(key: string, options: ReadOptions & { ifNoneMatch?: number | undefined } = {}): Promise<ReadResult> {
    const headers: Record<string, string> = {};
    if (options.ifNoneMatch !== undefined) headers["If-None-Match"] = `"${options.ifNoneMatch}"`;
    const path = `/v1/kv/${encodeURIComponent(key)}${query(readQuery(options))}`;
    const sentAt = this.transport.clock.monotonic();
    try {
      const answer = await this.ask({ method: "GET", path, headers, retry: "read", anyNode: options.consistency === "stale" }, options);
      const notModified = answer.status === 304;
      return {
        entry: notModified ? null : entryIn(key, answer, revisionOf(answer.headers.get("etag"))),
        notModified,
        index: integer(answer.headers, "lockstep-index") ?? 0,
        history: answer.headers.get("lockstep-history") ?? "",
        gone: null,
        complete: true,
        sentAt: answer.sentAt,
        ttlMs: integer(answer.headers, "lockstep-ttl-ms") ?? null,
        timeMs: integer(answer.headers, "lockstep-time-ms"),
      };
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      const { problem, index, history } = error;
      return {
        entry: null,
        notModified: false,
        index: index ?? 0,
        history: history ?? "",
        gone: problem?.gone ?? null,
        complete: problem?.complete ?? false,
        sentAt,
        ttlMs: null,
        timeMs: undefined,
      };
    }
  }

  /**
   * Stores a value.
   * @throws PreconditionFailed, {@link OutcomeUnknown} and others: see {@link LockstepError}
   */
  async put(
    key: string,
    value: Value,
    options: WriteOptions & Lifetime & ConditionOptions & { contentType?: string | undefined; previous?: boolean | undefined } = {},
  ): Promise<PutResult> {
    const { body, contentType } = encodeValue(value, options.contentType);
    const headers = conditionHeaders(options);
    if (contentType !== undefined) headers["Content-Type"] = contentType;
    // Without a type `fetch` would send one of its own for text, and that would be stored.
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const path = `/v1/kv/${encodeURIComponent(key)}${query([
      ["ttl_ms", options.ttlMs],
      ["sliding", options.sliding || undefined],
      ["previous", options.previous || undefined],
      ["if_absent_since", options.ifAbsentSince],
    ])}`;
    const answer = await this.write({ method: "PUT", path, headers, body: bytes }, options);
    const before = integer(answer.headers, "lockstep-previous-revision");
    const result = written(answer);
    const revision = revisionOf(answer.headers.get("etag")) ?? result.index;
    const previous = before === undefined ? null : entryIn(key, answer, before);
    return { ...result, revision, created: answer.status === 201, previous };
  }

  /** Removes a key. */
  async delete(
    key: string,
    options: WriteOptions & ConditionOptions & { previous?: boolean | undefined } = {},
  ): Promise<DeleteResult> {
    const path = `/v1/kv/${encodeURIComponent(key)}${query([["previous", options.previous || undefined]])}`;
    try {
      const answer = await this.write({ method: "DELETE", path, headers: conditionHeaders(options) }, options);
      const before = integer(answer.headers, "lockstep-previous-revision");
      return { ...written(answer), found: true, previous: before === undefined ? null : entryIn(key, answer, before) };
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      const { index = 0, history = "", replayed } = error;
      return { index, history, replayed, found: false, previous: null };
    }
  }

  /**
   * Adds to a counter: a 64-bit integer, stored as decimal text. An absent one begins at `initial`.
   * @throws LockstepError with code `not_a_number`, `overflow` or `wrong_kind`, and others
   */
  async incr(
    key: string,
    by: number | bigint = 1,
    options: WriteOptions & Lifetime & ConditionOptions & { initial?: number | bigint | undefined } = {},
  ): Promise<WriteResult & { value: bigint; created: boolean }> {
    const fields = [`"by":${by}`];
    if (options.initial !== undefined) fields.push(`"initial":${options.initial}`);
    if (typeof options.ttlMs === "number") fields.push(`"ttl_ms":${options.ttlMs}`);
    if (options.sliding === true) fields.push(`"sliding":true`);
    const headers = { ...conditionHeaders(options), "Content-Type": "application/json" };
    const path = `/v1/kv/${encodeURIComponent(key)}/incr${query([["if_absent_since", options.ifAbsentSince]])}`;
    const answer = await this.write({ method: "POST", path, headers, body: `{${fields.join(",")}}` }, options);
    const body = parseCounters(decodeUtf8(answer.bytes)) as { value: string; revision: number; created: boolean };
    return { ...written(answer), value: BigInt(body.value), revision: body.revision, created: body.created };
  }

  /** Gives an existing key a TTL that starts now. @throws NotFound */
  async expire(
    key: string,
    ttlMs: number,
    options: WriteOptions & ConditionOptions & { sliding?: boolean | undefined } = {},
  ): Promise<WriteResult> {
    const body = JSON.stringify({ ttl_ms: ttlMs, ...(options.sliding === true ? { sliding: true } : {}) });
    return this.lifetime(key, "expire", body, options);
  }

  /** Removes an existing key's TTL. @throws NotFound */
  async persist(key: string, options: WriteOptions & ConditionOptions = {}): Promise<WriteResult> {
    return this.lifetime(key, "persist", undefined, options);
  }

  /** Reads many keys at one moment (10,000 in a request, 8 MiB in an answer), in their order. */
  async getMany(keys: readonly string[], options: ReadOptions = {}): Promise<FoundOrGone[]> {
    return (await this.readMany(keys, options)).results;
  }

  /** The same, with the index of the first answer. */
  async readMany(
    keys: readonly string[],
    options: ReadOptions = {},
  ): Promise<{ results: FoundOrGone[]; index: number; history: string }> {
    const results: FoundOrGone[] = [];
    const path = `/v1/get${query(readQuery(options))}`;
    let first: { index: number; history: string } | undefined;
    while (results.length < keys.length) {
      const asked = keys.slice(results.length, results.length + 10_000);
      const answer = await this.ask(
        { method: "POST", path, headers: JSON_BODY, body: JSON.stringify({ keys: asked }), retry: "read", anyNode: options.consistency === "stale" },
        options,
      );
      const page = parse<{ results: WireEntry[]; next: number | null; index: number }>(answer);
      const count = page.next ?? page.results.length;
      if (count === 0) throw garbled(answer, "a page without results");
      for (let at = 0; at < count; at++) {
        const key = asked[at] as string;
        const wire = page.results[at] as WireEntry;
        const entry = wire.found === true ? entryOf(key, wire) : null;
        results.push({ key, entry, gone: wire.gone ?? null, complete: wire.complete ?? false });
      }
      first ??= { index: page.index, history: answer.headers.get("lockstep-history") ?? "" };
    }
    return { results, index: first?.index ?? 0, history: first?.history ?? "" };
  }

  /**
   * Carries out operations in one log entry. Mode `all` (default): all of them or none. `each`: each by itself, and the results tell
   * which were refused. At most 1,024, below 2 MiB, and only one may write a given key: {@link splitOps} cuts longer lists.
   */
  async batch(ops: readonly Op[], options: WriteOptions & { mode?: "all" | "each" } = {}): Promise<BatchResult> {
    const mode = options.mode === "each" ? `"mode":"each",` : "";
    const body = `{${mode}"ops":[${ops.map((op) => encodeOp(op).json).join(",")}]}`;
    const request = { method: "POST", path: "/v1/batch", headers: JSON_BODY, body } as const;
    // With an idempotency key even one that only reads would take a log entry.
    const onlyReads = options.idempotencyKey === undefined && ops.every(({ op }) => op === "get");
    const answer = onlyReads ? await this.ask({ ...request, retry: "read" }, options) : await this.write(request, options);
    const wire = parseCounters(decodeUtf8(answer.bytes)) as { revision: number; results: WireResult[] };
    if (wire.results.length !== ops.length) throw garbled(answer, "not a result for each operation");
    const results = wire.results.map((result, at) => decodeResult((ops[at] as Op).key, result));
    return { revision: wire.revision, results, history: written(answer).history, replayed: written(answer).replayed };
  }

  /** Removes all keys with a prefix, or all keys, in one log entry. */
  async clear(what: { prefix: string } | { all: true }, options: WriteOptions = {}): Promise<WriteResult & { removed: number }> {
    const path = `/v1/kv${"all" in what ? "?all=true" : query([["prefix", what.prefix]])}`;
    const answer = await this.write({ method: "DELETE", path }, options);
    return { ...written(answer), ...parse<{ removed: number; revision: number }>(answer) };
  }

  /** All keys with a prefix, in the order of their bytes. Each page is a read of its own. */
  async *keys(options: ReadOptions & { prefix?: string; after?: string; pageSize?: number } = {}): AsyncGenerator<KeyInfo, void, void> {
    let { after } = options;
    do {
      const path = `/v1/keys${query([["prefix", options.prefix], ["after", after], ["limit", options.pageSize ?? 1000], ...readQuery(options)])}`;
      const answer = await this.ask({ method: "GET", path, retry: "read" }, options);
      const page = parse<{ keys: KeyInfo[]; next: string | null }>(answer);
      yield* page.keys;
      after = page.next ?? undefined;
    } while (after !== undefined);
  }

  /** All entries with a prefix, in the order of their keys' bytes. Counts as a use of none. */
  async *entries(options: ReadOptions & { prefix?: string; after?: string; pageSize?: number } = {}): AsyncGenerator<Entry, void, void> {
    let { after } = options;
    do {
      const page = await this.entriesPage({ ...options, after, limit: options.pageSize ?? 1000 });
      yield* page.entries;
      after = page.next ?? undefined;
    } while (after !== undefined);
  }

  /** One page of entries: up to `limit` (10,000 at most), and 8 MiB of values. */
  async entriesPage(options: ReadOptions & { prefix?: string | undefined; after?: string | undefined; limit?: number | undefined } = {}): Promise<EntriesPage> {
    const path = `/v1/keys${query([
      ["prefix", options.prefix || undefined],
      ["after", options.after],
      ["limit", options.limit ?? 1000],
      ["values", true],
      ...readQuery(options),
    ])}`;
    const answer = await this.ask({ method: "GET", path, retry: "read" }, options);
    const page = parse<{ entries: (WireEntry & { key: string })[]; next: string | null; index: number }>(answer);
    const entries = page.entries.map((wire) => entryOf(wire.key, wire));
    return { sentAt: answer.sentAt, entries, next: page.next, index: page.index, history: answer.headers.get("lockstep-history") ?? "" };
  }

  /** The newest state of each key that changed after `since`, each key once, in the order of the log. Ask again with `next`. */
  async changes(
    since: number | Cursor,
    options: ReadOptions & { prefix?: string | undefined; limit?: number | undefined; values?: boolean | undefined } = {},
  ): Promise<ChangesPage> {
    const path = `/v1/changes${query([
      ["since", typeof since === "number" ? since : `${since.index}@${since.history}`],
      ["prefix", options.prefix || undefined],
      ["limit", options.limit],
      ["values", options.values],
      ...readQuery(options),
    ])}`;
    const answer = await this.ask({ method: "GET", path, retry: "read" }, options);
    type WireChange = WireEntry & { prefix?: string };
    const page = parse<{ changes: WireChange[]; next: number; more: boolean; complete: boolean; index: number }>(answer);
    const changes = page.changes.map((wire): Change => {
      const { key, gone } = wire;
      if (key === undefined) return { kind: "clear", prefix: wire.prefix ?? "", gone: gone as Gone };
      if (wire.found !== true) return { kind: "gone", key, gone: gone ?? null };
      return { kind: "entry", key, entry: entryOf(key, wire), hasValue: wire.value !== undefined || wire.value_base64 !== undefined };
    });
    const { next, more, complete, index } = page;
    return { changes, next, more, complete, index, history: answer.headers.get("lockstep-history") ?? "" };
  }

  /** Log time now, and when it was asked for and answered on this machine's wall clock, in milliseconds since 1970. */
  async time(options: CallOptions = {}): Promise<{ timeMs: number; index: number; askedAt: number; answeredAt: number; sentAt: number; history: string }> {
    const { clock } = this.transport;
    const begun = clock.monotonic();
    const answer = await this.ask({ method: "GET", path: "/v1/time", retry: "read" }, options);
    const answeredAt = clock.wall();
    // Of the last try only: the repetitions before it say nothing about the clock.
    const askedAt = answeredAt - (clock.monotonic() - Math.max(begun, answer.sentAt));
    const { time_ms, index } = parse<{ time_ms: number; index: number }>(answer);
    return { timeMs: time_ms, index, askedAt, answeredAt, sentAt: answer.sentAt, history: answer.headers.get("lockstep-history") ?? "" };
  }

  /** A node's status. Requests go to the leader that it names from then on. */
  async status(options: CallOptions = {}): Promise<Status> {
    const answer = await this.ask({ method: "GET", path: "/v1/status", retry: "read", anyNode: true }, options);
    const status = parse<Status>(answer);
    this.transport.nodes.learn(answer.url, status.leader?.http);
    return status;
  }

  /** Which histories the cluster had. */
  async lineage(options: CallOptions = {}): Promise<Lineage> {
    return parse<Lineage>(await this.ask({ method: "GET", path: "/v1/lineage", retry: "read" }, options));
  }

  /** Watches changes: `for await (const message of client.watch({ prefix: "user:" }))`. */
  watch(options: WatchOptions = {}): Watch {
    return new Watch(this.transport, options);
  }

  private async lifetime(key: string, what: string, body: string | undefined, options: WriteOptions & ConditionOptions): Promise<WriteResult> {
    const headers: Record<string, string> = { ...conditionHeaders(options), ...(body === undefined ? {} : JSON_BODY) };
    const answer = await this.write({ method: "POST", path: `/v1/kv/${encodeURIComponent(key)}/${what}`, headers, body }, options);
    return { ...written(answer), ...parse<{ revision: number }>(answer) };
  }

  private write(request: Omit<Request, "retry">, options: WriteOptions): Promise<Answer> {
    return this.ask({ ...request, retry: "keyed", idempotencyKey: options.idempotencyKey, sentAfter: options.sentAfter }, options);
  }

  private ask(request: Request, options: CallOptions): Promise<Answer> {
    return this.transport.send(request, options);
  }
}

const JSON_BODY = { "Content-Type": "application/json" };

type Pairs = [string, string | number | boolean | undefined][];

function query(pairs: Pairs): string {
  const text = pairs
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`)
    .join("&");
  return text === "" ? "" : `?${text}`;
}

function readQuery({ consistency, minIndex }: ReadOptions): Pairs {
  const index = typeof minIndex === "object" ? `${minIndex.index}@${minIndex.history}` : minIndex;
  return [
    ["consistency", consistency],
    ["min_index", index],
  ];
}

function tags(revisions: number | readonly number[]): string {
  return (typeof revisions === "number" ? [revisions] : revisions).map((revision) => `"${revision}"`).join(", ");
}

/** @throws TypeError if there is more than one condition. */
function conditionHeaders(options: ConditionOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  if (options.ifRevision !== undefined) headers["If-Match"] = tags(options.ifRevision);
  if (options.ifPresent === true) headers["If-Match"] = "*";
  if (options.ifNotRevision !== undefined) headers["If-None-Match"] = tags(options.ifNotRevision);
  if (options.ifAbsent === true) headers["If-None-Match"] = "*";
  const { ifRevision, ifNotRevision, ifAbsentSince } = options;
  const given = [ifRevision, ifNotRevision, ifAbsentSince, options.ifPresent || undefined, options.ifAbsent || undefined];
  if (given.filter((condition) => condition !== undefined).length > 1) throw new TypeError("a write takes one condition");
  return headers;
}

function written(answer: Answer): WriteResult {
  const { headers } = answer;
  const index = integer(headers, "lockstep-index") ?? 0;
  const history = headers.get("lockstep-history") ?? "";
  return { revision: index, index, history, replayed: headers.get("idempotency-replayed") === "true" };
}

function parse<T>(answer: Answer): T {
  try {
    return JSON.parse(decodeUtf8(answer.bytes)) as T;
  } catch (error) {
    throw garbled(answer, String(error));
  }
}

function garbled(answer: Answer, why: string): Garbled {
  return new Garbled(`${answer.url}: ${why}`, { code: "garbled", effect: "unknown", status: answer.status, url: answer.url });
}
