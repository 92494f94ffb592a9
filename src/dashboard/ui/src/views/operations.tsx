// What the log does to the cache, as it happens.

import { useEffect, useMemo, useState } from 'react'
import { link } from '../data/live'
import { clearList, feed, KEPT_MAX, pause, watch, type Operation } from '../data/ops'
import { nodeName, status } from '../data/resources'
import { useLost } from '../data/standing'
import { useStore } from '../data/store'
import { silentSince } from '../data/watcher'
import { bytes, clockMs, count } from '../format'
import { Rows } from '../parts/rows'
import { Empty, Trouble } from '../parts/state'
import { go, usePlace } from '../router'
import { withQuery } from '../api'
import { Details } from './operation-details'

const CAUSES = ['put', 'delete', 'expire', 'evict', 'lifetime', 'clear', 'config'] as const
const TYPING_MS = 300

const identity = (operation: Operation) => operation.id

export function Operations() {
  const { query } = usePlace()
  const prefix = query.get('prefix') ?? ''
  const causes = query.get('causes') ?? ''
  const { items, seen, earlier, paused, skipped, refusal } = useStore(feed)
  const { transport, why } = useStore(link)
  const silent = useStore(silentSince) !== null
  const name = useStore(status.store).data?.node.name ?? 'the node'
  const lost = useLost()
  const [open, setOpen] = useState<Operation | null>(null)

  useEffect(() => watch(prefix, status.store.get().data?.applied_index ?? 0), [prefix])

  const shown = useMemo(() => filter(items, prefix, causes), [items, prefix, causes])
  const chosen = causes ? causes.split(',') : []
  const toggle = (cause: string) => {
    const next = chosen.includes(cause) ? chosen.filter((one) => one !== cause) : [...chosen, cause]
    go(withQuery('/operations', { prefix, causes: next.join() }), true)
  }
  return (
    <>
      <div className="bar">
        <button type="button" className="primary pause" data-shortcut="p" aria-pressed={paused} onClick={() => pause(!paused)}>
          {paused ? 'Resume' : 'Pause'}
        </button>
        <PrefixFilter prefix={prefix} causes={causes} />
        <span role="group" aria-label="Causes" className="chips">
          {CAUSES.map((cause) => (
            <button key={cause} type="button" className={`chip ${cause}`} aria-pressed={chosen.includes(cause)} onClick={() => toggle(cause)}>
              <Mark cause={cause} /> {cause}
            </button>
          ))}
        </span>
        <button type="button" onClick={clearList}>
          Clear the list
        </button>
      </div>
      <p className="note feed-state" role="status" data-kept={items.length} data-seen={seen} data-skipped={skipped}>
        {transport === 'socket' && !silent && 'Live by WebSocket. '}
        {lost && !silent && <b className="warn-text">▲ Without a majority nothing can change. </b>}
        {transport === 'events' && `Live by server-sent events: ${why}. `}
        {(transport === 'connecting' || silent) && `No feed at the moment${why ? `: ${why}` : ''}. `}
        {transport === 'none' && `No feed: ${why}. It needs /v1/live or /v1/watch. `}
        {earlier > 0 && `${count(earlier)} earlier log entries from ${name}. `}
        {count(seen)} new, {count(items.length)} of at most {count(KEPT_MAX)} kept
        {shown.length !== items.length && `, ${count(shown.length)} match`}.{' '}
        {paused && <b className="warn-text">▲ Paused: {count(skipped)} skipped.</b>}
      </p>
      {refusal && <Trouble error={refusal} />}
      <div className="feed">
        <div className="op head-row" aria-hidden="true">
          <span>Index</span>
          <span>Time</span>
          <span>Cause</span>
          <span>At</span>
          <span>Key</span>
          <span className="number">Size</span>
        </div>
        {shown.length ? (
          <Rows items={shown} id={identity} label="Operations, newest first" row={(operation) => <Row operation={operation} open={setOpen} />} />
        ) : (
          <Empty>{items.length ? 'No operation matches the filters.' : lost ? 'Nothing can change without a majority.' : `Nothing has changed since this view was opened, and ${name} has no earlier operations.`}</Empty>
        )}
      </div>
      {open && <Details operation={open} close={() => setOpen(null)} />}
    </>
  )
}

function filter(items: Operation[], prefix: string, causes: string): Operation[] {
  if (!prefix && !causes) return items
  const wanted = new Set(causes ? causes.split(',') : [])
  return items.filter((item) => {
    if (item.cause === 'gap') return true
    const fits = (cause: string, key: string | undefined) => (!wanted.size || wanted.has(cause)) && (key === undefined || key.startsWith(prefix))
    return item.events.some((event) => fits(event.cause, event.key))
  })
}

function PrefixFilter({ prefix, causes }: { prefix: string; causes: string }) {
  const [text, setText] = useState(prefix)
  useEffect(() => {
    if (text === prefix) return
    const timer = setTimeout(() => go(withQuery('/operations', { prefix: text, causes }), true), TYPING_MS)
    return () => clearTimeout(timer)
  }, [text, prefix, causes])
  return (
    <label className="field">
      Prefix
      <input data-shortcut="/" value={text} spellCheck={false} autoComplete="off" placeholder="all keys" onChange={(event) => setText(event.target.value)} />
    </label>
  )
}

const MARKS: Record<string, string> = { put: '+', delete: '−', expire: '◷', evict: '↥', lifetime: '◔', clear: '∅', config: '⚙', batch: '≡', gap: '⋯' }

export function Mark({ cause }: { cause: string }) {
  return (
    <i className="op-mark" aria-hidden="true">
      {MARKS[cause] ?? '·'}
    </i>
  )
}

function Row({ operation, open }: { operation: Operation; open: (operation: Operation) => void }) {
  if (operation.cause === 'gap') {
    return (
      <div className="op gap">
        <span />
        <span>{clockMs(operation.atMs)}</span>
        <span className="wide">⋯ {operation.key}</span>
      </div>
    )
  }
  return (
    <button type="button" className={`op ${operation.cause}`} onClick={() => open(operation)}>
      <span>{count(operation.index)}</span>
      <span>{clockMs(operation.atMs)}</span>
      <span className="cause">
        <Mark cause={operation.cause} /> {operation.cause}
      </span>
      <span>{nodeName(operation.by)}</span>
      <span className="key">{operation.key}</span>
      <span className="number">{operation.bytes === null ? '' : bytes(operation.bytes)}</span>
    </button>
  )
}
