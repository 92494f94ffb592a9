import type { Cursor } from "../watch.js";
import type { StoredValue } from "./codec.js";
import type { SyncStorage } from "./storage.js";
import { SyncError } from "./types.js";
import { encodeUtf8 } from "../values.js";

/** What both sides last agreed upon. */
export interface Base {
  /** Null: the key was absent. */
  revision: number | null;
  /** The index as of which that is known. */
  at: number;
  /** Of the value that the local caches have then; null: none. */
  hash: string | null;
  history: string;
  version: number;
  modifiedAtMs: number;
}

/** A local change that the cluster has not confirmed. */
export interface Intent {
  /** Rises with each. */
  seq: number;
  kind: "set" | "delete" | "add";
  value?: StoredValue;
  /** Of `add`, in decimal. */
  by?: string;
  /** This machine's clock; null: of unknown age. */
  atMs: number | null;
  /** Log time minus that clock, if it was known. */
  offsetMs: number | null;
  ttlMs?: number;
  /** Of an addition: the hashes of the value that it met in the caches, and of that which it put there. */
  made?: string[];
}

/** What of a key has to survive a crash. */
export interface KeyRecord {
  base?: Base | undefined;
  intent?: Intent | undefined;
  /** An earlier intent that was sent, and in which batch, if its outcome is not known yet. */
  inFlight?: { id: string; intent: Intent } | undefined;
  /** Hash of a value that a hint has put into the caches; null: the hint was a delete. */
  hint?: string | null | undefined;
}

/** Whether there is a local change that the cluster has not confirmed. */
export function isDirty({ intent, inFlight }: KeyRecord): boolean {
  return intent !== undefined || inFlight !== undefined;
}

/** An operation of a batch, with what was seen when it was sent. */
export interface BatchItem {
  key: string;
  intent: Intent;
  ifRevision?: number;
  ifAbsentSince?: number;
  ifPresent?: boolean;
  /** What was left of the TTL when it was sent: a batch that is repeated has to be the same, byte for byte. */
  ttlMs?: number;
}

/** A batch that was sent, or is about to be, under this idempotency key. */
export interface BatchRecord {
  id: string;
  /** The history that it is for, and an index that was known before it was first sent. */
  history: string;
  sentAfter: number;
  items: BatchItem[];
}

/** What is known of the cluster. */
export interface Meta {
  clusterId?: string | undefined;
  /** The histories that the cluster was in, oldest first. */
  histories: string[];
  /** Up to where all changes of others are applied. */
  place?: Cursor | undefined;
}

type Line =
  | ({ t: "m" } & Meta)
  | ({ t: "k"; k: string } & KeyRecord)
  | ({ t: "b" } & BatchRecord)
  | { t: "e"; id: string };

/** The durable state of a synchronizer: one checksummed line for each step. */
export class Journal {
  meta: Meta = { histories: [] };
  readonly keys = new Map<string, KeyRecord>();
  readonly batches = new Map<string, BatchRecord>();
  /** The highest number of an intent. */
  seq = 0;
  /** Lines that were damaged. */
  damaged: string[] = [];
  /** Additions of which a damaged line said whether they were counted. */
  lostAdds: { key: string; by: string }[] = [];
  private lines = 0;
  private writing: Promise<void> = Promise.resolve();
  /** A failed append may have left half a line, so everything is written anew. */
  private broken = false;
  /** From then on another process may have the storage. */
  private closed = false;

  constructor(private readonly storage: SyncStorage) {}

  /** Reads what an earlier run left. Damaged lines are set aside. */
  async load(): Promise<void> {
    const lines = await this.storage.load();
    this.lines = lines.length;
    for (const text of lines) {
      const line = parseLine(text);
      if (line === undefined) this.damaged.push(text);
      else this.replay(line);
    }
    this.mend();
    if (this.damaged.length === 0) return;
    // First they are safe elsewhere, then they go from here.
    await this.storage.setAside?.(this.damaged);
    await this.storage.replace(this.snapshot());
  }

