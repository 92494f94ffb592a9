import { fromStored, sameValue, toStored } from "./codec.js";
import { decide, type Decision } from "./decide.js";
import type { BatchItem, Intent, KeyRecord } from "./journal.js";
import type { LocalCaches } from "./local.js";
import type { Pull } from "./pull.js";
import { indexOf, knownAt, type Remote, type State } from "./state.js";
import type { Conflict, DecidedConflict, Resolution } from "./types.js";

/** Decides what becomes of local changes: sent, dropped, or left to the application. */
export class Judge {
  constructor(
    private readonly state: State,
    private readonly local: LocalCaches,
    private readonly pull: Pull,
  ) {}

  /** The operation for a local change, or undefined if there is nothing to send. Call it in a turn. */
  async itemFor(key: string, record: KeyRecord, intent: Intent, remote: Remote, touched: Set<string>): Promise<BatchItem | undefined> {
    const { state } = this;
    const left = intent.ttlMs === undefined ? undefined : remainingTtl(state, intent);
    const ttl = left === undefined ? {} : { ttlMs: Math.ceil(left) };
    if (left !== undefined && left <= 0) {
      await this.lapse(key, record, touched);
      return undefined;
    }
    const decision = this.decide(key, record, intent, remote);
    if (decision.conflict) this.count(key, remote);
    switch (decision.decision) {
      case "ask":
        return undefined;
      case "same": {
        const value = remote.found ? fromStored(intent.value ?? {}) : null;
        await this.local.apply(key, value, { everywhere: state.groups.of(key)?.mode === "mirror" });
        record.base = this.baseOf(remote, value === null ? null : state.localHash(value));
        delete record.intent;
        state.notes.delete(key);
        touched.add(key);
        return undefined;
      }
      case "take":
        await this.concede(key, record, intent, remote, decision, decision.ambiguous ? "by time, closer than the clocks can tell" : "by time");
        return undefined;
      case "push":
        if (decision.conflict) this.tellConflict(key, record, intent, remote, decision, "local", "by time");
        if (remote.found) return { key, intent, ...ttl, ...(intent.kind === "add" ? { ifPresent: true } : { ifRevision: remote.revision }) };
        return { key, intent, ...ttl, ...(intent.kind === "delete" ? {} : { ifAbsentSince: knownAt(remote) }) };
    }
  }

  /** Has the application decide about conflicts, one after the other. */
  async ask(keys: readonly string[], signal: AbortSignal): Promise<void> {
    const { state } = this;
    for (const key of keys) {
      signal.throwIfAborted();
      const record = state.journal.keys.get(key);
      const rules = state.groups.of(key);
      if (rules?.conflict !== "custom" || record?.intent === undefined) continue;
      const { intent } = record;
      const remote = this.seen(key, record);
      if (remote === undefined) continue;
      const decision = this.decide(key, record, intent, remote);
      if (decision.decision !== "ask") continue;
      let resolution: Resolution = "defer";
      let why = "deferred";
      try {
        const conflict = this.describe(key, record, intent, remote, decision);
        resolution = (await rules.resolve?.(conflict)) ?? "defer";
      } catch (error) {
        why = `resolve failed: ${error instanceof Error ? error.message : String(error)}`;
      }
      await state.locked(() => this.resolved(key, intent, remote, resolution, why, decision));
    }
  }

  /** What the cluster has, as far as is known here. */
  seen(key: string, record: KeyRecord): Remote | undefined {
    const remote = this.state.notes.get(key)?.remote;
    if (remote !== undefined) return remote;
    const { base } = record;
    if (base === undefined) return undefined;
    if (base.revision === null) return { found: false, gone: null, asOf: base.at };
    const { revision, version, modifiedAtMs } = base;
    return { found: true, revision, version, modifiedAtMs, origin: null, value: undefined, hash: base.hash ?? undefined };
  }

  /** Whether the cluster has what the local change would make, byte for byte as the local caches see it. */
  isEqual(intent: Intent, remote: Remote): boolean {
    if (intent.kind !== "set" || !remote.found || remote.value === undefined) return false;
    const { state } = this;
    return sameValue(state.localForm(fromStored(intent.value ?? {})), state.localForm(remote.value));
  }

  baseOf(remote: Remote, hash: string | null): NonNullable<KeyRecord["base"]> {
    const history = this.state.journal.meta.histories.at(-1) ?? "";
    if (!remote.found) return { revision: null, at: knownAt(remote), hash, history, version: 0, modifiedAtMs: remote.gone?.at_ms ?? 0 };
    const { revision, version, modifiedAtMs } = remote;
    return { revision, at: revision, hash, history, version, modifiedAtMs };
  }

