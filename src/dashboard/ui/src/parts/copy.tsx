// A button that copies a text, and says whether it did.

import { useState } from 'react'

export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState<boolean | null>(null)
  return (
    <>
      <button type="button" onClick={() => void copy(text).then(setDone)}>
        Copy {what}
      </button>
      <span className="note" role="status">
        {done === null ? '' : done ? 'Copied.' : 'The browser does not allow it: select the text and copy it by hand.'}
      </span>
    </>
  )
}

async function copy(text: string): Promise<boolean> {
  try {
    // It exists on https and on this machine only.
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copyBySelection(text)
  }
}

/** The way from before there was a clipboard to write to. The field stands in the dialog that is open, or it could not be selected. */
function copyBySelection(text: string): boolean {
  const back = document.activeElement
  const field = document.createElement('textarea')
  field.value = text
  field.className = 'unseen'
  ;(document.querySelector('dialog[open]') ?? document.body).append(field)
  field.select()
  const done = document.execCommand('copy')
  field.remove()
  if (back instanceof HTMLElement) back.focus()
  return done
}
