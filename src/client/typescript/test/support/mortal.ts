import type { CacheInstance, SyncStorage } from "../../src/sync/index.js";

/** A process that dies at its n-th call to the outside, before or after that call is done; every later call fails. */
export class Mortal {
  calls = 0;
  dead = false;

  constructor(
    private readonly dieAt = Infinity,
    private readonly after = false,
  ) {}

  kill(): void {
    this.dead = true;
  }

  private async call<T>(work: () => Promise<T>): Promise<T> {
    if (this.dead) throw new Error("the process is dead");
    const last = ++this.calls === this.dieAt;
    if (last && !this.after) {
      this.dead = true;
      throw new Error("the process has died");
    }
    if (last) this.dead = true;
    const result = await work();
    if (this.dead) throw new Error("the process has died");
    return result;
  }

  fetch(inner: typeof fetch): typeof fetch {
    return ((input: string, init: RequestInit) => this.call(() => inner(input, init))) as typeof fetch;
  }

  storage(inner: SyncStorage): SyncStorage {
    return {
      load: () => this.call(() => inner.load()),
      append: (lines) => this.call(() => inner.append(lines)),
      replace: (lines) => this.call(() => inner.replace(lines)),
      setAside: (lines) => this.call(async () => inner.setAside?.(lines)),
    };
  }

  cache(inner: CacheInstance): CacheInstance {
    return {
      get: (key) => this.call(() => inner.get(key)),
      set: (key, value) => this.call(() => inner.set(key, value)),
      delete: (key) => this.call(() => inner.delete(key)),
      getKeys: () => this.call(() => inner.getKeys()),
    };
  }
}
