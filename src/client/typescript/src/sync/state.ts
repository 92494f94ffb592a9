import type { Client } from "../client.js";
import type { Clock } from "../clock.js";
import type { Entry } from "../entry.js";
import { type Gone, OtherHistory } from "../errors.js";
import { sameHistory } from "../watch.js";
import { type Codec, type Encoded, fromStored, hashOf } from "./codec.js";
import { Groups, type Rules } from "./groups.js";
import { type Intent, isDirty, Journal, type KeyRecord } from "./journal.js";
import { MemoryStorage } from "./storage.js";
import { type SyncChange, SyncError, type SyncOptions } from "./types.js";

/** Keys in a request; their answers are of one history. */
const READ_LIMIT = 10_000;

/** What the cluster has of a key, as far as it was told. */
export type Remote =
  | {
      found: true;
      revision: number;
      version: number;
      modifiedAtMs: number;
      origin: string | null;
      /** Undefined: not told, and has to be read. */
      value: Encoded | undefined;
      /** Of the value as the local caches have it, if it is known. */
      hash: string | undefined;
    }
  | { found: false; gone: Gone | null; asOf: number };

/** What was read of a key, and why it is so. */
export interface KeyRead {
  key: string;
  remote: Remote;
  cause: "set" | Gone["cause"];
}

/** The index of a key's state in the cluster. */
export function indexOf(remote: Remote): number {
  return remote.found ? remote.revision : (remote.gone?.revision ?? remote.asOf);
}

/** Up to which index that is known to be its state. */
export function knownAt(remote: Remote): number {
  return remote.found ? remote.revision : Math.max(indexOf(remote), remote.asOf);
}

/** What is known of a key beside what the journal keeps. */
export interface Notes {
  /** The cluster's state, newer than what was agreed upon; not taken over because of a local change. */
  remote?: Remote | undefined;
  /** The index of the newest state that was counted as a conflict. */
  counted: number;
  stuck?: string | undefined;
  unresolved?: string | undefined;
}

