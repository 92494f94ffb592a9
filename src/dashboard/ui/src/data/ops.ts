// The newest operations of the feed. Bounded however fast they come, and shown ten times a second at most.

import type { Cause, Change, FeedEvent } from '../types'
import { earlierChanges } from './earlier'
import { subscribe } from './live'
import { createStore } from './store'

/** Log entries that are kept. */
export const KEPT_MAX = 2_000
/** Events that are kept of one entry; the rest is only counted. */
const EVENTS_MAX = 32
const SHOW_EVERY_MS = 100

export interface Operation {
  /** Unique on this page. */
  id: number
  index: number
  atMs: number
  /** The node whose client asked for it. */
  by: number | null
  cause: Cause | 'batch' | 'gap'
  key: string
  bytes: number | null
  events: FeedEvent[]
  count: number
}

export interface Feed {
  /** Newest first. */
  items: Operation[]
  /** All that arrived since the page was opened. */
  seen: number
  /** What the node knew from before. */
  earlier: number
  paused: boolean
  skipped: number
  refusal: string
}

export const feed = createStore<Feed>({ items: [], seen: 0, earlier: 0, paused: false, skipped: 0, refusal: '' })

let arrived: Operation[] = []
let seen = 0
let skipped = 0
let timer: ReturnType<typeof setTimeout> | undefined
let nextId = 1
let resume: { prefix: string; from: number | null } = { prefix: '', from: null }

/** Watches all keys with a prefix; the function that comes back ends it. */
export function watch(prefix: string, appliedIndex: number): () => void {
  // After a short absence nothing is missed. After a long one the past would only push itself out again.
  const near = resume.prefix === prefix && resume.from !== null && appliedIndex - resume.from < KEPT_MAX
  const subscriber = {
    prefix,
    from: near ? resume.from : null,
    change: add,
    gap: (from: number, index: number) => mark(index ? `Changes from ${from} to ${index} are no longer known` : 'The feed starts again'),
    refused: (refusal: string) => feed.set({ ...feed.get(), refusal }),
  }
  feed.set({ ...feed.get(), refusal: '' })
  let end = () => {}
  let ended = false
  const begin = () => {
    if (!ended) end = subscribe('ops', subscriber)
  }
  if (near) begin()
  else {
    const before = resume
    void earlierChanges().then((changes) => {
      if (ended) return
      if (before.from !== null) mark(prefix === before.prefix ? 'Not watched in between' : 'Another prefix from here on')
      fill(changes)
      // From the newest of them on: nothing falls between what was and what comes.
      subscriber.from = changes.length ? changes[changes.length - 1].index : null
      begin()
    })
  }
  return () => {
    ended = true
    if (subscriber.from !== null) resume = { prefix, from: subscriber.from }
    end()
  }
}

/** Takes in what was before the view was opened, oldest first, except what the page knows. */
function fill(changes: Change[]): void {
  const known = Math.max(0, ...feed.get().items.map((item) => item.index), ...arrived.map((item) => item.index))
  const fresh = changes.filter((change) => change.index > known)
  for (const change of fresh) push(operation(change))
  feed.set({ ...feed.get(), earlier: feed.get().earlier + fresh.length })
  show()
}

export function pause(paused: boolean): void {
  show()
  if (!paused && skipped > 0) mark(`${skipped} were skipped while paused`)
  skipped = 0
  feed.set({ ...feed.get(), paused, skipped })
}

export function clearList(): void {
  arrived = []
  feed.set({ ...feed.get(), items: [] })
}

function add(change: Change): void {
  seen += 1
  if (feed.get().paused) skipped += 1
  else push(operation(change))
  timer ??= setTimeout(show, SHOW_EVERY_MS)
}

function mark(text: string): void {
  push({ id: nextId++, index: 0, atMs: Date.now(), by: null, cause: 'gap', key: text, bytes: null, events: [], count: 0 })
  timer ??= setTimeout(show, SHOW_EVERY_MS)
}

function push(operation: Operation): void {
  arrived.push(operation)
  // A hidden page is shown seldom: what would be dropped then is dropped now.
  if (arrived.length > 2 * KEPT_MAX) arrived = arrived.slice(-KEPT_MAX)
}

function show(): void {
  clearTimeout(timer)
  timer = undefined
  const now = feed.get()
  const items = arrived.length ? [...arrived.reverse(), ...now.items].slice(0, KEPT_MAX) : now.items
  arrived = []
  feed.set({ ...now, items, seen, skipped })
}

function operation({ index, at_ms, by, events }: Change): Operation {
  const bytes = events.reduce<number | null>((sum, event) => (event.bytes === undefined ? sum : (sum ?? 0) + event.bytes), null)
  return {
    id: nextId++,
    index,
    atMs: at_ms,
    by: by ?? null,
    ...headline(events),
    bytes,
    events: events.slice(0, EVENTS_MAX),
    count: events.length,
  }
}

/** What a log entry did, in one line. What goes to make room for it, or was due, is not what it is about. */
function headline(events: FeedEvent[]): { cause: Operation['cause']; key: string } {
  const asked = events.filter(({ cause }) => cause !== 'evict' && cause !== 'expire')
  const beside = events.filter((event) => !asked.includes(event))
  if (asked.length === 1) return { cause: asked[0].cause, key: subject(asked[0]) + (beside.length ? `, and ${summary(beside)}` : '') }
  if (events.length === 1) return { cause: events[0].cause, key: subject(events[0]) }
  return { cause: 'batch', key: `${events.length} events: ${summary(events)}` }
}

/** What an event is about, in a word or two. */
export function subject(event: FeedEvent): string {
  if (event.cause === 'clear') return `${event.prefix ? `all with prefix ${event.prefix}` : 'all keys'}: ${event.removed ?? 0} removed`
  if (event.cause === 'config' && event.config) {
    const { policy, capacity_entries } = event.config
    return `${policy}, ${capacity_entries} entries`
  }
  return event.key ?? ''
}

function summary(events: FeedEvent[]): string {
  const counts = new Map<string, number>()
  for (const { cause } of events) counts.set(cause, (counts.get(cause) ?? 0) + 1)
  return [...counts].map(([cause, n]) => `${n} ${cause}`).join(', ')
}
