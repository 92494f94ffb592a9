// Changes of the membership and of the lead. Each shows what is left of the quorum, and wants the name typed.

import { ask } from '../api'
import { notify } from '../data/notices'
import { nodes, status } from '../data/resources'
import { quorum, quorumText } from '../data/verdict'
import { Dialog } from '../parts/dialog'
import type { Member, Status } from '../types'

export interface Action {
  kind: 'promote' | 'remove' | 'lead'
  member: Member
}

/** Handing over and changes of the voters wait for other nodes. */
const TIMEOUT_MS = 30_000

interface Props {
  action: Action
  voters: number
  members: Member[]
  close: () => void
}

export function NodeAction({ action: { kind, member }, voters, members, close }: Props) {
  const { name, id } = member
  const after = quorum(kind === 'promote' ? voters + 1 : kind === 'remove' && member.voter ? voters - 1 : voters)
  const before = quorum(voters)

  async function run() {
    if (kind === 'lead') await post('/v1/leader', { to: id })
    else if (kind === 'promote') await ask(`/v1/members/${id}/promote`, { method: 'POST', timeoutMs: TIMEOUT_MS })
    else await ask(`/v1/members/${id}`, { method: 'DELETE', timeoutMs: TIMEOUT_MS })
    const done = { lead: `${name} leads now.`, promote: `${name} has a vote now.`, remove: `${name} is no member any more.` }
    if (kind !== 'lead') notify('good', done[kind])
    status.kick()
    nodes.kick()
  }

  const titles = { lead: `Make ${name} the leader`, promote: `Give ${name} a vote`, remove: `Remove ${name} from the cluster` }
  return (
    <Dialog title={titles[kind]} action={titles[kind]} danger={kind === 'remove'} typed={name} run={run} close={close}>
      {kind === 'lead' && (
        <p>
          {members.find((one) => one.role === 'leader')?.name ?? 'The leader'} hands over. Writes wait for a moment, none is lost.
        </p>
      )}
      {kind === 'promote' && <p>From then on it counts for a majority. It is refused while the node is far behind.</p>}
      {kind === 'remove' && (
        <p>
          It gets no more of the log, and its number is never given again. To come back it joins anew with an empty folder.
          {member.role === 'leader' && ' It leads: it hands over first.'}
        </p>
      )}
      <table className="quorum">
        <tbody>
          <tr>
            <th scope="row">Now</th>
            <td>{quorumText(before)}</td>
          </tr>
          <tr>
            <th scope="row">After</th>
            <td>{quorumText(after)}</td>
          </tr>
        </tbody>
      </table>
      {after.survives < before.survives && (
        <p className="warn-text">
          ▲ The cluster survives fewer failures: {before.survives} before, {after.survives || 'none'} after.
        </p>
      )}
    </Dialog>
  )
}

/** 204 has no body to parse. */
async function post(path: string, body: unknown): Promise<void> {
  await ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, timeoutMs: TIMEOUT_MS })
}

export function AddNode({ own, close }: { own: Status; close: () => void }) {
  const url = own.members.find((member) => member.id === own.node.id)?.http ?? location.origin
  const command = `lockstep serve --data-dir data/new --http HOST:PORT --join ${url}`
  const voters = own.members.filter((member) => member.voter).length
  return (
    <Dialog title="Add a node" close={close} wide>
      <p>A node joins by itself: the program sends the number of its data folder along, so that asking twice adds it once. Start it where it shall run:</p>
      <pre className="command">{command}</pre>
      <p>
        It comes as a learner, catches up, and then gets a vote: {quorumText(quorum(voters))} becomes {quorumText(quorum(voters + 1))}. With{' '}
        <code>--learner</code> it stays without one until you promote it here.
      </p>
    </Dialog>
  )
}
