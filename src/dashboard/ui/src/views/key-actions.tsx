// Deleting a key, and giving it a time to live or taking that away.

import { useId, useState } from 'react'
import { ask, Failure, kv, sendJson } from '../api'
import { notify } from '../data/notices'
import { Dialog } from '../parts/dialog'
import type { Value } from '../value'

interface Props {
  name: string
  value: Value
  done: () => Promise<void>
  close: () => void
}

export function DeleteKey({ name, value, done, close }: Props) {
  async function run() {
    try {
      await ask(kv(name), { method: 'DELETE', headers: { 'If-Match': `"${value.revision}"` } })
    } catch (error) {
      if (!(error instanceof Failure) || error.status !== 412) throw error
      await done()
      throw new Error('The key has changed, so nothing was deleted. Close this and look at its current value.')
    }
    notify('good', `${name} was deleted.`)
    await done()
  }
  return (
    <Dialog title={`Delete ${name}`} action="Delete" danger run={run} close={close}>
      <p>
        It is deleted on every node, but only at revision {value.revision}: if someone changes it first, nothing happens.
      </p>
    </Dialog>
  )
}

export function Lifetime({ name, value, done, close }: Props) {
  const [seconds, setSeconds] = useState(value.ttlMs === null ? '3600' : String(Math.ceil(value.ttlMs / 1_000)))
  const [mode, setMode] = useState<'expire' | 'persist'>('expire')
  const [sliding, setSliding] = useState(false)
  const field = useId()
  const ttl = Math.round(Number(seconds) * 1_000)

  async function run() {
    if (mode === 'persist') await sendJson('POST', `${kv(name)}/persist`, {})
    else await sendJson('POST', `${kv(name)}/expire`, { ttl_ms: ttl, sliding })
    await done()
  }

  return (
    <Dialog title={`TTL of ${name}`} action={mode === 'persist' ? 'Remove the TTL' : 'Set'} run={run} close={close} disabled={mode === 'expire' && !(ttl >= 1)}>
      <fieldset>
        <legend className="unseen">TTL</legend>
        <label className="choice">
          <input type="radio" name={`${field}mode`} checked={mode === 'expire'} onChange={() => setMode('expire')} />
          Expires in
          <input className="short" aria-label="Seconds" value={seconds} inputMode="decimal" onFocus={() => setMode('expire')} onChange={(e) => setSeconds(e.target.value)} />
          seconds
        </label>
        <label className="choice inner">
          <input type="checkbox" checked={sliding} disabled={mode === 'persist'} onChange={(e) => setSliding(e.target.checked)} />
          sliding: every use restarts it
        </label>
        <label className="choice">
          <input type="radio" name={`${field}mode`} checked={mode === 'persist'} onChange={() => setMode('persist')} />
          No TTL: it stays until it is deleted or evicted
        </label>
      </fieldset>
      <p className="note">Both give the key a new revision.</p>
    </Dialog>
  )
}
