import type { BatchResult, Op, OpResult } from "../batch.js";
import { BatchRoom } from "../batch.js";
import { LockstepError, OtherHistory, OutcomeUnknown, passes } from "../errors.js";
import { randomId } from "../values.js";
import { type Encoded, fromStored } from "./codec.js";
import type { BatchItem, BatchRecord, Intent } from "./journal.js";
import { Judge } from "./judge.js";
import { added, type LocalCaches } from "./local.js";
import type { Pull } from "./pull.js";
import { Queue } from "./queue.js";
import { indexOf, knownAt, type Remote, type State } from "./state.js";


/** Sends local changes. */
export class Push {
  /** Begins the idempotency keys of this run. */
  private readonly run = randomId();
  private batches = 0;
  private readonly judge: Judge;

  constructor(
    private readonly state: State,
    private readonly local: LocalCaches,
    private readonly pull: Pull,
  ) {
    this.judge = new Judge(state, local, pull);
  }

  /** Sends batches again whose outcome is not known: under the same idempotency keys. */
  async repeat(signal: AbortSignal): Promise<void> {
    const { state } = this;
    for (const batch of [...state.journal.batches.values()]) {
      if (batch.history !== state.journal.meta.histories.at(-1)) {
        await this.lookAfter(batch, signal);
        continue;
      }
      try {
        await this.finish(batch, await this.request(batch, signal));
      } catch (error) {
        if (!(error instanceof LockstepError) || error instanceof OutcomeUnknown || error instanceof OtherHistory || passes(error)) throw error;
        await this.lookAfter(batch, signal);
      }
    }
  }

  /**
   * Sends what waits, in rounds: what is refused is decided anew by what the cluster has then. `due`: the groups whose changes
   * are to be sent now.
   * @throws LockstepError if no node could be reached, or an outcome is unknown
   */
  async send(due: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { state } = this;
    const rounds = new Map<string, number>();
    for (;;) {
      const waiting = await state.locked(async () => this.waiting(due, rounds));
      if (waiting.length === 0) return;
      await this.learn(waiting, signal);
      await this.judge.ask(waiting, signal);
      const queue = new Queue(waiting, (key) => state.groups.of(key)?.priority ?? 0);
      for (;;) {
        const batch = await state.locked(() => this.nextBatch(queue));
        if (batch === undefined) break;
        await this.carryOut(batch, signal);
      }
      // Whatever became of it, a key gets no more rounds than this.
      for (const key of waiting) rounds.set(key, (rounds.get(key) ?? 0) + 1);
    }
  }

  /** Keys with a local change that can be sent, oldest first. Marks those that have used up their rounds. */
  private waiting(due: ReadonlySet<string>, rounds: Map<string, number>): string[] {
    const { state } = this;
    const found: { key: string; seq: number }[] = [];
    for (const [key, { intent, inFlight }] of state.journal.keys) {
      if (intent === undefined || inFlight !== undefined) continue;
      const rules = state.groups.of(key);
      const notes = state.notes.get(key);
      if (rules === undefined || rules.direction === "down" || !due.has(rules.name)) continue;
      if (notes?.stuck !== undefined || notes?.unresolved !== undefined) continue;
      if ((rounds.get(key) ?? 0) > (state.options.retries ?? 3)) {
        state.note(key).stuck = "the key changed again and again";
        continue;
      }
      found.push({ key, seq: intent.seq });
    }
    return found.sort((one, other) => one.seq - other.seq).map(({ key }) => key);
  }

  /** Reads what has to be known to decide: keys of which nothing is known, and values that were only told of. */
  private async learn(keys: readonly string[], signal: AbortSignal): Promise<void> {
    const { state } = this;
    const open = keys.filter((key) => {
      const remote = state.notes.get(key)?.remote;
      if (remote === undefined) return state.journal.keys.get(key)?.base === undefined;
      return remote.found && remote.value === undefined;
    });
    if (open.length === 0) return;
    const read = await state.readKeys(open, signal);
    await state.locked(async () => {
      for (const { key, remote } of read) {
        const notes = state.note(key);
        if (notes.remote === undefined || indexOf(notes.remote) <= knownAt(remote)) notes.remote = remote;
      }
    });
  }

