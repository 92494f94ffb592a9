import type { Gone } from "../errors.js";
import { fromBase64 } from "../values.js";
import { sameHistory, type WatchEvent, type WatchMessage } from "../watch.js";
import type { Rules } from "./groups.js";
import { isDirty, type KeyRecord } from "./journal.js";
import type { LocalCaches } from "./local.js";
import { indexOf, knownAt, type Remote, type State } from "./state.js";
import type { SyncChange } from "./types.js";

type Cause = "set" | Gone["cause"];

/** Keys in a page of entries, of keys that are asked for by name, and of changes. */
const ENTRIES_LIMIT = 10_000;
const CACHED_LIMIT = 1_000;
const CHANGES_LIMIT = 1_000;
/** How many keys that are gone are remembered as agreed upon. */
const ABSENT_MAX = 65_536;

/** Takes over what others have changed. */
export class Pull {
  private absent = 0;
  /** The first failures of caches in this sync. What they concern is read again the next time. */
  failures: unknown[] = [];

  constructor(
    private readonly state: State,
    private readonly local: LocalCaches,
  ) {}

  /** Reads everything, and then what has changed meanwhile. Of what is gone, so that the caches drop it. */
  async walk(signal: AbortSignal): Promise<void> {
    const { state } = this;
    const wanted = state.walksWanted;
    const seen = new Set<string>();
    let first: { index: number; history: string } | undefined;
    for (const prefix of state.groups.prefixes) {
      if (!state.groups.all.some((rules) => rules.mode === "mirror" && rules.prefixes.some((own) => own.startsWith(prefix)))) continue;
      let after: string | undefined;
      do {
        const page = await state.client.entriesPage({ prefix, after, limit: ENTRIES_LIMIT, signal });
        state.inHistory(page.history);
        first ??= { index: page.index, history: page.history };
        await this.each(page.entries, async (entry, touched) => {
          seen.add(entry.key);
          await this.take(entry.key, this.state.remoteOf(entry, true), "set", touched, true);
        });
        after = page.next ?? undefined;
      } while (after !== undefined);
    }
    first = await this.walkCached(seen, first, signal);
    const { index, history } = first;
    await this.dropMissing(seen, index);
    if (this.failures.length > 0) return;
    state.walksDone = wanted;
    state.journal.meta.place = { index, history };
    // What changed since then is read next; the stream may have begun later.
    state.gaps++;
    await state.locked(() => state.journal.write([], { meta: true }));
  }

  /**
   * What was agreed to be there, and was not found at this index, is gone, unless nobody looked for it. Of keys with a local change it matters how they went, so they
   * are asked for.
   */
  private async dropMissing(seen: ReadonlySet<string>, index: number): Promise<void> {
    const { journal, notes, unsure } = this.state;
    const missing = [...journal.keys].filter(
      ([key, record]) => !seen.has(key) && (isDirty(record) || (!this.isCached(key) && record.base?.revision != null && record.base.at < index)),
    );
    await this.each(missing, async ([key, record], touched) => {
      if (!isDirty(record)) return this.take(key, { found: false, gone: null, asOf: index }, "delete", touched);
      const noted = notes.get(key);
      if (noted?.remote !== undefined && knownAt(noted.remote) < index) noted.remote = undefined;
      unsure.add(key);
    });
  }

  private isCached(key: string): boolean {
    return this.state.groups.of(key)?.mode === "cached";
  }

