// What the charts draw, made of samples.

import { P99_FEW, type History } from '../data/history'
import { micros, percent, rate, short } from '../format'
import type { Line } from '../parts/plot'
import type { Column } from '../types'

/** A pause between samples longer than this is a gap: the node did not run. */
const GAP_MS = 3_000
/** Clocks that differ less are taken for the same: answers take their time. */
const SAME_CLOCK_MS = 1_500

export interface Chart {
  title: string
  note: string
  lines: Line[]
  format: (value: number) => string
  log?: boolean
  top?: number
}

/** A piece of time with its charts. */
export interface Window {
  times: number[]
  from: number
  to: number
  charts: Chart[]
}

type Values = Line['values']

/** The newest samples of a node. Where samples are missing a line is cut, not drawn across. */
function piece({ columns }: History, minutes: number) {
  const all = columns.at_ms as number[]
  const newest = all.length ? all[all.length - 1] : Date.now()
  const oldest = newest - minutes * 60_000
  let start = all.findIndex((at) => at > oldest)
  if (start < 0) start = all.length
  const at = all.slice(start)
  const cuts = new Set<number>()
  for (let i = 1; i < at.length; i += 1) if (at[i] - at[i - 1] > GAP_MS) cuts.add(i)
  const cut = (values: Values): Values => (cuts.size ? values.map((value, i) => (cuts.has(i) ? null : value)) : values)
  const get = (name: Column): Values => columns[name].slice(start)
  const plus = (a: Column, b: Column): Values => {
    const second = get(b)
    return get(a).map((value, i) => (value ?? 0) + (second[i] ?? 0))
  }
  const hitRatio = (): Values => {
    const [hits, all] = [get('hits'), plus('hits', 'misses')]
    return all.map((reads, i) => (reads ? (100 * (hits[i] ?? 0)) / reads : undefined))
  }
  return { at, cut, get, plus, hitRatio, newest, from: fromOf(all[0] ?? oldest, oldest, newest) }
}

/** A node that has just started has less to show than was asked for: no reason to show emptiness. */
function fromOf(first: number, oldest: number, newest: number): number {
  return Math.max(oldest, Math.min(first, newest - 60_000))
}

/** Seconds in which there was nothing to measure are passed over. */
const measured = (values: Values): Values => values.map((value) => (value ? value : undefined))

const P99_NOTE = `p99 is the slowest request in a second with fewer than ${P99_FEW}`

/** One node in all its lines. */
export function chartsOf(of: History, minutes: number): Window {
  const { at, cut, get, hitRatio, newest, from } = piece(of, minutes)
  const line = (label: string, name: Column, style: number, format: (value: number) => string = rate): Line => ({ label, values: cut(get(name)), style, format })
  const time = (label: string, name: Column, style: number): Line => ({ label, values: cut(measured(get(name))), style, format: micros })
  const charts: Chart[] = [
    {
      title: 'Operations',
      note: 'per second',
      format: short,
      lines: [line('requests', 'requests', 0), line('reads', 'reads', 1), line('writes', 'writes', 2), line('errors', 'errors', 3)],
    },
    { title: 'Latency', note: `of reads and writes, logarithmic; ${P99_NOTE}`, format: micros, log: true, lines: [time('p50', 'p50_us', 0), time('p99', 'p99_us', 1)] },
    { title: 'Hit ratio', note: 'of reads of single keys', format: whole, top: 100, lines: [{ label: 'hits', values: cut(hitRatio()), style: 0, format: percent }] },
    { title: 'Evictions and expirations', note: 'keys per second', format: short, lines: [line('evicted', 'evicted', 0), line('expired', 'expired', 1)] },
    { title: 'Touches', note: 'entries whose reads were reported in the log, per second', format: short, lines: [line('touches', 'touches', 0)] },
    { title: 'Flush time', note: 'mean of an fsync of the log', format: micros, lines: [time('mean flush', 'flush_us', 0)] },
    { title: 'Flushes', note: 'per second', format: short, lines: [line('flushes', 'flushes', 0)] },
    { title: 'Entries', note: 'in the cache', format: short, lines: [line('entries', 'entries', 0)] },
  ]
  return { times: at.map((ms) => ms / 1_000), from: from / 1_000, to: newest / 1_000, charts }
}

function whole(value: number): string {
  return `${value} %`
}

/** Several nodes, a line each, on the clock of the first one. */
export function comparison(nodes: History[], minutes: number): Window {
  const pieces = nodes.map((node) => {
    const ahead = node.aheadMs - nodes[0].aheadMs
    const shift = Math.abs(ahead) < SAME_CLOCK_MS ? 0 : ahead
    const part = piece(node, minutes)
    const seconds = part.at.map((at) => Math.round((at - shift) / 1_000))
    return { name: node.node, part, seconds, from: part.from - shift, to: part.newest - shift }
  })
  const to = Math.max(...pieces.map((one) => one.to)) / 1_000
  // One that has been silent for long has nothing in the others' piece of time.
  const from = Math.max(to - minutes * 60, Math.min(...pieces.map((one) => one.from)) / 1_000)
  const times = [...new Set(pieces.flatMap((one) => one.seconds))].filter((second) => second > from).sort((a, b) => a - b)
  const place = new Map(times.map((second, i) => [second, i]))
  const lines = (format: (value: number) => string, of: (part: ReturnType<typeof piece>) => Values): Line[] =>
    pieces.map(({ name, part, seconds }, style) => {
      const values: Values = times.map(() => undefined)
      part.cut(of(part)).forEach((value, i) => {
        const at = place.get(seconds[i])
        // Of two samples in a second the later one counts, unless the line is cut there.
        if (at !== undefined && values[at] !== null) values[at] = value
      })
      return { label: name, values, style, format }
    })
  const charts: Chart[] = [
    { title: 'Operations', note: 'reads and writes per second', format: short, lines: lines(rate, (part) => part.plus('reads', 'writes')) },
    { title: 'Errors', note: 'answers with status 500 or more, per second', format: short, lines: lines(rate, (part) => part.get('errors')) },
    { title: 'Latency, p50', note: 'of reads and writes, logarithmic', format: micros, log: true, lines: lines(micros, (part) => measured(part.get('p50_us'))) },
    { title: 'Latency, p99', note: `logarithmic; ${P99_NOTE}`, format: micros, log: true, lines: lines(micros, (part) => measured(part.get('p99_us'))) },
    { title: 'Hit ratio', note: 'of reads of single keys', format: whole, top: 100, lines: lines(percent, (part) => part.hitRatio()) },
    { title: 'Flush time', note: 'mean of an fsync of the log', format: micros, lines: lines(micros, (part) => measured(part.get('flush_us'))) },
    { title: 'Flushes', note: 'per second', format: short, lines: lines(rate, (part) => part.get('flushes')) },
    { title: 'Leader', note: '1 while the node led', format: short, top: 1, lines: lines(rate, (part) => part.get('is_leader')) },
  ]
  return { times, from, to, charts }
}
