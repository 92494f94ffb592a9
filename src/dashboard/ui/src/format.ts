// Numbers and times as people read them. The locale is fixed, so that a screenshot says the same everywhere.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const tenths = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1, minimumFractionDigits: 1 })

export const NONE = '–'

export function count(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : whole.format(value)
}

/** A rate: with a decimal where it is small. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE
  return value > 0 && value < 10 ? tenths.format(value) : whole.format(value)
}

/** Short enough for an axis. */
export function short(value: number): string {
  const abs = Math.abs(value)
  if (abs >= 1e9) return `${trim(value / 1e9)}G`
  if (abs >= 1e6) return `${trim(value / 1e6)}M`
  if (abs >= 1e4) return `${trim(value / 1e3)}k`
  return trim(value)
}

function trim(value: number): string {
  return String(Math.round(value * 100) / 100)
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : `${tenths.format(value)} %`
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE
  if (value < 1024) return `${whole.format(value)} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let size = value / 1024
  let unit = 0
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit += 1
  }
  return `${tenths.format(size)} ${units[unit]}`
}

export function micros(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE
  if (value < 1_000) return `${whole.format(value)} µs`
  if (value < 1_000_000) return `${value < 10_000 ? tenths.format(value / 1_000) : whole.format(value / 1_000)} ms`
  return `${tenths.format(value / 1_000_000)} s`
}

/** How long something takes or took, with at most two units. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return NONE
  if (ms < 1_000) return `${whole.format(Math.max(0, ms))} ms`
  const seconds = ms / 1_000
  if (seconds < 9.95) return `${tenths.format(seconds)} s`
  return coarse(Math.round(seconds))
}

/** The same in whole seconds: for what counts down or up while one looks. */
export function coarse(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) return `${s} s`
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`
}

export function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString('en-GB', { hour12: false })
}

export function clockMs(ms: number): string {
  return `${clock(ms)}.${String(Math.floor(ms % 1_000)).padStart(3, '0')}`
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}
