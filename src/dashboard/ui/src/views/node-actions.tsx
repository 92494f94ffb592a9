// Changes of the membership and of leadership. Each shows what is left of the quorum, and wants the name typed.

import { ask } from '../api'
import { notify } from '../data/notices'
import { nodes, status } from '../data/resources'
import { quorum, quorumText, type Quorum } from '../data/verdict'
import { Copy } from '../parts/copy'
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
  now: Quorum
  /** Names of the voters that do not answer. */
  silent: string[]
  members: Member[]
  close: () => void
}

export function NodeAction({ action: { kind, member }, now, silent, members, close }: Props) {
  const { name, id } = member
  const change = kind === 'promote' ? 1 : kind === 'remove' && member.voter ? -1 : 0
  const after = quorum(now.voters + change, now.answering + (silent.includes(name) ? 0 : change))

  async function run() {
    if (kind === 'lead') await post('/v1/leader', { to: id })
    else if (kind === 'promote') await ask(`/v1/members/${id}/promote`, { method: 'POST', timeoutMs: TIMEOUT_MS })
    else await ask(`/v1/members/${id}`, { method: 'DELETE', timeoutMs: TIMEOUT_MS })
    const done = { lead: `${name} leads now.`, promote: `${name} is now a voter.`, remove: `${name} was removed.` }
    if (kind !== 'lead') notify('good', done[kind])
    status.kick()
    nodes.kick()
  }

  const titles = { lead: `Make ${name} the leader`, promote: `Give ${name} a vote`, remove: `Remove ${name} from the cluster` }
  return (
    <Dialog title={titles[kind]} action={titles[kind]} danger={kind === 'remove'} typed={name} run={run} close={close}>
      {kind === 'lead' && (
        <p>
          {members.find((one) => one.role === 'leader')?.name ?? 'The leader'} hands leadership over. Writes wait for a moment; none is lost.
        </p>
      )}
      {kind === 'promote' && <p>From then on the node counts for a majority. The promotion is refused while it is far behind.</p>}
      {kind === 'remove' && (
        <p>
          It no longer receives the log, and its number is never reused. To return, it joins again with an empty folder.
          {member.role === 'leader' && ' It is the leader: it hands leadership over first.'}
        </p>
      )}
      <table className="quorum">
        <tbody>
          <tr>
            <th scope="row">Now</th>
            <td>{quorumText(now)}</td>
          </tr>
          <tr>
            <th scope="row">After</th>
            <td>{quorumText(after)}</td>
          </tr>
        </tbody>
      </table>
      {after.survives < now.survives && (
        <p className="warn-text">
          ▲ {after.survives < 0 ? 'Afterwards there is no majority.' : `The cluster survives fewer failures: ${now.survives} before, ${after.survives || 'none'} after.`}
        </p>
      )}
    </Dialog>
  )
}

/** 204 has no body to parse. */
async function post(path: string, body: unknown): Promise<void> {
  await ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, timeoutMs: TIMEOUT_MS })
}

export function AddNode({ own, now, close }: { own: Status; now: Quorum; close: () => void }) {
  const url = own.members.find((member) => member.id === own.node.id)?.http ?? location.origin
  const command = `lockstep serve --data-dir data/new --http HOST:PORT --join ${url}`
  return (
    <Dialog title="Add a node" close={close} wide>
      <p>
        A node joins by itself. It sends the id of its data folder, so asking twice adds it only once. Replace HOST:PORT with its own address, and
        run this on its machine:
      </p>
      <pre className="command">{command}</pre>
      <p className="buttons">
        <Copy text={command} what="the command" />
      </p>
      {isLocal(url) && (
        <p className="warn-text">
          ▲ {own.node.name} advertises {url}, which works on its own machine only. For a node elsewhere, start the nodes with
          addresses that can be reached: <code>--advertise-http</code> and <code>--advertise-peer</code>.
        </p>
      )}
      <p>
        It joins as a learner, catches up, and then becomes a voter: {quorumText(now)} becomes {quorumText(quorum(now.voters + 1, now.answering + 1))}. With{' '}
        <code>--learner</code> it stays a learner until you promote it here.
      </p>
    </Dialog>
  )
}

/** Whether an address leads nowhere but to the machine that it is used on. */
function isLocal(url: string): boolean {
  return /^https?:\/\/(localhost|127\.|\[::1\]|0\.0\.0\.0)/.test(url)
}
