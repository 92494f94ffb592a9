// Histories that went their own ways: where they parted, what is noted for them, what was brought in, and what lost.

import { useState } from 'react'
import { useResource } from '../data/resource'
import { detachStatus, lineage, losers, reconciliations, status } from '../data/resources'
import { clock, count, plural } from '../format'
import { Badge } from '../parts/badge'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale } from '../parts/state'
import type { History, Losers, Reconciliations, Status } from '../types'
import { AttachDialog } from './attach'
import { DetachDialog } from './detach'

export function Divergence() {
  const own = useResource(status).data
  const [shown, setShown] = useState<'detach' | 'attach' | null>(null)
  return (
    <>
      <ThisNode own={own} show={setShown} />
      <Histories />
      <Merges />
      <Lost />
      {own && shown === 'detach' && <DetachDialog own={own} close={() => setShown(null)} />}
      {own && shown === 'attach' && <AttachDialog own={own} close={() => setShown(null)} />}
    </>
  )
}

function ThisNode({ own, show }: { own: Status | null; show: (what: 'detach' | 'attach') => void }) {
  const held = useResource(detachStatus)
  const told = held.data
  if (!told || !own) return <Absent held={held} what="this node’s place" route="/v1/detached" />
  const { detached, busy, attach } = told
  return (
    <Panel
      title={own.node.name}
      at={held.at}
      actions={
        <button type="button" data-needs="admin" disabled={busy} onClick={() => show(detached ? 'attach' : 'detach')}>
          {detached ? 'Bring it back' : 'Have it leave'}
        </button>
      }
    >
      <Stale held={held} />
      {detached ? (
        <p>
          <Badge tone="warn">detached</Badge> It has left after index {count(detached.fork_index)}{detached.forced && ', by force,'} at{' '}
          {clock(detached.since_ms)}, and has had {plural(detached.entries, 'log entry', 'log entries')} of its own since.
        </p>
      ) : (
        <p>
          <Badge tone="good">member</Badge> It takes part in its cluster.
        </p>
      )}
      {attach.running && (
        <p role="status">
          Its changes come in: {count(attach.done)} of {plural(attach.total, 'key')}.{' '}
          <progress max={Math.max(1, attach.total)} value={attach.done} />
        </p>
      )}
      {busy && !attach.running && <p role="status">It is about to leave, or to come back.</p>}
      {attach.error && <p className="warn-text">▲ The last attempt: {attach.error}</p>}
    </Panel>
  )
}

const KINDS: Record<History['kind'], string> = {
  founded: 'began with the cluster',
  restored: 'began from a backup',
  recovered: 'began after the loss of a majority',
  detached: 'began when a node left on purpose',
}

function Histories() {
  const held = useResource(lineage)
  const other = useResource(reconciliations).data
  if (!held.data) return <Absent held={held} what="lineage" route="/v1/lineage" />
  const { histories, applied_index } = held.data
  const left = other?.forks.filter((fork) => !histories.some((history) => history.id === fork.history)) ?? []
  return (
    <Panel title="Histories" at={held.at}>
      <Stale held={held} />
      <ul className="tree">
        {histories.map((history, i) => (
          <li key={history.id} style={{ marginInlineStart: `${i}rem` }}>
            <b>{history.number}</b> <code title={history.id}>{history.id.slice(0, 8)}</code> {KINDS[history.kind]}
            {history.fork_index > 0 && <> after index {count(history.fork_index)}</>}
            {history.began_at_ms > 0 && <>, at {clock(history.began_at_ms)}</>}
            {i === histories.length - 1 ? `; now at index ${count(applied_index)}` : <Fork of={other} history={history.id} />}
          </li>
        ))}
        {left.map((fork) => (
          <li key={fork.history} style={{ marginInlineStart: `${histories.length}rem` }}>
            <code title={fork.history}>{fork.history.slice(0, 8)}</code>{' '}
            {fork.limit === null ? 'is about to begin: its node leaves' : `was begun by a node that left before index ${count(fork.limit)}`}
            <Fork of={other} history={fork.history} />
          </li>
        ))}
      </ul>
    </Panel>
  )
}

/** What the cluster knows of a history on the other side of a fork. */
function Fork({ of, history }: { of: Reconciliations | null; history: string }) {
  const fork = of?.forks.find((one) => one.history === history)
  const decided = of?.decided[history]
  return (
    <>
      {decided !== undefined && <>; reconciled up to its index {count(decided)}</>}
      {fork && (
        <>
          ; <b>open</b>: {plural(fork.noted, 'common key')} gone since are noted
          {fork.complete ? '' : ', and there were more'}, so that the two sides can be compared
        </>
      )}
    </>
  )
}

function Merges() {
  const held = useResource(reconciliations)
  if (!held.data) return <Absent held={held} what="merges" route="/v1/reconcile" />
  const merges = [...held.data.merges].reverse()
  const end = (merge: Reconciliations['merges'][number]) => {
    if (merge.end === null) return `step ${merge.next_step} is due`
    if (typeof merge.end === 'string') return merge.end
    return `done, up to index ${count(merge.end.up_to)}`
  }
  return (
    <Panel title="Merges" at={held.at} note="the newest 64">
      <Stale held={held} />
      {merges.length === 0 ? (
        <Empty>Nothing was brought in from another history.</Empty>
      ) : (
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Merge</th>
                <th scope="col">From history</th>
                <th scope="col">State</th>
                <th scope="col" className="number">Taken</th>
                <th scope="col" className="number">Changed meanwhile</th>
                <th scope="col" className="number">Did not fit</th>
                <th scope="col" className="number">Refused</th>
              </tr>
            </thead>
            <tbody>
              {merges.map((merge) => (
                <tr key={merge.id}>
                  <td><code title={merge.id}>{merge.id.slice(0, 8)}</code></td>
                  <td><code title={merge.history}>{merge.history.slice(0, 8)}</code></td>
                  <td>{end(merge)}</td>
                  <td className="number">{count(merge.done)}</td>
                  <td className="number">{count(merge.changed)}</td>
                  <td className="number">{count(merge.full)}</td>
                  <td className="number">{count(merge.invalid)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}

const REASONS: Record<string, string> = {
  live_won: 'the cluster’s won',
  incoming_won: 'the node’s won',
  set_aside: 'waits for a person',
  left_out: 'it was in the end of a log that was left out',
  decided: 'somebody decided',
  changed_meanwhile: 'a client had changed the key',
  full: 'it did not fit',
  refused: 'it was refused',
}

function Lost() {
  const held = useResource(losers)
  if (!held.data) return <Absent held={held} what="files of losers" route="/v1/losers" />
  const { losers: lines, more }: Losers = held.data
  return (
    <Panel title="What lost here" at={held.at} note="from the files in this node’s data folder">
      <Stale held={held} />
      {lines.length === 0 ? (
        <Empty>Nothing lost when this node came back.</Empty>
      ) : (
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col">Whose</th>
                <th scope="col">Why</th>
                <th scope="col">Value</th>
              </tr>
            </thead>
            <tbody>
              {lines.map((line, i) => (
                <tr key={i}>
                  <td className="key">{line.key}</td>
                  <td>{line.side === 'live' ? 'the cluster’s' : 'the node’s'}</td>
                  <td>{REASONS[line.why] ?? line.why}</td>
                  <td className="value">{line.value ?? line.value_base64 ?? line.state}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more && <p className="note">There are more in the files.</p>}
      {lines[0] && (
        <p className="note">
          Put one back: <code>lockstep reconcile restore-loser {lines[0].file} KEY</code>
        </p>
      )}
    </Panel>
  )
}
