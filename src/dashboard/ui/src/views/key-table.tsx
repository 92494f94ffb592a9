// A page of keys, with what one needs to know which to open. It sorts what is on the page.

import { useState } from 'react'
import { unreachable } from '../api'
import { useClock } from '../data/clock'
import { nodeName, nodeNow } from '../data/resources'
import { bytes, clock, coarse, count, NONE } from '../format'
import { Link } from '../parts/link'
import { Ttl } from '../parts/ttl'
import type { KeyDetails, KeyEntry } from '../types'

const AHEAD_MAX_MS = 10_000

interface Props {
  keys: KeyEntry[]
  at: number | null
  dim: boolean
  selected: ReadonlySet<string>
  select: (keys: string[], wanted: boolean) => void
}

interface Column {
  title: string
  number?: boolean
  /** What it sorts by; the keys come in byte order. */
  by?: (entry: KeyEntry) => number
  /** Needs what nodes of an older version do not tell. */
  detail?: boolean
}

/** When the value was stored, and by whom if the client said so. */
function storedTitle({ modified_at_ms, origin, version }: KeyEntry): string {
  const at = new Date(modified_at_ms).toLocaleString('en-GB')
  return `${at}, version ${version}${origin === null ? '' : `, by ${origin}`}`
}

const COLUMNS: Column[] = [
  { title: 'Key' },
  { title: 'Value', detail: true },
  { title: 'Size', number: true, by: (entry) => entry.bytes },
  { title: 'Stored', number: true, by: (entry) => -entry.modified_at_ms },
  { title: 'Uses', number: true, by: (entry) => entry.details?.uses ?? 0, detail: true },
  { title: 'At', by: (entry) => entry.details?.by ?? 0, detail: true },
  { title: 'Revision', number: true, by: (entry) => entry.revision },
  { title: 'TTL', number: true, by: (entry) => entry.ttl_ms ?? Infinity },
]

export function KeyTable({ keys, at, dim, selected, select }: Props) {
  const [order, setOrder] = useState<{ column: number; down: boolean }>({ column: 0, down: false })
  const detailed = keys.some((entry) => entry.details)
  const { by } = COLUMNS[order.column]
  const sorted = by ? [...keys].sort((a, b) => by(a) - by(b) || 0) : [...keys]
  if (order.down) sorted.reverse()
  const all = keys.every((entry) => selected.has(entry.key))
  return (
    <div className="scroll">
      <table className={`list keys stacks ${dim ? 'dim' : ''}`}>
        <thead>
          <tr>
            <th scope="col" className="pick">
              <input
                type="checkbox"
                aria-label="Select all on this page"
                checked={all}
                onChange={() => select(keys.map((entry) => entry.key), !all)}
              />
            </th>
            {COLUMNS.map(({ title, number, by, detail }, i) =>
              detail && !detailed ? null : (
                <th key={title} scope="col" className={number ? 'number' : ''} aria-sort={order.column !== i ? undefined : order.down ? 'descending' : 'ascending'}>
                  {by || i === 0 ? (
                    <button type="button" className="sort" title="Sorts this page" onClick={() => setOrder({ column: i, down: order.column === i ? !order.down : number === true })}>
                      {title} <span aria-hidden="true">{order.column !== i ? '' : order.down ? '▾' : '▴'}</span>
                    </button>
                  ) : (
                    title
                  )}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {sorted.map((entry) => (
            <Row key={entry.key} entry={entry} at={at} selected={selected.has(entry.key)} select={select} detailed={detailed} />
          ))}
        </tbody>
      </table>
    </div>
  )
}

interface RowProps {
  entry: KeyEntry
  at: number | null
  selected: boolean
  select: Props['select']
  detailed: boolean
}

function Row({ entry, at, selected, select, detailed }: RowProps) {
  const now = useClock()
  const { key, details } = entry
  const passed = at === null ? 0 : Math.max(0, now - at)
  return (
    <tr>
      <td className="pick">
        <input type="checkbox" aria-label={`Select ${key}`} checked={selected} onChange={() => select([key], !selected)} />
      </td>
      <th scope="row" className="key">
        {unreachable(key) ? <span title="Browsers drop this from a URL; use the command line">{key}</span> : <Link href={`/keys/${encodeURIComponent(key)}`}>{key}</Link>}
      </th>
      {detailed && (
        <td className="preview" data-label="Value">
          {details && <Preview details={details} bytes={entry.bytes} />}
        </td>
      )}
      <td className="number" data-label="Size">
        {bytes(entry.bytes)}
      </td>
      <td className="number" data-label="Stored" title={storedTitle(entry)}>
        {ago(nodeNow(now) - entry.modified_at_ms, entry.modified_at_ms)}
      </td>
      {detailed && (
        <>
          <td className="number" data-label="Uses">
            {count(details?.uses)}
          </td>
          <td data-label="At" title="The node that received the last change from a client; kept for a while">
            {details?.by ? nodeName(details.by) : NONE}
          </td>
        </>
      )}
      <td className="number" data-label="Revision">
        {count(entry.revision)}
      </td>
      <td className="number" data-label="TTL">
        <Ttl ms={entry.ttl_ms === null ? null : entry.ttl_ms - passed} />
      </td>
    </tr>
  )
}

/** Log time may be a little ahead of a node's own clock; where it is far ahead, only the time itself says something. */
function ago(ms: number, at: number): string {
  return ms < -AHEAD_MAX_MS ? clock(at) : `${coarse(ms / 1_000)} ago`
}

function Preview({ details: { preview }, bytes: all }: { details: KeyDetails; bytes: number }) {
  if (all === 0) return <span className="muted">empty</span>
  if (!('value' in preview)) {
    const shown = [...atob(preview.value_base64)].slice(0, 16).map((one) => one.charCodeAt(0).toString(16).padStart(2, '0'))
    return (
      <code className="muted">
        {shown.join(' ')}
        {all > shown.length && ' …'}
      </code>
    )
  }
  const whole = new TextEncoder().encode(preview.value).length >= all
  return (
    <code>
      {preview.value}
      {!whole && '…'}
    </code>
  )
}
