/** Where a synchronizer keeps its journal: lines of text, which are appended, and now and then all replaced. */
export interface SyncStorage {
  /** All lines, oldest first. */
  load(): Promise<string[]>;
  /** Appends lines. Ends when they survive a crash. */
  append(lines: readonly string[]): Promise<void>;
  /** Replaces all lines. After a crash either the old ones or the new ones are there. */
  replace(lines: readonly string[]): Promise<void>;
  /** Keeps damaged lines for people to look at. */
  setAside?(lines: readonly string[]): Promise<void>;
  close?(): Promise<void>;
}

/** Keeps the journal in memory: what was not sent when the process ends is lost. */
export class MemoryStorage implements SyncStorage {
  lines: string[] = [];
  aside: string[] = [];

  async load(): Promise<string[]> {
    return [...this.lines];
  }

  async append(lines: readonly string[]): Promise<void> {
    for (const line of lines) this.lines.push(line);
  }

  async replace(lines: readonly string[]): Promise<void> {
    this.lines = [...lines];
  }

  async setAside(lines: readonly string[]): Promise<void> {
    this.aside.push(...lines);
  }
}

/** Keeps the journal in a browser's IndexedDB, with `durability: "strict"`. */
export class IndexedDbStorage implements SyncStorage {
  private database: Promise<IDBDatabase> | undefined;

  constructor(private readonly name = "lockstep-sync") {}

  async load(): Promise<string[]> {
    const database = await this.open();
    return (await result(database.transaction("lines").objectStore("lines").getAll())) as string[];
  }

  append(lines: readonly string[]): Promise<void> {
    return this.write((transaction) => {
      for (const line of lines) transaction.objectStore("lines").add(line);
    });
  }

  replace(lines: readonly string[]): Promise<void> {
    return this.write((transaction) => {
      const store = transaction.objectStore("lines");
      store.clear();
      for (const line of lines) store.add(line);
    });
  }

  setAside(lines: readonly string[]): Promise<void> {
    return this.write((transaction) => {
      for (const line of lines) transaction.objectStore("aside").add(line);
    });
  }

  async close(): Promise<void> {
    (await this.database)?.close();
    this.database = undefined;
  }

  private open(): Promise<IDBDatabase> {
    this.database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(this.name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("lines", { autoIncrement: true });
        request.result.createObjectStore("aside", { autoIncrement: true });
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error ?? new Error("IndexedDB cannot be opened"));
    });
    return this.database;
  }

  private async write(work: (transaction: IDBTransaction) => void): Promise<void> {
    const transaction = (await this.open()).transaction(["lines", "aside"], "readwrite", { durability: "strict" });
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
      work(transaction);
    });
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB cannot be read"));
  });
}
