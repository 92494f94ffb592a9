// One log entry with all its events.

import type { Operation } from '../data/ops'
import { nodeName } from '../data/resources'
import { subject } from '../data/ops'
import { bytes, clockMs, count, plural } from '../format'
import { Dialog } from '../parts/dialog'
import { Link } from '../parts/link'

export function Details({ operation, close }: { operation: Operation; close: () => void }) {
  const more = operation.count - operation.events.length
  return (
    <Dialog title={`Log entry ${count(operation.index)}`} close={close} wide>
      <p className="note">
        {clockMs(operation.atMs)} log time, {plural(operation.count, 'event')}, the same on every node.{' '}
        {operation.by === null ? 'No client requested it.' : `A client requested it at ${nodeName(operation.by)}.`}
      </p>
      <div className="scroll">
        <table className="list stacks">
          <thead>
            <tr>
              <th scope="col">Cause</th>
              <th scope="col">Key</th>
              <th scope="col">What</th>
            </tr>
          </thead>
          <tbody>
            {operation.events.map((event, i) => (
              <tr key={i}>
                <td data-label="Cause">{event.cause}</td>
                <th scope="row" className="key">
                  {event.key === undefined ? subject(event) : <Link href={`/keys/${encodeURIComponent(event.key)}`}>{event.key}</Link>}
                </th>
                <td data-label="What">
                  {event.cause === 'put' && [event.created === undefined ? '' : event.created ? 'new' : 'replaced', bytes(event.bytes)].filter(Boolean).join(', ')}
                  {event.expires_at_ms !== undefined && ` until ${clockMs(event.expires_at_ms)}`}
                  {event.cause === 'lifetime' && event.expires_at_ms === undefined && 'no TTL'}
                  {event.config && <pre className="value">{JSON.stringify(event.config, null, 2)}</pre>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {more > 0 && <p className="note">and {count(more)} more, which this page does not keep.</p>}
    </Dialog>
  )
}
