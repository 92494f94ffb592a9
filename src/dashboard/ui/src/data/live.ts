// The feed of changes: one WebSocket a page, server-sent events where sockets are blocked. Each
// subscription remembers the last index it saw, so a connection that breaks loses nothing.

import { ask, Failure, withQuery } from '../api'
import type { Change, HistoryName } from '../types'
import { monotonic } from './clock'
import { createStore } from './store'
import { silentSince } from './watcher'

export type Transport = 'connecting' | 'socket' | 'events' | 'none'

/** How changes arrive at the moment; `why` says it where it is not by socket. */
export interface Link {
  transport: Transport
  why: string
}

export const link = createStore<Link>({ transport: 'connecting', why: '' })

export interface Subscriber {
  prefix: string
  /** Changes after this index; null for those from now on. */
  from: number | null
  /** What `from` is an index of: a restore from a backup begins another history. */
  history?: string
  change(change: Change): void
  /** Changes up to `index` are no longer known. */
  gap(from: number, index: number): void
  refused(detail: string): void
  /** It is watched from here on. */
  begun?(): void
}

interface Message {
  type: string
  id: string
  cluster_id?: string
  history?: HistoryName
  index?: number
  from?: number
  resume?: number
  reason?: string
  code?: string
  detail?: string
  at_ms?: number
  by?: number
  events?: Change['events']
}

const RETRY_MIN_MS = 500
const RETRY_MAX_MS = 5_000
/** The node sends a bookmark every five seconds; three that are missing mean a dead connection. */
const SILENCE_MS = 15_000
/** How often a page that does without a socket tries one again. */
const PROBE_MS = 60_000
/** A socket that never opened so often, while the node answers, is blocked. */
const REFUSALS = 2

const BY_EVENTS: Link = { transport: 'events', why: 'WebSockets are blocked on the way to this node' }

const subscribers = new Map<string, Subscriber>()
const sources = new Map<string, EventSource>()
let socket: WebSocket | null = null
let heard = 0
let refusals = 0
let retryMs = RETRY_MIN_MS
let nextId = 1
let timer: ReturnType<typeof setTimeout> | undefined

export function startLive(): void {
  connect()
  silentSince.subscribe(() => {
    if (silentSince.get() !== null) return
    // The node is back: not a moment to be patient. It may be of another version, too.
    retryMs = RETRY_MIN_MS
    refusals = 0
    if (!socket) again(0)
  })
  setInterval(() => {
    if (socket?.readyState === WebSocket.OPEN && subscribers.size && monotonic() - heard > SILENCE_MS) socket.close()
  }, 1_000)
}

/** Begins a subscription; the function that comes back ends it. */
export function subscribe(name: string, subscriber: Subscriber): () => void {
  // What is still on its way to one that has ended must not be taken for the next one's.
  const id = `${name}-${nextId++}`
  subscribers.set(id, subscriber)
  send(id, subscriber)
  if (link.get().transport === 'events') listen(id, subscriber)
  return () => {
    subscribers.delete(id)
    sources.get(id)?.close()
    sources.delete(id)
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ unsubscribe: id }))
  }
}

function send(id: string, { prefix, from }: Subscriber): void {
  if (socket?.readyState !== WebSocket.OPEN) return
  heard = monotonic()
  socket.send(JSON.stringify({ subscribe: { id, prefix, values: false, ...(from === null ? {} : { from }) } }))
}

function connect(): void {
  clearTimeout(timer)
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  let opened = false
  let next: WebSocket
  try {
    next = new WebSocket(`${scheme}://${location.host}/v1/live`)
  } catch {
    refusals += 1
    void withoutSocket()
    return
  }
  socket = next
  next.onopen = () => {
    opened = true
    refusals = 0
    retryMs = RETRY_MIN_MS
    closeSources()
    link.set({ transport: 'socket', why: '' })
    for (const [id, subscriber] of subscribers) send(id, subscriber)
  }
  next.onmessage = (event) => {
    heard = monotonic()
    receive(JSON.parse(String(event.data)) as Message)
  }
  next.onclose = () => {
    if (socket === next) socket = null
    if (opened) {
      link.set({ transport: 'connecting', why: 'the connection broke; retrying' })
      again()
    } else {
      if (silentSince.get() === null) refusals += 1
      void withoutSocket()
    }
  }
}

