import type { Entry } from "../entry.js";

/** What is held of a key. Times are on the monotonic clock, in milliseconds. */
export interface Slot {
  /** Null: there is no such key. */
  entry: Entry | null;
  /** The log index up to which this is known to be true. */
  asOf: number;
  /** When it was asked for: it was true after that. */
  checkedAt: number;
  /** When it expires; Infinity if it does not. */
  expiresAt: number;
  /** Used since the store last looked for what to evict. */
  used: boolean;
  bytes: number;
}

/** About the bytes that a key without a value takes. */
const ABSENT_BYTES = 200;

/**
 * Slots up to a number and a size. When it is full it evicts what was not used since it last came round ("clock", second chance):
 * so a hit costs no more than setting a flag.
 */
export class Store {
  private readonly slots = new Map<string, Slot>();
  private total = 0;
  evictions = 0;

  constructor(
    private readonly entriesMax: number,
    private readonly bytesMax: number,
  ) {}

  get size(): number {
    return this.slots.size;
  }

  get bytes(): number {
    return this.total;
  }

  get(key: string): Slot | undefined {
    return this.slots.get(key);
  }

  set(key: string, entry: Entry | null, asOf: number, checkedAt: number, expiresAt: number): void {
    const bytes = entry === null ? ABSENT_BYTES + key.length * 2 : entry.size;
    this.delete(key);
    // What alone is larger than the whole store would only push everything else out.
    if (bytes > this.bytesMax) return;
    this.slots.set(key, { entry, asOf, checkedAt, expiresAt, used: false, bytes });
    this.total += bytes;
    while (this.slots.size > this.entriesMax || this.total > this.bytesMax) this.evict();
  }

  delete(key: string): void {
    const slot = this.slots.get(key);
    if (slot === undefined) return;
    this.slots.delete(key);
    this.total -= slot.bytes;
  }

  clear(): void {
    this.slots.clear();
    this.total = 0;
  }

  /** The keys that are held. Those that are deleted meanwhile are left out. */
  keys(): IterableIterator<string> {
    return this.slots.keys();
  }

  private evict(): void {
    for (const [key, slot] of this.slots) {
      if (!slot.used) {
        this.evictions++;
        this.delete(key);
        return;
      }
      slot.used = false;
      // To the end of the order: the loop meets it again if all were used.
      this.slots.delete(key);
      this.slots.set(key, slot);
    }
  }
}