  /** Decides about keys from the queue until a batch is full. Call it in a turn. */
  private async nextBatch(queue: Queue): Promise<BatchRecord | undefined> {
    const { state } = this;
    const items: BatchItem[] = [];
    const touched = new Set<string>();
    const most = Math.min(Math.max(state.options.batchSize ?? 100, 1), 1024);
    const room = new BatchRoom(most);
    const history = state.journal.meta.histories.at(-1) ?? "";
    queue.nextBatch();
    while (items.length < most) {
      const key = queue.next();
      if (key === undefined) break;
      const record = state.journal.keys.get(key);
      if (record?.intent === undefined || record.inFlight !== undefined) continue;
      const remote = this.judge.seen(key, record);
      // Learned of too late, or not decided by the application yet: the next round.
      if (remote === undefined || (remote.found && remote.value === undefined && state.notes.get(key)?.remote !== undefined)) continue;
      const item = await this.judge.itemFor(key, record, record.intent, remote, touched);
      if (item === undefined) continue;
      if (!room.take(this.opOf(item, history))) {
        queue.putBack(key);
        break;
      }
      items.push(item);
    }
    if (items.length === 0) {
      await state.journal.write(touched);
      return undefined;
    }
    const id = `${this.run}-${++this.batches}`;
    const batch: BatchRecord = { id, history, sentAfter: state.knownIndex, items };
    for (const { key, intent } of items) {
      const record = state.record(key);
      record.inFlight = { id, intent };
      delete record.intent;
      touched.add(key);
    }
    state.journal.batches.set(id, batch);
    try {
      // Before it is sent: after a crash the same batch is sent again, under the same key.
      await state.journal.write(touched, { begin: batch });
    } catch (error) {
      this.giveBack(batch);
      state.journal.batches.delete(id);
      throw error;
    }
    return batch;
  }

  /** The operation as it is sent to a cluster in this history. */
  private opOf({ key, intent, ifRevision, ifAbsentSince: index, ifPresent, ttlMs }: BatchItem, history: string): Op {
    // In another history the index would say something else.
    const ifAbsentSince = index === undefined ? undefined : `${index}@${history}`;
    if (intent.kind === "delete") return { op: "delete", key, ifRevision };
    if (intent.kind === "add") return { op: "incr", key, by: BigInt(intent.by ?? "0"), ifPresent, ifAbsentSince };
    const { body, contentType } = fromStored(intent.value ?? {});
    return { op: "put", key, value: body, contentType: contentType ?? undefined, ttlMs, ifRevision, ifAbsentSince };
  }

  private request(batch: BatchRecord, signal: AbortSignal): Promise<BatchResult> {
    const ops = batch.items.map((item) => this.opOf(item, batch.history));
    const sentAfter = { index: batch.sentAfter, history: batch.history };
    return this.state.client.batch(ops, { mode: "each", idempotencyKey: batch.id, sentAfter, signal });
  }

  /** Sends a batch, and sees to its answer. */
  private async carryOut(batch: BatchRecord, signal: AbortSignal): Promise<void> {
    const { state } = this;
    let result: BatchResult;
    try {
      result = await this.request(batch, signal);
    } catch (error) {
      // Unknown: the batch stays open, and is repeated.
      if (!(error instanceof LockstepError) || error.effect === "unknown") throw error;
      // What a node said is about the changes. What something on the way to it says, a proxy, may pass.
      const isElsewhere =
        error.problem === undefined || passes(error) || error instanceof OtherHistory || error.code === "unauthorized";
      await state.locked(async () => {
        this.giveBack(batch);
        state.journal.batches.delete(batch.id);
        if (!isElsewhere) this.blame(batch, error);
        await state.journal.write(batch.items.map(({ key }) => key), { end: batch.id });
      });
      if (isElsewhere) throw error;
      return;
    }
    await this.finish(batch, result);
  }

  /** The whole batch was refused: the operation at fault is stuck, and so the others can go on. */
  private blame(batch: BatchRecord, error: LockstepError): void {
    const at = error.problem?.op;
    const guilty = at === undefined ? batch.items : batch.items.slice(at, at + 1);
    for (const { key } of guilty) this.state.note(key).stuck = `${error.code}: ${error.message}`;
  }

  /** The batch was not carried out: its changes wait again. Newer ones of the same keys take their place, or add to them. */
  private giveBack(batch: BatchRecord): void {
    for (const { key, intent } of batch.items) this.restore(key, batch.id, intent);
  }

  private restore(key: string, id: string, intent: Intent): void {
    const record = this.state.record(key);
    if (record.inFlight?.id !== id) return;
    delete record.inFlight;
    const newer = record.intent;
    // That it makes a number was seen to when it was accepted.
    record.intent = newer === undefined ? intent : newer.kind === "add" ? (added(intent, newer) ?? newer) : newer;
  }