  /** Of groups that mirror nothing: the keys that are held here, and those that were: what is agreed upon of them has to stay true. */
  private async walkCached(
    seen: Set<string>,
    first: { index: number; history: string } | undefined,
    signal: AbortSignal,
  ): Promise<{ index: number; history: string }> {
    const { state } = this;
    const { journal } = state;
    const keys = new Set<string>();
    if (state.groups.all.some(({ mode }) => mode === "cached")) {
      for (const key of await this.local.held()) if (this.isCached(key) && !seen.has(key)) keys.add(key);
      for (const [key, { base }] of journal.keys) if (base?.revision != null && this.isCached(key) && !seen.has(key)) keys.add(key);
    }
    const open = [...keys];
    for (let at = 0; at < open.length; at += CACHED_LIMIT) {
      const { results, index, history } = await state.client.readMany(open.slice(at, at + CACHED_LIMIT), { signal });
      state.inHistory(history);
      first ??= { index, history };
      await this.each(results, async ({ key, entry, gone }, touched) => {
        seen.add(key);
        const remote: Remote = entry === null ? { found: false, gone, asOf: index } : state.remoteOf(entry, true);
        if (entry !== null || journal.keys.get(key)?.base !== undefined) {
          await this.take(key, remote, entry === null ? (gone?.cause ?? "delete") : "set", touched, true);
        }
      });
    }
    if (first !== undefined) return first;
    const { index, history } = await state.client.entriesPage({ limit: 1, prefix: state.groups.prefixes[0], signal });
    return { index, history };
  }

  /** Reads what has changed since the place. False if that is not kept any more. @throws OtherHistory */
  async changes(signal: AbortSignal): Promise<boolean> {
    const { state } = this;
    const { place } = state.journal.meta;
    if (place === undefined) return false;
    // What is missed from here on, an answer that is on its way may not have.
    const { gaps } = state;
    const failuresBefore = this.failures.length;
    let end = Infinity;
    for (const prefix of state.groups.prefixes) {
      let since = place.index;
      for (let more = true; more; ) {
        const page = await state.client.changes({ index: since, history: place.history }, { prefix, limit: CHANGES_LIMIT, values: true, signal });
        if (!page.complete) return false;
        const untold = page.changes.flatMap((change) => (change.kind === "entry" && !change.hasValue && state.groups.of(change.key) !== undefined ? [change.key] : []));
        await this.each(page.changes, async (change, touched) => {
          if (change.kind === "entry" && !change.hasValue) return;
          if (change.kind === "clear") await this.cleared(change.prefix, change.gone, touched);
          else if (change.kind === "gone") {
            const { key, gone } = change;
            await this.take(key, { found: false, gone, asOf: gone?.revision ?? page.index }, gone?.cause ?? "delete", touched);
          }
          else await this.take(change.key, this.state.remoteOf(change.entry, true), "set", touched);
        });
        // The page had no room for their values.
        if (untold.length > 0) await this.read(untold, signal);
        more = page.more && page.next > since;
        since = page.next;
      }
      end = Math.min(end, since);
    }
    await state.locked(async () => {
      if (Number.isFinite(end)) state.heardOf = Math.max(state.heardOf, end);
      if (this.failures.length > failuresBefore) {
        // It has to be read again.
        state.gaps++;
        return;
      }
      state.gapsHealed = gaps;
      await this.advance(end, place.history, []);
    });
    return true;
  }

  /** Asks the cluster about keys with a local change of which it is not known what the cluster has. */
  async askAgain(signal: AbortSignal): Promise<void> {
    const { unsure } = this.state;
    const keys = [...unsure];
    if (keys.length === 0) return;
    const failuresBefore = this.failures.length;
    await this.read(keys, signal);
    if (this.failures.length === failuresBefore) for (const key of keys) unsure.delete(key);
  }

  /** Takes over what these keys have now. */
  private async read(keys: readonly string[], signal: AbortSignal): Promise<void> {
    await this.each(await this.state.readKeys(keys, signal), ({ key, remote, cause }, touched) => this.take(key, remote, cause, touched));
  }

  /** Asks the cluster about keys that a hint has changed here. */
  async confirmHints(signal: AbortSignal): Promise<void> {
    const { state } = this;
    const keys = [...state.journal.keys].filter(([, record]) => record.hint !== undefined).map(([key]) => key);
    if (keys.length === 0) return;
    await this.each(await state.readKeys(keys, signal), async ({ key, remote, cause }, touched) => {
      const record = state.journal.keys.get(key);
      if (record?.hint === undefined || isDirty(record)) return;
      // The stream has told something newer meanwhile, and another hint has come.
      if (record.base !== undefined && record.base.at > knownAt(remote)) return;
      await this.settle(key, record, remote, cause, touched);
    });
  }

