// A link within the page: a real one, so that it opens in a new tab too.

import type { AnchorHTMLAttributes } from 'react'
import { go, isPlainClick } from '../router'

export function Link({ href, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  return (
    <a
      href={href}
      {...rest}
      onClick={(event) => {
        if (!isPlainClick(event)) return
        event.preventDefault()
        go(href)
      }}
    />
  )
}
