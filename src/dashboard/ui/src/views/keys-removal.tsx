// Removing many keys at once. It can't be undone, so what goes is typed first.

import { askJson, sendJson, withQuery } from '../api'
import { notify } from '../data/notices'
import { plural } from '../format'
import { Dialog } from '../parts/dialog'
import type { KeyPage } from '../types'

/** As many as one batch takes. */
export const SELECTED_MAX = 1_000
const SHOWN = 12

interface ClearProps {
  prefix: string
  page: KeyPage | null
  /** Whether the page begins with the first key of the prefix. */
  first: boolean
  done: () => void
  close: () => void
}

export function ClearPrefix({ prefix, page, first, done, close }: ClearProps) {
  const here = page?.keys.length ?? 0
  const counted = first && page && !page.next ? plural(here, 'key') : `more than ${plural(here, 'key')}`

  async function run() {
    const { removed } = await askJson<{ removed: number }>(withQuery('/v1/kv', { prefix }), { method: 'DELETE' })
    notify('good', `${plural(removed, 'key')} with prefix ${prefix} ${removed === 1 ? 'was' : 'were'} deleted.`)
    done()
  }

  return (
    <Dialog title={`Clear ${prefix}`} action="Delete them all" danger typed={prefix} run={run} close={close}>
      <p>
        Every key that starts with <code>{prefix}</code> is deleted on every node, in one log entry: {counted} as of now, and any that are stored before then.
      </p>
    </Dialog>
  )
}

export function DeleteSelected({ keys, done, close }: { keys: string[]; done: () => void; close: () => void }) {
  const what = plural(keys.length, 'key')

  async function run() {
    const ops = keys.map((key) => ({ op: 'delete', key }))
    const { results } = await sendJson<{ results: { found: boolean }[] }>('POST', '/v1/batch', { ops })
    const found = results.filter((result) => result.found).length
    const gone = found === keys.length ? '' : ` ${plural(keys.length - found, 'other')} ${keys.length - found === 1 ? 'was' : 'were'} already gone.`
    notify('good', `${plural(found, 'key')} ${found === 1 ? 'was' : 'were'} deleted.${gone}`)
    done()
  }

  return (
    <Dialog title={`Delete ${what}`} action={`Delete ${what}`} danger typed={`delete ${keys.length}`} run={run} close={close}>
      <p>They are deleted on every node, in one log entry, whatever their values are then: all of them or none.</p>
      <ul className="chosen">
        {keys.slice(0, SHOWN).map((key) => (
          <li key={key}>
            <code>{key}</code>
          </li>
        ))}
        {keys.length > SHOWN && <li>and {plural(keys.length - SHOWN, 'other')}</li>}
      </ul>
    </Dialog>
  )
}
