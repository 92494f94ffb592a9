// The last hour in lines, one cursor through all of them.

import { useMemo } from 'react'
import { history, type History } from '../data/history'
import { useResource } from '../data/resource'
import { micros, percent, rate, short } from '../format'
import { Panel } from '../parts/panel'
import { Plot, type Line } from '../parts/plot'
import { Absent, Stale } from '../parts/state'
import { go, usePlace } from '../router'
import type { Column } from '../types'
import { ChartTable } from './chart-table'

const RANGES = [
  { minutes: 5, label: '5 min' },
  { minutes: 15, label: '15 min' },
  { minutes: 60, label: '1 hour' },
]

/** A pause between samples longer than this is a gap: the node did not run. */
const GAP_MS = 3_000

export interface Chart {
  title: string
  note: string
  lines: Line[]
  format: (value: number) => string
  log?: boolean
  top?: number
}

export function Charts() {
  const held = useResource(history)
  const place = usePlace()
  const minutes = RANGES.find((range) => String(range.minutes) === place.query.get('minutes'))?.minutes ?? 5
  const shown = useMemo(() => (held.data ? window(held.data, minutes) : null), [held.data, minutes])
  if (!held.data || !shown) return <Absent held={held} what="history" route="/v1/history" />
  return (
    <>
      <Stale held={held} />
      <div className="bar" role="group" aria-label="Range">
        {RANGES.map((range) => (
          <button
            key={range.minutes}
            type="button"
            aria-pressed={range.minutes === minutes}
            onClick={() => go(range.minutes === 5 ? '/charts' : `/charts?minutes=${range.minutes}`, true)}
          >
            {range.label}
          </button>
        ))}
        <span className="note">
          {held.data.node}’s own figures, a sample a second, {shown.times.length} shown
        </span>
      </div>
      <div className="charts">
        {shown.charts.map((chart) => (
          <Panel key={chart.title} title={chart.title} note={chart.note} at={held.at} className="chart">
            <Plot times={shown.times} from={shown.from} to={shown.to} {...chart} />
            <ChartTable times={shown.times} lines={chart.lines} title={chart.title} />
          </Panel>
        ))}
      </div>
    </>
  )
}

function window({ columns }: History, minutes: number) {
  const all = columns.at_ms as number[]
  const newest = all.length ? all[all.length - 1] : Date.now()
  const oldest = newest - minutes * 60_000
  let start = all.findIndex((at) => at > oldest)
  if (start < 0) start = all.length
  const at = all.slice(start)
  // Where samples are missing a line is cut, not drawn across.
  const cuts = new Set<number>()
  for (let i = 1; i < at.length; i += 1) if (at[i] - at[i - 1] > GAP_MS) cuts.add(i)
  const cut = (values: (number | null)[]) => (cuts.size ? values.map((value, i) => (cuts.has(i) ? null : value)) : values)
  const get = (name: Column) => cut(columns[name].slice(start))
  const line = (label: string, name: Column, style: number, format: (value: number) => string = rate): Line => ({ label, values: get(name), style, format })
  const hits = get('hits')
  const misses = get('misses')
  const ratio = hits.map((hit, i) => {
    const reads = (hit ?? 0) + (misses[i] ?? 0)
    return reads > 0 ? (100 * (hit ?? 0)) / reads : null
  })
  const positive = (entry: Line): Line => ({ ...entry, values: entry.values.map((value) => (value !== null && value > 0 ? value : null)) })
  const charts: Chart[] = [
    {
      title: 'Operations',
      note: 'a second',
      format: short,
      lines: [line('requests', 'requests', 0), line('reads', 'reads', 1), line('writes', 'writes', 2), line('errors', 'errors', 3)],
    },
    { title: 'Latency', note: 'of reads and writes, logarithmic', format: micros, log: true, lines: [positive(line('p50', 'p50_us', 0, micros)), positive(line('p99', 'p99_us', 1, micros))] },
    { title: 'Hit ratio', note: 'of reads of single keys', format: (value) => `${value} %`, top: 100, lines: [{ label: 'hits', values: ratio, style: 0, format: percent }] },
    { title: 'Evictions and expirations', note: 'keys a second', format: short, lines: [line('evicted', 'evicted', 0), line('expired', 'expired', 1)] },
    { title: 'Touches', note: 'entries whose reads came into the log, a second', format: short, lines: [line('touches', 'touches', 0)] },
    { title: 'Flush time', note: 'mean of an fsync of the log', format: micros, lines: [line('mean flush', 'flush_us', 0, micros)] },
    { title: 'Flushes', note: 'a second', format: short, lines: [line('flushes', 'flushes', 0)] },
    { title: 'Entries', note: 'in the cache', format: short, lines: [line('entries', 'entries', 0)] },
  ]
  // A node that has just started has less to show than was asked for: no reason to show emptiness.
  const from = Math.max(oldest, Math.min(all[0] ?? oldest, newest - 60_000))
  return { times: at.map((ms) => ms / 1_000), from: from / 1_000, to: newest / 1_000, charts }
}