function again(afterMs = retryMs * (0.75 + Math.random() / 2)): void {
  clearTimeout(timer)
  timer = setTimeout(connect, afterMs)
  retryMs = Math.min(RETRY_MAX_MS, retryMs * 2)
}

/** A socket did not open: the node is away, too old, or something on the way lets none through. */
async function withoutSocket(): Promise<void> {
  if (refusals < REFUSALS || silentSince.get() !== null) {
    if (link.get().transport !== 'events') link.set({ transport: 'connecting', why: 'no connection yet; retrying' })
    again()
    return
  }
  clearTimeout(timer)
  timer = setTimeout(connect, PROBE_MS)
  if (await lacks('/v1/watch')) {
    link.set({ transport: 'none', why: 'this node’s version has no change feed' })
    return
  }
  if (link.get().transport === 'events') return
  link.set(BY_EVENTS)
  for (const [id, subscriber] of subscribers) listen(id, subscriber)
}

async function lacks(path: string): Promise<boolean> {
  const stop = new AbortController()
  try {
    await ask(path, { signal: stop.signal })
    return false
  } catch (error) {
    return error instanceof Failure && error.noRoute
  } finally {
    stop.abort()
  }
}

function listen(id: string, subscriber: Subscriber): void {
  sources.get(id)?.close()
  const { prefix, from } = subscriber
  const source = new EventSource(withQuery('/v1/watch', { prefix, from, values: 'false' }))
  sources.set(id, source)
  source.onopen = () => {
    if (link.get().transport !== 'socket') link.set(BY_EVENTS)
  }
  for (const type of ['subscribed', 'change', 'bookmark', 'resync', 'cut']) {
    source.addEventListener(type, (event) => {
      const body = JSON.parse((event as MessageEvent<string>).data) as Omit<Message, 'type' | 'id'>
      receive({ ...body, type, id })
    })
  }
  source.onerror = () => {
    // The browser connects again by itself, unless the answer was no stream.
    if (silentSince.get() === null) link.set({ transport: 'none', why: 'neither WebSockets nor server-sent events get through to this node' })
    if (source.readyState !== EventSource.CLOSED) return
    setTimeout(() => {
      if (sources.get(id) === source) listen(id, subscriber)
    }, RETRY_MAX_MS)
  }
}

function closeSources(): void {
  for (const source of sources.values()) source.close()
  sources.clear()
}

function receive(message: Message): void {
  const subscriber = subscribers.get(message.id)
  if (!subscriber) return
  const { index } = message
  const cutOff = socket
  switch (message.type) {
    case 'subscribed': {
      const here = `${message.cluster_id} ${message.history?.id}`
      if (subscriber.history !== undefined && subscriber.history !== here) subscriber.gap(0, index ?? 0)
      subscriber.history = here
      if (index !== undefined) subscriber.from = index
      subscriber.begun?.()
      break
    }
    case 'bookmark':
      if (index !== undefined) subscriber.from = index
      break
    case 'change':
      if (index === undefined || (subscriber.from !== null && index <= subscriber.from)) break
      subscriber.from = index
      subscriber.change({ index, at_ms: message.at_ms ?? 0, by: message.by, events: message.events ?? [] })
      break
    case 'resync':
      subscriber.gap(message.from ?? subscriber.from ?? 0, index ?? 0)
      subscriber.from = index ?? null
      break
    case 'cut':
      subscriber.from = message.resume ?? subscriber.from
      // A node that stops closes the connection next, and it is made anew; one that goes on can be asked again.
      setTimeout(() => {
        if (subscribers.get(message.id) === subscriber && cutOff === socket) send(message.id, subscriber)
      }, RETRY_MIN_MS)
      break
    case 'refused':
      refuse(message.id, subscriber, message.code ?? '', message.detail ?? 'refused')
      break
  }
}

/** An index from another history can't be resumed from; without one there is always a way. Everything else passes. */
function refuse(id: string, subscriber: Subscriber, code: string, detail: string): void {
  if (subscriber.from === null || code !== 'conflict') {
    subscriber.refused(detail)
    const refusedBy = socket
    setTimeout(() => {
      if (subscribers.get(id) === subscriber && refusedBy === socket) send(id, subscriber)
    }, RETRY_MAX_MS)
    return
  }
  subscriber.gap(subscriber.from, 0)
  subscriber.from = null
  send(id, subscriber)
}
