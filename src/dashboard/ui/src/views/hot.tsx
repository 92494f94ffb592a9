// The keys that clients read most from this node.

import { useResource } from '../data/resource'
import { cache, status } from '../data/resources'
import { useStore } from '../data/store'
import { count, percent } from '../format'
import { Link } from '../parts/link'
import { Meter } from '../parts/meter'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale } from '../parts/state'

export function Hot() {
  const held = useResource(cache)
  const name = useStore(status.store).data?.node.name ?? 'this node'
  if (!held.data) return <Absent held={held} what="report of the cache" route="/v1/cache" />
  const keys = held.data.hot_keys
  const top = keys[0]?.reads ?? 1
  const all = keys.reduce((sum, { reads }) => sum + reads, 0)
  return (
    <Panel title={`Read most from ${name}`} at={held.at} note="in the last minutes">
      <Stale held={held} />
      <p className="note">
        A sample: one read in eight is counted, as eight, and counts are halved every minute. Missing keys count too. Other nodes have their
        own lists.
      </p>
      {keys.length === 0 ? (
        <Empty>No key was read here recently.</Empty>
      ) : (
        <div className="scroll">
          <table className="list hot stacks">
            <thead>
              <tr>
                <th scope="col" className="number">#</th>
                <th scope="col">Key</th>
                <th scope="col" className="number">Reads, estimated</th>
                <th scope="col" className="number">Share of the list</th>
                <th scope="col" className="graph"><span className="unseen">Relative to the first</span></th>
              </tr>
            </thead>
            <tbody>
              {keys.map(({ key, reads }, i) => (
                <tr key={key}>
                  <td className="number muted rank">{i + 1}</td>
                  <th scope="row" className="key">
                    <Link href={`/keys/${encodeURIComponent(key)}`}>{key}</Link>
                  </th>
                  <td className="number" data-label="Reads, estimated">{count(reads)}</td>
                  <td className="number" data-label="Share of the list">{percent((100 * reads) / all)}</td>
                  <td className="graph">
                    <Meter value={reads} of={top} label={`${key}, relative to the first`} />
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
