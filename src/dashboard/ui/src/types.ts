// The shapes that the API answers with, as far as the page reads them.

export type Role = 'leader' | 'follower' | 'learner' | 'candidate'
export type Policy = 'lru' | 'lfu' | 's3fifo' | 'noeviction'

export interface Leader {
  id: number
  name: string
  http: string
}

export interface IndexedDigest {
  index: number
  digest: string
}

export interface Member {
  id: number
  name: string
  http: string
  peer: string
  role: string
  voter: boolean
  lag: number | null
  silent_ms: number | null
}

export interface Members {
  members: Member[]
  joint: boolean
}

export interface Config {
  policy: Policy
  capacity_entries: number
  capacity_bytes: number
  default_ttl_ms: number | null
  touch: { enabled: boolean; interval_ms: number; max_per_flush: number }
}

export interface CacheReport {
  policy: Policy
  entries: number
  bytes: number
  entries_to_free: number
  entries_to_move: number
  counts: Record<string, number>
  reads: { hits: number; misses: number; hit_percent: number | null }
  touches: { sent: number; suppressed: number; dropped: number; log_entries: number; log_bytes: number }
  hot_keys: { key: string; reads: number }[]
  next_victims: { key: string; frequency: number; bytes: number }[]
  shadow: { one_key_in: number; reads: number; hit_percent: Partial<Record<Policy, number>> } | null
}

/** A history of the cluster: a restore from a backup begins another one. */
export interface HistoryName {
  number: number
  id: string
}

/** How a node is detached from its cluster. */
export interface Detachment {
  history: string
  fork_index: number
  since_ms: number
  entries: number
  urls: string[]
  forced: boolean
}

export interface DetachStatus {
  detached: Detachment | null
  busy: boolean
  attach: { running: boolean; done: number; total: number; error: string | null }
}

export interface History {
  number: number
  id: string
  kind: 'founded' | 'restored' | 'recovered' | 'detached'
  fork_index: number
  start_index: number
  began_at_ms: number
  reason: string
}

export interface LineageReport {
  cluster_id: string
  histories: History[]
  applied_index: number
}

export interface Reconciliations {
  merges: {
    id: string
    history: string
    next_step: number
    end: { up_to: number } | 'aborted' | 'forgotten' | null
    done: number
    changed: number
    full: number
    invalid: number
  }[]
  forks: { history: string; since: number; limit: number | null; noted: number; complete: boolean }[]
  decided: Record<string, number>
}

/** What a side has of a key. */
export interface KeyState {
  state: string
  value?: string
  value_base64?: string
  revision?: number
  stamp_ms?: number
}

export interface PlanLine {
  key: string
  case: string
  action: unknown
  loser?: 'live' | 'incoming'
  set_aside?: boolean
  /** What both had when they parted; left out where it is not known. */
  base?: KeyState
  live: KeyState
  incoming: KeyState
}

export interface Attached {
  attached: boolean
  passes: number
  counts: { changes: number; proposed: number; won_by_live: number; won_by_incoming: number; set_aside: number; undecided: number }
  conflicts: PlanLine[]
  done: number
  lost: number
  losers: string
}

export interface Losers {
  losers: (KeyState & { file: string; key: string; side: string; why: string })[]
  more: boolean
}

export interface Status {
  cluster_id: string
  history: HistoryName
  node: { id: number; name: string }
  role: Role
  leader: Leader | null
  term: number
  last_log_index: number
  committed_index: number
  applied_index: number
  snapshot_index: number
  purged_index: number
  digest: IndexedDigest
  differs_at: number | null
  majority: boolean
  superseded_by: HistoryName | null
  detached: Detachment | null
  warnings: { code: string; detail: string }[]
  members: Member[]
  config: Config
  entries: number
  bytes: number
  memory_resident_bytes: number | null
  cache: CacheReport
  log_time_ms: number
  log_time_ahead_ms: number | null
  version: string
  uptime_ms: number
}