  /** Sees to the answer of a batch: each operation by itself. */
  private async finish(batch: BatchRecord, answer: BatchResult): Promise<void> {
    const { state } = this;
    await state.locked(async () => {
      // Otherwise it stays open, and is looked after in that history.
      state.inHistory(answer.history);
      state.heardOf = Math.max(state.heardOf, answer.revision);
      const touched = new Set<string>();
      let failed: unknown;
      let open = 0;
      for (const [at, item] of batch.items.entries()) {
        try {
          await this.finishOne(batch, item, answer.results[at] as OpResult, answer.revision, touched);
        } catch (error) {
          // A cache failed: the batch stays open, and its answer is asked for again.
          if (open++ === 0) failed = error;
        }
      }
      if (open === 0) state.journal.batches.delete(batch.id);
      await state.journal.write(touched, open === 0 ? { end: batch.id } : {});
      if (open > 0) throw failed;
    });
  }

  private async finishOne(batch: BatchRecord, { key, intent }: BatchItem, result: OpResult, revision: number, touched: Set<string>): Promise<void> {
    const { state } = this;
    const record = state.record(key);
    if (record.inFlight?.id !== batch.id) return;
    if (result.op !== "get" && result.refused !== undefined) {
      const { refused } = result;
      this.restore(key, batch.id, intent);
      touched.add(key);
      const notes = state.note(key);
      if (refused.code !== "precondition_failed") notes.stuck = `${refused.code}: ${refused.detail}`;
      const remote: Remote = refused.entry === null ? { found: false, gone: refused.gone, asOf: revision } : state.remoteOf(refused.entry, refused.hasValue);
      if (notes.remote === undefined || indexOf(notes.remote) < indexOf(remote)) notes.remote = remote;
      return;
    }
    const value: Encoded | null =
      result.op === "incr" ? { body: String(result.value), contentType: null } : intent.kind === "delete" ? null : fromStored(intent.value ?? {});
    const rules = state.groups.of(key);
    const newer = record.intent !== undefined;
    // The other caches get it; if one has a change of its own, that is the next local change.
    if (!newer) await this.local.apply(key, value, { everywhere: rules?.mode === "mirror" });
    const known = state.notes.get(key)?.remote;
    const remote: Remote =
      value === null
        ? { found: false, gone: null, asOf: revision }
        : { found: true, revision, version: (record.base?.version ?? 0) + 1, modifiedAtMs: state.logNow, origin: null, value, hash: state.localHash(value) };
    record.base = this.judge.baseOf(remote, value === null ? null : state.localHash(value));
    delete record.inFlight;
    touched.add(key);
    state.tell({ key, cause: value === null ? "delete" : "set", origin: "local", revision, value: value === null ? undefined : state.decode(value) });
    if (known === undefined || indexOf(known) <= revision) {
      state.notes.delete(key);
    } else if (record.intent === undefined) {
      state.notes.delete(key);
      await this.pull.take(key, known, known.found ? "set" : (known.gone?.cause ?? "delete"), touched);
    }
  }

  /** A batch whose idempotency key is not remembered any more: what the cluster has tells what became of it, except of additions. */
  private async lookAfter(batch: BatchRecord, signal: AbortSignal): Promise<void> {
    const { state } = this;
    const keys = batch.items.map(({ key }) => key).filter((key) => state.journal.keys.get(key)?.inFlight?.id === batch.id);
    const read = await state.readKeys(keys, signal);
    await state.locked(async () => {
      const touched = new Set<string>();
      for (const { key, remote, cause } of read) {
        const record = state.record(key);
        if (record.inFlight?.id !== batch.id) continue;
        const { intent } = record.inFlight;
        touched.add(key);
        if (intent.kind === "add") {
          state.unknown.push({ key, by: BigInt(intent.by ?? "0") });
          if (record.intent === undefined) await this.pull.settle(key, record, remote, cause, touched);
          else state.note(key).remote = remote;
          delete record.inFlight;
          continue;
        }
        const done = remote.found ? this.judge.isEqual(intent, remote) : intent.kind === "delete";
        if (done && record.intent === undefined) {
          await this.local.apply(key, remote.found ? (remote.value ?? null) : null, { everywhere: state.groups.of(key)?.mode === "mirror" });
        }
        if (done) {
          record.base = this.judge.baseOf(remote, remote.found ? (remote.hash ?? null) : null);
          delete record.inFlight;
          state.notes.delete(key);
        } else {
          this.restore(key, batch.id, intent);
          state.note(key).remote = remote;
        }
      }
      state.journal.batches.delete(batch.id);
      await state.journal.write(touched, { end: batch.id });
    });
  }

}