/** What the parts of a synchronizer share. */
export class State {
  readonly journal: Journal;
  readonly groups: Groups;
  readonly codec: Codec;
  readonly notes = new Map<string, Notes>();
  readonly unknown: { key: string; by: bigint }[] = [];
  conflicts = 0;
  /** Log time minus this machine's clock. */
  offset: { offsetMs: number; errorMs: number; wall: number; monotonic: number } | undefined;
  /** Rises when everything of the cluster has to be read again, and up to where that was done. */
  walksWanted = 1;
  walksDone = 0;
  /** Rises when something of the stream was missed, and up to where that was read again: until then the place may not go on. */
  gaps = 0;
  gapsHealed = 0;
  /**
   * Keys with a local change of which it is not known what the cluster has: the place is after changes of them that an earlier run only
   * noted, or they were not found when everything was read.
   */
  readonly unsure = new Set<string>();
  /** When local changes with a TTL were made in this process, on the monotonic clock. */
  readonly madeAt = new WeakMap<Intent, number>();
  /** The highest index that was heard of in this history. */
  heardOf = 0;
  /** Names of the cluster's nodes. */
  nodes: string[] = [];
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly options: SyncOptions,
    readonly client: Client,
    readonly clock: Clock,
    codec: Codec,
  ) {
    this.journal = new Journal(options.storage ?? new MemoryStorage());
    this.groups = new Groups(options);
    this.codec = codec;
  }

  /** Everything of the cluster has to be read again. */
  get needsWalk(): boolean {
    return this.walksDone < this.walksWanted;
  }

  get hasGap(): boolean {
    return this.gapsHealed < this.gaps;
  }

  /** An index that the cluster has reached. */
  get knownIndex(): number {
    return Math.max(this.heardOf, this.journal.meta.place?.index ?? 0);
  }

  /** Runs one piece of work at a time: what it sees of keys does not change under it. */
  locked<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work, work);
    this.turn = result.catch(() => undefined);
    return result;
  }

  /** @throws OtherHistory if what was answered belongs to another history than what is known */
  inHistory(answered: string): void {
    if (sameHistory(this.journal.meta.histories.at(-1) ?? "", answered)) return;
    throw new OtherHistory("the cluster is in another history", { code: "other_history", effect: "none", history: answered });
  }

  /** What the cluster has of these keys, in their order. @throws OtherHistory */
  async readKeys(keys: readonly string[], signal: AbortSignal): Promise<KeyRead[]> {
    const all: KeyRead[] = [];
    for (let at = 0; at < keys.length; at += READ_LIMIT) {
      const { results, index, history } = await this.client.readMany(keys.slice(at, at + READ_LIMIT), { signal });
      this.inHistory(history);
      for (const { key, entry, gone } of results) {
        const remote: Remote = entry === null ? { found: false, gone, asOf: index } : this.remoteOf(entry, true);
        all.push({ key, remote, cause: entry === null ? (gone?.cause ?? "delete") : "set" });
      }
    }
    return all;
  }

  record(key: string): KeyRecord {
    let record = this.journal.keys.get(key);
    if (record === undefined) {
      record = {};
      this.journal.keys.set(key, record);
    }
    return record;
  }

  note(key: string): Notes {
    let notes = this.notes.get(key);
    if (notes === undefined) {
      notes = { counted: 0 };
      this.notes.set(key, notes);
    }
    return notes;
  }

  /** Something new is known of a key: what stopped it before counts no more. */
  stir(key: string): void {
    const notes = this.notes.get(key);
    if (notes === undefined) return;
    notes.stuck = undefined;
    notes.unresolved = undefined;
  }

  /** Local changes that are not confirmed. */
  get pending(): number {
    let count = 0;
    for (const record of this.journal.keys.values()) if (isDirty(record)) count++;
    return count;
  }

  /** Nothing is left to send but what is stuck or deferred. */
  get nothingWaits(): boolean {
    for (const [key, { intent, inFlight }] of this.journal.keys) {
      if (inFlight !== undefined) return false;
      const notes = this.notes.get(key);
      if (intent !== undefined && notes?.stuck === undefined && notes?.unresolved === undefined) return false;
    }
    return true;
  }

  /** Log time now, estimated. */
  get logNow(): number {
    return this.clock.wall() + (this.offset?.offsetMs ?? 0);
  }

  /** @throws SyncError if the key is in no group, or in one whose local changes are not sent */
  writable(key: string): Rules {
    const rules = this.groups.of(key);
    if (rules === undefined) throw new SyncError("not_synchronized", `${key} is in no group`);
    if (rules.direction === "down") throw new SyncError("not_synchronized", `local changes of the group ${rules.name} are not sent`);
    return rules;
  }

  /** What the cluster's state makes of a value in the local caches. @throws if the codec cannot read it */
  decode(value: Encoded): unknown {
    const bytes = typeof value.body === "string" ? new TextEncoder().encode(value.body) : value.body;
    return this.codec.decode(bytes, value.contentType);
  }

  /** A value as the local caches have it, in bytes: they know no types but those of the codec. */
  localForm(value: Encoded): Encoded {
    try {
      return this.codec.encode(this.decode(value));
    } catch {
      return value;
    }
  }

  /** The hash of a value as the local caches have it. */
  localHash(value: Encoded): string {
    return hashOf(this.localForm(value));
  }

  /** What an entry says of its key. */
  remoteOf(entry: Entry, hasValue: boolean): Remote {
    const value = hasValue ? { body: entry.bytes(), contentType: entry.contentType } : undefined;
    return {
      found: true,
      revision: entry.revision,
      version: entry.version ?? 1,
      modifiedAtMs: entry.modifiedAtMs ?? 0,
      origin: entry.origin,
      value,
      hash: value === undefined ? undefined : this.localHash(value),
    };
  }

  /** The local value that an intent stands for; undefined for a delete. */
  intended(intent: Intent): unknown {
    if (intent.kind === "add") return BigInt(intent.by ?? "0");
    return intent.kind === "delete" ? undefined : this.decode(fromStored(intent.value ?? {}));
  }

  /** Told of every change, beside `onChange`. */
  readonly listeners = new Set<(change: SyncChange) => void>();

  tell(change: SyncChange): void {
    this.options.onChange?.(change);
    for (const listener of this.listeners) listener(change);
  }
}
