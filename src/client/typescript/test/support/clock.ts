import type { Clock } from "../../src/index.js";

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  now = 1_000;
  /** How far the wall clock is from 1 January 2026. */
  skew = 0;
  private timers: { at: number; then: () => void }[] = [];

  monotonic(): number {
    return this.now;
  }

  wall(): number {
    return 1_767_225_600_000 + this.now + this.skew;
  }

  /** Log time of a fake cluster: this clock without its skew. */
  readonly logTime = (): number => 1_767_225_600_000 + this.now;

  after(ms: number, then: () => void): () => void {
    const timer = { at: this.now + ms, then };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** Moves on, and runs the timers whose time has come, in order; what they began runs in between. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const due = this.timers.filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((other) => other !== due);
      this.now = Math.max(this.now, due.at);
      due.then();
    }
    this.now = end;
    await settle();
  }

  /** Moves on from timer to timer until `work` has ended. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let ended = false;
    const end = () => {
      ended = true;
    };
    work.then(end, end);
    for (let step = 0; !ended; step++) {
      if (step > 100_000) throw new Error("it does not end");
      await settle();
      if (ended) break;
      const next = this.timers.sort((one, other) => one.at - other.at).shift();
      if (next === undefined) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      this.now = Math.max(this.now, next.at);
      next.then();
    }
    return work;
  }
}

/** Lets everything run that needs no time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
}
