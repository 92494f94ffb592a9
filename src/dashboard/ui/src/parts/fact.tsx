// One line of a list of facts: what it is called, and what it is.

import type { ReactNode } from 'react'

export function Fact({ name, value }: { name: string; value: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  )
}
