// Is it all right, and if not, what to do; then six figures.

import type { ReactNode } from 'react'
import { history, mean, newest, P99_FEW, READS_FEW, sum, tail, type History } from '../data/history'
import { useResource } from '../data/resource'
import { nodes, status } from '../data/resources'
import { useStore } from '../data/store'
import { leaderChanges } from '../data/watcher'
import { bytes, count, micros, NONE, percent, plural, rate } from '../format'
import { Age } from '../parts/age'
import { Link } from '../parts/link'
import { Meter } from '../parts/meter'
import { NodeStrip } from '../parts/node-strip'
import { Panel } from '../parts/panel'
import { Spark } from '../parts/spark'
import { Absent } from '../parts/state'
import { VerdictPanel } from '../parts/verdict'
import type { Column, Status } from '../types'

/** What the sparklines show. */
const SECONDS = 300

export function Overview() {
  const heldStatus = useResource(status)
  const heldNodes = useResource(nodes)
  const heldHistory = useResource(history)
  if (!heldStatus.data) return <Absent held={heldStatus} what="this node’s status" route="/v1/status" />
  const of = heldStatus.data
  return (
    <>
      <VerdictPanel />
      <Tiles of={of} past={heldHistory.data} />
      <Panel title="Nodes" at={heldNodes.failure?.noRoute ? heldStatus.at : heldNodes.at}>
        <NodeStrip own={of} nodes={heldNodes.data} />
      </Panel>
      <p className="foot">
        Requests, latencies and hits are those of <b>{of.node.name}</b>; entries, evictions and the log are the same on every node.{' '}
        {heldHistory.data ? `Lines show the last ${SECONDS / 60} minutes. ` : ''}
        {heldHistory.failure?.noRoute && (
          <>
            This node’s version does not have <code>/v1/samples</code>, so rates and latencies are missing.{' '}
          </>
        )}
        {heldNodes.failure?.noRoute && (
          <>
            It does not have <code>/v1/nodes</code> either, so copies are not compared here.{' '}
          </>
        )}
        {heldHistory.data && <Age at={heldHistory.at} what="history" quiet />}
      </p>
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
  const [found, asked, when] = reads ? [hits, reads, 'in the last minute'] : [since.hits, since.hits + since.misses, 'since the node started']
  const few = asked < READS_FEW
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
        detail={past ? latencyNote(past) : 'no history'}
      >
        <Spark values={line('p99_us')} />
      </Tile>
      <Tile
        title="Hit ratio"
        href="/eviction"
        value={asked === 0 ? NONE : few ? `${count(found)} of ${count(asked)}` : percent((100 * found) / asked)}
        detail={asked === 0 ? `no reads ${when}` : few ? `reads found their key, ${when}` : `of ${plural(asked, 'read')} ${when}`}
      >
        <Spark values={ratios} top={100} />
      </Tile>
      <Tile
        title="Entries"
        href="/keys"
        value={count(of.entries)}
        unit={`of ${count(of.config.capacity_entries)}`}
        detail={`${bytes(of.bytes)} of ${bytes(of.config.capacity_bytes)}${of.memory_resident_bytes === null ? '' : ` in ${bytes(of.memory_resident_bytes)} of memory`}, policy ${of.config.policy}`}
      >
        <Meter name="entries" value={of.entries} of={of.config.capacity_entries} label="Entries of the capacity" />
        <Meter name="bytes" value={of.bytes} of={of.config.capacity_bytes} label="Bytes of the capacity" />
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
        detail={`term ${of.term}: ${plural(of.term, 'election')} so far${changes ? `, ${plural(changes, 'leader change')} since this page was opened` : ''}`}
      >
        <Spark values={increments(line('applied_index'))} />
      </Tile>
    </div>
  )
}

/** Of how many requests the newest percentiles are. */
function latencyNote(past: History): string {
  const latencies = tail(past, 'p99_us', 60)
  let at = latencies.length - 1
  while (at >= 0 && latencies[at] === null) at -= 1
  if (at < 0) return 'of reads and writes; none in the last minute'
  const asked = (tail(past, 'reads', 60)[at] ?? 0) + (tail(past, 'writes', 60)[at] ?? 0)
  const few = asked < P99_FEW ? `: p99 is the slowest of ${plural(asked, 'request')}` : ` with ${plural(asked, 'request')}`
  return `newest second${few}`
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