  /** Notes these keys, as they are now, and more; ends when all of that survives a crash. */
  write(keys: Iterable<string>, more: { meta?: boolean; begin?: BatchRecord; end?: string } = {}): Promise<void> {
    const lines: string[] = [];
    if (more.begin !== undefined) lines.push(formatLine({ t: "b", ...more.begin }));
    for (const key of keys) lines.push(formatLine({ t: "k", k: key, ...this.keys.get(key) }));
    if (more.end !== undefined) lines.push(formatLine({ t: "e", id: more.end }));
    if (more.meta === true) lines.push(formatLine({ t: "m", ...this.meta }));
    if (lines.length === 0) return Promise.resolve();
    if (this.closed) return Promise.reject(new SyncError("closed", "the synchronizer was closed"));
    this.lines += lines.length;
    const work = async () => {
      try {
        if (this.broken || this.lines > 4 * (this.keys.size + this.batches.size) + 1000) {
          const all = this.snapshot();
          await this.storage.replace(all);
          this.lines = all.length;
        } else await this.storage.append(lines);
        this.broken = false;
      } catch (error) {
        this.broken = true;
        throw error;
      }
    };
    // In order, and one after the other, also after a failure.
    const written = this.writing.then(work, work);
    this.writing = written.catch(() => undefined);
    return written;
  }

  /** Ends when everything that was begun is written. */
  async close(): Promise<void> {
    this.closed = true;
    await this.writing;
    await this.storage.close?.();
  }

  private snapshot(): string[] {
    const lines = [formatLine({ t: "m", ...this.meta })];
    for (const batch of this.batches.values()) lines.push(formatLine({ t: "b", ...batch }));
    for (const [key, record] of this.keys) lines.push(formatLine({ t: "k", k: key, ...record }));
    return lines;
  }

  private replay(line: Line): void {
    switch (line.t) {
      case "m": {
        const { t: _, ...meta } = line;
        this.meta = meta;
        break;
      }
      case "k": {
        const { t: _, k, ...record } = line;
        // A key without anything has been forgotten.
        if (Object.keys(record).length === 0) this.keys.delete(k);
        else this.keys.set(k, record);
        this.seq = Math.max(this.seq, record.intent?.seq ?? 0);
        break;
      }
      case "b": {
        const { t: _, ...batch } = line;
        this.batches.set(batch.id, batch);
        for (const { intent } of batch.items) this.seq = Math.max(this.seq, intent.seq);
        break;
      }
      case "e":
        this.finish(line.id);
    }
  }

  /** A batch is done. Keys that still wait for it, because their own line was lost, get their intent back. */
  private finish(id: string): void {
    for (const { key } of this.batches.get(id)?.items ?? []) this.giveBack(key, id);
    this.batches.delete(id);
  }

  private giveBack(key: string, id: string): void {
    const record = this.keys.get(key);
    if (record?.inFlight?.id !== id) return;
    record.intent ??= record.inFlight.intent;
    delete record.inFlight;
    // It may have been carried out, so what was agreed upon before says nothing.
    delete record.base;
  }

  /** Brings keys and batches together where lines were lost. */
  private mend(): void {
    for (const batch of this.batches.values()) {
      for (const { key, intent } of batch.items) {
        const record = this.keys.get(key);
        if (record?.intent?.seq !== intent.seq) continue;
        record.inFlight = { id: batch.id, intent };
        delete record.intent;
      }
    }
    for (const [key, record] of this.keys) {
      this.seq = Math.max(this.seq, record.inFlight?.intent.seq ?? 0);
      if (record.inFlight === undefined || this.batches.has(record.inFlight.id)) continue;
      const { id, intent } = record.inFlight;
      if (intent.kind === "add") {
        this.lostAdds.push({ key, by: intent.by ?? "0" });
        delete record.inFlight;
      } else this.giveBack(key, id);
    }
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32 (as in gzip) of a text in UTF-8. */
export function crc32(text: string): number {
  let crc = 0xffffffff;
  for (const byte of encodeUtf8(text)) crc = (TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function formatLine(line: Line): string {
  const json = JSON.stringify(line);
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}`;
}

function parseLine(text: string): Line | undefined {
  const json = text.slice(9);
  if (text[8] !== " " || crc32(json).toString(16).padStart(8, "0") !== text.slice(0, 8)) return undefined;
  try {
    return JSON.parse(json) as Line;
  } catch {
    return undefined;
  }
}
