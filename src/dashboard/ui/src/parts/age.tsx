// How old something is. Old data is said to be old, in words and in colour.

import { useClock } from '../data/clock'
import { coarse } from '../format'

/** Older than this is no more "now" for data that is asked for every second or two. */
export const STALE_S = 6

interface Props {
  at: number | null
  /** What is so old. */
  what?: string
  /** Says nothing while the data is as new as it should be. */
  quiet?: boolean
}

export function Age({ at, what = 'data', quiet }: Props) {
  const now = useClock()
  if (at === null) return quiet ? null : <span className="age">no {what} yet</span>
  const seconds = Math.max(0, (now - at) / 1_000)
  if (seconds >= STALE_S) return <span className="age old">⚠ {what} {coarse(seconds)} old</span>
  return quiet ? null : (
    <span className="age">
      {what} {Math.round(seconds)} s old
    </span>
  )
}
