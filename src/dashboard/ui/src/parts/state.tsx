// What a view shows while it has no data, and why it has none.

import type { ReactNode } from 'react'
import { Failure, message } from '../api'
import type { Held } from '../data/resource'

export function Loading({ what }: { what: string }) {
  return (
    <p className="state" role="status">
      Loading {what}…
    </p>
  )
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="state">{children}</p>
}

export function Trouble({ error, children }: { error: unknown; children?: ReactNode }) {
  return (
    <p className="trouble" role="alert">
      <b aria-hidden="true">✕ </b>
      {message(error)} {children}
    </p>
  )
}

/** In place of data that is not there: still asked for, not known to this version, or failed. */
export function Absent({ held, what, route }: { held: Held<unknown>; what: string; route: string }) {
  if (held.data !== null) return null
  if (!held.failure) return <Loading what={what} />
  return held.failure.noRoute ? <TooOld what={what} route={route} /> : <Trouble error={held.failure} />
}

export function TooOld({ what, route }: { what: string; route: string }) {
  return (
    <p className="state">
      This node’s version does not have <code>{route}</code>, so there is no {what} here.
    </p>
  )
}

/** A line above data that is shown although the last question failed. */
export function Stale({ held }: { held: Held<unknown> }) {
  if (held.data === null || !held.failure) return null
  const { failure } = held
  return <p className="stale">⚠ Last known data. {failure instanceof Failure ? failure.message : ''}</p>
}
