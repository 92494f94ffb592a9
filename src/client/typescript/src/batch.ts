import type { Gone } from "./errors.js";
import { type Entry, entryOf, type WireEntry } from "./entry.js";
import { decodeStrict, encodeValue, toBase64, utf8Length, type Value } from "./values.js";

/** On what a write depends; at most one. Otherwise nothing changes. */
export interface Condition {
  /** The key is at this revision. */
  ifRevision?: number | undefined;
  /** The key does not exist. */
  ifAbsent?: boolean | undefined;
  /** The key exists. */
  ifPresent?: boolean | undefined;
  /** The key does not exist, and it is certain that it was at no time there after this log index: a number, or `index@history`. */
  ifAbsentSince?: number | string | undefined;
}

/** A TTL in milliseconds. Sliding: uses restart it. Without: the cluster's default. */
export interface Lifetime {
  ttlMs?: number | "never" | undefined;
  sliding?: boolean | undefined;
}

/** An operation of a batch. */
export type Op =
  | { op: "get"; key: string }
  | ({ op: "put"; key: string; value: Value; contentType?: string | undefined; previous?: boolean | undefined } & Lifetime & Condition)
  | ({ op: "delete"; key: string; previous?: boolean | undefined } & Pick<Condition, "ifRevision" | "ifPresent">)
  | ({ op: "incr"; key: string; by?: number | bigint | undefined; initial?: number | bigint | undefined } & Lifetime & Condition);

/** Why an operation of a batch in mode `each` was not carried out, and what is there instead. */
export interface Refusal {
  code: "precondition_failed" | "not_a_number" | "overflow" | "wrong_kind" | "too_large" | "cache_full";
  detail: string;
  /** What is there, without its value unless the operation asked for `previous`. */
  entry: Entry | null;
  hasValue: boolean;
  /** How the key went, if it is not there and that is remembered. */
  gone: Gone | null;
  /** Whether a `gone` of null means that the key was never there. */
  complete: boolean;
}

/** What an operation of a batch did. */
export type OpResult =
  | { op: "get"; entry: Entry | null }
  | { op: "put"; created: boolean; previous: Entry | null; refused?: undefined }
  | { op: "delete"; found: boolean; previous: Entry | null; refused?: undefined }
  | { op: "incr"; value: bigint; created: boolean; refused?: undefined }
  | { op: "put" | "delete" | "incr"; refused: Refusal };

/** What a batch did. */
export interface BatchResult {
  /** The revision of everything that it wrote. */
  revision: number;
  /** A result for each operation, in order. */
  results: OpResult[];
  history: string;
  /** Whether the answer was recorded for an earlier request with the same idempotency key. */
  replayed: boolean;
}

/** The most operations of one batch. */
export const BATCH_OPS_MAX = 1024;
/** The most bytes of one batch in the log, less what the log adds. */
const LOG_BYTES_MAX = 1_900_000;
/** The most bytes of one batch in JSON, less than the nodes' limit of 4 MiB. */
const JSON_BYTES_MAX = 3_900_000;

/** An operation in JSON, and what it counts against the limits of a batch. */
export interface EncodedOp {
  json: string;
  /** Bytes in JSON. */
  jsonBytes: number;
  /** About the bytes in the log. */
  logBytes: number;
}

