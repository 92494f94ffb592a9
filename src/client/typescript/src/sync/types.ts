import type { Client } from "../client.js";
import type { Clock } from "../clock.js";
import type { Gone } from "../errors.js";
import type { TokenSource } from "../transport.js";
import type { Codec } from "./codec.js";
import type { SyncStorage } from "./storage.js";

/** A local cache. A missing key is no delete: a cache may have evicted it. */
export interface CacheInstance {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  getKeys(): Promise<string[]>;
}

/** An update that came by another way than the cluster's own stream: a hint, which the next sync checks. */
export type SyncEvent = {
  key: string;
  /** Undefined: the key was deleted. */
  value: unknown;
  /** Milliseconds since 1970. */
  timestamp: number;
  /** Who says so. */
  node: string;
  /** A revision, if `node` is a node of the cluster; else it only decides between equal timestamps. */
  version: number;
};

/** How a synchronizer is doing. */
export type SyncStatus = {
  /** The stream of changes is there, and was heard within the last 15 seconds. */
  connected: boolean;
  /** When a sync last left nothing to do but what is stuck or deferred, in milliseconds since 1970; 0 if none did. */
  lastSync: number;
  /** The nodes of the cluster that answer, and with `presence` the other synchronizers. */
  peers: string[];
  /** Local changes that the cluster has not confirmed. */
  pending: number;
  /** Conflicts met since the synchronizer was made. */
  conflicts: number;
};

/** What {@link SyncStatus} leaves out. */
export interface SyncDetails extends SyncStatus {
  /** Keys that used up their retries, and why. They are tried again when something new is known of them. */
  stuck: { key: string; why: string }[];
  /** Keys whose conflict was deferred, or whose value cannot be read. */
  unresolved: { key: string; why: string }[];
  /** Additions of which it is not known whether they were counted. They are not repeated. */
  unknown: { key: string; by: bigint }[];
  history: string | undefined;
  /** Up to which log index all changes of others are known. */
  place: number | undefined;
  /** Milliseconds since the stream was last heard; Infinity if it is lost. */
  stalenessMs: number;
  /** Lines of the journal that were damaged and set aside. */
  damaged: number;
  /** Log time minus this machine's clock, and how far that may be wrong, in milliseconds; undefined if not known yet. */
  clock: { offsetMs: number; errorMs: number } | undefined;
  /** Why the last sync or the stream failed. */
  lastError: unknown;
}

/** Who wins where both sides changed a key: the later, the earlier, or what `resolve` says. */
export type Policy = "newest" | "oldest" | "custom";

/** How a conflict is decided by hand. `defer`: later. */
export type Resolution = "local" | "remote" | "delete" | "defer" | { value: unknown };

/** A key that both sides changed. */
export interface Conflict {
  key: string;
  group: string;
  /** What both sides had last agreed upon; undefined if they never did. */
  base: { revision: number | null; history: string } | undefined;
  /** `atMs`: log time, estimated; null if its age is not known. */
  local: { kind: "set" | "delete" | "add"; value: unknown; atMs: number | null };
  remote: { found: boolean; value: unknown; revision: number | null; modifiedAtMs: number | null; origin: string | null; gone: Gone | null };
  /** The times are closer than they can be told apart. */
  ambiguous: boolean;
}

/** A conflict that is decided, told before the loser is dropped. */
export interface DecidedConflict extends Conflict {
  winner: "local" | "remote" | "merged" | "deferred";
  why: string;
}

/** A change of a key, of whatever origin. Per key in order, at least once. `resync`: others may have been missed. */
export type SyncChange =
  | { key: string; cause: "set" | "delete" | "expire" | "evict" | "clear"; origin: "local" | "remote" | "merge"; revision: number | null; value: unknown }
  | { cause: "resync" };

/** A set of keys with rules of its own. */
export interface Group {
  name: string;
  /** Keys that start with one of these; of several groups the first that fits counts. */
  prefix: string | readonly string[];
  conflict?: Policy;
  resolve?: (conflict: Conflict) => Resolution | Promise<Resolution>;
  /** A delete against a change: by time (default), or one always wins. */
  deletes?: "by_time" | "win" | "lose";
  /** `up`: only local changes are sent; `down`: only those of others are taken. */
  direction?: "both" | "up" | "down";
  /** Higher ones are sent first; 0 by default. Every eighth batch is of the lowest that waits. */
  priority?: number;
  /** `mirror` (default): the local caches get all keys; `cached`: only those that they hold. */
  mode?: "mirror" | "cached";
  /** Syncs that the interval begins push this group at most so often, in milliseconds. */
  everyMs?: number;
  /** What it means that a local cache has a key no more that it had since this process began: nothing (default), or a delete. */
  absence?: "ignore" | "delete";
  /** When the cluster evicts a key: it is dropped here too (default), or kept. */
  onEvict?: "drop" | "keep";
}

/** What a synchronizer does. */
export type SyncOptions = {
  /** Milliseconds between syncs: 5,000 by default; 0: only when asked. Changes of others come at once. */
  syncInterval?: number;
  conflict?: Policy;
  /** Rounds for a key after a conflict: 3 by default. */
  retries?: number;
  /** Updates in a batch: 1 to 1,024, 100 by default. */
  batchSize?: number;
  /** The nodes: by default the environment's LOCKSTEP_URLS, else `http://127.0.0.1:5000`. */
  urls?: string | readonly string[];
  token?: TokenSource;
  /** In place of `urls` and `token`. Its `origin` should be this synchronizer's. */
  client?: Client;
  /** Which keys, with rules of their own. All keys by default. */
  groups?: readonly Group[];
  /** Where local changes are kept before they are sent: in memory by default, which a restart forgets. */
  storage?: SyncStorage;
  /** How values become bytes. */
  codec?: Codec;
  /** For `custom`. It may throw: then the conflict is deferred. */
  resolve?: (conflict: Conflict) => Resolution | Promise<Resolution>;
  deletes?: "by_time" | "win" | "lose";
  onConflict?: (conflict: DecidedConflict) => void;
  onChange?: (change: SyncChange) => void;
  /** Lines of the journal that were damaged. */
  onDamage?: (lines: string[]) => void;
  /** A sync that the interval began has failed, or the stream was lost. */
  onError?: (error: unknown) => void;
  /** The most local changes that wait: 100,000 by default. Further ones are rejected; what caches changed by themselves always waits. */
  maxPending?: number;
  /** Works also with a node that has left its cluster on purpose. */
  allowDetached?: boolean;
  onEvict?: "drop" | "keep";
  absence?: "ignore" | "delete";
  /** `connect` ends at once and goes on trying. */
  offline?: boolean;
  /** Shows itself to the other synchronizers, by a session. */
  presence?: boolean;
  clock?: Clock;
};

/** Why a synchronizer refused. */
export class SyncError extends Error {
  constructor(
    readonly code: "other_cluster" | "older_history" | "other_history" | "detached" | "pending_full" | "not_synchronized" | "not_a_number" | "closed",
    message: string,
  ) {
    super(message);
    this.name = "SyncError";
  }
}
