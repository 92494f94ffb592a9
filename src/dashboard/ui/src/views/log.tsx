// Where the log begins and ends, what a snapshot covers, and whether the copies are equal.

import { useState } from 'react'
import { askJson } from '../api'
import { notify } from '../data/notices'
import { useResource } from '../data/resource'
import { reason } from '../data/verdict'
import { digests, nodes, status } from '../data/resources'
import { bytes, count, NONE, plural } from '../format'
import { Dialog } from '../parts/dialog'
import { LogBar } from '../parts/log-bar'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale, TooOld } from '../parts/state'
import type { IndexedDigest, Nodes, Status } from '../types'

const SNAPSHOT_TIMEOUT_MS = 65_000

export function Log() {
  const heldStatus = useResource(status)
  const heldNodes = useResource(nodes)
  const heldDigests = useResource(digests)
  const [taking, setTaking] = useState(false)
  const own = heldStatus.data
  if (!own) return <Absent held={heldStatus} what="this node’s status" route="/v1/status" />
  return (
    <>
      <Panel
        title={`The log of ${own.node.name}`}
        at={heldStatus.at}
        actions={
          <>
            <button type="button" data-needs="admin" onClick={() => setTaking(true)}>
              Take a snapshot
            </button>
            <a className="button" href="/v1/snapshot" download={`${own.node.name}-${own.applied_index}.snapshot`}>
              Download a backup
            </a>
          </>
        }
      >
        <Stale held={heldStatus} />
        <LogBar of={own} />
        <p className="note">
          {own.snapshot_index === 0
            ? 'There is no snapshot yet: a restart applies the whole log.'
            : `A restart loads the snapshot at ${count(own.snapshot_index)} and applies ${plural(own.applied_index - own.snapshot_index, 'entry', 'entries')} after it.`}{' '}
          A backup holds what this node has applied. <code>lockstep snapshot verify</code> checks the file.
        </p>
      </Panel>
      <Panel title="Digests compared" at={heldNodes.failure?.noRoute ? heldDigests.at : heldNodes.at} note="a hash of the whole state; equal indexes must have equal digests">
        {heldNodes.failure?.noRoute ? <TooOld what="comparison of all nodes" route="/v1/nodes" /> : <Stale held={heldNodes} />}
        {heldNodes.data && <Compared nodes={heldNodes.data} own={own} />}
      </Panel>
      <Panel title={`Newest digests of ${own.node.name}`} at={heldDigests.at}>
        {heldDigests.data ? <Newest digests={heldDigests.data} /> : <Absent held={heldDigests} what="digests" route="/v1/digest" />}
      </Panel>
      {taking && <TakeSnapshot own={own} close={() => setTaking(false)} />}
    </>
  )
}

function Compared({ nodes: { nodes, asked_by }, own }: { nodes: Nodes; own: Status }) {
  return (
    <div className="scroll">
      <table className="list stacks">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col" className="number">Index</th>
            <th scope="col">Digest</th>
            <th scope="col">Compared with {own.node.name}</th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((node) => (
            <tr key={node.id}>
              <th scope="row">{node.name}</th>
              <td className="number" data-label="Index">{count(node.report?.digest.index)}</td>
              <td className="hex" data-label="Digest">{node.report?.digest.digest ?? NONE}</td>
              <td data-label={`Compared with ${own.node.name}`}>
                {node.differs_at !== null ? (
                  <b className="bad-text">✕ differs at {count(node.differs_at)}</b>
                ) : node.id === asked_by ? (
                  'this node'
                ) : node.equal_at !== null ? (
                  <span className="good-text">✓ equal at {count(node.equal_at)}</span>
                ) : (
                  (node.error ? reason(node.error) : 'not compared yet')
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Newest({ digests }: { digests: IndexedDigest[] }) {
  if (!digests.length) return <Empty>None yet.</Empty>
  return (
    <div className="scroll">
      <table className="list">
        <thead>
          <tr>
            <th scope="col" className="number">Index</th>
            <th scope="col">Digest</th>
          </tr>
        </thead>
        <tbody>
          {[...digests].reverse().map(({ index, digest }) => (
            <tr key={index}>
              <td className="number">{count(index)}</td>
              <td className="hex">{digest}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function TakeSnapshot({ own, close }: { own: Status; close: () => void }) {
  async function run() {
    const taken = await askJson<{ index: number; bytes: number }>('/v1/snapshot', { method: 'POST', timeoutMs: SNAPSHOT_TIMEOUT_MS })
    notify('good', `${own.node.name} took a snapshot at index ${count(taken.index)}: ${bytes(taken.bytes)}.`)
    status.kick()
  }
  return (
    <Dialog title="Take a snapshot" action="Take it" run={run} close={close}>
      <p>
        {own.node.name} writes what it has applied to its disk, at index {count(own.applied_index)} or later. Older log entries can then be
        purged. Other nodes are not affected.
      </p>
    </Dialog>
  )
}
