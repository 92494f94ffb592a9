// Stores a key that is not there yet.

import { useId, useState } from 'react'
import { ask, Failure, kv, unreachable, withQuery } from '../api'
import { Dialog } from '../parts/dialog'
import { go } from '../router'

export function NewKey({ prefix, close }: { prefix: string; close: () => void }) {
  const [key, setKey] = useState(prefix)
  const [text, setText] = useState('')
  const [type, setType] = useState('text/plain; charset=utf-8')
  const [seconds, setSeconds] = useState('')
  const ids = { key: useId(), text: useId(), type: useId(), seconds: useId() }
  const ttl = seconds === '' ? null : Math.round(Number(seconds) * 1_000)
  const wrong = !key || unreachable(key) || (ttl !== null && !(ttl >= 1))

  async function run() {
    try {
      await ask(withQuery(kv(key), { ttl_ms: ttl }), {
        method: 'PUT',
        body: text,
        headers: { 'If-None-Match': '*', ...(type ? { 'Content-Type': type } : {}) },
      })
    } catch (error) {
      if (error instanceof Failure && error.status === 412) throw new Error(`The key ${key} already exists. Open it from the list to change it.`)
      throw error
    }
    go(`/keys/${encodeURIComponent(key)}`)
  }

  return (
    <Dialog title="New key" action="Store" run={run} close={close} disabled={wrong} wide>
      <p>
        <label htmlFor={ids.key}>Key</label>
        <input id={ids.key} value={key} autoFocus spellCheck={false} autoComplete="off" onChange={(e) => setKey(e.target.value)} />
      </p>
      <p>
        <label htmlFor={ids.text}>Value</label>
        <textarea id={ids.text} rows={8} value={text} spellCheck={false} onChange={(e) => setText(e.target.value)} />
      </p>
      <p className="pair">
        <span>
          <label htmlFor={ids.type}>Content type</label>
          <input id={ids.type} value={type} spellCheck={false} onChange={(e) => setType(e.target.value)} />
        </span>
        <span>
          <label htmlFor={ids.seconds}>TTL in seconds</label>
          <input id={ids.seconds} value={seconds} inputMode="decimal" placeholder="the cluster’s default" onChange={(e) => setSeconds(e.target.value)} />
        </span>
      </p>
    </Dialog>
  )
}
