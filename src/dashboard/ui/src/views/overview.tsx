// Is it all right, and if not, what to do; then six figures.

import type { ReactNode } from 'react'
import { history, mean, newest, sum, tail, type History } from '../data/history'
import { useClock } from '../data/clock'
import { useResource } from '../data/resource'
import { nodes, status } from '../data/resources'
import { useStore } from '../data/store'
import { verdict } from '../data/verdict'
import { leaderChanges, silentSince } from '../data/watcher'
import { bytes, count, micros, percent, plural, rate } from '../format'
import { Age } from '../parts/age'
import { Link } from '../parts/link'
import { Meter } from '../parts/meter'
import { NodeStrip } from '../parts/node-strip'
import { Panel } from '../parts/panel'
import { Spark } from '../parts/spark'
import { Absent } from '../parts/state'
import type { Column, Status } from '../types'

/** What the sparklines show. */
const SECONDS = 300

const MARKS = { good: '✓', warn: '▲', bad: '✕' }

export function Overview() {
  const heldStatus = useResource(status)
  const heldNodes = useResource(nodes)
  const heldHistory = useResource(history)
  const since = useStore(silentSince)
  const now = useClock()
  if (!heldStatus.data) return <Absent held={heldStatus} what="this node’s status" route="/v1/status" />
  const of = heldStatus.data
  const said = verdict(of, heldNodes.data, since === null ? null : (now - since) / 1_000)
  return (
    <>
      <section className={`verdict ${said.level}`} aria-live="polite">
        <span className="mark" aria-hidden="true">
          {MARKS[said.level]}
        </span>
        <div>
          <p className="sentence">{said.sentence}</p>
          <p className="advice">
            {said.advice} {since !== null && <Others of={of} />}
          </p>
        </div>
      </section>
      <Tiles of={of} past={heldHistory.data} />
      <Panel title="Nodes" at={heldNodes.failure?.noRoute ? heldStatus.at : heldNodes.at}>
        <NodeStrip own={of} nodes={heldNodes.data} />
      </Panel>
      <p className="foot">
        Requests, latencies and hits are those of <b>{of.node.name}</b>; entries, evictions and the log are the same on every node.{' '}
        {heldHistory.data ? `Lines show the last ${SECONDS / 60} minutes. ` : ''}
        {heldHistory.failure?.noRoute && (
          <>
            This node’s version does not have <code>/v1/history</code>, so rates and latencies are missing.{' '}
          </>
        )}
        {heldNodes.failure?.noRoute && (
          <>
            It does not have <code>/v1/nodes</code> either, so copies are not compared here.{' '}
          </>
        )}
        Status <Age at={heldStatus.at} />
        {heldHistory.data && (
          <>
            , history <Age at={heldHistory.at} />
          </>
        )}
        .
      </p>
    </>
  )
}

function Others({ of }: { of: Status }) {
  const others = of.members.filter((member) => member.id !== of.node.id)
  return (
    <>
      {others.map((other, i) => (
        <span key={other.id}>
          {i > 0 && ', '}
          <a href={other.http}>
            {other.name} at {other.http}
          </a>
        </span>
      ))}
    </>
  )
}

interface TileProps {
  title: string
  href: string
  value: string
  unit?: string
  detail: ReactNode
  children?: ReactNode
}

function Tile({ title, href, value, unit, detail, children }: TileProps) {
  return (
    <section className="tile">
      <h2>
        <Link href={href}>{title}</Link>
      </h2>
      <p className="figure">
        {value} {unit && <small>{unit}</small>}
      </p>
      <p className="detail">{detail}</p>
      <div className="under">{children}</div>
    </section>
  )
}

function Tiles({ of, past }: { of: Status; past: History | null }) {
  const changes = useStore(leaderChanges)
  const line = (name: Column) => tail(past, name, SECONDS)
  const both = (a: Column, b: Column) => {
    const second = line(b)
    return line(a).map((value, i) => (value ?? 0) + (second[i] ?? 0))
  }
  const perSecond = (name: Column) => mean(past, name)
  const ops = past ? (perSecond('reads') ?? 0) + (perSecond('writes') ?? 0) : null
  const gone = past ? (perSecond('evicted') ?? 0) + (perSecond('expired') ?? 0) : null
  const hits = sum(past, 'hits', 60)
  const reads = hits + sum(past, 'misses', 60)
  const { reads: since, counts } = of.cache
  const evicted = (counts.evicted_by_entries ?? 0) + (counts.evicted_by_bytes ?? 0)
  const ratios = both('hits', 'misses').map((all, i) => (all > 0 ? (100 * (line('hits')[i] ?? 0)) / all : null))
  return (
    <div className="tiles">
      <Tile
        title="Operations"
        href="/charts"
        value={rate(ops)}
        unit="/s"
        detail={past ? `${rate(perSecond('reads'))} reads, ${rate(perSecond('writes'))} writes, ${rate(perSecond('errors'))} errors` : 'no history'}
      >
        <Spark values={both('reads', 'writes')} />
      </Tile>
      <Tile
        title="Latency, p50 and p99"
        href="/charts"
        value={micros(newestKnown(past, 'p50_us'))}
        unit={`/ ${micros(newestKnown(past, 'p99_us'))}`}
        detail={past ? 'of reads and writes, newest second' : 'no history'}
      >
        <Spark values={line('p99_us')} />
      </Tile>
      <Tile
        title="Hit ratio"
        href="/eviction"
        value={percent(reads ? (100 * hits) / reads : since.hit_percent)}
        detail={reads ? `of ${plural(reads, 'read')} in the last minute` : `of ${plural(since.hits + since.misses, 'read')} since the node started`}
      >
        <Spark values={ratios} top={100} />
      </Tile>
      <Tile
        title="Entries"
        href="/keys"
        value={count(of.entries)}
        unit={`of ${count(of.config.capacity_entries)}`}
        detail={`${bytes(of.bytes)} of ${bytes(of.config.capacity_bytes)}, policy ${of.config.policy}`}
      >
        <Meter value={of.entries} of={of.config.capacity_entries} label="Entries of the capacity" />
        <Meter value={of.bytes} of={of.config.capacity_bytes} label="Bytes of the capacity" />
      </Tile>
      <Tile
        title="Evictions and expirations"
        href="/eviction"
        value={rate(gone)}
        unit="/s"
        detail={`${count(evicted)} evicted, ${count(counts.expired)} expired so far`}
      >
        <Spark values={both('evicted', 'expired')} />
      </Tile>
      <Tile
        title="Log"
        href="/log"
        value={count(of.applied_index)}
        unit="applied"
        detail={`term ${of.term}, ${plural(changes, 'leader change')} seen here`}
      >
        <Spark values={increments(line('applied_index'))} />
      </Tile>
    </div>
  )
}

/** Idle seconds have no latency: the newest that has one. */
function newestKnown(past: History | null, name: Column): number | null {
  const known = tail(past, name, 60).filter((value) => value !== null)
  return known.length ? known[known.length - 1] : newest(past, name)
}

function increments(values: (number | null)[]): (number | null)[] {
  return values.slice(1).map((value, i) => {
    const before = values[i]
    return value === null || before === null ? null : Math.max(0, value - before)
  })
}
