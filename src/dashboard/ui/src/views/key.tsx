// One key: its value, what is known of it, and what can be done with it.

import { useCallback, useEffect, useRef, useState } from 'react'
import { message } from '../api'
import { useClock } from '../data/clock'
import { link, subscribe } from '../data/live'
import { useLost } from '../data/standing'
import { useStore } from '../data/store'
import { silentSince } from '../data/watcher'
import { bytes, count } from '../format'
import { Fact } from '../parts/fact'
import { Link } from '../parts/link'
import { Panel } from '../parts/panel'
import { Empty, Loading, Trouble } from '../parts/state'
import { Ttl } from '../parts/ttl'
import { usePlace } from '../router'
import type { FeedEvent } from '../types'
import { readValue, type Consistency, type Value } from '../value'
import { DeleteKey, Lifetime } from './key-actions'
import { Editor } from './key-editor'
import { ValueView } from './key-value'

type Loaded = { value: Value | null; failure: null } | { value: null; failure: string }

export function KeyView() {
  const { path } = usePlace()
  const key = keyOf(path)
  return key ? <Key key={key} name={key} /> : <Empty>This URL names no key.</Empty>
}

function keyOf(path: string): string {
  try {
    return decodeURIComponent(path.slice('/keys/'.length))
  } catch {
    return ''
  }
}

function Key({ name }: { name: string }) {
  const [loaded, setLoaded] = useState<Loaded | null>(null)
  const [consistency, setConsistency] = useState<Consistency>('linearizable')
  const [editing, setEditing] = useState(false)
  const [changed, setChanged] = useState<FeedEvent | null>(null)
  const [asking, setAsking] = useState<'delete' | 'lifetime' | null>(null)
  const { transport } = useStore(link)
  const silent = useStore(silentSince) !== null
  const lost = useLost()
  const watched = !silent && (transport === 'socket' || transport === 'events')

  const asked = useRef(0)
  const isEditing = useRef(editing)
  isEditing.current = editing

  const load = useCallback(async () => {
    // Of several reads under way the last one counts.
    const mine = ++asked.current
    let next: Loaded
    try {
      next = { value: await readValue(name, consistency), failure: null }
    } catch (error) {
      next = { value: null, failure: message(error) }
    }
    if (mine !== asked.current) return
    setLoaded(next)
    setChanged(null)
  }, [name, consistency])
  // Whoever types is not disturbed: saving asks what to do about what changed meanwhile.
  const refresh = useCallback(() => {
    if (!isEditing.current) void load()
  }, [load])

  useEffect(() => void load(), [load])
  useEffect(
    () =>
      subscribe('key', {
        prefix: name,
        from: null,
        // What changed between the first read and this is in no message.
        begun: refresh,
        change: ({ events }) => {
          const about = events.filter((event) => concerns(event, name))
          if (about.length) setChanged(about[about.length - 1])
        },
        gap: refresh,
        refused: () => undefined,
      }),
    [name, refresh],
  )
  // Nobody types here: what changed can be shown at once.
  useEffect(() => {
    if (changed && !editing && !asking) void load()
  }, [changed, editing, asking, load])

  const value = loaded?.value
  return (
    <>
      <p className="crumbs">
        <Link href="/keys">Keys</Link> <span aria-hidden="true">›</span> <code>{name}</code>
      </p>
      {changed && editing && (
        <p className="notice warn" role="status">
          <span>This key has changed since you opened it ({changed.cause}). Saving will ask what to do.</span>
        </p>
      )}
      {!loaded && <Loading what="the value" />}
      {!loaded && lost && consistency === 'linearizable' && (
        <p className="stale">
          ⚠ Without a majority no node knows the newest value.{' '}
          <button type="button" onClick={() => setConsistency('stale')}>
            Read this node’s own copy
          </button>
        </p>
      )}
      {loaded?.failure && (
        <Trouble error={loaded.failure}>
          <button type="button" onClick={() => void load()}>
            Try again
          </button>{' '}
          {consistency === 'linearizable' && (
            <button type="button" onClick={() => setConsistency('stale')}>
              Read this node’s own copy
            </button>
          )}
        </Trouble>
      )}
      {loaded && !loaded.failure && !value && (
        <Empty>
          There is no key <code>{name}</code>. It may have expired or been evicted.{' '}
          <button type="button" onClick={() => void load()}>
            Look again
          </button>
        </Empty>
      )}
      {value && (
        <Panel
          title={editing ? `Editing revision ${count(value.revision)}` : `Revision ${count(value.revision)}`}
          at={watched ? undefined : value.at}
          note={
            editing
              ? 'changes by others are not shown while you edit; saving never overwrites them unseen'
              : `${consistency === 'stale' ? 'this node’s own copy, possibly stale' : 'linearizable read'}${watched ? ', watched: changes appear as they happen' : ''}`
          }
          actions={
            !editing && (
              <>
                <button type="button" onClick={() => void load()}>
                  Reload
                </button>
                <button type="button" data-needs="write" className="primary" onClick={() => setEditing(true)}>
                  Edit
                </button>
                <button type="button" data-needs="write" onClick={() => setAsking('lifetime')}>
                  TTL
                </button>
                <button type="button" data-needs="write" className="danger" onClick={() => setAsking('delete')}>
                  Delete
                </button>
              </>
            )
          }
        >
          {editing ? (
            <Editor
              name={name}
              value={value}
              done={() => {
                setEditing(false)
                void load()
              }}
              cancel={() => setEditing(false)}
            />
          ) : (
            <>
              <Facts value={value} />
              <ValueView value={value} />
              {!watched && <p className="note">There is no change feed, so this view does not update by itself. Reload to see changes.</p>}
            </>
          )}
        </Panel>
      )}
      {value && asking === 'delete' && <DeleteKey name={name} value={value} done={load} close={() => setAsking(null)} />}
      {value && asking === 'lifetime' && <Lifetime name={name} value={value} done={load} close={() => setAsking(null)} />}
    </>
  )
}

function concerns(event: FeedEvent, key: string): boolean {
  return event.cause === 'clear' ? key.startsWith(event.prefix ?? '') : event.key === key
}

function Facts({ value }: { value: Value }) {
  const now = useClock()
  const left = value.ttlMs === null ? null : value.ttlMs - (now - value.at)
  return (
    <dl className="facts wide">
      <Fact name="Size" value={bytes(value.bytes.length)} />
      <Fact name="Content type" value={value.contentType} />
      <Fact name="TTL" value={<Ttl ms={left} />} />
    </dl>
  )
}
