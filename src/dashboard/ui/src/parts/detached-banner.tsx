// Above every view of a node that has left its cluster on purpose: what is shown is its own.

import { status } from '../data/resources'
import { useStore } from '../data/store'
import { clock, count } from '../format'
import { usePlace } from '../router'
import { Link } from './link'

export function DetachedBanner() {
  const own = useStore(status.store).data
  const place = usePlace()
  if (own?.superseded_by) {
    return (
      <div className="notices">
        <p className="notice bad" role="status">
          <span>
            The cluster was recovered without {own.node.name} and goes on in history {own.superseded_by.number}. What is shown here is old.
          </span>
        </p>
      </div>
    )
  }
  if (!own?.detached) return null
  const { fork_index, since_ms } = own.detached
  return (
    <div className="notices">
      <p className="notice warn" role="status">
        <span>
          {own.node.name} has left its cluster after index {count(fork_index)}, at {clock(since_ms)}, and goes on alone: what is shown is not what
          the cluster has. {place.path !== '/divergence' && <Link href="/divergence">Bring it back</Link>}
        </span>
      </p>
    </div>
  )
}
