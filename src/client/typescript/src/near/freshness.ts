/** How long an estimate of the difference between two clocks is used, in milliseconds: clocks drift apart. */
const WINDOW_MS = 300_000;

/**
 * Up to when what a cache holds is known to have been the truth, on the local monotonic clock. Never too late: a message that was
 * long on its way proves nothing about the present, so its log time is compared with that of answers to the client's own requests.
 */
export class Freshness {
  private at = -Infinity;
  /** Log times of answers: at log time `log`, the local clock was past `local`. The newest two windows' best. */
  private best = -Infinity;
  private bestBefore = -Infinity;
  private windowEnds = -Infinity;
  /** Answers of the cluster that the stream has not reached yet: the oldest and the newest. */
  private waiting: { index: number; sentAt: number }[] = [];

  /** Everything told up to the stream's place was the whole truth at this moment, at least. */
  get confirmedAt(): number {
    return this.at;
  }

  /** An answer to a request that was sent at `sentAt` had this log time. */
  sample(sentAt: number, logMs: number | undefined): void {
    if (logMs === undefined) return;
    if (sentAt > this.windowEnds) {
      this.bestBefore = this.windowEnds + WINDOW_MS < sentAt ? -Infinity : this.best;
      this.best = -Infinity;
      this.windowEnds = sentAt + WINDOW_MS;
    }
    // Log time is cut to whole milliseconds: it may have been almost one more.
    this.best = Math.max(this.best, sentAt - logMs - 1);
  }

  /** The earliest local time that this log time can have been; undefined if nothing is known of that `now`. */
  localTime(logMs: number, now: number): number | undefined {
    const best = now <= this.windowEnds + WINDOW_MS ? this.best : -Infinity;
    const offset = Math.max(best, now <= this.windowEnds ? this.bestBefore : -Infinity);
    return offset === -Infinity ? undefined : logMs + offset;
  }

  /** A majority confirmed at log time `logMs` what was told up to now, and that arrived at `now`. */
  confirmed(now: number, logMs: number | undefined): void {
    let at = now;
    if (logMs !== undefined) {
      const earliest = this.localTime(logMs, now);
      // It may have been on its way for any time.
      if (earliest === undefined) return;
      if (earliest > now + 1) {
        // Log time has leapt: what is known of the difference is wrong.
        this.best = this.bestBefore = this.windowEnds = -Infinity;
        return;
      }
      at = Math.min(now, earliest);
    }
    this.at = Math.max(this.at, at);
  }

  /** A linearizable answer at `index` to a request that was sent at `sentAt`; the stream is at `place`. */
  answered(index: number, sentAt: number, place: number): void {
    if (place >= index) {
      this.at = Math.max(this.at, sentAt);
      return;
    }
    if (this.waiting.length >= 2) this.waiting.pop();
    this.waiting.push({ index, sentAt });
  }

  /** The stream has reached this index. */
  reached(index: number): void {
    while (this.waiting[0] !== undefined && this.waiting[0].index <= index) {
      this.at = Math.max(this.at, (this.waiting.shift() as { sentAt: number }).sentAt);
    }
  }

  /** Nothing is known any more. */
  reset(): void {
    this.at = -Infinity;
    this.best = this.bestBefore = this.windowEnds = -Infinity;
    this.waiting = [];
  }
}
