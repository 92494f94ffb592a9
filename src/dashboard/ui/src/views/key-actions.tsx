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
      throw new Error('The key was changed meanwhile, so nothing was deleted. Close this and look at what it is now.')
    }
    notify('good', `${name} is deleted.`)
    await done()
  }
  return (
    <Dialog title={`Delete ${name}`} action="Delete" danger run={run} close={close}>
      <p>
        It is removed on every node, at revision {value.revision} only: if somebody changes it before, nothing happens.
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
    <Dialog title={`Time to live of ${name}`} action={mode === 'persist' ? 'Keep for ever' : 'Set'} run={run} close={close} disabled={mode === 'expire' && !(ttl >= 1)}>
      <fieldset>
        <legend className="unseen">Time to live</legend>
        <label className="choice">
          <input type="radio" name={`${field}mode`} checked={mode === 'expire'} onChange={() => setMode('expire')} />
          It lives for
          <input className="short" aria-label="Seconds" value={seconds} inputMode="decimal" onFocus={() => setMode('expire')} onChange={(e) => setSeconds(e.target.value)} />
          seconds from now
        </label>
        <label className="choice inner">
          <input type="checkbox" checked={sliding} disabled={mode === 'persist'} onChange={(e) => setSliding(e.target.checked)} />
          every use renews it
        </label>
        <label className="choice">
          <input type="radio" name={`${field}mode`} checked={mode === 'persist'} onChange={() => setMode('persist')} />
          It lives for ever, unless it is evicted
        </label>
      </fieldset>
      <p className="note">Either gives the key a new revision.</p>
    </Dialog>
  )
}
