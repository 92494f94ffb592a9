// Ways up from a prefix, and ways down: the next parts of the keys below it, wherever in the order they are.

import { useEffect, useState } from 'react'
import { askJson, withQuery } from '../api'
import { Link } from '../parts/link'
import type { KeyPage } from '../types'

/** Characters that people end the parts of a key with. */
const SEPARATORS = /[:/]/
/** Sorts behind everything that may follow a prefix. */
const BEHIND_ALL = '\u{10ffff}'
/** Each way down costs one question for one key. */
const QUESTIONS_MAX = 24

interface Below {
  of: string
  parts: string[]
  more: boolean
}

export function Prefixes({ prefix }: { prefix: string }) {
  const [below, setBelow] = useState<Below | null>(null)
  useEffect(() => {
    const stop = new AbortController()
    // The list below says it when the node does not answer.
    look(prefix, stop.signal).then(setBelow, () => undefined)
    return () => stop.abort()
  }, [prefix])
  const above = [...prefix.slice(0, -1).matchAll(/[:/]/g)].map((match) => prefix.slice(0, match.index + 1))
  const known = below?.of === prefix ? below : null
  return (
    <nav className="prefixes" aria-label="Prefixes">
      {prefix && <Link href="/keys">all</Link>}
      {above.map((one) => (
        <Link key={one} href={withQuery('/keys', { prefix: one })}>
          {one}
        </Link>
      ))}
      {prefix && <b>{prefix}</b>}
      {known?.parts.map((one) => (
        <Link key={one} href={withQuery('/keys', { prefix: one })} className="down">
          {one.slice(prefix.length)}
        </Link>
      ))}
      {known && <span className="note">{note(known, prefix)}</span>}
    </nav>
  )
}

function note({ parts, more }: Below, prefix: string): string {
  if (parts.length) return more ? 'and more prefixes' : ''
  if (more) return `No prefixes among the first ${QUESTIONS_MAX} keys${prefix ? ' below this one' : ''}: a prefix ends in : or /.`
  return prefix ? '' : 'Parts of keys that end in : or / appear here.'
}

/** Jumps from one part to behind it, so that a part with many keys costs no more than one with few. */
async function look(prefix: string, signal: AbortSignal): Promise<Below> {
  const parts: string[] = []
  let after: string | null = null
  for (let asked = 0; asked < QUESTIONS_MAX; asked += 1) {
    const path: string = withQuery('/v1/keys', { prefix, after, limit: 1, consistency: 'stale' })
    const page = await askJson<KeyPage>(path, { signal })
    if (!page.keys.length) return { of: prefix, parts, more: false }
    const { key } = page.keys[0]
    const end = key.slice(prefix.length).search(SEPARATORS)
    if (end >= 0) {
      const part = key.slice(0, prefix.length + end + 1)
      parts.push(part)
      after = part + BEHIND_ALL
    } else after = key
  }
  return { of: prefix, parts, more: true }
}
