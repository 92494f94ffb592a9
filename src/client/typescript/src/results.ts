import type { Condition } from "./batch.js";
import type { Entry } from "./entry.js";
import type { Gone } from "./errors.js";
import type { CallOptions } from "./transport.js";
import type { Cursor, HistoryName } from "./watch.js";

/**
 * What a read guarantees: `linearizable`, never older than what was acknowledged before it began; `lease`, the same as long as no
 * clock runs a quarter faster than another; `stale`, what the node has, however old.
 */
export type Consistency = "linearizable" | "lease" | "stale";

/** What reads can say. */
export interface ReadOptions extends CallOptions {
  consistency?: Consistency | undefined;
  /** The node waits until it has applied this: a write's `revision`, or a place. */
  minIndex?: number | Cursor | undefined;
}

/** What writes can say. */
export interface WriteOptions extends CallOptions {
  /**
   * In place of one that the client makes. The same write under the same key is carried out once, as long as nodes remember the key: ten
   * minutes, the newest 65,536 keys, 64 MiB of answers.
   */
  idempotencyKey?: string | undefined;
  /**
   * A place in the log that was known before the write was first sent under its key. Where nodes may have forgotten what became of it,
   * it is then refused with `OutcomeForgotten` instead of being carried out again.
   */
  sentAfter?: { index: number; history: string } | undefined;
}

/** What writes of one key can say. Several revisions: one of them. */
export interface ConditionOptions extends Omit<Condition, "ifRevision"> {
  ifRevision?: number | readonly number[] | undefined;
  /** The key is at none of these revisions, or does not exist. */
  ifNotRevision?: number | readonly number[] | undefined;
}

/** A read of one key, with all that the answer said. */
export interface ReadResult {
  entry: Entry | null;
  /** `ifNoneMatch` was this revision: the caller has the value already. */
  notModified: boolean;
  /** The log index at which it was answered. */
  index: number;
  history: string;
  /** How the key went, if it is not there and that is remembered. */
  gone: Gone | null;
  /** Whether a `gone` of null means that the key was never there. */
  complete: boolean;
  /** When it was sent, on the monotonic clock. */
  sentAt: number;
  /** Milliseconds that the value had left, if it expires. */
  ttlMs: number | null;
  /** Log time when it was answered, if the node said it. */
  timeMs: number | undefined;
}

/** What a write did. */
export interface WriteResult {
  revision: number;
  /** The log index at which it was answered: pass it as `minIndex` to read what was written. */
  index: number;
  history: string;
  /** Whether the answer was recorded for an earlier request with the same idempotency key. */
  replayed: boolean;
}

/** What a put did. */
export interface PutResult extends WriteResult {
  created: boolean;
  /** What was replaced, if `previous` asked for it. */
  previous: Entry | null;
}

/** What a delete did. */
export interface DeleteResult extends Omit<WriteResult, "revision"> {
  /** Whether there was something to remove. */
  found: boolean;
  previous: Entry | null;
}

/** A key without its value. */
export interface KeyInfo {
  key: string;
  revision: number;
  bytes: number;
  ttl_ms: number | null;
}

/** The newest state of something that changed. */
export type Change =
  /** Without `hasValue` the entry's value is not told: none was asked for, or the page had no room for it. Read it with `readMany`. */
  | { kind: "entry"; key: string; entry: Entry; hasValue: boolean }
  /** `gone`: its last removal, if that is remembered. */
  | { kind: "gone"; key: string; gone: Gone | null }
  | { kind: "clear"; prefix: string; gone: Gone };

/** A page of changes. */
export interface ChangesPage {
  changes: Change[];
  /** Where the next page begins. */
  next: number;
  more: boolean;
  /** False: changes right after `since` are not kept any more. Read all entries, and go on from that answer's index. */
  complete: boolean;
  index: number;
  history: string;
}

/** A page of entries. */
export interface EntriesPage {
  /** When it was asked for, on the monotonic clock. */
  sentAt: number;
  entries: Entry[];
  /** The last key of the page; null on the last page. */
  next: string | null;
  index: number;
  history: string;
}

/** A key that was asked for among others. */
export interface FoundOrGone {
  key: string;
  entry: Entry | null;
  gone: Gone | null;
  complete: boolean;
}

/** Where the cluster's log comes from. */
export interface Lineage {
  node: { id: number; name: string };
  cluster_id: string;
  histories: { number: number; id: string; kind: string; fork_index: number; start_index: number }[];
  applied_index: number;
}

/** A part of `GET /v1/status`. */
export interface Status {
  cluster_id: string;
  history: HistoryName;
  node: { id: number; name: string };
  role: string;
  leader: { id: number; name?: string; http: string } | null;
  /** `silent_ms`: since it last answered the leader; null if that is not known. */
  members: { id: number; name: string; http: string; silent_ms: number | null }[];
  [more: string]: unknown;
}
