// One node: its role, where it is in the log, whether its copy is equal, and its buttons.

import { bytes, count, duration, micros, NONE, plural } from '../format'
import { useLost } from '../data/standing'
import { reason } from '../data/verdict'
import { Badge, RoleBadge } from '../parts/badge'
import { Fact } from '../parts/fact'
import type { Member, NodeView, Status } from '../types'
import type { Action } from './node-actions'

interface Props {
  member: Member
  own: Status
  view: NodeView
  act: (action: Action) => void
}

export function NodeCard({ member, own, view, act }: Props) {
  const { report } = view
  const self = own.node.id === member.id
  const role = report?.role ?? member.role
  const lost = useLost()
  const leads = own.leader?.id === member.id
  return (
    <article className={view.error ? 'card away' : 'card'} aria-label={`Node ${member.name}`}>
      <header>
        <h3>
          {member.name} <small>{member.id}</small>
        </h3>
        {view.error ? <Badge tone="bad">silent</Badge> : <RoleBadge role={role} lost={lost} />}
        {!member.voter && <Badge tone="plain">no vote</Badge>}
        {self ? <span className="note">serves this page</span> : <a href={`${member.http}/nodes`}>open</a>}
      </header>
      {view.error && <p className="stale">✕ {reason(view.error)}</p>}
      <dl className="facts">
        <Fact name="Copy" value={<Copy view={view} self={self} />} />
        <Fact name="Behind" value={view.lag_entries === null ? NONE : `${plural(view.lag_entries, 'entry', 'entries')}, ${duration(view.lag_ms)}`} />
        <Fact name="Term" value={count(report?.term)} />
        <Fact name="Last in log" value={count(report?.last_log_index)} />
        <Fact name="Committed" value={count(report?.committed_index)} />
        <Fact name="Applied" value={count(report?.applied_index)} />
        <Fact name="Snapshot at" value={count(report?.snapshot_index)} />
        <Fact name="Round trip" value={self ? 'none: this node' : micros(view.round_trip_us)} />
        <Fact name="Uptime" value={duration(report?.uptime_ms)} />
        <Fact name="Memory" value={report?.memory_resident_bytes == null ? NONE : bytes(report.memory_resident_bytes)} />
        <Fact name="Version" value={report?.version ?? NONE} />
      </dl>
      <p className="address">{member.http}</p>
      <p className="buttons">
        {!member.voter && (
          <button type="button" data-needs="admin" onClick={() => act({ kind: 'promote', member })}>
            Promote
          </button>
        )}
        {member.voter && (
          <button type="button" data-needs="admin" disabled={leads} title={leads ? 'it already leads' : ''} onClick={() => act({ kind: 'lead', member })}>
            Make leader
          </button>
        )}
        <button type="button" data-needs="admin" className="danger" onClick={() => act({ kind: 'remove', member })}>
          Remove
        </button>
      </p>
    </article>
  )
}

function Copy({ view, self }: { view: NodeView; self: boolean }) {
  if (view.differs_at !== null) return <span className="bad-text">✕ differs at {count(view.differs_at)}</span>
  if (self) return <span title="The others’ copies are compared with it">this node’s own</span>
  if (view.equal_at !== null) return <span className="good-text">✓ equal at {count(view.equal_at)}</span>
  return <>not compared</>
}
