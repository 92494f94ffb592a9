// The keys in byte order, page by page, below a prefix.

import { useEffect, useMemo, useRef, useState } from 'react'
import { askJson, unreachable, withQuery } from '../api'
import { useClock } from '../data/clock'
import { Resource, useResource } from '../data/resource'
import { status } from '../data/resources'
import { useStore } from '../data/store'
import { bytes, count } from '../format'
import { Link } from '../parts/link'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale } from '../parts/state'
import { Ttl } from '../parts/ttl'
import { go, usePlace } from '../router'
import type { KeyEntry, KeyPage } from '../types'
import { NewKey } from './new-key'
import { Prefixes } from './prefixes'

const PAGE = 100
const REFRESH_MS = 3_000
const TYPING_MS = 200

export function Keys() {
  const { query } = usePlace()
  const prefix = query.get('prefix') ?? ''
  const after = query.get('after')
  const list = useMemo(() => pageOf(prefix, after), [prefix, after])
  const held = useResource(list)
  const total = useStore(status.store).data?.entries
  const [trail, setTrail] = useState<(string | null)[]>([])
  const [adding, setAdding] = useState(false)
  const last = useRef<KeyPage | null>(null)
  if (held.data) last.current = held.data
  const page = held.data ?? last.current

  function turn(to: string | null, next: (string | null)[]) {
    setTrail(next)
    go(withQuery('/keys', { prefix, after: to }))
  }

  return (
    <>
      <div className="bar">
        <PrefixField key={query.has('after') ? 'paged' : 'first'} prefix={prefix} onChange={() => setTrail([])} />
        <button type="button" className="primary" data-shortcut="n" onClick={() => setAdding(true)}>
          New key
        </button>
      </div>
      <Prefixes prefix={prefix} />
      <Panel
        title={prefix ? `Keys that start with ${prefix}` : 'All keys'}
        at={held.at}
        note={page ? `stale read at index ${count(page.index)}${!prefix && total !== undefined ? `, ${count(total)} keys in all` : ''}` : 'stale read'}
      >
        <Stale held={held} />
        {!page && <Absent held={held} what="keys" route="/v1/keys" />}
        {page && page.keys.length === 0 && <Empty>{prefix || after ? 'No key here.' : 'The cache is empty. Store the first key with “New key”.'}</Empty>}
        {page && page.keys.length > 0 && <KeyTable keys={page.keys} at={held.at} dim={!held.data} />}
        <p className="buttons pages">
          <button type="button" disabled={!after} onClick={() => turn(null, [])}>
            First page
          </button>
          <button type="button" disabled={!trail.length} onClick={() => turn(trail[trail.length - 1], trail.slice(0, -1))}>
            Previous
          </button>
          <button type="button" disabled={!page?.next || !held.data} onClick={() => turn(page?.next ?? null, [...trail, after])}>
            Next
          </button>
          <span className="note">{after && !trail.length ? 'after ' : `page ${trail.length + 1}`}{after && !trail.length ? <code>{after}</code> : ''}</span>
        </p>
      </Panel>
      {adding && <NewKey prefix={prefix} close={() => setAdding(false)} />}
    </>
  )
}

/** This node's own copy: looking at keys shall cost the cluster nothing. */
function pageOf(prefix: string, after: string | null): Resource<KeyPage> {
  const path = withQuery('/v1/keys', { prefix, after, limit: PAGE, consistency: 'stale' })
  return new Resource((_, signal) => askJson<KeyPage>(path, { signal }), REFRESH_MS)
}

function PrefixField({ prefix, onChange }: { prefix: string; onChange: () => void }) {
  const [text, setText] = useState(prefix)
  const given = useRef(prefix)
  // A prefix that came by a link goes into the field; one that was typed here is there.
  useEffect(() => {
    if (prefix !== given.current) setText(prefix)
    given.current = prefix
  }, [prefix])
  useEffect(() => {
    if (text === given.current) return
    const timer = setTimeout(() => {
      given.current = text
      onChange()
      go(withQuery('/keys', { prefix: text }), true)
    }, TYPING_MS)
    return () => clearTimeout(timer)
  }, [text])
  return (
    <label className="field grow">
      Prefix
      <input data-shortcut="/" value={text} spellCheck={false} autoComplete="off" placeholder="all keys" onChange={(event) => setText(event.target.value)} />
    </label>
  )
}

function KeyTable({ keys, at, dim }: { keys: KeyEntry[]; at: number | null; dim: boolean }) {
  const now = useClock()
  const passed = at === null ? 0 : now - at
  return (
    <div className="scroll">
      <table className={dim ? 'list dim' : 'list'}>
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col" className="number">Size</th>
            <th scope="col" className="number">Revision</th>
            <th scope="col" className="number">Time left</th>
          </tr>
        </thead>
        <tbody>
          {keys.map((entry) => (
            <tr key={entry.key}>
              <th scope="row" className="key">
                {unreachable(entry.key) ? (
                  <span title="Browsers drop this from a URL; use the command line">{entry.key}</span>
                ) : (
                  <Link href={`/keys/${encodeURIComponent(entry.key)}`}>{entry.key}</Link>
                )}
              </th>
              <td className="number">{bytes(entry.bytes)}</td>
              <td className="number">{count(entry.revision)}</td>
              <td className="number">
                <Ttl ms={entry.ttl_ms === null ? null : entry.ttl_ms - passed} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
