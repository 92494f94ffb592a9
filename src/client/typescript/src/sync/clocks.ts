import type { State } from "./state.js";

/** How old a comparison of the clocks may be. */
const CLOCK_MS = 60_000;

/** Learns the difference between log time and this machine's clock, if it is not known, is old, or one of the clocks was set. */
export async function compareClocks(state: State, signal: AbortSignal, anyway = false): Promise<void> {
  const { clock, offset } = state;
  if (!anyway && offset !== undefined) {
    const passed = clock.monotonic() - offset.monotonic;
    // A wall clock that was set shows as a difference between the two clocks.
    if (passed < CLOCK_MS && Math.abs(clock.wall() - offset.wall - passed) < 50) return;
  }
  const { timeMs, askedAt, answeredAt } = await state.client.time({ signal: signal });
  state.offset = {
    offsetMs: timeMs - (askedAt + answeredAt) / 2,
    errorMs: (answeredAt - askedAt) / 2,
    wall: clock.wall(),
    monotonic: clock.monotonic(),
  };
}
