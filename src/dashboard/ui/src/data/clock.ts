// One clock for all ages and countdowns on the page, so that they tick together.

import { createStore, useStore } from './store'

/** Milliseconds that never jump: a wall clock that is set must not make data look old or new. */
export function monotonic(): number {
  return performance.now()
}

const tick = createStore(monotonic())
setInterval(() => tick.set(monotonic()), 1_000)

export function useClock(): number {
  return useStore(tick)
}
