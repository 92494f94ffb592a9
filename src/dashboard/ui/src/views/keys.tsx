// The keys in byte order, page by page, below a prefix.

import { useEffect, useMemo, useRef, useState } from 'react'
import { askJson, Failure, withQuery } from '../api'
import { Resource, useResource } from '../data/resource'
import { status } from '../data/resources'
import { useStore } from '../data/store'
import { count, plural } from '../format'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale } from '../parts/state'
import { go, usePlace } from '../router'
import type { KeyPage } from '../types'
import { KeyTable } from './key-table'
import { ClearPrefix, DeleteSelected, SELECTED_MAX } from './keys-removal'
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
  const own = useStore(status.store).data
  const total = own?.entries
  const name = own?.node.name ?? 'this node'
  const [trail, setTrail] = useState<(string | null)[]>([])
  const [asking, setAsking] = useState<'new' | 'clear' | 'delete' | null>(null)
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set())
  const last = useRef<KeyPage | null>(null)
  if (held.data) last.current = held.data
  const page = held.data ?? last.current

  function turn(to: string | null, next: (string | null)[]) {
    setTrail(next)
    go(withQuery('/keys', { prefix, after: to }))
  }

  function select(keys: string[], wanted: boolean) {
    const next = new Set(selected)
    for (const key of keys) {
      if (!wanted) next.delete(key)
      else if (next.size < SELECTED_MAX) next.add(key)
    }
    setSelected(next)
  }

  function changed() {
    setSelected(new Set())
    list.kick()
    status.kick()
  }

  return (
    <>
      <div className="bar">
        <PrefixField key={query.has('after') ? 'paged' : 'first'} prefix={prefix} onChange={() => setTrail([])} />
        <button type="button" data-needs="write" className="primary" data-shortcut="n" onClick={() => setAsking('new')}>
          New key
        </button>
        {prefix && (
          <button type="button" data-needs="write" className="danger" onClick={() => setAsking('clear')}>
            Clear this prefix
          </button>
        )}
      </div>
      <Prefixes prefix={prefix} />
      <Panel
        title={prefix ? `Keys that start with ${prefix}` : 'All keys'}
        at={held.at}
        note={page ? `as ${name} had them at index ${count(page.index)}${!prefix && total !== undefined ? `, ${count(total)} keys in all` : ''}` : ''}
      >
        <Stale held={held} />
        {!page && <Absent held={held} what="keys" route="/v1/keys" />}
        {page && page.keys.length === 0 && <Empty>{prefix || after ? 'No key here.' : 'The cache is empty. Store the first key with “New key”.'}</Empty>}
        {page && page.keys.length > 0 && <KeyTable keys={page.keys} at={held.at} dim={!held.data} selected={selected} select={select} />}
        {selected.size > 0 && (
          <p className="bar selection" role="status">
            <b>{plural(selected.size, 'key')} selected</b>
            <button type="button" data-needs="write" className="danger" onClick={() => setAsking('delete')}>
              Delete selected
            </button>
            <button type="button" onClick={() => setSelected(new Set())}>
              Select none
            </button>
            {selected.size === SELECTED_MAX && <span className="warn-text">▲ No more than {count(SELECTED_MAX)} at once.</span>}
          </p>
        )}
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
      {asking === 'new' && <NewKey prefix={prefix} close={() => setAsking(null)} />}
      {asking === 'clear' && <ClearPrefix prefix={prefix} page={page} first={!after} done={changed} close={() => setAsking(null)} />}
      {asking === 'delete' && <DeleteSelected keys={[...selected]} done={changed} close={() => setAsking(null)} />}
    </>
  )
}

/** This node's own copy: looking at keys shall cost the cluster nothing. */
function pageOf(prefix: string, after: string | null): Resource<KeyPage> {
  const plain = { prefix, after, limit: PAGE, consistency: 'stale' }
  return new Resource(async (_, signal) => {
    try {
      return await askJson<KeyPage>(withQuery('/v1/keys', { ...plain, details: 'true' }), { signal })
    } catch (error) {
      // A node of an older version lists without details.
      if (!(error instanceof Failure) || error.code !== 'invalid_query') throw error
      return askJson<KeyPage>(withQuery('/v1/keys', plain), { signal })
    }
  }, REFRESH_MS)
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
