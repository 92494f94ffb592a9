// Has this node leave its cluster on purpose.

import { sendJson } from '../api'
import { notify } from '../data/notices'
import { detachStatus, status } from '../data/resources'
import { quorum, quorumText, silentVoters } from '../data/verdict'
import { Dialog } from '../parts/dialog'
import type { DetachStatus, Status } from '../types'

export function DetachDialog({ own, close }: { own: Status; close: () => void }) {
  const name = own.node.name
  const voters = own.members.filter((member) => member.voter)
  const answering = voters.length - silentVoters(own, null).length
  const votes = voters.some((member) => member.id === own.node.id)
  const force = !own.majority
  const after = quorum(voters.length - (votes ? 1 : 0), answering - (votes ? 1 : 0))

  async function run() {
    const told = await sendJson<DetachStatus>('POST', '/v1/detach', { force })
    notify('good', told.detached ? `${name} goes on alone.` : `${name} is about to leave.`)
    status.kick()
    detachStatus.kick()
  }

  return (
    <Dialog title={`Have ${name} leave its cluster`} action={force ? 'Leave by force' : 'Leave'} danger typed={name} run={run} close={close}>
      <p>
        It goes on alone with all that it has, and takes reads and writes. When it comes back, its changes are brought in by rules, and
        whatever loses is written to a file.
      </p>
      {force ? (
        <p className="warn-text">▲ No majority answers. By force it leaves without asking: the others count it as a silent member.</p>
      ) : (
        <p>Without it: {quorumText(after)}.</p>
      )}
    </Dialog>
  )
}
