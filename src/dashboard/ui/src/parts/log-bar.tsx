// The log as a line: what is gone, what a snapshot covers, what is applied, what is not yet.

import { count } from '../format'
import type { Status } from '../types'

export function LogBar({ of }: { of: Status }) {
  const last = Math.max(1, of.last_log_index)
  const share = (index: number) => `${(100 * Math.min(index, last)) / last}%`
  const between = (from: number, to: number) => `${(100 * Math.max(0, to - from)) / last}%`
  const marks = [
    { name: 'Purged', index: of.purged_index, means: 'entries up to here were removed from the log', sort: 'purged' },
    { name: 'Snapshot', index: of.snapshot_index, means: 'a snapshot covers the entries up to here', sort: 'covered' },
    { name: 'Applied', index: of.applied_index, means: 'entries up to here have changed this node’s cache', sort: 'applied' },
    { name: 'Committed', index: of.committed_index, means: 'a majority has the entries up to here', sort: 'committed' },
    { name: 'Last', index: of.last_log_index, means: 'the newest on this node’s disk', sort: 'last' },
  ]
  return (
    <>
      <div className="log-bar" aria-hidden="true">
        <i className="purged" style={{ left: 0, width: share(of.purged_index) }} />
        <i className="covered" style={{ left: share(of.purged_index), width: between(of.purged_index, of.snapshot_index) }} />
        <i className="applied" style={{ left: share(of.snapshot_index), width: between(of.snapshot_index, of.applied_index) }} />
        <i className="committed" style={{ left: share(of.applied_index), width: between(of.applied_index, of.committed_index) }} />
      </div>
      <dl className="log-marks">
        <div>
          <dt>First in the log</dt>
          <dd>{count(of.purged_index + 1)}</dd>
          <dd className="note">the oldest entry still there</dd>
        </div>
        {marks.map(({ name, index, means, sort }) => (
          <div key={name}>
            <dt>
              <i className={`swatch ${sort}`} aria-hidden="true" /> {name}
            </dt>
            <dd>{index === 0 && sort !== 'last' ? 'none' : count(index)}</dd>
            <dd className="note">{means}</dd>
          </div>
        ))}
      </dl>
    </>
  )
}
