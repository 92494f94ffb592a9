import { currentOffset } from "./clocks.js";
import { type Encoded, fromStored, hashOf, toStored } from "./codec.js";
import { type Intent, isDirty, type KeyRecord } from "./journal.js";
import type { State } from "./state.js";
import { type CacheInstance, SyncError } from "./types.js";

interface Registered {
  cache: CacheInstance;
  /** Its changes are noted as they happen, so that it is looked through once only. */
  tracked: boolean;
  scanned: boolean;
}

/** So many failures of caches are told. */
const FAILURES_MAX = 10;

/** A local change, before it has a number. */
type NewChange = Pick<Intent, "kind" | "value" | "by" | "ttlMs" | "atMs" | "made">;

/** The caches of this process, and what was changed in them. */
export class LocalCaches {
  private readonly registered: Registered[] = [];
  /** Keys that a cache was seen to have since this process began, where it means something that it has one no more. */
  private seen = new Set<string>();

  constructor(private readonly state: State) {}

  add(cache: CacheInstance, tracked: boolean): void {
    if (this.registered.some((other) => other.cache === cache)) return;
    this.registered.push({ cache, tracked, scanned: false });
    // What the cluster has is news to this cache.
    this.state.walksWanted++;
  }

  /** Notes a local change that the application makes; ends when it survives a crash. Call it in a turn. @throws SyncError */
  async note(key: string, change: NewChange): Promise<void> {
    const { state } = this;
    state.writable(key);
    const record = state.journal.keys.get(key);
    const isNew = record === undefined || !isDirty(record);
    const most = state.options.maxPending ?? 100_000;
    // Counting takes a while, and is needed only where there are so many keys at all.
    if (isNew && state.journal.keys.size >= most && state.pending >= most) {
      throw new SyncError("pending_full", `${state.pending} local changes wait already`);
    }
    await this.keep(key, change);
  }

  /** Keeps a local change. One that a cache made by itself is there already, so there is always room for it. */
  private async keep(key: string, change: NewChange): Promise<void> {
    const { state } = this;
    const record = state.record(key);
    const before = { ...record };
    const next = merged(record, { seq: state.journal.seq + 1, offsetMs: currentOffset(state), ...change });
    if (next === undefined) throw new SyncError("not_a_number", `a local change of ${key} and this addition make no number of 64 bits`);
    state.journal.seq++;
    if (next.ttlMs !== undefined) {
      // With an addition on top the TTL still counts from when the value was set.
      const earlier = change.kind === "add" && record.intent !== undefined ? state.madeAt.get(record.intent) : state.clock.monotonic();
      if (earlier !== undefined) state.madeAt.set(next, earlier);
    }
    record.intent = next;
    record.hint = undefined;
    try {
      await state.journal.write([key]);
    } catch (error) {
      // It was not accepted, so it must not be sent either.
      Object.assign(record, { intent: before.intent, hint: before.hint });
      throw error;
    }
    state.stir(key);
  }

  /** Notes a value that a cache has, if it is a change that nobody noted. Call it in a turn. @throws SyncError */
  async noteFound(key: string, value: Encoded): Promise<void> {
    if (this.isKnown(key, hashOf(value))) return;
    const atMs = this.state.journal.keys.get(key)?.base === undefined ? null : this.state.clock.wall();
    await this.note(key, { kind: "set", value: toStored(value), atMs });
  }

  /**
   * Looks for changes that nobody noted: values whose hash differs from what was last agreed upon. Answers what caches, or the codec, have
   * failed with: that is looked for again the next time. Call it in a turn.
   */
  async scan(): Promise<unknown[]> {
    const { state } = this;
    const changed = new Set<string>();
    const present = new Set<string>();
    const failures: unknown[] = [];
    let isWhole = true;
    for (const registered of this.registered) {
      if (registered.tracked && registered.scanned) continue;
      let keys: string[] = [];
      try {
        keys = await registered.cache.getKeys();
      } catch (error) {
        // Of this cache it is not known which keys are gone.
        failures.push(error);
        isWhole = false;
        continue;
      }
      const failedBefore = failures.length;
      for (const key of keys) {
        const rules = state.groups.of(key);
        if (rules === undefined || rules.direction === "down") continue;
        if (this.isAbsenceTold(key)) present.add(key);
        let encoded: Encoded;
        try {
          const value = await registered.cache.get(key);
          if (value === undefined) continue;
          encoded = state.codec.encode(value);
        } catch (error) {
          if (failures.length < FAILURES_MAX) failures.push(error);
          continue;
        }
        if (this.isKnown(key, hashOf(encoded))) continue;
        const record = state.record(key);
        const atMs = record.base === undefined ? null : state.clock.wall();
        const intent = { seq: ++state.journal.seq, kind: "set", value: toStored(encoded), atMs, offsetMs: currentOffset(state) } as const;
        if (record.intent !== undefined && record.intent.kind !== "add" && changed.has(key)) continue;
        record.intent = intent;
        record.hint = undefined;
        state.stir(key);
        changed.add(key);
      }
      registered.scanned = failures.length === failedBefore;
    }
    const before = this.seen;
    if (!isWhole) for (const key of before) present.add(key);
    this.seen = present;
    // A tracked cache tells its deletes, and is not looked through.
    const isTold = this.registered.some(({ tracked }) => tracked);
    for (const key of isTold ? [] : before) {
      const record = state.journal.keys.get(key);
      if (present.has(key) || record === undefined || isDirty(record) || record.base?.hash == null) continue;
      record.intent = { seq: ++state.journal.seq, kind: "delete", atMs: state.clock.wall(), offsetMs: currentOffset(state) };
      changed.add(key);
    }
    await state.journal.write(changed);
    return failures;
  }

