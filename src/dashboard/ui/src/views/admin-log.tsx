// What operators did last, for those who may do it themselves.

import { may, own } from '../data/access'
import { useResource } from '../data/resource'
import { adminLog, nodeName } from '../data/resources'
import { clock, count } from '../format'
import { Panel } from '../parts/panel'
import { Stale } from '../parts/state'
import type { AdminAction } from '../types'

export function AdminLog() {
  const { data, at } = useResource(own)
  return at !== null && may(data ?? null, 'admin') ? <Actions /> : null
}

function Actions() {
  const held = useResource(adminLog)
  const log = held.data
  // A node of an older version has no such log.
  if (!log || held.failure?.noRoute) return null
  return (
    <Panel title="What operators did" at={held.at} note={`${count(log.count)} since the cluster began; it remembers the newest 1,000`} className="admin-log">
      <Stale held={held} />
      {log.actions.length === 0 ? (
        <p className="note">No operator has changed anything yet.</p>
      ) : (
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Who</th>
                <th scope="col">From</th>
                <th scope="col">At</th>
                <th scope="col">What</th>
              </tr>
            </thead>
            <tbody>
              {log.actions.map((action) => (
                <tr key={action.index}>
                  <td>
                    <time dateTime={new Date(action.at_ms).toISOString()} title={`Log entry ${action.index}`}>
                      {new Date(action.at_ms).toISOString().slice(0, 10)} {clock(action.at_ms)}
                    </time>
                  </td>
                  <td>{who(action)}</td>
                  <td>{action.address}</td>
                  <td>{nodeName(action.node)}</td>
                  <td>
                    <code>{action.action}</code>
                    {action.times > 1 && ` ${count(action.times)} times in a row`}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}

function who({ principal, token_name }: AdminAction): string {
  if (principal === '') return 'anybody'
  return token_name ?? `${principal}, a token that has ended`
}
