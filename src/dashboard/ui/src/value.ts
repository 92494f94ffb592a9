// A key's value: read, shown as text, JSON or hex, and parsed back.

import { ask, Failure, kv, withQuery } from './api'
import { monotonic } from './data/clock'

export type Consistency = 'linearizable' | 'stale'

export interface Value {
  bytes: Uint8Array
  /** The bytes as text; null when they are no UTF-8. */
  text: string | null
  contentType: string
  revision: number
  ttlMs: number | null
  headers: [string, string][]
  at: number
}

/** What the API answers for a value that was stored without a content type. */
export const NO_TYPE = 'application/octet-stream'

const SHOWN_HEADERS = ['etag', 'content-type', 'content-length', 'lockstep-index', 'lockstep-term', 'lockstep-consistency', 'lockstep-ttl-ms']

/** The value; null when there is no such key. */
export async function readValue(key: string, consistency: Consistency, signal?: AbortSignal): Promise<Value | null> {
  let response: Response
  try {
    response = await ask(withQuery(kv(key), { consistency: consistency === 'stale' ? 'stale' : null }), { signal })
  } catch (error) {
    if (error instanceof Failure && error.code === 'not_found') return null
    throw error
  }
  const bytes = new Uint8Array(await response.arrayBuffer())
  const ttl = response.headers.get('lockstep-ttl-ms')
  return {
    bytes,
    text: decode(bytes),
    contentType: response.headers.get('content-type') ?? NO_TYPE,
    revision: revisionOf(response),
    ttlMs: ttl === null ? null : Number(ttl),
    headers: SHOWN_HEADERS.flatMap((name) => {
      const value = response.headers.get(name)
      return value === null ? [] : [[name, value] as [string, string]]
    }),
    at: monotonic(),
  }
}

export function revisionOf(response: Response): number {
  return Number(response.headers.get('etag')?.replaceAll('"', ''))
}

export function ttlLeft(value: Value): number | null {
  return value.ttlMs === null ? null : value.ttlMs - (monotonic() - value.at)
}

function decode(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    // Text that no screen shows is better looked at as bytes.
    return /[\0-\x08\x0e-\x1f]/.test(text) ? null : text
  } catch {
    return null
  }
}

/** JSON, laid out; null when the text is none. Numbers too long for JavaScript would come out changed: they count as none. */
export function prettyJson(text: string): string | null {
  if (!/^\s*[[{"]/.test(text) || /\d{16}/.test(text)) return null
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return null
  }
}

const ROW_BYTES = 16

/** Offset, bytes and what of them can be read, 16 a line. */
export function hexDump(bytes: Uint8Array, limit: number): string {
  const lines: string[] = []
  for (let start = 0; start < Math.min(bytes.length, limit); start += ROW_BYTES) {
    const row = bytes.subarray(start, start + ROW_BYTES)
    const readable = [...row].map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('')
    lines.push(`${start.toString(16).padStart(6, '0')}  ${hex(row).padEnd(ROW_BYTES * 3 - 1)}  ${readable}`)
  }
  return lines.join('\n')
}

export function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

/** Bytes from pairs of hexadecimal digits; null when there is anything else. */
export function parseHex(text: string): Uint8Array | null {
  const digits = text.replace(/\s+/g, '')
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16))
}

/** How a document stands on one line: what follows commas and colons. */
export interface OneLine {
  comma: string
  colon: string
}

const ONE_LINE: OneLine[] = [
  { comma: ',', colon: ':' },
  { comma: ', ', colon: ': ' },
]
const TOKENS = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g

/** The form that a JSON document has on its one line; null where it is no document, or stands otherwise. */
export function oneLineOf(text: string): OneLine | null {
  if (!/^[[{]/.test(text) || !isJson(text)) return null
  return ONE_LINE.find((form) => onOneLine(text, form) === text) ?? null
}

/** The same document on one line. Nothing but spaces between its parts changes: numbers and strings stay as they are written. */
export function onOneLine(text: string, { comma, colon }: OneLine): string {
  return (text.match(TOKENS) ?? []).map((token) => (token === ',' ? comma : token === ':' ? colon : token)).join('')
}

/** The same document, a member a line. */
export function laidOut(text: string): string {
  let out = ''
  let depth = 0
  const line = () => `\n${'  '.repeat(depth)}`
  const tokens = text.match(TOKENS) ?? []
  tokens.forEach((token, i) => {
    const opened = tokens[i - 1] === '{' || tokens[i - 1] === '['
    if (token === '}' || token === ']') {
      depth -= 1
      out += opened ? token : line() + token
      return
    }
    if (opened) out += line()
    if (token === '{' || token === '[') depth += 1
    out += token === ',' ? token + line() : token === ':' ? ': ' : token
  })
  return out
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
