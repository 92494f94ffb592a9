import type { SyncChange } from "./types.js";

const CHANGES_WAITING_MAX = 10_000;

/** Changes as they are told, until the signal is aborted. Who is slower than 10,000 of them gets `resync` in place of those that he missed. */
export async function* changesOf(listeners: Set<(change: SyncChange) => void>, signal: AbortSignal): AsyncGenerator<SyncChange, void, void> {
  let queue: SyncChange[] = [];
  let wake = () => {};
  const hear = (change: SyncChange) => {
    if (queue.length >= CHANGES_WAITING_MAX) queue = [{ cause: "resync" }];
    queue.push(change);
    wake();
  };
  const aborted = () => wake();
  listeners.add(hear);
  signal.addEventListener("abort", aborted, { once: true });
  try {
    for (;;) {
      const all = queue;
      queue = [];
      yield* all;
      if (signal.aborted) return;
      if (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    listeners.delete(hear);
    signal.removeEventListener("abort", aborted);
  }
}
