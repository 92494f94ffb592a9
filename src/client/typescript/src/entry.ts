import type { Gone } from "./errors.js";
import { decodeUtf8, encodeUtf8, fromBase64 } from "./values.js";

/** An entry in JSON, as nodes send it. */
export interface WireEntry {
  key?: string;
  found?: boolean;
  value?: string;
  value_base64?: string;
  content_type?: string | null;
  revision?: number;
  version?: number;
  created_at_ms?: number;
  modified_at_ms?: number;
  ttl_ms?: number | null;
  sliding_ms?: number | null;
  origin?: string | null;
  gone?: Gone | null;
  complete?: boolean;
}

/** What is known of an entry beside its value. */
export interface EntryParts {
  revision: number;
  contentType: string | null;
  version?: number | undefined;
  createdAtMs?: number | undefined;
  modifiedAtMs?: number | undefined;
  ttlMs: number | null;
  slidingMs?: number | null | undefined;
  origin?: string | null | undefined;
}

/** A key's value and what the cluster knows of it. Never changes. */
export class Entry {
  /** The index of the log entry that last changed the key. */
  readonly revision: number;
  /** The `Content-Type` it was stored with. */
  readonly contentType: string | null;
  /** The number of writes since the key was created. */
  readonly version: number | undefined;
  /** Log time, in milliseconds since 1970. */
  readonly createdAtMs: number | undefined;
  /** Log time of the last change, in milliseconds since 1970. */
  readonly modifiedAtMs: number | undefined;
  /** Milliseconds that were left when it was read; null if it does not expire. */
  readonly ttlMs: number | null;
  /** The TTL that restarts on use, in milliseconds; null if it has none. */
  readonly slidingMs: number | null;
  /** The `origin` of the client that stored it. */
  readonly origin: string | null;

  constructor(
    readonly key: string,
    private readonly raw: string | Uint8Array,
    parts: EntryParts,
  ) {
    this.revision = parts.revision;
    this.contentType = parts.contentType;
    this.version = parts.version;
    this.createdAtMs = parts.createdAtMs;
    this.modifiedAtMs = parts.modifiedAtMs;
    this.ttlMs = parts.ttlMs;
    this.slidingMs = parts.slidingMs ?? null;
    this.origin = parts.origin ?? null;
  }

  /** The value as bytes. */
  bytes(): Uint8Array {
    return typeof this.raw === "string" ? encodeUtf8(this.raw) : this.raw;
  }

  /** The value as text; bytes that are no UTF-8 become U+FFFD. */
  text(): string {
    return typeof this.raw === "string" ? this.raw : decodeUtf8(this.raw);
  }

  /**
   * The value, read as JSON.
   * @throws SyntaxError if it is none.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }

  /** About how many bytes it takes in memory. */
  get size(): number {
    return this.key.length * 2 + (typeof this.raw === "string" ? this.raw.length * 2 : this.raw.length) + 200;
  }
}

/** An entry from its JSON. */
export function entryOf(key: string, wire: WireEntry): Entry {
  const raw = wire.value ?? (wire.value_base64 === undefined ? "" : fromBase64(wire.value_base64));
  return new Entry(key, raw, {
    revision: wire.revision ?? 0,
    contentType: wire.content_type ?? null,
    version: wire.version,
    createdAtMs: wire.created_at_ms,
    modifiedAtMs: wire.modified_at_ms,
    ttlMs: wire.ttl_ms ?? null,
    slidingMs: wire.sliding_ms,
    origin: wire.origin,
  });
}
