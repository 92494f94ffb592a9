// The nodes in a line each: enough to see which one to look at.

import { count, duration, micros, NONE, plural } from '../format'
import type { Nodes, Status } from '../types'
import { Badge, roleTone } from './badge'
import { Link } from './link'

export function NodeStrip({ own, nodes }: { own: Status; nodes: Nodes | null }) {
  return (
    <div className="scroll">
      <table className="list strip">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">Role</th>
            <th scope="col" className="number">Applied</th>
            <th scope="col" className="number">Behind</th>
            <th scope="col">Copy</th>
            <th scope="col" className="number">Round trip</th>
            <th scope="col" className="number">Up for</th>
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
                <td>{view?.error ? <Badge tone="bad">silent</Badge> : <Badge tone={roleTone(role)}>{role}</Badge>}</td>
                <td className="number">{count(report?.applied_index)}</td>
                <td className="number">{view?.lag_entries == null ? NONE : plural(view.lag_entries, 'entry', 'entries')}</td>
                <td>
                  {view?.differs_at != null ? (
                    <b className="bad-text">✕ differs at {count(view.differs_at)}</b>
                  ) : view?.equal_at != null ? (
                    <span className="good-text">✓ equal at {count(view.equal_at)}</span>
                  ) : self ? (
                    'this node'
                  ) : (
                    (view?.error ?? 'not compared')
                  )}
                </td>
                <td className="number">{self ? NONE : micros(view?.round_trip_us)}</td>
                <td className="number">{duration(report?.uptime_ms)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </div>
  )
}
