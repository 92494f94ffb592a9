import { Client } from "../client.js";
import { type Clock, pause, systemClock } from "../clock.js";
import { OtherHistory, Unreachable } from "../errors.js";
import type { Session } from "../sessions.js";
import { sameHistory, type Watch } from "../watch.js";
import { hashOf, jsonCodec, toStored } from "./codec.js";
import { compareClocks } from "./clocks.js";
import { Hints } from "./hints.js";
import { adopt } from "./histories.js";
import { isDirty } from "./journal.js";
import { LocalCaches } from "./local.js";
import { changesOf } from "./listeners.js";
import { Pull } from "./pull.js";
import { Push } from "./push.js";
import { State } from "./state.js";
import { type CacheInstance, type SyncChange, type SyncDetails, SyncError, type SyncEvent, type SyncOptions, type SyncStatus } from "./types.js";

/** A stream that was not heard for so long is no connection. */
const CONNECTED_MS = 15_000;
const SESSION_TTL_MS = 15_000;
const PRESENCE = "sync:";

/** Keeps local caches and a cluster in step: takes over what others change, and sends what is changed here, also later. */
export class CacheSynchronizer {
  private readonly state: State;
  private readonly local: LocalCaches;
  private readonly pull: Pull;
  private readonly push: Push;
  private readonly hints: Hints;
  private readonly client: Client;
  private readonly clock: Clock;
  private readonly stop = new AbortController();
  private loaded: Promise<void> | undefined;
  private connecting: Promise<void> | undefined;
  private nodeId: string | undefined;
  private running: Promise<void> | undefined;
  private following: Promise<void> | undefined;
  private next: Promise<void> | undefined;
  private nextIsFull = false;
  private subscribed = false;
  private heardAt = -Infinity;
  private lastSync = 0;
  private lastError: unknown;
  private peers: string[] = [];
  private session: Session | undefined;
  private callOffTimer = () => {};
  private readonly pushedAt = new Map<string, number>();

