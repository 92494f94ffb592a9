import type { FakeClock } from "./clock.js";
import type { FakeCluster } from "./fake.js";

/** Puts time between a client and a fake cluster: answers and messages of streams arrive late. */
export function delayed(cluster: FakeCluster, clock: FakeClock, delay: (what: "request" | "answer" | "stream") => number): typeof fetch {
  const sleep = (ms: number) => (ms <= 0 ? Promise.resolve() : new Promise<void>((resolve) => void clock.after(ms, resolve)));
  return (async (input: string, init: RequestInit) => {
    await sleep(delay("request"));
    const response = await cluster.fetch(input, init);
    await sleep(delay("answer"));
    if (response.headers.get("content-type") !== "text/event-stream") return response;
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const parts: { at: number; part: Uint8Array | undefined; error?: unknown }[] = [];
    let wake = () => {};
    const read = async () => {
      let last = 0;
      for (;;) {
        // In order, however long each takes.
        let part: Uint8Array | undefined;
        let error: unknown;
        try {
          part = (await reader.read()).value;
        } catch (caught) {
          error = caught;
        }
        last = Math.max(last, clock.monotonic() + delay("stream"));
        parts.push({ at: last, part, error });
        wake();
        if (part === undefined) return;
      }
    };
    void read();
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          while (parts.length === 0) await new Promise<void>((resolve) => (wake = resolve));
          const { at, part, error } = parts.shift() as (typeof parts)[number];
          await sleep(at - clock.monotonic());
          if (error !== undefined) controller.error(error);
          else if (part === undefined) controller.close();
          else controller.enqueue(part);
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { headers: response.headers });
  }) as typeof fetch;
}

/** Random numbers from a seed (mulberry32), so that a run can be repeated. */
export class Random {
  constructor(private state: number) {}

  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
}

/** The seeds of a randomized test: new ones, LOCKSTEP_RUNS in number, or the one that LOCKSTEP_SEED repeats. */
export function seeds(count: number): number[] {
  const given = process.env["LOCKSTEP_SEED"];
  if (given !== undefined) return [Number(given)];
  return Array.from({ length: Number(process.env["LOCKSTEP_RUNS"] ?? count) }, () => Math.floor(Math.random() * 2 ** 31));
}
