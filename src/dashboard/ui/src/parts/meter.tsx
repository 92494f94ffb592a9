// A share of a whole, as a bar with its figure beside it.

import { percent } from '../format'

export function Meter({ value, of, label }: { value: number; of: number; label: string }) {
  const share = of > 0 ? Math.min(1, value / of) : 0
  return (
    <div className="meter" role="img" aria-label={`${label}: ${percent(share * 100)}`}>
      <i style={{ width: `${share * 100}%` }} />
    </div>
  )
}
