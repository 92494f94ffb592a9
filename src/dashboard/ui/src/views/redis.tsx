// The clients of this node that speak the Redis protocol, and their commands, for those who may see who uses the cluster.

import { may, own } from '../data/access'
import { useResource } from '../data/resource'
import { redis } from '../data/resources'
import { count, duration, micros, plural } from '../format'
import { Panel } from '../parts/panel'
import { Stale } from '../parts/state'
import type { RedisClient, RedisCommand } from '../types'

/** Rows of the table of clients. */
const CLIENTS_SHOWN = 50

export function Redis() {
  const { data, at } = useResource(own)
  return at !== null && may(data ?? null, 'admin') ? <Report /> : null
}

function Report() {
  const held = useResource(redis)
  const report = held.data
  // A node of an older version does not tell, and without clients there is nothing to tell.
  if (!report || held.failure?.noRoute || report.connected_total === 0) return null
  const more = report.connected - Math.min(report.clients.length, CLIENTS_SHOWN)
  return (
    <Panel
      title="Redis clients"
      at={held.at}
      note={`${plural(report.connected, 'client')} of ${report.node}; ${count(report.connected_total)} since it started`}
      className="redis"
    >
      <Stale held={held} />
      {report.clients.length > 0 && <Clients clients={report.clients.slice(0, CLIENTS_SHOWN)} />}
      {more > 0 && <p className="note">and {count(more)} more, which have not been connected as long</p>}
      {report.commands.length > 0 && <Commands commands={report.commands} />}
    </Panel>
  )
}

function Clients({ clients }: { clients: RedisClient[] }) {
  return (
    <div className="scroll">
      <table className="redis-clients">
        <thead>
          <tr>
            <th scope="col">Client</th>
            <th scope="col">Address</th>
            <th scope="col">User</th>
            <th scope="col">Library</th>
            <th scope="col">Connected for</th>
            <th scope="col">Newest command</th>
            <th scope="col">In use</th>
          </tr>
        </thead>
        <tbody>
          {clients.map((client) => (
            <tr key={client.id}>
              <td>{client.name || client.id}</td>
              <td>{client.address}</td>
              <td>{client.user || 'anyone'}</td>
              <td>{[client.library, client.library_version].filter(Boolean).join(' ') || 'not told'}</td>
              <td>{duration(client.age_ms)}</td>
              <td>{client.command ? `${client.command.toUpperCase()}, ${duration(client.idle_ms)} ago` : 'none yet'}</td>
              <td>{inUse(client)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** What it has begun, beyond single commands. */
function inUse(client: RedisClient): string {
  const parts = [
    client.database > 0 && `database ${client.database}`,
    client.queued !== null && `transaction of ${client.queued}`,
    client.watched_keys > 0 && `watches ${plural(client.watched_keys, 'key')}`,
    client.subscriptions > 0 && plural(client.subscriptions, 'subscription'),
  ]
  return parts.filter(Boolean).join(', ')
}

function Commands({ commands }: { commands: RedisCommand[] }) {
  const byReplies = [...commands].sort((one, other) => other.replies - one.replies)
  return (
    <div className="scroll">
      <table className="redis-commands">
        <thead>
          <tr>
            <th scope="col">Command</th>
            <th scope="col">Replies</th>
            <th scope="col">Errors</th>
            <th scope="col">Outcome unknown</th>
            <th scope="col">Half within</th>
            <th scope="col">99 in 100 within</th>
          </tr>
        </thead>
        <tbody>
          {byReplies.map((command) => (
            <tr key={command.command}>
              <th scope="row">{command.command.toUpperCase()}</th>
              <td>{count(command.replies)}</td>
              <td>{count(command.errors)}</td>
              <td>{count(command.outcomes_unknown)}</td>
              <td>{micros(command.p50_us)}</td>
              <td>{micros(command.p99_us)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
