// A question that must be answered before something happens. The browser keeps the focus inside.

import { useEffect, useId, useRef, useState, type ReactNode } from 'react'
import { Trouble } from './state'

interface Props {
  title: string
  children?: ReactNode
  /** Says what happens; without it the dialog only tells. */
  action?: string
  danger?: boolean
  /** Must be typed before the action is possible. */
  typed?: string
  disabled?: boolean
  run?: () => Promise<void>
  close: () => void
  wide?: boolean
}

export function Dialog({ title, children, action, danger, typed, disabled, run, close, wide }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [text, setText] = useState('')
  const [running, setRunning] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const heading = useId()
  const field = useId()

  useEffect(() => {
    const shown = dialog.current
    const opener = document.activeElement
    if (shown && !shown.open) shown.showModal()
    return () => {
      if (opener instanceof HTMLElement) opener.focus()
    }
  }, [])

  async function submit() {
    setRunning(true)
    setError(null)
    try {
      await run?.()
      close()
    } catch (failed) {
      setError(failed)
      setRunning(false)
    }
  }

  return (
    <dialog ref={dialog} aria-labelledby={heading} className={wide ? 'wide' : ''} onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (action) void submit()
        }}
      >
        <h2 id={heading}>{title}</h2>
        {children}
        {typed !== undefined && (
          <p>
            <label htmlFor={field}>
              Type <b>{typed}</b> to continue
            </label>
            <input id={field} value={text} autoComplete="off" spellCheck={false} onChange={(e) => setText(e.target.value)} />
          </p>
        )}
        {error !== null && <Trouble error={error} />}
        <p className="buttons">
          <button type="button" onClick={close}>
            {action ? 'Cancel' : 'Close'}
          </button>
          {action && (
            <button
              type="submit"
              className={danger ? 'danger' : 'primary'}
              disabled={running || disabled || (typed !== undefined && text !== typed)}
            >
              {running ? 'In progress…' : action}
            </button>
          )}
        </p>
      </form>
    </dialog>
  )
}
