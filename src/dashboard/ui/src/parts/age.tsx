// How old something is. Old data is said to be old, in words and in colour.

import { useClock } from '../data/clock'
import { coarse } from '../format'

/** Older than this is no more "now" for data that is asked for every second or two. */
export const STALE_S = 6

export function Age({ at }: { at: number | null }) {
  const now = useClock()
  if (at === null) return <span className="age">no data yet</span>
  const seconds = Math.max(0, (now - at) / 1_000)
  if (seconds < STALE_S) return <span className="age">{Math.round(seconds)} s old</span>
  return <span className="age old">⚠ {coarse(seconds)} old</span>
}