/** An operation as it is sent. Integers of any size keep all their digits. */
export function encodeOp(op: Op): EncodedOp {
  const parts = [`"op":"${op.op}"`, `"key":${JSON.stringify(op.key)}`];
  let logBytes = utf8Length(op.key) + 96;
  const put = (name: string, value: unknown) => {
    if (value !== undefined) parts.push(`"${name}":${typeof value === "bigint" ? value.toString() : JSON.stringify(value)}`);
  };
  if (op.op === "put") {
    const { body, contentType } = encodeValue(op.value, op.contentType);
    const text = typeof body === "string" ? body : decodeStrict(body);
    logBytes += typeof body === "string" ? utf8Length(body) : body.length;
    logBytes += contentType === undefined ? 0 : utf8Length(contentType);
    if (text !== undefined) put("value", text);
    else put("value_base64", toBase64(body as Uint8Array));
    put("content_type", contentType);
  }
  if (op.op === "incr") {
    put("by", op.by);
    put("initial", op.initial);
  }
  if (op.op === "put" || op.op === "incr") {
    if (op.ttlMs !== undefined && op.ttlMs !== "never") put("ttl_ms", op.ttlMs);
    if (op.sliding === true) put("sliding", true);
    if (op.ifAbsent === true) put("if_absent", true);
    put("if_absent_since", op.ifAbsentSince);
  }
  if (op.op !== "get") {
    put("if_revision", op.ifRevision);
    if (op.ifPresent === true) put("if_present", true);
    if (op.op !== "incr" && op.previous === true) put("previous", true);
  }
  const json = `{${parts.join(",")}}`;
  return { json, jsonBytes: utf8Length(json) + 1, logBytes };
}

/**
 * Cuts operations into batches of at most `opsMax` operations that stay below the nodes' limits of size. Their order is kept; an
 * operation that is too large by itself gets a batch of its own, which the node refuses.
 */
export function splitOps<T extends Op>(ops: readonly T[], opsMax: number = BATCH_OPS_MAX): T[][] {
  const batches: T[][] = [];
  let batch: T[] = [];
  let room = new BatchRoom(opsMax);
  for (const op of ops) {
    if (!room.take(op)) {
      batches.push(batch);
      batch = [];
      room = new BatchRoom(opsMax);
      room.take(op);
    }
    batch.push(op);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** The room in one batch. */
export class BatchRoom {
  private count = 0;
  private json = 0;
  private log = 0;

  constructor(private readonly opsMax: number = BATCH_OPS_MAX) {}

  /** Whether this operation still fits; if so, it takes its room. The first always does. */
  take(op: Op): boolean {
    const { jsonBytes, logBytes } = encodeOp(op);
    const full = this.count >= Math.min(this.opsMax, BATCH_OPS_MAX) || this.json + jsonBytes > JSON_BYTES_MAX || this.log + logBytes > LOG_BYTES_MAX;
    if (this.count > 0 && full) return false;
    this.count++;
    this.json += jsonBytes;
    this.log += logBytes;
    return true;
  }
}

interface WireRefusal extends WireEntry {
  code: Refusal["code"];
  detail: string;
}

/** A result in JSON. */
export interface WireResult extends Omit<WireEntry, "value"> {
  op: "get" | "put" | "delete" | "incr";
  created?: boolean;
  /** Of a counter: its digits. */
  value?: string;
  previous?: WireEntry | null;
  refused?: WireRefusal;
}

/** JSON with the values of counters as text: they have up to 64 bits, more than a number keeps. */
export function parseCounters(text: string): unknown {
  // Inside a string every quote is escaped, so this matches members only.
  return JSON.parse(text.replace(/(?<!\\)"value":(-?\d+)(?=[,}])/g, '"value":"$1"'));
}

/** The result of one operation. */
export function decodeResult(key: string, wire: WireResult): OpResult {
  const { refused } = wire;
  if (refused !== undefined && wire.op !== "get") {
    const found = refused.found === true;
    return {
      op: wire.op,
      refused: {
        code: refused.code,
        detail: refused.detail,
        entry: found ? entryOf(key, refused) : null,
        hasValue: refused.value !== undefined || refused.value_base64 !== undefined,
        gone: refused.gone ?? null,
        complete: refused.complete ?? false,
      },
    };
  }
  const previous = wire.previous == null ? null : entryOf(key, wire.previous);
  switch (wire.op) {
    case "get":
      return { op: "get", entry: wire.found === true ? entryOf(key, wire as WireEntry) : null };
    case "put":
      return { op: "put", created: wire.created === true, previous };
    case "delete":
      return { op: "delete", found: wire.found === true, previous };
    case "incr":
      return { op: "incr", value: BigInt(wire.value ?? "0"), created: wire.created === true };
  }
}