  /** @throws TypeError: options that make no sense */
  constructor(private readonly options: SyncOptions) {
    this.clock = options.clock ?? options.client?.transport.clock ?? systemClock;
    this.client =
      options.client ??
      new Client({
        urls: options.urls ?? defaultUrls(),
        clock: this.clock,
        ...(options.token === undefined ? {} : { token: options.token }),
        ...(options.allowDetached === undefined ? {} : { allowDetached: options.allowDetached }),
      });
    const { batchSize = 100, retries = 3, syncInterval = 5000 } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > 1024) throw new TypeError("batchSize: 1 to 1024");
    if (!Number.isInteger(retries) || retries < 0) throw new TypeError("retries: a whole number, 0 or more");
    if (!(syncInterval >= 0)) throw new TypeError("syncInterval: milliseconds, 0 or more");
    this.state = new State(options, this.client, this.clock, options.codec ?? jsonCodec);
    this.local = new LocalCaches(this.state);
    this.pull = new Pull(this.state, this.local);
    this.push = new Push(this.state, this.local, this.pull);
    this.hints = new Hints(this.state, this.local);
  }

  /**
   * Joins the cluster under this name. Ends when the stream of changes has begun; with `offline` at once, and goes on trying.
   * @throws SyncError: another cluster, an older history, or a node that has left its cluster; LockstepError if no node could be reached
   */
  connect(nodeId: string): Promise<void> {
    if (this.nodeId !== undefined && this.nodeId !== nodeId) return Promise.reject(new TypeError(`it is ${this.nodeId} already`));
    this.nodeId = nodeId;
    this.connecting ??= this.open().catch((error: unknown) => {
      this.connecting = undefined;
      throw error;
    });
    return this.connecting;
  }

  /** Registers a local cache. Its changes are found at the next sync, unless {@link track} tells them. */
  registerCache(cache: CacheInstance): void {
    this.local.add(cache, false);
  }

  /** Registers a local cache, and answers one in its place: what is changed through it is noted before it is done, deletes too. */
  track(cache: CacheInstance): CacheInstance {
    this.local.add(cache, true);
    return {
      get: (key) => cache.get(key),
      getKeys: () => cache.getKeys(),
      set: async (key, value) => {
        await this.begin();
        await this.state.locked(async () => {
          if (this.isSynchronized(key)) {
            await this.local.note(key, { kind: "set", value: toStored(this.state.codec.encode(value)), atMs: this.clock.wall() });
          }
          await cache.set(key, value);
        });
      },
      delete: async (key) => {
        await this.begin();
        await this.state.locked(async () => {
          if (this.isSynchronized(key)) await this.local.note(key, { kind: "delete", atMs: this.clock.wall() });
          await cache.delete(key);
        });
      },
    };
  }

  /** Sets a value in all local caches, and sends it with the next sync. Ends when the change survives a crash. @throws SyncError */
  async set(key: string, value: unknown, options: { ttlMs?: number } = {}): Promise<void> {
    await this.begin();
    const encoded = this.state.codec.encode(value);
    await this.state.locked(async () => {
      const ttl = options.ttlMs === undefined ? {} : { ttlMs: options.ttlMs };
      await this.local.note(key, { kind: "set", value: toStored(encoded), atMs: this.clock.wall(), ...ttl });
      await this.local.apply(key, encoded, { everywhere: true, force: true });
    });
    this.state.tell({ key, cause: "set", origin: "local", revision: null, value });
  }

  /** Removes a key from all local caches, and from the cluster with the next sync. @throws SyncError */
  async delete(key: string): Promise<void> {
    await this.begin();
    await this.state.locked(async () => {
      await this.local.note(key, { kind: "delete", atMs: this.clock.wall() });
      await this.local.apply(key, null, { everywhere: false, force: true });
    });
    this.state.tell({ key, cause: "delete", origin: "local", revision: null, value: undefined });
  }

  /** Adds to a counter. Additions of all sides are summed up, whatever their order. @throws SyncError */
  async add(key: string, by: number | bigint): Promise<void> {
    await this.begin();
    await this.state.locked(async () => {
      const current = await this.local.current(key);
      const text = current === undefined ? "0" : typeof current.body === "string" ? current.body : "";
      if (!/^-?\d{1,19}$/.test(text)) throw new SyncError("not_a_number", `${key} is no number here`);
      // Otherwise the sum would be put over a change that nobody has sent.
      if (current !== undefined) await this.local.noteFound(key, current);
      const sum = { body: String(BigInt(text) + BigInt(by)), contentType: current?.contentType ?? null };
      const made = [...(current === undefined ? [] : [hashOf(current)]), this.state.localHash(sum)];
      await this.local.note(key, { kind: "add", by: String(BigInt(by)), atMs: this.clock.wall(), made });
      await this.local.apply(key, sum, { everywhere: true, force: true });
    });
  }

  /**
   * Takes an update that came by another way. It is a hint: shown at once where nothing speaks against it, and checked against the
   * cluster by the next sync. What is not newer than what is known is ignored, so updates may come twice and in any order.
   */
  async handleUpdate(event: SyncEvent): Promise<void> {
    await this.begin();
    await this.state.locked(() => this.hints.take(event));
  }

  /**
   * Sends all local changes, and takes over what others have changed. One sync runs at a time; who calls while one runs gets the next.
   * Ends when all that was found is confirmed, deferred or stuck.
   * @throws LockstepError if no node could be reached, or an outcome is unknown: the changes are kept, and the next sync goes on
   */
  sync(): Promise<void> {
    return this.request(true);
  }

  getStatus(): SyncStatus {
    return {
      connected: this.subscribed && this.clock.monotonic() - this.heardAt < CONNECTED_MS,
      lastSync: this.lastSync,
      peers: [...this.peers],
      pending: this.state.pending,
      conflicts: this.state.conflicts,
    };
  }

  /** The status, and what else there is to know. */
  getDetails(): SyncDetails {
    const { notes, journal, offset, unknown } = this.state;
    const stuck: SyncDetails["stuck"] = [];
    const unresolved: SyncDetails["unresolved"] = [];
    for (const [key, note] of notes) {
      if (note.stuck !== undefined) stuck.push({ key, why: note.stuck });
      if (note.unresolved !== undefined) unresolved.push({ key, why: note.unresolved });
    }
    return {
      ...this.getStatus(),
      stuck,
      unresolved,
      unknown: [...unknown],
      history: journal.meta.histories.at(-1),
      place: journal.meta.place?.index,
      stalenessMs: this.subscribed ? this.clock.monotonic() - this.heardAt : Infinity,
      damaged: journal.damaged.length,
      clock: offset === undefined ? undefined : { offsetMs: offset.offsetMs, errorMs: offset.errorMs },
      lastError: this.lastError,
    };
  }

  /**
   * Changes of all origins as they come, until the signal is aborted: like `onChange`. Who is slower than 10,000 changes gets `resync` in
   * place of those that he missed.
   */
  changes(signal: AbortSignal): AsyncGenerator<SyncChange, void, void> {
    return changesOf(this.state.listeners, signal);
  }

  /** Has keys tried again that are stuck or deferred: all of them, or one. */
  retry(key?: string): void {
    for (const each of key === undefined ? this.state.notes.keys() : [key]) this.state.stir(each);
  }

  /** Stops. Local changes that were not sent stay in the storage. */
  async close(): Promise<void> {
    this.callOffTimer();
    this.stop.abort(new SyncError("closed", "the synchronizer was closed"));
    await Promise.allSettled([this.connecting, this.running, this.next, this.following]);
    await this.session?.close({ timeoutMs: 1000 }).catch(() => undefined);
    await this.state.locked(() => this.state.journal.close());
  }

  private isSynchronized(key: string): boolean {
    const rules = this.state.groups.of(key);
    return rules !== undefined && rules.direction !== "down";
  }

  /** Reads what an earlier run left. */
  private async begin(): Promise<void> {
    this.stop.signal.throwIfAborted();
    this.loaded ??= this.state.locked(async () => {
      const { journal } = this.state;
      await journal.load();
      for (const { key, by } of journal.lostAdds) this.state.unknown.push({ key, by: BigInt(by) });
      for (const [key, record] of journal.keys) if (isDirty(record)) this.state.unsure.add(key);
      if (journal.damaged.length > 0) this.options.onDamage?.([...journal.damaged]);
      if (journal.meta.place !== undefined && journal.damaged.length === 0) this.state.walksDone = 1;
    });
    this.loaded.catch(() => {
      this.loaded = undefined;
    });
    await this.loaded;
  }

  private async open(): Promise<void> {
    this.stop.signal.throwIfAborted();
    await this.begin();
    if (this.options.offline === true) {
      void this.keepTrying();
      return;
    }
    await this.greet();
    await this.listen();
    this.schedule();
  }

  /** Connects as soon as a node can be reached. */
  private async keepTrying(): Promise<void> {
    for (let wait = 200; ; wait = Math.min(wait * 2, 10_000)) {
      try {
        await this.greet();
        await this.listen();
        this.schedule();
        return;
      } catch (error) {
        if (this.stop.signal.aborted) return;
        this.fail(error);
        // A cluster that is not ours will not become it.
        if (error instanceof SyncError) return;
        await pause(this.clock, wait, this.stop.signal).catch(() => undefined);
      }
    }
  }

  /** Learns which cluster this is, and compares the clocks. */
  private async greet(): Promise<void> {
    const { signal } = this.stop;
    await adopt(this.state, this.local, await this.client.lineage({ signal }));
    await compareClocks(this.state, this.stop.signal, true);
    if (this.options.presence === true && this.session === undefined) {
      this.session = (await this.client.sessions.open(PRESENCE + (this.nodeId ?? ""), SESSION_TTL_MS, { signal })).keepAlive();
    }
    await this.findPeers();
  }

  private async findPeers(): Promise<void> {
    const { signal } = this.stop;
    const { members } = await this.client.status({ signal });
    this.state.nodes = members.map(({ name }) => name);
    // Without any figure the leader could not be asked. Otherwise it has not heard of a member without one.
    const known = members.some(({ silent_ms }) => silent_ms !== null);
    const answering = members.filter(({ silent_ms }) => !known || (silent_ms !== null && silent_ms < CONNECTED_MS)).map(({ name }) => name);
    const others = this.options.presence === true ? await this.client.sessions.list(PRESENCE, { signal }) : [];
    const all = [...answering, ...others.map(({ name }) => name.slice(PRESENCE.length))];
    this.peers = [...new Set(all)].filter((name) => name !== this.nodeId);
  }

  /** Begins the stream of changes; ends when it has begun. @throws if that takes longer than a request may */
  private listen(): Promise<void> {
    const ours = new AbortController();
    const stopped = () => ours.abort(this.stop.signal.reason);
    this.stop.signal.addEventListener("abort", stopped, { once: true });
    return new Promise((resolve, reject) => {
      const { place, clusterId } = this.state.journal.meta;
      const late = () => {
        ours.abort();
        reject(this.lastError ?? new Unreachable("no node began a stream of changes", { code: "unreachable", effect: "none" }));
      };
      const callOff = this.clock.after(this.client.transport.timeoutMs, late);
      const from = this.state.needsWalk ? undefined : place;
      const watch = this.client.watch({
        prefix: this.state.groups.prefixes.filter((prefix) => prefix !== ""),
        ...(from === undefined ? {} : { from }),
        ...(clusterId === undefined ? {} : { clusterId }),
        signal: ours.signal,
        onLost: (error) => {
          this.subscribed = false;
          this.fail(error);
        },
      });
      let isNew = from === undefined;
      const begun = () => {
        // Where no place was asked for, it may begin after what was read last.
        if (isNew) this.state.gaps++;
        isNew = false;
        callOff();
        resolve();
      };
      this.following = this.follow(watch, begun)
        .catch((error: unknown) => {
          this.subscribed = false;
          this.fail(error);
          reject(error);
        })
        .finally(() => {
          callOff();
          this.stop.signal.removeEventListener("abort", stopped);
          // After it has begun this changes nothing.
          reject(this.stop.signal.reason);
        });
    });
  }

  private async follow(watch: Watch, begun: () => void): Promise<void> {
    for await (const message of watch) {
      this.heardAt = this.clock.monotonic();
      switch (message.type) {
        case "subscribed":
          this.subscribed = true;
          begun();
          break;
        case "resync":
          this.state.tell({ cause: "resync" });
          this.state.walksWanted++;
          if (message.why === "history") this.state.gaps++;
          this.wake();
          break;
        case "change":
          // Changes of another history wait until this synchronizer is in it.
          if (!sameHistory(watch.cursor?.history ?? "", this.state.journal.meta.histories.at(-1) ?? "")) break;
          try {
            await this.state.locked(() => this.pull.hear(message));
          } catch (error) {
            this.fail(error);
          }
          break;
        case "bookmark":
          await this.state.locked(() => this.pull.advance(message.index, watch.cursor?.history ?? "", []));
      }
    }
  }

  /** A sync soon, if there are any by themselves. */
  private wake(): void {
    if (this.options.syncInterval === 0) return;
    this.sync().catch((error: unknown) => this.fail(error));
  }

  private schedule(): void {
    const interval = this.options.syncInterval ?? 5000;
    if (interval === 0 || this.stop.signal.aborted) return;
    this.callOffTimer = this.clock.after(interval, () => {
      const again = () => this.schedule();
      void this.request(false)
        .then(() => this.findPeers())
        .catch((error: unknown) => this.fail(error))
        .finally(again);
    });
  }

  /** All groups, or those whose interval has passed. */
  private dueGroups(full: boolean): ReadonlySet<string> {
    const now = this.clock.monotonic();
    const due = this.state.groups.all.filter(({ name, everyMs = 0 }) => full || now - (this.pushedAt.get(name) ?? -Infinity) >= everyMs);
    return new Set(due.map(({ name }) => name));
  }

  /** `full`: the changes of all groups are sent. */
  private request(full: boolean): Promise<void> {
    if (this.running === undefined) {
      const work = this.run(full).finally(() => {
        if (this.running === work) this.running = undefined;
      });
      this.running = work;
      return work;
    }
    // The one that runs may have looked for changes before the caller made his.
    this.nextIsFull ||= full;
    this.next ??= this.running
      .catch(() => undefined)
      .then(() => {
        const isFull = this.nextIsFull;
        this.next = this.running = undefined;
        this.nextIsFull = false;
        return this.request(isFull);
      });
    return this.next;
  }

  private async run(full: boolean): Promise<void> {
    const { signal } = this.stop;
    signal.throwIfAborted();
    await this.begin();
    const due = this.dueGroups(full);
    // What fails there concerns one key or one cache: the others go on.
    const [unread] = await this.state.locked(() => this.local.scan());
    if (this.state.journal.meta.clusterId === undefined) await adopt(this.state, this.local, await this.client.lineage({ signal }));
    await compareClocks(this.state, this.stop.signal);
    try {
      await this.exchange(due, signal);
    } catch (error) {
      if (!(error instanceof OtherHistory)) throw error;
      await adopt(this.state, this.local, await this.client.lineage({ signal }));
      await this.exchange(due, signal);
    }
    if (unread !== undefined) throw unread;
    for (const name of due) this.pushedAt.set(name, this.clock.monotonic());
    if (this.state.nothingWaits) this.lastSync = this.clock.wall();
    this.lastError = undefined;
  }

  private async exchange(due: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { state } = this;
    // A cache that fails for a key must not keep the others from the cluster, nor their changes.
    this.pull.failures = [];
    if (!state.needsWalk && !(await this.pull.changes(signal))) state.walksWanted++;
    for (let round = 0; state.needsWalk; round++) {
      // Changes come faster than they can be read: the next sync goes on.
      if (round === 3) throw new Error("what has changed could not be read before it was forgotten, three times");
      await this.inHistory(signal);
      await this.pull.walk(signal);
      if (this.pull.failures.length > 0) break;
      if (!(await this.pull.changes(signal))) state.walksWanted++;
    }
    await this.pull.askAgain(signal);
    await this.pull.confirmHints(signal);
    await this.push.repeat(signal);
    await this.push.send(due, signal);
    if (this.pull.failures.length > 0) throw this.pull.failures[0];
  }

  /** Before everything is read: the cluster may be in another history by now. */
  private async inHistory(signal: AbortSignal): Promise<void> {
    const known = this.state.journal.meta.histories.at(-1);
    const answered = this.client.transport.history;
    if (known !== undefined && answered !== undefined && sameHistory(known, answered)) return;
    await adopt(this.state, this.local, await this.client.lineage({ signal }));
  }

  private fail(error: unknown): void {
    if (this.stop.signal.aborted) return;
    this.lastError = error;
    this.options.onError?.(error);
  }
}

/** Where a cluster is looked for that nobody has named. */
function defaultUrls(): string {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.["LOCKSTEP_URLS"] ?? "http://127.0.0.1:5000";
}

