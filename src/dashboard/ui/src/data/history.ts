// The last hour, a sample a second, in columns. Only what is new is asked for.

import { askJson } from '../api'
import { COLUMNS, type Column, type Columns, type HistoryAnswer } from '../types'
import { Resource } from './resource'

/** An hour of samples; older ones go. */
const SAMPLES_MAX = 3_600

export interface History {
  node: string
  columns: Columns
}

export const history = new Resource<History>(async (last, signal) => {
  const times = last?.columns.at_ms ?? []
  const since = times.length ? times[times.length - 1] : null
  const path = since === null ? '/v1/history' : `/v1/history?since_ms=${since}`
  const answer = await askJson<HistoryAnswer>(path, { signal })
  if (!last || last.node !== answer.node.name) return { node: answer.node.name, columns: take(answer.columns) }
  return answer.columns.at_ms.length ? { node: last.node, columns: join(last.columns, answer.columns) } : last
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
