// What the views ask the node for, and how often.

import { askJson } from '../api'
import type { AdminLog, CacheReport, DetachStatus, IndexedDigest, LineageReport, Losers, Member, Members, Nodes, OldNodes, Reconciliations, RedisReport, Status } from '../types'
import { Resource } from './resource'

/** A status takes up to half a second while a follower waits for its leader; more is silence. */
const STATUS_TIMEOUT_MS = 3_000

export const status = new Resource<Status>(
  (_, signal) => askJson('/v1/status', { signal, timeoutMs: STATUS_TIMEOUT_MS }),
  1_000,
)

export const nodes = new Resource<Nodes>((_, signal) => askJson('/v1/nodes', { signal }), 1_000)

export const cache = new Resource<CacheReport>((_, signal) => askJson('/v1/cache', { signal }), 2_000)

export const lineage = new Resource<LineageReport>((_, signal) => askJson('/v1/lineage', { signal }), 5_000)

export const reconciliations = new Resource<Reconciliations>((_, signal) => askJson('/v1/reconcile', { signal }), 2_000)

export const detachStatus = new Resource<DetachStatus>((_, signal) => askJson('/v1/detached', { signal }), 1_000)

export const adminLog = new Resource<AdminLog>((_, signal) => askJson('/v1/audit?limit=20', { signal }), 5_000)

export const oldNodes = new Resource<OldNodes>((_, signal) => askJson('/v1/old-nodes', { signal }), 2_000)

export const redis = new Resource<RedisReport>((_, signal) => askJson('/v1/redis', { signal }), 2_000)

export const losers = new Resource<Losers>((_, signal) => askJson('/v1/losers', { signal }), 10_000)

export const digests = new Resource<IndexedDigest[]>(
  async (_, signal) => (await askJson<{ digests: IndexedDigest[] }>('/v1/digest', { signal })).digests.slice(-20),
  2_000,
)

/** The members, also before the first status has come. */
export async function membersNow(signal?: AbortSignal): Promise<Member[]> {
  return status.store.get().data?.members ?? (await askJson<Members>('/v1/members', { signal })).members
}

/** A member's name by its number; its number where it is not known, as when it has left. */
export function nodeName(id: number | null): string {
  if (id === null) return ''
  return status.store.get().data?.members.find((member) => member.id === id)?.name ?? `node ${id}`
}

/** The wall clock of the node that served the page: it reads it out with each answer about the nodes. */
export function nodeNow(now: number): number {
  const { data, at } = nodes.store.get()
  return data && at !== null ? data.at_ms + (now - at) : Date.now()
}
