/** Time, as the parts of this package see it. Tests put a clock of their own in its place. */
export interface Clock {
  /** Milliseconds on a clock that never goes back; its zero means nothing. */
  monotonic(): number;
  /** Milliseconds since 1970 by this machine's wall clock. */
  wall(): number;
  /** Calls `then` after so many milliseconds; the answer calls it off. Does not keep a process alive. */
  after(ms: number, then: () => void): () => void;
}

/** The machine's own clocks. */
export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(ms, then) {
    // Longer ones would overflow and run at once.
    const timer: unknown = setTimeout(then, Math.min(ms, 0x7fffffff));
    if (typeof timer === "object" && timer !== null && "unref" in timer) (timer as { unref(): void }).unref();
    return () => clearTimeout(timer as ReturnType<typeof setTimeout>);
  },
};

/** Milliseconds to wait with a timer that keeps the process alive: somebody awaits the end of it. */
function held(clock: Clock, ms: number, then: () => void): () => void {
  if (clock !== systemClock) return clock.after(ms, then);
  const timer = setTimeout(then, Math.min(ms, 0x7fffffff));
  return () => clearTimeout(timer);
}

/**
 * Waits so many milliseconds.
 * @throws the signal's reason, as soon as it is aborted.
 */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const aborted = () => {
      callOff();
      reject(signal?.reason);
    };
    const callOff = held(clock, ms, () => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    });
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** A signal that is aborted with `reason` after `ms`, or with the outer signal's own reason. Call `done` in the end. */
export function timeLimit(
  clock: Clock,
  ms: number,
  outer: AbortSignal | undefined,
  reason: () => unknown,
): { signal: AbortSignal; restart: (ms: number) => void; done: () => void } {
  const controller = new AbortController();
  const aborted = () => controller.abort(outer?.reason);
  if (outer?.aborted) aborted();
  outer?.addEventListener("abort", aborted, { once: true });
  let callOff = held(clock, ms, () => controller.abort(reason()));
  return {
    signal: controller.signal,
    restart: (ms) => {
      callOff();
      callOff = held(clock, ms, () => controller.abort(reason()));
    },
    done: () => {
      callOff();
      outer?.removeEventListener("abort", aborted);
    },
  };
}
