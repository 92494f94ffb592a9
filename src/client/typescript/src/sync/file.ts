import { type FileHandle, mkdir, open, readFile, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { SyncStorage } from "./storage.js";

/**
 * Keeps the journal in a file, and damaged lines in one beside it that ends in `.damaged`. A line counts once it is flushed to disk.
 * One process at a time: a lock file beside it says which.
 */
export class FileStorage implements SyncStorage {
  private file: FileHandle | undefined;
  private owned = false;

  constructor(private readonly path: string) {}

  /** @throws if another process that is alive has the journal open */
  async load(): Promise<string[]> {
    await mkdir(dirname(this.path), { recursive: true });
    await this.own();
    // Of a replacement that was not finished.
    await unlink(`${this.path}.new`).catch(() => undefined);
    const text = await readFile(this.path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    const lines = text.split("\n");
    // What comes after the last newline was not written to its end.
    const rest = lines.pop() ?? "";
    if (rest !== "") lines.push(rest);
    await this.reopen(rest !== "");
    return lines;
  }

  /** @throws if it is not open: another process may have it by now */
  async append(lines: readonly string[]): Promise<void> {
    this.mustBeOpen();
    const file = this.file ?? (await this.reopen(false));
    await file.appendFile(lines.map((line) => `${line}\n`).join(""));
    await file.datasync();
  }

  /** @throws as {@link append} */
  async replace(lines: readonly string[]): Promise<void> {
    this.mustBeOpen();
    const next = await open(`${this.path}.new`, "w", 0o600);
    try {
      await next.appendFile(lines.map((line) => `${line}\n`).join(""));
      await next.datasync();
    } finally {
      await next.close();
    }
    await this.file?.close();
    this.file = undefined;
    await rename(`${this.path}.new`, this.path);
    await syncFolder(dirname(this.path));
    await this.reopen(false);
  }

  async setAside(lines: readonly string[]): Promise<void> {
    const file = await open(`${this.path}.damaged`, "a", 0o600);
    try {
      await file.appendFile(lines.map((line) => `${line}\n`).join(""));
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  async close(): Promise<void> {
    await this.file?.close();
    this.file = undefined;
    if (this.owned) await unlink(`${this.path}.lock`).catch(() => undefined);
    this.owned = false;
  }

  private mustBeOpen(): void {
    if (!this.owned) throw new Error(`${this.path} is not open`);
  }

  private async reopen(endLine: boolean): Promise<FileHandle> {
    await this.file?.close();
    this.file = await open(this.path, "a", 0o600);
    if (endLine) await this.file.appendFile("\n");
    return this.file;
  }

  /** Two processes that append to one journal would mix their lines. */
  private async own(): Promise<void> {
    if (this.owned) return;
    for (let round = 0; round < 2; round++) {
      try {
        const lock = await open(`${this.path}.lock`, "wx", 0o600);
        await lock.appendFile(String(process.pid));
        await lock.close();
        this.owned = true;
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        const pid = Number(await readFile(`${this.path}.lock`, "utf8").catch(() => ""));
        if (pid > 0 && pid !== process.pid && isAlive(pid)) throw new Error(`${this.path} is open in the process ${pid}`);
        await unlink(`${this.path}.lock`).catch(() => undefined);
      }
    }
    throw new Error(`${this.path}.lock cannot be taken`);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
