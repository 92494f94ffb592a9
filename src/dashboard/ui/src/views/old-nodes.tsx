// Nodes of the original Node.js cache server that are attached to this node. They are no members.

import { useResource } from '../data/resource'
import { oldNodes } from '../data/resources'
import { clock, count } from '../format'
import { Panel } from '../parts/panel'
import { Stale } from '../parts/state'

export function AttachedOldNodes() {
  const held = useResource(oldNodes)
  const attached = held.data
  // A node of an older version knows of none.
  if (!attached || held.failure?.noRoute || attached.old_nodes.length === 0) return null
  return (
    <Panel title="Old nodes" at={held.at} note={`of the original Node.js cache server, attached to ${attached.node}; no members, no votes`}>
      <Stale held={held} />
      <div className="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Node</th>
              <th scope="col">Address</th>
              <th scope="col">Attached</th>
              <th scope="col">Whole state</th>
              <th scope="col">Told up to</th>
              <th scope="col">Told</th>
              <th scope="col">Received</th>
              <th scope="col">Refused</th>
            </tr>
          </thead>
          <tbody>
            {attached.old_nodes.map((node) => (
              <tr key={node.socket_id}>
                <td>{node.node_id}</td>
                <td>{node.port === null ? node.address : `${node.address}, port ${node.port}`}</td>
                <td>{clock(node.since_ms)}</td>
                <td>{node.last_sync_ms === null ? 'being sent' : clock(node.last_sync_ms)}</td>
                <td>{count(node.told_up_to)}</td>
                <td>{count(node.told)}</td>
                <td>{count(node.received)}</td>
                <td>{count(node.refused)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  )
}
