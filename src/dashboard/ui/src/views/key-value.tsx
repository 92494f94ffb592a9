// A value as text, laid out as JSON, or as bytes; and the headers it came with.

import { useState } from 'react'
import { bytes } from '../format'
import { hexDump, prettyJson, type Value } from '../value'

type Shape = 'json' | 'text' | 'hex'

/** A browser lays out no megabyte of text without a pause; this much comes at first. */
const FIRST = 16 * 1024
const NAMES: Record<Shape, string> = { json: 'JSON', text: 'Text', hex: 'Hex' }

export function ValueView({ value }: { value: Value }) {
  const pretty = value.text !== null && value.bytes.length <= 256 * 1024 ? prettyJson(value.text) : null
  const shapes: Shape[] = [...(pretty === null ? [] : ['json' as const]), ...(value.text === null ? [] : ['text' as const]), 'hex']
  const [chosen, setChosen] = useState<Shape | null>(null)
  const [all, setAll] = useState(false)
  const shape = chosen && shapes.includes(chosen) ? chosen : shapes[0]
  const whole = shape === 'json' ? (pretty ?? '') : shape === 'text' ? (value.text ?? '') : ''
  const limit = all ? Infinity : FIRST
  const shown = shape === 'hex' ? hexDump(value.bytes, all ? value.bytes.length : FIRST / 4) : whole.slice(0, limit)
  const cut = shape === 'hex' ? !all && value.bytes.length > FIRST / 4 : whole.length > shown.length
  return (
    <>
      <div className="bar" role="group" aria-label="How the value is shown">
        {shapes.map((one) => (
          <button key={one} type="button" aria-pressed={one === shape} onClick={() => setChosen(one)}>
            {NAMES[one]}
          </button>
        ))}
        {value.text === null && <span className="note">not UTF-8 text</span>}
      </div>
      {value.bytes.length ? <pre className={shape === 'hex' ? 'value hex-dump' : 'value'}>{shown}</pre> : <p className="state">The value is empty.</p>}
      {cut && (
        <p>
          <button type="button" onClick={() => setAll(true)}>
            Show all {bytes(value.bytes.length)}
          </button>
        </p>
      )}
      <details>
        <summary>Response headers</summary>
        <dl className="headers">
          {value.headers.map(([name, text]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  )
}
