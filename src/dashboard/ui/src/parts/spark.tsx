// A line without axes: the last minutes at a glance. It says nothing that the figure beside it does not.

const WIDTH = 120
const HEIGHT = 28

interface Props {
  values: (number | null)[]
  /** The top of the scale; the highest value where there is none. */
  top?: number
}

export function Spark({ values, top }: Props) {
  const known = values.filter((value): value is number => value !== null)
  const high = Math.max(top ?? 0, ...known, 1e-9)
  const step = WIDTH / Math.max(1, values.length - 1)
  let path = ''
  // Seconds without anything to measure are passed over.
  values.forEach((value, i) => {
    if (value === null) return
    path += `${path ? 'L' : 'M'}${(i * step).toFixed(1)} ${(HEIGHT - 1 - (value / high) * (HEIGHT - 3)).toFixed(1)}`
  })
  if (known.length === 1) path += 'h0.01'
  return (
    <svg className="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path className="base" d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} />
      <path d={path} />
    </svg>
  )
}
