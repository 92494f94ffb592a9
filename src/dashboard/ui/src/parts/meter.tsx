// A share of a whole, as a bar; with a name, its figure stands beside it.

import { percent } from '../format'

interface Props {
  value: number
  of: number
  /** For those who don't see the bar. */
  label: string
  /** What the bar is of, in a word beside it. */
  name?: string
}

export function Meter({ value, of, label, name }: Props) {
  const share = of > 0 ? Math.min(1, value / of) : 0
  const bar = (
    <div className="meter" role="img" aria-label={`${label}: ${percent(share * 100)}`}>
      <i style={{ width: `${share * 100}%` }} />
    </div>
  )
  if (!name) return bar
  return (
    <div className="meter-named">
      <span>{name}</span>
      {bar}
      <span aria-hidden="true">{percent(share * 100)}</span>
    </div>
  )
}
