// The last hour in lines, one cursor through all of them: this node's, or one line a node.

import { useMemo, type ReactNode } from 'react'
import { histories, history, type History, type MemberHistory } from '../data/history'
import { useResource, type Held } from '../data/resource'
import { withQuery } from '../api'
import { Panel } from '../parts/panel'
import { Plot } from '../parts/plot'
import { Absent, Stale } from '../parts/state'
import { go, usePlace } from '../router'
import { ChartTable } from './chart-table'
import { chartsOf, comparison, type Window } from './chart-lines'

const RANGES = [
  { minutes: 5, label: '5 min' },
  { minutes: 15, label: '15 min' },
  { minutes: 60, label: '1 hour' },
]

export function Charts() {
  const { query } = usePlace()
  const minutes = RANGES.find((range) => String(range.minutes) === query.get('minutes'))?.minutes ?? 5
  return query.get('nodes') === 'all' ? <AllNodes minutes={minutes} /> : <OneNode minutes={minutes} />
}

function OneNode({ minutes }: { minutes: number }) {
  const held = useResource(history)
  const shown = useMemo(() => (held.data ? chartsOf(held.data, minutes) : null), [held.data, minutes])
  return <Shown held={held} shown={shown} minutes={minutes} note={shown && held.data ? `${held.data.node}’s own figures, one sample per second, ${shown.times.length} shown` : ''} />
}

function AllNodes({ minutes }: { minutes: number }) {
  const held = useResource(histories)
  const shown = useMemo(() => {
    const known = (held.data ?? []).filter((one): one is MemberHistory & { history: History } => one.history !== null)
    return known.length ? comparison(known.map((one) => one.history), minutes) : null
  }, [held.data, minutes])
  const failed = held.data?.filter((one) => one.failure) ?? []
  return (
    <Shown held={held} shown={shown} minutes={minutes} all note={shown ? `each node’s own figures, one line per node, ${shown.times.length} seconds shown` : ''}>
      {failed.map((one) => (
        <p key={one.id} className="stale">
          ⚠ {one.history ? `Last known figures of ${one.name}` : `No figures of ${one.name}`}: {one.failure}.
        </p>
      ))}
    </Shown>
  )
}

interface ShownProps {
  held: Held<unknown>
  shown: Window | null
  minutes: number
  note: string
  all?: boolean
  children?: ReactNode
}

function Shown({ held, shown, minutes, note, all = false, children }: ShownProps) {
  const open = (to: number, of: boolean) => go(withQuery('/charts', { minutes: to === 5 ? null : to, nodes: of ? 'all' : null }), true)
  if (!shown) return <Absent held={held} what="samples" route="/v1/samples" />
  return (
    <>
      <Stale held={held} />
      {children}
      <div className="bar">
        <span className="bar" role="group" aria-label="Range">
          {RANGES.map((range) => (
            <button key={range.minutes} type="button" aria-pressed={range.minutes === minutes} onClick={() => open(range.minutes, all)}>
              {range.label}
            </button>
          ))}
        </span>
        <span className="bar" role="group" aria-label="Nodes">
          <button type="button" aria-pressed={!all} onClick={() => open(minutes, false)}>
            This node
          </button>
          <button type="button" aria-pressed={all} onClick={() => open(minutes, true)}>
            Compare nodes
          </button>
        </span>
        <span className="note">{note}</span>
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
