// Somebody was quicker: theirs and mine side by side, and three ways on.

import { useMemo } from 'react'
import { diff } from '../diff'
import { count } from '../format'
import { Trouble } from '../parts/state'
import { hex, prettyJson, type Value } from '../value'

interface Props {
  /** Null when the key is gone. */
  theirs: Value | null
  mine: string
  binary: boolean
  /** An attempt to save got no answer before. */
  unsure: boolean
  saving: boolean
  error: unknown
  take: () => void
  write: () => void
  back: () => void
}

/** More lines than anybody compares by eye. */
const ROWS_MAX = 2_000

export function Conflict({ theirs, mine, binary, unsure, saving, error, take, write, back }: Props) {
  const theirText = theirs === null ? '' : binary || theirs.text === null ? hex(theirs.bytes) : theirs.text
  const pairs = useMemo(() => {
    const [a, b] = [prettyJson(theirText), prettyJson(mine)]
    // Two documents are compared as they are laid out, or everything would be one long line.
    return a !== null && b !== null ? diff(a, b) : diff(theirText, mine)
  }, [theirText, mine])
  const differing = pairs.filter((pair) => !pair.same).length
  const now = theirs ? `revision ${count(theirs.revision)}` : 'gone'
  return (
    <section className="conflict" aria-label="Conflict">
      <p className="notice warn" role="alert">
        <span>
          <b>
            {unsure
              ? 'Nothing was written now. This key was changed by someone else, or by your own attempt that got no answer.'
              : 'Nothing was written: someone else changed this key.'}
          </b>{' '}
          It is now {now}.{' '}
          {theirs === null ? 'It was deleted, expired or evicted.' : differing === 0 ? 'Its value is the same as yours.' : `${count(differing)} of ${count(pairs.length)} lines differ.`}
        </span>
      </p>
      <div className="scroll">
        <table className="diff">
          <thead>
            <tr>
              <th scope="col">Theirs{theirs && `, revision ${count(theirs.revision)}`}</th>
              <th scope="col">Yours, not written</th>
            </tr>
          </thead>
          <tbody>
            {pairs.slice(0, ROWS_MAX).map((pair, i) => (
              <tr key={i} className={pair.same ? '' : 'differs'}>
                <Side text={pair.left} mark="−" same={pair.same} />
                <Side text={pair.right} mark="+" same={pair.same} />
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {error !== null && <Trouble error={error} />}
      <p className="buttons">
        <button type="button" onClick={take}>
          {theirs ? 'Take theirs' : 'Leave it deleted'}
        </button>
        <button type="button" onClick={back}>
          Back to editing
        </button>
        <button type="button" className="danger" disabled={saving} onClick={write}>
          {theirs ? `Write mine over revision ${count(theirs.revision)}` : 'Create it again with mine'}
        </button>
      </p>
    </section>
  )
}

function Side({ text, mark, same }: { text: string | null; mark: string; same: boolean }) {
  return (
    <td>
      {text !== null && (
        <>
          <i aria-hidden="true">{same ? ' ' : mark}</i>
          {text}
        </>
      )}
    </td>
  )
}
