import { hashOf } from "./codec.js";
import type { LocalCaches } from "./local.js";
import type { State } from "./state.js";
import type { SyncEvent } from "./types.js";

/** How many keys' newest hints are remembered. */
const REMEMBERED_MAX = 10_000;

/** Updates that come by another way than the cluster's stream. */
export class Hints {
  private readonly newest = new Map<string, { at: number; version: number }>();

  constructor(
    private readonly state: State,
    private readonly local: LocalCaches,
  ) {}

  /** Takes a hint, unless something newer is known. Call it in a turn. */
  async take({ key, value, timestamp, node, version }: SyncEvent): Promise<void> {
    const { state } = this;
    const rules = state.groups.of(key);
    if (rules === undefined || rules.direction === "up") return;
    const encoded = value === undefined ? null : state.codec.encode(value);
    const hash = encoded === null ? null : hashOf(encoded);
    const record = state.record(key);
    const { base } = record;
    const isNode = state.nodes.includes(node);
    const at = Math.min(timestamp, state.logNow + (state.offset?.errorMs ?? 0));
    if (base !== undefined) {
      if (base.hash === hash && record.hint === undefined) return;
      // A node's version is a revision, and those have an order; other clocks have only times.
      if (isNode ? version <= base.at : at < base.modifiedAtMs || (at === base.modifiedAtMs && version <= base.version)) return;
    }
    const last = this.newest.get(key);
    if (record.hint !== undefined && last !== undefined && (at < last.at || (at === last.at && version <= last.version))) return;
    this.newest.set(key, { at, version });
    if (this.newest.size > REMEMBERED_MAX) this.newest.delete(this.newest.keys().next().value as string);
    // A local change waits: the cluster decides, at the next sync.
    if (record.intent !== undefined || record.inFlight !== undefined) return;
    if (rules.mode === "cached" && (await this.local.current(key)) === undefined) {
      if (base === undefined) state.journal.keys.delete(key);
      return;
    }
    // First that it is a hint, then the caches: else the value would pass for a change made here after a crash.
    const before = record.hint;
    record.hint = hash;
    try {
      await state.journal.write([key]);
    } catch (error) {
      record.hint = before;
      throw error;
    }
    if (!(await this.local.apply(key, encoded, { everywhere: rules.mode === "mirror", also: before }))) return;
    state.tell({ key, cause: encoded === null ? "delete" : "set", origin: "remote", revision: null, value });
  }
}
