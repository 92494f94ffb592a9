// Compares each status with the one before and tells what happened: the node fell silent and came back, the
// lead went from one node to another, the node turned out to differ.

import { duration, plural } from '../format'
import type { Status } from '../types'
import { monotonic } from './clock'
import { notify } from './notices'
import { nodes, status } from './resources'
import { createStore } from './store'

/** When the node that served the page fell silent, by the page's clock; null while it answers. */
export const silentSince = createStore<number | null>(null)

/** Changes of the leader that this page has seen. */
export const leaderChanges = createStore(0)

interface LastLead {
  id: number
  name: string
  /** The last time a status named this leader. */
  at: number
}

let lead: LastLead | null = null
let before: Status | null = null
let lostAt: number | null = null

/** Watches for as long as the page is open. */
export function startWatcher(): void {
  status.store.subscribe(look)
  status.use()
  // Their answers tell whether the others are there; without them a verdict would be half blind.
  nodes.use()
}

function look(): void {
  const held = status.store.get()
  if (held.failure) {
    if (silentSince.get() === null) silentSince.set(held.at ?? monotonic())
    return
  }
  if (!held.data || held.at === null) return
  const back = silentSince.get()
  silentSince.set(null)
  if (back !== null && before) tellOfReturn(held.data, held.at - back)
  else tellOfLead(held.data, held.at)
  if (held.data.differs_at !== null && before?.differs_at === null) {
    notify('bad', `${held.data.node.name} differs from the other nodes at index ${held.data.differs_at} and takes itself out of service.`)
  }
  remember(held.data, held.at)
  if (back !== null) nodes.kick()
}

function remember(now: Status, at: number): void {
  before = now
  if (now.leader) {
    lead = { id: now.leader.id, name: now.leader.name, at }
    lostAt = null
  } else if (lostAt === null) {
    lostAt = at
  }
}

function tellOfReturn(now: Status, silentMs: number): void {
  const restarted = now.uptime_ms < silentMs ? ' It was restarted in the meantime.' : ''
  const leads = now.leader
    ? now.leader.id === lead?.id && now.term === before?.term
      ? `${now.leader.name} still leads, in term ${now.term}.`
      : `${now.leader.name} has led since term ${now.term}.`
    : 'There is no leader at the moment.'
  if (now.leader && lead && now.term !== before?.term) leaderChanges.set(leaderChanges.get() + 1)
  notify('warn', `${now.node.name} did not answer for ${duration(silentMs)}.${restarted} ${leads}`)
}

function tellOfLead(now: Status, at: number): void {
  if (!now.leader) {
    if (lead && lostAt === null) notify('warn', `${lead.name} is no longer the leader. The voters are electing another one.`)
    return
  }
  if (!lead || (lead.id === now.leader.id && now.term === before?.term)) return
  leaderChanges.set(leaderChanges.get() + 1)
  // What a page that asks once a second can know: the gap lies about between two of its questions.
  const gap = at - lead.at < 1_500 ? 'a second or less' : `about ${duration(at - lead.at)}`
  const who = lead.id === now.leader.id ? `${lead.name} was elected again` : `${lead.name} led before, ${now.leader.name} leads now`
  const terms = before && now.term > before.term ? `, since term ${now.term} (${plural(now.term - before.term, 'election')})` : ''
  notify('warn', `${who}${terms}. There was no leader for ${gap}.`)
}
