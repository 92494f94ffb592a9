/** Keys in the order in which they are sent: by priority, but every eighth batch begins with the lowest, so that nothing waits for ever. */
export class Queue {
  /** By falling priority; within one as they came. */
  private readonly lanes: string[][];
  private batch = 0;
  private lowest = false;
  private last: string[] | undefined;

  constructor(keys: readonly string[], priority: (key: string) => number) {
    const lanes = new Map<number, string[]>();
    for (const key of keys) {
      const of = priority(key);
      const lane = lanes.get(of);
      if (lane === undefined) lanes.set(of, [key]);
      else lane.push(key);
    }
    this.lanes = [...lanes].sort(([one], [other]) => other - one).map(([, lane]) => lane.reverse());
  }

  /** Another batch begins. */
  nextBatch(): void {
    this.batch++;
    this.lowest = this.batch % 8 === 0;
  }

  next(): string | undefined {
    const lanes = this.lowest ? [...this.lanes].reverse() : this.lanes;
    this.last = lanes.find((lane) => lane.length > 0);
    return this.last?.pop();
  }

  /** The key that came last found no room: it is the first of its lane again. */
  putBack(key: string): void {
    this.last?.push(key);
  }
}
