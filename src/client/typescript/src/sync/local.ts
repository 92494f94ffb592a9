import { type Encoded, fromStored, hashOf, toStored } from "./codec.js";
import type { Intent } from "./journal.js";
import type { State } from "./state.js";
import { type CacheInstance, SyncError } from "./types.js";

interface Registered {
  cache: CacheInstance;
  /** Its changes are noted as they happen, so that it is looked through once only. */
  tracked: boolean;
  scanned: boolean;
}

/** The caches of this process, and what was changed in them. */
export class LocalCaches {
  private readonly registered: Registered[] = [];

  constructor(private readonly state: State) {}

  add(cache: CacheInstance, tracked: boolean): void {
    if (this.registered.some((other) => other.cache === cache)) return;
    this.registered.push({ cache, tracked, scanned: false });
    // What the cluster has is news to this cache.
    this.state.walksWanted++;
  }

  /** Notes a local change; ends when it survives a crash. Call it in a turn. @throws SyncError */
  async note(key: string, change: Pick<Intent, "kind" | "value" | "by" | "ttlMs"> & { atMs: number | null }): Promise<void> {
    const { state } = this;
    state.writable(key);
    const record = state.record(key);
    const before = { ...record };
    const waiting = record.intent !== undefined || record.inFlight !== undefined;
    const most = state.options.maxPending ?? 100_000;
    // Counting takes a while, and is needed only where there are so many keys at all.
    if (!waiting && state.journal.keys.size > most && state.pending >= most) {
      if (record.base === undefined) state.journal.keys.delete(key);
      throw new SyncError("pending_full", `${state.pending} local changes wait already`);
    }
    record.intent = this.merged(record.intent, { seq: ++state.journal.seq, offsetMs: state.offset?.offsetMs ?? null, ...change });
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

  /** An addition on top of a change that waits changes that one. @throws SyncError if that is no number */
  private merged(before: Intent | undefined, next: Intent): Intent {
    if (next.kind !== "add" || before === undefined) return next;
    const by = BigInt(next.by ?? "0");
    if (before.kind === "add") return { ...next, by: String(BigInt(before.by ?? "0") + by) };
    if (before.kind === "delete") return { ...next, kind: "set", value: { text: String(by) } };
    const text = before.value?.text ?? "";
    if (!/^-?\d{1,19}$/.test(text)) throw new SyncError("not_a_number", `a local change makes the value ${text.slice(0, 40)}`);
    return { ...next, kind: "set", value: { ...before.value, text: String(BigInt(text) + by) } };
  }

  /** Looks for changes that nobody noted: values whose hash differs from what was last agreed upon. Call it in a turn. */
  async scan(): Promise<void> {
    const { state } = this;
    const changed = new Set<string>();
    const seen = new Set<string>();
    for (const registered of this.registered) {
      if (registered.tracked && registered.scanned) continue;
      for (const key of await registered.cache.getKeys()) {
        seen.add(key);
        const rules = state.groups.of(key);
        if (rules === undefined || rules.direction === "down") continue;
        const value = await registered.cache.get(key);
        if (value === undefined) continue;
        const encoded = state.codec.encode(value);
        if (this.isKnown(key, hashOf(encoded))) continue;
        const record = state.record(key);
        const atMs = record.base === undefined ? null : state.clock.wall();
        const intent = { seq: ++state.journal.seq, kind: "set", value: toStored(encoded), atMs, offsetMs: state.offset?.offsetMs ?? null } as const;
        if (record.intent !== undefined && record.intent.kind !== "add" && changed.has(key)) continue;
        record.intent = intent;
        record.hint = undefined;
        state.stir(key);
        changed.add(key);
      }
      registered.scanned = true;
    }
    for (const [key, record] of state.journal.keys) {
      const rules = state.groups.of(key);
      const gone = rules?.absence === "delete" && rules.direction !== "down" && record.base?.hash != null && !seen.has(key);
      if (!gone || record.intent !== undefined || record.inFlight !== undefined || this.registered.some((each) => each.tracked)) continue;
      record.intent = { seq: ++state.journal.seq, kind: "delete", atMs: state.clock.wall(), offsetMs: state.offset?.offsetMs ?? null };
      changed.add(key);
    }
    await state.journal.write(changed);
  }

  /** Whether a value in a cache is no change of its own: agreed upon, noted, hinted at, or about to be taken over. */
  private isKnown(key: string, hash: string): boolean {
    const record = this.state.journal.keys.get(key);
    const remote = this.state.notes.get(key)?.remote;
    if (record === undefined) return false;
    if (record.base?.hash === hash || record.hint === hash) return true;
    if (remote?.found === true && remote.hash === hash) return true;
    // What an addition makes of the value here is no change beside it.
    return [record.intent, record.inFlight?.intent].some((intent) => intent !== undefined && (intent.kind === "add" || this.intentHash(intent) === hash));
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
    for (const { cache } of this.registered) {
      const current = await cache.get(key);
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
          await this.note(key, { kind: "set", value: toStored(encoded), atMs });
          return false;
        }
      }
      todo.push(cache);
    }
    for (const cache of todo) {
      if (value === null) await cache.delete(key);
      else await cache.set(key, decoded);
    }
    return true;
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