  /** Carries out what the application said, unless the key has changed meanwhile. */
  private async resolved(key: string, intent: Intent, remote: Remote, resolution: Resolution, why: string, decision: Decision): Promise<void> {
    const { state } = this;
    const record = state.journal.keys.get(key);
    if (record?.intent !== intent || this.seen(key, record) === undefined || (state.notes.get(key)?.remote ?? remote) !== remote) return;
    this.count(key, remote);
    const notes = state.note(key);
    if (resolution === "defer") {
      notes.unresolved = why;
      this.tellConflict(key, record, intent, remote, decision, "deferred", why);
      return;
    }
    if (resolution === "remote") return this.concede(key, record, intent, remote, decision, "resolve said so");
    const next: Intent = { ...intent, seq: ++state.journal.seq };
    if (resolution === "delete") Object.assign(next, { kind: "delete", value: undefined, by: undefined });
    if (typeof resolution === "object") {
      Object.assign(next, { kind: "set", value: toStored(state.codec.encode(resolution.value)), by: undefined });
    }
    const winner = resolution === "local" ? "local" : "merged";
    this.tellConflict(key, record, intent, remote, decision, winner, "resolve said so");
    if (winner === "merged") {
      // The caches get it while the old intent still explains what they have.
      const value = next.kind === "delete" ? null : fromStored(next.value ?? {});
      const rules = state.groups.of(key);
      if (!(await this.local.apply(key, value, { everywhere: rules?.mode === "mirror" }))) return;
    }
    record.intent = next;
    // From here on the change knows what it replaces.
    record.base = this.baseOf(remote, this.local.intentHash(next));
    notes.remote = undefined;
    await state.journal.write([key]);
    if (winner === "merged") state.tell({ key, cause: next.kind === "delete" ? "delete" : "set", origin: "merge", revision: null, value: state.intended(next) });
  }

  /** The cluster's state stands. The loser is told before it is dropped. Call it in a turn. */
  private async concede(key: string, record: KeyRecord, intent: Intent, remote: Remote, decision: Decision, why: string): Promise<void> {
    const { state } = this;
    this.tellConflict(key, record, intent, remote, decision, "remote", why);
    const touched = new Set<string>();
    if (!(await this.pull.settle(key, record, remote, remote.found ? "set" : (remote.gone?.cause ?? "delete"), touched))) return;
    if (state.notes.get(key)?.unresolved !== undefined) return;
    if (record.intent === intent) delete record.intent;
    await state.journal.write(new Set([key, ...touched]));
  }

  /** The TTL of a local change has passed before it was sent. */
  private async lapse(key: string, record: KeyRecord, touched: Set<string>): Promise<void> {
    await this.local.apply(key, null, { everywhere: false });
    delete record.intent;
    touched.add(key);
    // What the cluster has may be newer than what the caches had before.
    if (record.base !== undefined) record.base = { ...record.base, hash: null, at: 0 };
    this.state.walksWanted++;
    this.state.tell({ key, cause: "expire", origin: "local", revision: null, value: undefined });
  }

  private decide(key: string, record: KeyRecord, intent: Intent, remote: Remote): Decision {
    const { state } = this;
    const rules = state.groups.of(key);
    const { base } = record;
    return decide({
      policy: rules?.conflict ?? "newest",
      deletes: rules?.deletes ?? "by_time",
      base: base === undefined ? null : base.revision === null ? { absentAt: base.at } : { revision: base.revision },
      local: { op: intent.kind, atMs: intent.atMs, offsetMs: intent.offsetMs },
      remote: remote.found
        ? { found: true, revision: remote.revision, version: remote.version, modifiedAtMs: remote.modifiedAtMs, equal: this.isEqual(intent, remote) }
        : remote,
      clock: { offsetMs: state.offset?.offsetMs ?? 0, errorMs: state.offset?.errorMs ?? 0, nowMs: state.logNow },
    });
  }

  /** Counts a conflict once for each state of the cluster that it is with. */
  private count(key: string, remote: Remote): void {
    const notes = this.state.note(key);
    const index = Math.max(indexOf(remote), 1);
    if (notes.counted >= index) return;
    notes.counted = index;
    this.state.conflicts++;
  }

  private describe(key: string, record: KeyRecord, intent: Intent, remote: Remote, { ambiguous }: Decision): Conflict {
    const { state } = this;
    const { base } = record;
    const read = (work: () => unknown): unknown => {
      try {
        return work();
      } catch {
        return undefined;
      }
    };
    return {
      key,
      group: state.groups.of(key)?.name ?? "",
      base: base === undefined ? undefined : { revision: base.revision, history: base.history },
      local: {
        kind: intent.kind,
        value: read(() => state.intended(intent)),
        atMs: intent.atMs === null ? null : intent.atMs + (intent.offsetMs ?? state.offset?.offsetMs ?? 0),
      },
      remote: remote.found
        ? {
            found: true,
            value: read(() => (remote.value === undefined ? undefined : state.decode(remote.value))),
            revision: remote.revision,
            modifiedAtMs: remote.modifiedAtMs,
            origin: remote.origin,
            gone: null,
          }
        : { found: false, value: undefined, revision: null, modifiedAtMs: remote.gone?.at_ms ?? null, origin: null, gone: remote.gone },
      ambiguous,
    };
  }

  private tellConflict(key: string, record: KeyRecord, intent: Intent, remote: Remote, decision: Decision, winner: DecidedConflict["winner"], why: string): void {
    this.state.options.onConflict?.({ ...this.describe(key, record, intent, remote, decision), winner, why });
  }
}

/** What is left of the TTL of a local change. */
function remainingTtl(state: State, intent: Intent): number {
  const { ttlMs, atMs, offsetMs } = intent;
  if (atMs === null) return ttlMs ?? 0;
  // The wall clock may have been set since then. Log time was not, and the monotonic clock of this process neither.
  const madeAt = state.madeAt.get(intent);
  let age = state.clock.wall() - atMs;
  if (offsetMs !== null && state.offset !== undefined) age = state.logNow - (atMs + offsetMs);
  else if (madeAt !== undefined) age = state.clock.monotonic() - madeAt;
  return (ttlMs ?? 0) - Math.max(age, 0);
}
