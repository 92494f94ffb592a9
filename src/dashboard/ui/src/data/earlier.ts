// The newest operations from before the page was opened, as the node remembers them: up to a hundred, also across its restarts.

import { askJson } from '../api'
import type { Cause, Change, FeedEvent, Member } from '../types'
import { membersNow } from './resources'

/** An operation as `/api/sync/history` tells it. */
interface Told {
  type: string
  key?: string
  bytes?: number
  expiresAt?: number
  prefix?: string
  removed?: number
  nodeId: string | null
  timestamp: number
  index: number
}

const CAUSES: Record<string, Cause> = { set: 'put', ttl: 'lifetime', delete: 'delete', expire: 'expire', evict: 'evict', clear: 'clear', config: 'config', 'strategy-change': 'config' }
const PATIENCE_MS = 3_000

/** Oldest first; nothing from a node that does not know. */
export async function earlierChanges(): Promise<Change[]> {
  let told: Told[]
  let members: Member[]
  try {
    members = await membersNow()
    told = (await askJson<{ history: Told[] }>('/api/sync/history?limit=100', { timeoutMs: PATIENCE_MS })).history
  } catch {
    return []
  }
  const changes: Change[] = []
  for (const one of told.reverse()) {
    const event: FeedEvent = { cause: CAUSES[one.type] ?? 'config', key: one.key, bytes: one.bytes, expires_at_ms: one.expiresAt, prefix: one.prefix, removed: one.removed }
    const last = changes[changes.length - 1]
    const by = members.find((member) => member.name === one.nodeId)?.id
    if (last?.index === one.index) {
      last.events.push(event)
      last.by ??= by
    } else changes.push({ index: one.index, at_ms: one.timestamp, by, events: [event] })
  }
  return changes
}