  /** Whether a value in a cache is no change of its own: agreed upon, noted, hinted at, or about to be taken over. */
  private isKnown(key: string, hash: string): boolean {
    const record = this.state.journal.keys.get(key);
    const remote = this.state.notes.get(key)?.remote;
    if (record === undefined) return false;
    if (record.base?.hash === hash || record.hint === hash) return true;
    if (remote?.found === true && remote.hash === hash) return true;
    // What an addition makes of the value here is no change beside it.
    return [record.intent, record.inFlight?.intent].some((intent) => {
      if (intent?.kind !== "add") return intent !== undefined && this.intentHash(intent) === hash;
      // Another release does not note what it made.
      return intent.made === undefined || intent.made.includes(hash);
    });
  }

  /**
   * Puts a value into the caches, or removes it (null). Where a cache has a change of its own that nobody noted, that becomes a local
   * change, and nothing is put over it. `also`: the hash of one more value that is none. Call it in a turn. Answers whether everything was
   * done.
   */
  async apply(key: string, value: Encoded | null, options: { everywhere: boolean; force?: boolean; also?: string | null | undefined }): Promise<boolean> {
    const { state } = this;
    const hash = value === null ? null : state.localHash(value);
    // Before anything is changed: the codec may not know it.
    const decoded = value === null ? undefined : state.decode(value);
    const todo: CacheInstance[] = [];
    let isHeld = false;
    for (const { cache } of this.registered) {
      const current = await cache.get(key);
      isHeld ||= current !== undefined || options.everywhere;
      if (current === undefined) {
        if (value !== null && options.everywhere) todo.push(cache);
        continue;
      }
      const encoded = state.codec.encode(current);
      const currentHash = hashOf(encoded);
      if (currentHash === hash) continue;
      if (options.force !== true && currentHash !== options.also && !this.isKnown(key, currentHash)) {
        const rules = state.groups.of(key);
        if (rules !== undefined && rules.direction !== "down") {
          const atMs = state.record(key).base === undefined ? null : state.clock.wall();
          await this.keep(key, { kind: "set", value: toStored(encoded), atMs });
          return false;
        }
      }
      todo.push(cache);
    }
    for (const cache of todo) {
      if (value === null) await cache.delete(key);
      else await cache.set(key, decoded);
    }
    if (value === null) this.seen.delete(key);
    else if (isHeld && this.isAbsenceTold(key)) this.seen.add(key);
    return true;
  }

  /** Whether it means something that a cache has the key no more. */
  private isAbsenceTold(key: string): boolean {
    const rules = this.state.groups.of(key);
    return rules?.absence === "delete" && rules.direction !== "down";
  }

  /** What the first cache has that has the key. */
  async current(key: string): Promise<Encoded | undefined> {
    for (const { cache } of this.registered) {
      const value = await cache.get(key);
      if (value !== undefined) return this.state.codec.encode(value);
    }
    return undefined;
  }

  /** The keys that the caches hold. */
  async held(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (const { cache } of this.registered) for (const key of await cache.getKeys()) keys.add(key);
    return keys;
  }

  /** Of the value that an intent makes; null for a delete. */
  intentHash(intent: Intent): string | null {
    return intent.kind === "set" ? this.state.localHash(fromStored(intent.value ?? {})) : null;
  }
}

/** An addition on top of a change that waits changes that one; undefined if that makes no number. */
function merged({ intent, inFlight }: KeyRecord, next: Intent): Intent | undefined {
  if (next.kind !== "add") return next;
  const all = intent === undefined ? next : added(intent, next);
  // If the one that was sent is refused, both become one change.
  if (all?.kind === "add" && inFlight !== undefined && added(inFlight.intent, all) === undefined) return undefined;
  return all;
}

/** What an addition makes of an earlier change that was not carried out; undefined if that is no number of 64 bits. */
export function added(earlier: Intent, next: Intent): Intent | undefined {
  const { by, ...rest } = next;
  const text = earlier.kind === "delete" ? "0" : ((earlier.kind === "add" ? earlier.by : earlier.value?.text) ?? "");
  if (!/^-?\d{1,19}$/.test(text)) return undefined;
  const sum = BigInt(text) + BigInt(by ?? "0");
  if (BigInt.asIntN(64, sum) !== sum) return undefined;
  if (earlier.kind === "add") return { ...rest, by: String(sum) };
  const { made: _, ...dated } = rest;
  const set: Intent = { ...dated, kind: "set", value: { ...earlier.value, text: String(sum) } };
  // The value keeps the TTL that it was set with.
  return earlier.ttlMs === undefined ? set : { ...set, ttlMs: earlier.ttlMs, atMs: earlier.atMs, offsetMs: earlier.offsetMs };
}
