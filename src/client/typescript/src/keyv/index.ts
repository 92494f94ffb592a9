import type { Client } from "../client.js";
import { type AdapterOptions, Store } from "./store.js";

export type { AdapterOptions };

type Listener = (...values: unknown[]) => void;

/** What Keyv 5 knows of an adapter's options. */
interface Opts extends AdapterOptions {
  /** Keyv 5 iterates only over stores of dialects that it knows; for it this is one of them. */
  dialect: string;
}

/** A storage adapter for Keyv 5: `new Keyv({ store: new KeyvLockstep({ urls }) })`. */
export class KeyvLockstep {
  readonly opts: Opts;
  /** Set by Keyv. It is in the keys already. */
  namespace: string | undefined;
  private readonly store: Store;

  /** @throws TypeError: neither a client nor URLs */
  constructor(options: AdapterOptions) {
    this.opts = { ...options, dialect: "redis" };
    this.store = new Store(options);
  }

  /** The client of the cluster. */
  get client(): Client {
    return this.store.client;
  }

  on(event: string, listener: Listener): this {
    this.store.on(event, listener);
    return this;
  }

  off(event: string, listener: Listener): this {
    this.store.off(event, listener);
    return this;
  }

  emit(event: string, ...values: unknown[]): boolean {
    return this.store.emit(event, ...values);
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    return (await this.getMany<Value>([key]))[0];
  }

  getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return this.store.guarded(keys.map(() => undefined), async () => (await this.store.get(keys, this.namespace)) as (Value | undefined)[]);
  }

  /** `ttl` in milliseconds; without: no end. Whether it was stored. */
  set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    return this.store.guarded(false, async () => {
      await this.store.set([{ key, value, ttlMs: finite(ttl) }], this.namespace);
      return true;
    });
  }

  setMany(values: { key: string; value: unknown; ttl?: number }[]): Promise<void> {
    return this.store.guarded(undefined, () =>
      this.store.set(values.map(({ key, value, ttl }) => ({ key, value, ttlMs: finite(ttl) })), this.namespace),
    );
  }

  /** Whether there was something to remove. */
  delete(key: string): Promise<boolean> {
    return this.deleteMany([key]);
  }

  /** Whether there was any to remove. */
  deleteMany(keys: string[]): Promise<boolean> {
    return this.store.guarded(false, async () => (await this.store.delete(keys, this.namespace)).includes(true));
  }

  /** Removes the namespace's keys, or those with the prefix, and nothing else. */
  clear(): Promise<void> {
    return this.store.guarded(undefined, () => this.store.clear(this.namespace));
  }

  async has(key: string): Promise<boolean> {
    return (await this.get(key)) !== undefined;
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return (await this.getMany(keys)).map((value) => value !== undefined);
  }

  async *iterator(namespace: string | undefined = this.namespace): AsyncGenerator<[string, unknown], void, void> {
    yield* this.store.iterate(namespace);
  }

  /** There is no connection to end. */
  async disconnect(): Promise<void> {}
}

/**
 * A storage adapter for Keyv 6, which puts namespaces into keys itself and takes points in time in place of TTLs:
 * `new Keyv({ store: new Keyv6Lockstep({ urls }) })`.
 */
export class Keyv6Lockstep {
  /** Set by Keyv. */
  namespace: string | undefined;
  readonly capabilities;
  private readonly store: Store;

  /** @throws TypeError: neither a client nor URLs */
  constructor(options: AdapterOptions) {
    this.store = new Store(options);
    const method = { exists: true, methodType: "async" as const };
    const methods = Object.fromEntries(METHODS.map((name) => [name, method])) as Record<(typeof METHODS)[number], typeof method>;
    this.capabilities = { compatible: true, store: "keyvStorage" as const, expires: true, methods };
  }

  /** The client of the cluster. */
  get client(): Client {
    return this.store.client;
  }

  on(event: string, listener: Listener): this {
    this.store.on(event, listener);
    return this;
  }

  off(event: string, listener: Listener): this {
    this.store.off(event, listener);
    return this;
  }

  emit(event: string, ...values: unknown[]): boolean {
    return this.store.emit(event, ...values);
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    return (await this.getMany<Value>([key]))[0];
  }

  getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    const named = keys.map((key) => this.named(key));
    return this.store.guarded(keys.map(() => undefined), async () => (await this.store.get(named, this.namespace)) as (Value | undefined)[]);
  }

  /** `expires`: milliseconds since 1970 by this machine's clock. Whether it was stored. */
  set(key: string, value: unknown, expires?: number): Promise<boolean> {
    return this.store.guarded(false, async () => (await this.put([{ key, value, expires }]))[0] as boolean);
  }

  setMany(values: { key: string; value: unknown; expires?: number }[]): Promise<boolean[]> {
    return this.store.guarded(values.map(() => false), () => this.put(values));
  }

  async delete(key: string): Promise<boolean> {
    return (await this.deleteMany([key]))[0] as boolean;
  }

  deleteMany(keys: string[]): Promise<boolean[]> {
    return this.store.guarded(keys.map(() => false), () => this.store.delete(keys.map((key) => this.named(key)), this.namespace));
  }

  /** Removes the namespace's keys, or those with the prefix, and nothing else. */
  clear(): Promise<void> {
    return this.store.guarded(undefined, () => this.store.clear(this.namespace));
  }

  async has(key: string): Promise<boolean> {
    return (await this.get(key)) !== undefined;
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return (await this.getMany(keys)).map((value) => value !== undefined);
  }

  async *iterator<Value>(): AsyncGenerator<(string | Awaited<Value> | undefined)[], void> {
    const length = this.named("").length;
    for await (const [key, value] of this.store.iterate(this.namespace)) yield [key.slice(length), value as Awaited<Value>];
  }

  /** There is no connection to end. */
  async disconnect(): Promise<void> {}

  private named(key: string): string {
    return this.namespace === undefined || this.namespace === "" ? key : `${this.namespace}:${key}`;
  }

  /** What has expired already is removed. */
  private async put(values: { key: string; value: unknown; expires?: number | undefined }[]): Promise<boolean[]> {
    const now = Date.now();
    const over = values.filter(({ expires }) => expires !== undefined && expires <= now);
    if (over.length > 0) await this.store.delete(over.map(({ key }) => this.named(key)), this.namespace);
    const items = values.filter((value) => !over.includes(value)).map(({ key, value, expires }) => {
      return { key: this.named(key), value, ttlMs: expires === undefined ? undefined : expires - now };
    });
    if (items.length > 0) await this.store.set(items, this.namespace);
    return values.map(() => true);
  }
}

const METHODS = ["get", "set", "delete", "clear", "has", "hasMany", "setMany", "getMany", "deleteMany", "disconnect", "iterator"] as const;

/** Keyv passes 0 where there is no TTL. */
function finite(ttl: number | undefined): number | undefined {
  return ttl === undefined || ttl === 0 || !Number.isFinite(ttl) ? undefined : ttl;
}
