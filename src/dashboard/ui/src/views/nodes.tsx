// Every member of the cluster: how it is, and what can be done with it.

import { useState } from 'react'
import { useResource } from '../data/resource'
import { nodes, status } from '../data/resources'
import { quorumNow, quorumText, silentVoters } from '../data/verdict'
import { Panel } from '../parts/panel'
import { Absent, Stale, TooOld } from '../parts/state'
import type { Member, NodeView, Status } from '../types'
import { AdminLog } from './admin-log'
import { AddNode, NodeAction, type Action } from './node-actions'
import { NodeCard } from './node-card'
import { AttachedOldNodes } from './old-nodes'
import { Redis } from './redis'

export function Nodes() {
  const heldStatus = useResource(status)
  const heldNodes = useResource(nodes)
  const [action, setAction] = useState<Action | null>(null)
  const [adding, setAdding] = useState(false)
  const own = heldStatus.data
  if (!own) return <Absent held={heldStatus} what="this node’s status" route="/v1/status" />
  const members = own.members
  const now = quorumNow(own, heldNodes.data)
  const silent = silentVoters(own, heldNodes.data)
  const tooOld = heldNodes.failure?.noRoute ?? false
  return (
    <>
      <Panel
        title={quorumText(now)}
        at={tooOld ? heldStatus.at : heldNodes.at}
        note={heldNodes.data?.members.joint ? 'a membership change is between its two steps' : `as ${own.node.name} sees them`}
        actions={
          <button type="button" data-needs="admin" onClick={() => setAdding(true)}>
            Add a node
          </button>
        }
      >
        {tooOld && <TooOld what="report of each node" route="/v1/nodes" />}
        <Stale held={heldNodes} />
        <div className="cards">
          {members.map((member) => (
            <NodeCard
              key={member.id}
              member={member}
              own={own}
              view={heldNodes.data?.nodes.find((node) => node.id === member.id) ?? fromStatus(own, member)}
              act={setAction}
            />
          ))}
        </div>
      </Panel>
      <AttachedOldNodes />
      <Redis />
      <AdminLog />
      {action && <NodeAction action={action} now={now} silent={silent} members={members} close={() => setAction(null)} />}
      {adding && <AddNode own={own} now={now} close={() => setAdding(false)} />}
    </>
  )
}

/** What a status alone tells of a member: much of the node itself, little of the others. */
function fromStatus(own: Status, member: Member): NodeView {
  const self = own.node.id === member.id
  return {
    id: member.id,
    name: member.name,
    http: member.http,
    voter: member.voter,
    round_trip_us: null,
    error: null,
    report: self ? own : null,
    lag_entries: member.lag,
    lag_ms: null,
    equal_at: null,
    differs_at: self ? own.differs_at : null,
  }
}
