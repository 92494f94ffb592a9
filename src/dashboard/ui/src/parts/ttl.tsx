// What a key has left to live.

import { coarse } from '../format'

const SOON_MS = 10_000

export function Ttl({ ms }: { ms: number | null }) {
  if (ms === null) return <span className="muted">none</span>
  if (ms <= 0) return <span className="warn-text">due</span>
  return <span className={ms < SOON_MS ? 'warn-text' : ''}>{coarse(Math.ceil(ms / 1_000))}</span>
}
