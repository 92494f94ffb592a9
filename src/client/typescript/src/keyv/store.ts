import { type Op, splitOps } from "../batch.js";
import { Client } from "../client.js";
import type { Entry } from "../entry.js";
import type { ClientOptions } from "../transport.js";
import { json, type Value } from "../values.js";
import { Names } from "./names.js";

/** How an adapter behaves. */
export interface AdapterOptions extends Partial<ClientOptions> {
  /** In place of `urls` and the other options of a client. */
  client?: Client;
  /** Before every key: several adapters can share a cluster. None by default. */
  prefix?: string;
  /**
   * When the cluster cannot be asked: `raise` (default) throws; `miss` answers as if nothing was there, and as if nothing was stored. Both
   * emit `error`.
   */
  onError?: "miss" | "raise";
  /** How long a call may take, in milliseconds: 1,000 by default, because a cache that is slow is no help. */
  timeoutMs?: number;
  /** Lets `clear` remove all keys of the cluster where there is neither a namespace nor a prefix. */
  clearEverything?: boolean;
}

/** A value to store. */
export interface Item {
  key: string;
  value: unknown;
  /** Milliseconds; undefined: no end. */
  ttlMs: number | undefined;
}

type Listener = (...values: unknown[]) => void;

/** A hashed key's value is stored with its key. */
const ENVELOPE = "application/vnd.lockstep.keyv+json";

/** What both shapes of the adapter are made of. Keys are those that Keyv names, with its namespace. */
export class Store {
  readonly client: Client;
  private readonly names: Names;
  private readonly listeners = new Map<string, Set<Listener>>();
  private readonly timeoutMs: number;

  /** @throws TypeError: neither a client nor URLs */
  constructor(private readonly options: AdapterOptions) {
    const { client, urls } = options;
    if (client === undefined && urls === undefined) throw new TypeError("the adapter needs urls or a client");
    this.timeoutMs = options.timeoutMs ?? 1000;
    this.client = client ?? new Client({ ...options, urls: urls ?? "", timeoutMs: this.timeoutMs });
    this.names = new Names(options.prefix ?? "");
  }

  on(event: string, listener: Listener): void {
    const of = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, of.add(listener));
  }

  off(event: string, listener: Listener): void {
    this.listeners.get(event)?.delete(listener);
  }

  emit(event: string, ...values: unknown[]): boolean {
    const of = this.listeners.get(event);
    for (const listener of of ?? []) listener(...values);
    return of !== undefined && of.size > 0;
  }

  /** Does something, and treats failures as the options say. */
  async guarded<T>(missing: T, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.emit("error", error);
      if (this.options.onError === "miss") return missing;
      throw error;
    }
  }

  async get(keys: readonly string[], namespace: string | undefined): Promise<unknown[]> {
    if (keys.length === 0) return [];
    const names = await Promise.all(keys.map((key) => this.names.of(key, namespace)));
    if (keys.length === 1) {
      const { name, hashed } = names[0] as { name: string; hashed: boolean };
      return [decode(keys[0] as string, await this.client.get(name, this.call), hashed)];
    }
    const found = await this.client.getMany(names.map(({ name }) => name), this.call);
    return found.map(({ entry }, at) => decode(keys[at] as string, entry, names[at]?.hashed === true));
  }

  async set(items: readonly Item[], namespace: string | undefined): Promise<void> {
    const ops: Op[] = [];
    // The last of several of one key counts: a batch writes a key once.
    const last = new Map(items.map((item) => [item.key, item]));
    for (const { key, value, ttlMs } of last.values()) {
      const { name, hashed } = await this.names.of(key, namespace);
      const ttl = ttlMs === undefined ? ("never" as const) : Math.max(1, Math.ceil(ttlMs));
      ops.push({ op: "put", key: name, ...encode(key, value, hashed), ttlMs: ttl });
    }
    const [first] = ops;
    if (ops.length === 1 && first?.op === "put") {
      const { key, value, contentType, ttlMs } = first;
      await this.client.put(key, value, { contentType, ttlMs, ...this.call });
      return;
    }
    for (const batch of splitOps(ops)) await this.client.batch(batch, this.call);
  }

  /** Which of the keys were there. */
  async delete(keys: readonly string[], namespace: string | undefined): Promise<boolean[]> {
    const names = await Promise.all(keys.map(async (key) => (await this.names.of(key, namespace)).name));
    if (names.length === 1) return [(await this.client.delete(names[0] as string, this.call)).found];
    const found = new Map<string, boolean>();
    for (const batch of splitOps([...new Set(names)].map((key): Op => ({ op: "delete", key })))) {
      const { results } = await this.client.batch(batch, this.call);
      for (const [at, result] of results.entries()) found.set((batch[at] as Op).key, result.op === "delete" && result.refused === undefined && result.found);
    }
    return names.map((name) => found.get(name) === true);
  }

  /** Removes what is in the namespace, or has the prefix, and nothing else. @throws TypeError where that would be everything */
  async clear(namespace: string | undefined): Promise<void> {
    const prefix = this.names.plainPrefix(namespace);
    if (prefix === "") {
      if (this.options.clearEverything !== true) {
        throw new TypeError("clear without a namespace or a prefix would remove all keys of the cluster: set one, or clearEverything");
      }
      await this.client.clear({ all: true }, this.call);
      return;
    }
    await this.client.clear({ prefix }, this.call);
    const hashes: Op[] = [];
    for await (const { key } of this.client.keys({ prefix: this.names.hashPrefix(namespace), ...this.call })) {
      if (this.names.isHash(key, namespace)) hashes.push({ op: "delete", key });
    }
    for (const batch of splitOps(hashes)) await this.client.batch(batch, this.call);
  }

  /** All keys of a namespace, as Keyv names them, with their values. */
  async *iterate(namespace: string | undefined): AsyncGenerator<[string, unknown], void, void> {
    const plain = this.names.plainPrefix(namespace);
    for await (const entry of this.client.entries({ prefix: plain, ...this.call })) {
      const key = this.names.keyOf(entry.key);
      // Without a namespace the hashes have the same prefix; they come below.
      if (key !== undefined && entry.contentType !== ENVELOPE) yield [key, decode(key, entry, false)];
    }
    const hashes = this.names.hashPrefix(namespace);
    for await (const entry of this.client.entries({ prefix: hashes, ...this.call })) {
      if (entry.contentType !== ENVELOPE || !this.names.isHash(entry.key, namespace)) continue;
      const [key, value] = entry.json<[string, unknown]>();
      yield [key, value];
    }
  }

  private get call(): { timeoutMs: number } {
    return { timeoutMs: this.timeoutMs };
  }
}

function encode(key: string, value: unknown, hashed: boolean): { value: Value; contentType: string } {
  if (hashed) return { value: json([key, value]).text, contentType: ENVELOPE };
  if (typeof value === "string") return { value, contentType: "text/plain" };
  if (value instanceof Uint8Array) return { value, contentType: "application/octet-stream" };
  return { value: json(value), contentType: "application/json" };
}

function decode(key: string, entry: Entry | null, hashed: boolean): unknown {
  if (entry === null) return undefined;
  if (hashed || entry.contentType === ENVELOPE) {
    const [own, value] = entry.json<[string, unknown]>();
    return own === key ? value : undefined;
  }
  if (entry.contentType === "application/json") return entry.json();
  return entry.contentType === "application/octet-stream" ? entry.bytes() : entry.text();
}
