// The nodes in a line each: enough to see which one to look at.

import { count, duration, micros, NONE, plural } from '../format'
import type { Nodes, Status } from '../types'
import { useLost } from '../data/standing'
import { reason } from '../data/verdict'
import { Badge, RoleBadge } from './badge'
import { Link } from './link'

export function NodeStrip({ own, nodes }: { own: Status; nodes: Nodes | null }) {
  const lost = useLost()
  return (
    <div className="scroll">
      <table className="list strip stacks">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">Role</th>
            <th scope="col" className="number">Applied</th>
            <th scope="col" className="number">Behind</th>
            <th scope="col">Copy</th>
            <th scope="col" className="number">Round trip</th>
            <th scope="col" className="number">Uptime</th>
          </tr>
        </thead>
        <tbody>
          {own.members.map((member) => {
            const view = nodes?.nodes.find((node) => node.id === member.id)
            const self = member.id === own.node.id
            const report = view?.report ?? (self ? own : null)
            const role = report?.role ?? member.role
            return (
              <tr key={member.id}>
                <th scope="row">
                  <Link href="/nodes">{member.name}</Link>
                </th>
                <td data-label="Role">{view?.error ? <Badge tone="bad">silent</Badge> : <RoleBadge role={role} lost={lost} />}</td>
                <td data-label="Applied" className="number">{count(report?.applied_index)}</td>
                <td data-label="Behind" className="number">{view?.lag_entries == null ? NONE : plural(view.lag_entries, 'entry', 'entries')}</td>
                <td data-label="Copy">
                  {view?.differs_at != null ? (
                    <b className="bad-text">✕ differs at {count(view.differs_at)}</b>
                  ) : view?.equal_at != null ? (
                    <span className="good-text">✓ equal at {count(view.equal_at)}</span>
                  ) : self ? (
                    'this node'
                  ) : (
                    (view?.error ? reason(view.error) : 'not compared')
                  )}
                </td>
                <td data-label="Round trip" className="number">{self ? NONE : micros(view?.round_trip_us)}</td>
                <td data-label="Uptime" className="number">{duration(report?.uptime_ms)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </div>
  )
}
