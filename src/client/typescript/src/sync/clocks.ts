import type { State } from "./state.js";

/** How old a comparison of the clocks may be. */
const CLOCK_MS = 60_000;

/** A wall clock that is further off than that was set, in milliseconds. */
const CLOCK_SET_MS = 50;

/** Log time minus this machine's clock, in milliseconds; null if it is not known, or the clock was set since it was. */
export function currentOffset({ clock, offset }: State): number | null {
  if (offset === undefined) return null;
  const passed = clock.monotonic() - offset.monotonic;
  // It shows as a difference between the two clocks of this machine.
  return Math.abs(clock.wall() - offset.wall - passed) < CLOCK_SET_MS ? offset.offsetMs : null;
}

/** Learns the difference between log time and this machine's clock, if it is not known, is old, or one of the clocks was set. */
export async function compareClocks(state: State, signal: AbortSignal, anyway = false): Promise<void> {
  const { clock, offset } = state;
  const isRecent = offset !== undefined && clock.monotonic() - offset.monotonic < CLOCK_MS;
  if (!anyway && isRecent && currentOffset(state) !== null) return;
  const { timeMs, askedAt, answeredAt } = await state.client.time({ signal: signal });
  state.offset = {
    offsetMs: timeMs - (askedAt + answeredAt) / 2,
    errorMs: (answeredAt - askedAt) / 2,
    wall: clock.wall(),
    monotonic: clock.monotonic(),
  };
}
