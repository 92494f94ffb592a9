// Changes a value, but only the revision that was read: who was quicker is never overwritten unseen.

import { useId, useMemo, useRef, useState } from 'react'
import { ask, Failure, kv, withQuery } from '../api'
import { bytes, coarse, count } from '../format'
import { Trouble } from '../parts/state'
import { hex, isJson, laidOut, NO_TYPE, oneLineOf, onOneLine, parseHex, prettyJson, readValue, ttlLeft, type Value } from '../value'
import { Conflict } from './key-conflict'

/** A longer document is edited as it is. */
const LAID_OUT_MAX = 256 * 1024

/** What was sent last. Sent again it bears the same name, so that an answer that got lost makes no second write. */
interface Attempt {
  what: string
  name: string
  ttl: string | number
}

interface Props {
  name: string
  value: Value
  done: () => void
  cancel: () => void
}

export function Editor({ name, value, done, cancel }: Props) {
  const binary = value.text === null
  // A document that stands on one line is edited a member a line, and stored on one line again.
  const form = useMemo(() => (value.text === null || value.bytes.length > LAID_OUT_MAX ? null : oneLineOf(value.text)), [value])
  const [text, setText] = useState(binary ? hex(value.bytes) : form ? laidOut(value.text ?? '') : (value.text ?? ''))
  const [type, setType] = useState(value.contentType)
  const [life, setLife] = useState<'keep' | 'never' | 'new'>(value.ttlMs === null ? 'never' : 'keep')
  const [seconds, setSeconds] = useState('3600')
  const [base, setBase] = useState<number | null>(value.revision)
  const [theirs, setTheirs] = useState<Value | null | undefined>(undefined)
  const [error, setError] = useState<unknown>(null)
  const [saving, setSaving] = useState(false)
  const [unsure, setUnsure] = useState(false)
  const attempt = useRef<Attempt | null>(null)
  const ids = { text: useId(), type: useId(), life: useId() }
  const again = form !== null && isJson(text)
  const body = binary ? parseHex(text) : new TextEncoder().encode(again ? onOneLine(text, form) : text)
  const left = ttlLeft(value)

  /** Writes over a revision, or where there is no key. */
  async function save(over: number | null) {
    if (!body) return
    setSaving(true)
    setError(null)
    const what = JSON.stringify([text, type, life, seconds, over])
    if (attempt.current?.what !== what) {
      const ttl = life === 'never' ? 'never' : life === 'new' ? Math.round(Number(seconds) * 1_000) : Math.max(1, Math.round(ttlLeft(value) ?? 1))
      attempt.current = { what, name: randomName(), ttl }
    }
    const { name: idempotencyKey, ttl } = attempt.current
    const headers: Record<string, string> = over === null ? { 'If-None-Match': '*' } : { 'If-Match': `"${over}"` }
    headers['Idempotency-Key'] = idempotencyKey
    // Without a header the value is stored without a type, as it was.
    if (type && type !== NO_TYPE) headers['Content-Type'] = type
    try {
      await ask(withQuery(kv(name), { ttl_ms: ttl }), { method: 'PUT', body: body as Uint8Array<ArrayBuffer>, headers })
      done()
    } catch (failed) {
      if (failed instanceof Failure && failed.unsure) setUnsure(true)
      if (failed instanceof Failure && failed.status === 412) {
        try {
          setTheirs(await readValue(name, 'linearizable'))
        } catch (unread) {
          setError(unread)
        }
      } else setError(failed)
    }
    setSaving(false)
  }

  if (theirs !== undefined) {
    return (
      <Conflict
        theirs={theirs}
        mine={text}
        binary={binary}
        unsure={unsure}
        saving={saving}
        error={error}
        take={done}
        write={() => void save(theirs?.revision ?? null)}
        back={() => {
          setBase(theirs?.revision ?? null)
          setTheirs(undefined)
        }}
      />
    )
  }

  const pretty = binary ? null : prettyJson(text)
  const wrongJson = !binary && /json/i.test(type) && text !== '' && !isJson(text)
  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault()
        void save(base)
      }}
    >
      <label htmlFor={ids.text}>{binary ? 'Value, in pairs of hexadecimal digits' : 'Value'}</label>
      <textarea id={ids.text} rows={14} value={text} spellCheck={false} autoFocus onChange={(event) => setText(event.target.value)} />
      <p className="note">
        {body ? bytes(body.length) : '▲ not hexadecimal'}
        {again && ', laid out for editing, stored on one line as it was'}
        {wrongJson && ' ▲ not valid JSON'}
        {pretty !== null && !form && pretty !== text && (
          <button type="button" className="quiet" onClick={() => setText(pretty)}>
            Lay out as JSON
          </button>
        )}
      </p>
      <div className="pair">
        <span>
          <label htmlFor={ids.type}>Content type</label>
          <input id={ids.type} value={type} spellCheck={false} onChange={(event) => setType(event.target.value)} />
        </span>
        <span>
          <label htmlFor={ids.life}>TTL</label>
          <span className="inline">
            <select id={ids.life} value={life} onChange={(event) => setLife(event.target.value as typeof life)}>
              {left !== null && <option value="keep">keep: about {coarse(left / 1_000)} left</option>}
              <option value="never">none</option>
              <option value="new">new, in seconds:</option>
            </select>
            {life === 'new' && <input className="short" aria-label="TTL in seconds" value={seconds} onChange={(event) => setSeconds(event.target.value)} />}
          </span>
        </span>
      </div>
      {left !== null && <p className="note">The API does not say whether a TTL slides. Saving replaces it with one that does not.</p>}
      {error !== null && <Trouble error={error} />}
      <p className="buttons">
        <button type="button" onClick={cancel}>
          Cancel
        </button>
        <button type="submit" className="primary" disabled={saving || !body}>
          {saving ? 'Saving…' : base === null ? 'Create it again' : `Save over revision ${count(base)}`}
        </button>
      </p>
    </form>
  )
}

/** Of 128 random bits; `crypto.randomUUID` exists on https and localhost only. */
function randomName(): string {
  return hex(crypto.getRandomValues(new Uint8Array(16))).replace(/\s/g, '')
}