  /** Applies a message of the stream. Call it in a turn. */
  async hear(message: Extract<WatchMessage, { type: "change" }>): Promise<void> {
    const { state } = this;
    const { index, at_ms } = message;
    const touched = new Set<string>();
    let failed: unknown;
    for (const event of message.events) {
      try {
        await this.apply(event, index, at_ms, message.origin ?? null, touched);
      } catch (error) {
        failed ??= error;
        state.gaps++;
      }
    }
    const history = state.journal.meta.histories.at(-1) ?? "";
    await this.advance(index, history, touched);
    if (failed !== undefined) throw failed;
  }

  /** The stream is at this index. Call it in a turn. */
  async advance(index: number, history: string, touched: Iterable<string>): Promise<void> {
    const { meta } = this.state.journal;
    if (sameHistory(meta.histories.at(-1) ?? "", history)) this.state.heardOf = Math.max(this.state.heardOf, index);
    const keys = [...touched];
    const { place } = meta;
    const goes = !this.state.needsWalk && !this.state.hasGap && place !== undefined && sameHistory(place.history, history) && place.index < index;
    if (goes) meta.place = { index, history };
    // A place by itself is not worth a write to disk: the changes since the last one are told again.
    await this.state.journal.write(keys, { meta: goes && keys.length > 0 });
  }

  private async apply(event: WatchEvent, index: number, atMs: number, origin: string | null, touched: Set<string>): Promise<void> {
    switch (event.cause) {
      case "put": {
        const body = event.value ?? fromBase64(event.value_base64 ?? "");
        const value = { body, contentType: event.content_type ?? null };
        const modifiedAtMs = event.modified_at_ms ?? atMs;
        const remote: Remote = { found: true, revision: index, version: event.version ?? 1, modifiedAtMs, origin, value, hash: this.state.localHash(value) };
        return this.take(event.key, remote, "set", touched);
      }
      case "lifetime":
        return this.lifetime(event.key, index, atMs, touched);
      case "delete":
      case "expire":
      case "evict":
        return this.take(event.key, { found: false, gone: { cause: event.cause, revision: index, at_ms: atMs }, asOf: index }, event.cause, touched);
      case "clear":
        return this.cleared(event.prefix ?? "", { cause: "clear", revision: index, at_ms: atMs }, touched);
      default:
        return undefined;
    }
  }

  /** The value is the same, at another revision. */
  private async lifetime(key: string, index: number, atMs: number, touched: Set<string>): Promise<void> {
    const record = this.state.journal.keys.get(key);
    const remote = this.state.notes.get(key)?.remote;
    if (remote?.found === true && remote.revision < index) {
      Object.assign(remote, { revision: index, modifiedAtMs: atMs });
    } else if (remote === undefined && record?.base?.revision != null && record.base.at < index) {
      record.base = { ...record.base, revision: index, at: index, modifiedAtMs: atMs };
      touched.add(key);
    }
  }

  private async cleared(prefix: string, gone: Gone, touched: Set<string>): Promise<void> {
    for (const [key, record] of [...this.state.journal.keys]) {
      if (!key.startsWith(prefix)) continue;
      if (record.base?.revision === null && this.state.notes.get(key)?.remote === undefined && record.intent === undefined && record.inFlight === undefined) continue;
      await this.take(key, { found: false, gone, asOf: gone.revision }, "clear", touched);
    }
  }