export interface NodeReport {
  role: Role
  term: number
  last_log_index: number
  committed_index: number
  applied_index: number
  snapshot_index: number
  purged_index: number
  digest: IndexedDigest
  differs_at: number | null
  entries: number
  bytes: number
  memory_resident_bytes: number | null
  log_time_ms: number
  log_time_ahead_ms: number | null
  uptime_ms: number
  version: string
}

export interface NodeView {
  id: number
  name: string
  http: string
  voter: boolean
  round_trip_us: number | null
  error: string | null
  report: NodeReport | null
  lag_entries: number | null
  lag_ms: number | null
  equal_at: number | null
  differs_at: number | null
}

export interface Nodes {
  asked_by: number
  at_ms: number
  nodes: NodeView[]
  members: Members
}

export const COLUMNS = [
  'at_ms', 'requests', 'errors', 'reads', 'writes', 'p50_us', 'p99_us', 'hits', 'misses', 'puts', 'evicted',
  'expired', 'touches', 'flushes', 'flush_us', 'entries', 'bytes', 'applied_index', 'is_leader',
] as const
export type Column = (typeof COLUMNS)[number]
export type Columns = Record<Column, (number | null)[]>

export interface HistoryAnswer {
  node: { id: number; name: string }
  interval_ms: number
  now_ms: number
  columns: Columns
}

export interface KeyEntry {
  key: string
  revision: number
  version: number
  created_at_ms: number
  modified_at_ms: number
  ttl_ms: number | null
  sliding_ms: number | null
  /** The name that the client gave itself which stored the value. */
  origin: string | null
  bytes: number
  /** Absent from nodes of an older version. */
  details?: KeyDetails
}

export interface KeyDetails {
  /** The value's beginning: text, or base64 where it is none. */
  preview: { value: string } | { value_base64: string }
  content_type: string | null
  uses: number
  by: number | null
}

export interface KeyPage {
  keys: KeyEntry[]
  next: string | null
  index: number
}

export type Cause = 'put' | 'lifetime' | 'delete' | 'expire' | 'evict' | 'clear' | 'config'

export interface FeedEvent {
  cause: Cause
  key?: string
  created?: boolean
  bytes?: number
  expires_at_ms?: number
  prefix?: string
  removed?: number
  config?: Config
}

export interface Change {
  index: number
  at_ms: number
  /** The node whose client asked for it; absent for what the cluster does by itself. */
  by?: number
  events: FeedEvent[]
}

export interface ProblemBody {
  title: string
  status: number
  detail: string
  code: string
  effect: 'none' | 'unknown'
  revision?: number
  leader?: Leader
}

/** A node of the original Node.js cache server. */
export interface OldNode {
  node_id: string
  address: string
  port: number | null
  socket_id: string
  since_ms: number
  last_sync_ms: number | null
  told_up_to: number
  received: number
  refused: number
  told: number
  full_syncs: number
}

/** Those that are attached to a node. */
export interface OldNodes {
  node: string
  old_nodes: OldNode[]
}

/** A client that speaks the Redis protocol. */
export interface RedisClient {
  id: number
  address: string
  name: string
  library: string
  library_version: string
  user: string
  database: number
  protocol: number
  command: string
  age_ms: number
  idle_ms: number
  queued: number | null
  watched_keys: number
  subscriptions: number
}

export interface RedisCommand {
  command: string
  replies: number
  errors: number
  outcomes_unknown: number
  p50_us: number | null
  p99_us: number | null
}

/** What a node knows of the Redis protocol. */
export interface RedisReport {
  node: string
  connected: number
  connected_total: number
  clients: RedisClient[]
  commands: RedisCommand[]
}

/** What an operator asked for. */
export interface AdminAction {
  index: number
  at_ms: number
  /** How often the same was asked for in a row. */
  times: number
  /** The id of the token; empty if none was shown. */
  principal: string
  token_name: string | null
  address: string
  node: number
  action: string
}

export interface AdminLog {
  count: number
  actions: AdminAction[]
}
