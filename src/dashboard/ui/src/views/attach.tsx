// Brings a detached node back: first what would become of its changes, with the conflicts to decide, then the deed.

import { useEffect, useState } from 'react'
import { askJson, sendJson } from '../api'
import { notify } from '../data/notices'
import { detachStatus, losers, status } from '../data/resources'
import { count, plural } from '../format'
import { Dialog } from '../parts/dialog'
import { Trouble } from '../parts/state'
import type { Attached, DetachStatus, KeyState, PlanLine, Status } from '../types'

const POLICIES = {
  newest: 'the later change wins',
  oldest: 'the earlier change wins',
  prefer_live: 'the cluster’s wins',
  prefer_incoming: 'this node’s wins',
  sum_delta: 'counters get what both added; other values are set aside',
  quarantine: 'the cluster’s stays, this node’s is set aside',
  custom: 'I decide each of them',
}
type Policy = keyof typeof POLICIES
type Take = 'live' | 'incoming' | 'remove'

/** Two states are read and compared. */
const TIMEOUT_MS = 60_000

export function AttachDialog({ own, close }: { own: Status; close: () => void }) {
  const [policy, setPolicy] = useState<Policy>('newest')
  const [told, setTold] = useState<Attached | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [chosen, setChosen] = useState<Record<string, Take | undefined>>({})
  const name = own.node.name

  useEffect(() => {
    let over = false
    setTold(null)
    setError(null)
    setChosen({})
    askJson<Attached>('/v1/attach', {
      method: 'POST',
      body: JSON.stringify({ policy, dry_run: true }),
      headers: { 'Content-Type': 'application/json' },
      timeoutMs: TIMEOUT_MS,
    }).then(
      (answer) => !over && setTold(answer),
      (failed) => !over && setError(failed),
    )
    return () => {
      over = true
    }
  }, [policy])

  const both = told ? told.counts.won_by_live + told.counts.won_by_incoming + told.counts.set_aside + told.counts.undecided : 0
  // A decision is about the values that were looked at.
  const decided = Object.entries(chosen).filter(([, take]) => take)
  const decisions = decided.map(([key, take]) => {
    const line = told?.conflicts.find((one) => one.key === key)
    return { key, take, live_revision: line?.live.revision ?? null, incoming_revision: line?.incoming.revision ?? null }
  })
  const open = policy === 'custom' ? (told?.counts.undecided ?? 0) - decisions.length : 0

  async function run() {
    const answer = await sendJson<Attached | DetachStatus>('POST', '/v1/attach', { policy, decisions })
    const done = 'attached' in answer && typeof answer.attached === 'boolean'
    const { done: taken, lost } = answer as Attached
    const words = `${name} is a member again: ${plural(taken, 'change')} came in, ${plural(lost, 'loser')} written down.`
    notify('good', done ? words : `${name} is on its way back.`)
    status.kick()
    detachStatus.kick()
    losers.kick()
  }

  return (
    <Dialog title={`Bring ${name} back`} action="Bring it back" disabled={!told || open > 0} run={run} close={close} wide>
      <p>
        <label>
          Where both sides changed a key,{' '}
          <select value={policy} onChange={(event) => setPolicy(event.target.value as Policy)}>
            {Object.entries(POLICIES).map(([value, says]) => (
              <option key={value} value={value}>
                {says}
              </option>
            ))}
          </select>
        </label>
      </p>
      {error !== null && <Trouble error={error} />}
      {!told && error === null && <p role="status">Comparing both sides…</p>}
      {told && (
        <>
          <p>
            {plural(told.counts.changes, 'key')} changed here since; {count(told.counts.proposed)} of these changes come in.{' '}
            {both === 0 ? 'No key was changed on both sides.' : `${plural(both, 'key')} changed on both sides`}
            {both > told.conflicts.length ? `, of which these are the first ${count(told.conflicts.length)}:` : both > 0 && ':'}
          </p>
          {told.conflicts.length > 0 && (
            <div className="scroll">
              <table className="diff">
                <thead>
                  <tr>
                    <th scope="col">Key</th>
                    <th scope="col">Both had</th>
                    <th scope="col">The cluster has</th>
                    <th scope="col">This node has</th>
                    <th scope="col">Kept</th>
                  </tr>
                </thead>
                <tbody>
                  {told.conflicts.map((line) => (
                    <tr key={line.key}>
                      <td className="key">{line.key}</td>
                      <td>{line.base ? shown(line.base) : 'not known'}</td>
                      <td>{shown(line.live)}</td>
                      <td>{shown(line.incoming)}</td>
                      <td>
                        <Kept line={line} take={chosen[line.key]} choose={(take) => setChosen({ ...chosen, [line.key]: take })} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          {open > 0 && <p className="warn-text">▲ {plural(open, 'conflict')} left to decide.{' '}
              {both > told.conflicts.length && 'There are more than are shown: use lockstep reconcile, or rules.'}</p>}
          <p className="note">What loses is written to a file before it is lost.</p>
        </>
      )}
    </Dialog>
  )
}

function shown({ state, value, value_base64 }: KeyState): string {
  return value ?? value_base64 ?? state
}

function Kept({ line, take, choose }: { line: PlanLine; take: Take | undefined; choose: (take?: Take) => void }) {
  const isSum = typeof line.action === 'object'
  const proposed = line.action === 'decide' ? '' : isSum ? 'sum' : line.loser === 'live' ? 'incoming' : 'live'
  return (
    <select aria-label={`What is kept of ${line.key}`} value={take ?? proposed} onChange={({ target }) => choose(target.value === 'sum' ? undefined : (target.value as Take))}>
      {isSum && <option value="sum">what both added</option>}
      {proposed === '' && !take && <option value="">decide…</option>}
      <option value="live">the cluster’s</option>
      <option value="incoming">this node’s</option>
      <option value="remove">neither</option>
    </select>
  )
}