  /**
   * Takes over a state of the cluster, unless it is known already. Where there is a local change it is only noted: that is decided
   * when the change is sent. `fill`: caches that lack the key get it. Call it in a turn.
   */
  async take(key: string, remote: Remote, cause: Cause, touched: Set<string>, fill = false): Promise<void> {
    const { state } = this;
    const rules = state.groups.of(key);
    if (rules === undefined) return;
    const known = state.journal.keys.get(key);
    const index = indexOf(remote);
    if (known?.base !== undefined && known.base.at >= index) {
      const clean = known.intent === undefined && known.inFlight === undefined && known.hint === undefined;
      const isSame = remote.found && known.base.revision === remote.revision && remote.value !== undefined;
      if (fill && clean && isSame && rules.direction !== "up") await this.local.apply(key, remote.value ?? null, { everywhere: rules.mode === "mirror" });
      return;
    }
    const dirty = known?.intent !== undefined || known?.inFlight !== undefined;
    const isOnlyTold = rules.direction === "up" && !dirty;
    if (isOnlyTold && known?.base === undefined) return;
    if (dirty || rules.direction === "up") {
      const notes = state.note(key);
      if (notes.remote !== undefined && indexOf(notes.remote) >= index) return;
      // Of what is only sent it is enough to know that it changed.
      notes.remote = isOnlyTold && remote.found ? { ...remote, value: undefined } : remote;
      state.stir(key);
      return;
    }
    if (known === undefined && rules.mode === "cached" && (await this.local.current(key)) === undefined) return;
    await this.settle(key, state.record(key), remote, cause, touched);
  }

  /**
   * Makes the cluster's state the caches' own, and what is agreed upon. First the caches, then the journal: after a crash between the
   * two the value is found in both places, and is equal. Answers false if a cache has a change of its own. Call it in a turn.
   */
  async settle(key: string, record: KeyRecord, remote: Remote, cause: Cause, touched: Set<string>): Promise<boolean> {
    const { state } = this;
    const rules = state.groups.of(key) as Rules;
    const before = record.base;
    const keeps = cause === "evict" && rules.onEvict === "keep";
    const value = remote.found ? (remote.value ?? null) : null;
    let decoded: unknown;
    if (!keeps && rules.direction !== "up") {
      try {
        decoded = value === null ? undefined : state.decode(value);
      } catch (error) {
        // Damaged, or of another codec: told, and nothing here is put over by it.
        const notes = state.note(key);
        notes.remote = remote;
        notes.unresolved = `its value cannot be read: ${error instanceof Error ? error.message : String(error)}`;
        return true;
      }
      if (!(await this.local.apply(key, value, { everywhere: rules.mode === "mirror" }))) {
        state.note(key).remote = remote;
        return false;
      }
    }
    const hash = keeps ? (before?.hash ?? null) : remote.found ? (remote.hash ?? null) : null;
    const history = state.journal.meta.histories.at(-1) ?? "";
    const { revision, version, modifiedAtMs } = remote.found ? remote : { revision: null, version: 0, modifiedAtMs: remote.gone?.at_ms ?? 0 };
    record.base = { revision, at: indexOf(remote), hash, history, version, modifiedAtMs };
    record.hint = undefined;
    state.notes.delete(key);
    touched.add(key);
    if (revision === null) this.forgetOldest(touched);
    if (hash !== (before?.hash ?? null)) state.tell({ key, cause, origin: "remote", revision, value: decoded } as SyncChange);
    return true;
  }

  /** Keys that are gone are remembered up to a number. */
  private forgetOldest(touched: Set<string>): void {
    if (++this.absent <= ABSENT_MAX) return;
    this.absent = 0;
    const gone = [...this.state.journal.keys].filter(([, { base, intent, inFlight }]) => base?.revision === null && intent === undefined && inFlight === undefined);
    for (const [key] of gone.slice(0, Math.max(0, gone.length - ABSENT_MAX / 2))) {
      this.state.journal.keys.delete(key);
      touched.add(key);
    }
  }

  /** Does something for each in one turn, and writes the journal once. One that fails does not stop the others, and is told in the end. */
  private async each<T>(all: readonly T[], work: (one: T, touched: Set<string>) => Promise<unknown>): Promise<void> {
    await this.state.locked(async () => {
      const touched = new Set<string>();
      let failed: unknown;
      let failures = 0;
      for (const one of all) {
        try {
          await work(one, touched);
        } catch (error) {
          if (failures++ === 0) failed = error;
        }
      }
      await this.state.journal.write(touched);
      if (failures > 0) this.failures.push(failed);
    });
  }
}
