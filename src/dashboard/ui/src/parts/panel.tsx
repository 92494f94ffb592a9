// A titled part of a view, with its own age where it has data of its own and that is old.

import type { ReactNode } from 'react'
import { Age } from './age'

interface Props {
  title: string
  at?: number | null
  actions?: ReactNode
  note?: ReactNode
  children: ReactNode
  className?: string
}

export function Panel({ title, at, actions, note, children, className = '' }: Props) {
  return (
    <section className={`panel ${className}`}>
      <header>
        <h2>{title}</h2>
        {note && <span className="note">{note}</span>}
        {at !== undefined && <Age at={at} quiet />}
        {actions && <span className="actions">{actions}</span>}
      </header>
      {children}
    </section>
  )
}
