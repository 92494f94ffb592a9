// The last hour, a sample a second, in columns. Only what is new is asked for.

import { askJson, Failure, withQuery } from '../api'
import { COLUMNS, type Column, type Columns, type HistoryAnswer } from '../types'
import { Resource } from './resource'
import { membersNow } from './resources'
import { reason } from './verdict'

/** With fewer requests the 99th percentile is the slowest one. */
export const P99_FEW = 100

/** Fewer reads than this say so little that no percentage is shown. */
export const READS_FEW = 1_000

/** An hour of samples; older ones go. */
const SAMPLES_MAX = 3_600

export interface History {
  node: string
  /** How far that node's clock is ahead of this machine's. */
  aheadMs: number
  columns: Columns
}

export const history = new Resource<History>((last, signal) => further(last, null, signal), 1_000)

/** What is new at a member since the last answer; at this node where no member is named. */
async function further(last: History | null, member: number | null, signal: AbortSignal): Promise<History> {
  const times = last?.columns.at_ms ?? []
  const since = times.length ? times[times.length - 1] : null
  const answer = await askJson<HistoryAnswer>(withQuery('/v1/samples', { node: member, since_ms: since }), { signal })
  if (!last || last.node !== answer.node.name) {
    return { node: answer.node.name, aheadMs: answer.now_ms - Date.now(), columns: take(answer.columns) }
  }
  return answer.columns.at_ms.length ? { ...last, columns: join(last.columns, answer.columns) } : last
}

/** A member's samples, or why there are none. */
export interface MemberHistory {
  id: number
  name: string
  history: History | null
  failure: string
}

/** Every member's samples. The node that served the page asks the others. */
export const histories = new Resource<MemberHistory[]>(async (last, signal) => {
  const members = await membersNow(signal)
  const asking = members.map(async ({ id, name }): Promise<MemberHistory> => {
    const known = last?.find((one) => one.id === id)?.history ?? null
    try {
      return { id, name, history: await further(known, id, signal), failure: '' }
    } catch (error) {
      if (signal.aborted) throw error
      // This node not answering is everybody's failure, another one's is its own.
      if (error instanceof Failure && (error.silent || error.noRoute)) throw error
      const detail = error instanceof Failure ? (error.body?.detail ?? error.message) : String(error)
      return { id, name, history: known, failure: reason(detail.replace(`${name} does not answer: `, '')) }
    }
  })
  return Promise.all(asking)
}, 1_000)

function take(columns: Columns): Columns {
  return each((name) => (columns[name] ?? columns.at_ms.map(() => null)).slice(-SAMPLES_MAX))
}

function join(old: Columns, next: Columns): Columns {
  return each((name) => [...old[name], ...(next[name] ?? next.at_ms.map(() => null))].slice(-SAMPLES_MAX))
}

function each(column: (name: Column) => (number | null)[]): Columns {
  const columns = {} as Columns
  for (const name of COLUMNS) columns[name] = column(name)
  return columns
}

/** The newest samples of a column. */
export function tail(history: History | null, name: Column, samples: number): (number | null)[] {
  return history ? history.columns[name].slice(-samples) : []
}

/** The mean of the newest samples: one second alone jumps too much to be read. */
export function mean(history: History | null, name: Column, samples = 5): number | null {
  const values = tail(history, name, samples).filter((value): value is number => value !== null)
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null
}

export function sum(history: History | null, name: Column, samples: number): number {
  return tail(history, name, samples).reduce<number>((total, value) => total + (value ?? 0), 0)
}

export function newest(history: History | null, name: Column): number | null {
  const values = history?.columns[name]
  return values?.length ? values[values.length - 1] : null
}
