// A long list of rows of one height, of which only those in sight exist.

import { useLayoutEffect, useRef, useState, type ReactNode } from 'react'

export const ROW = 28
const SPARE = 6

interface Props<T> {
  items: T[]
  id: (item: T) => number | string
  row: (item: T) => ReactNode
  label: string
}

export function Rows<T>({ items, id, row, label }: Props<T>) {
  const box = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  const [height, setHeight] = useState(600)
  const anchor = useRef<number | string | null>(null)

  useLayoutEffect(() => {
    const element = box.current
    if (!element) return
    const observer = new ResizeObserver(() => setHeight(element.clientHeight))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  // Who has scrolled down reads: what comes in above must not push that away.
  useLayoutEffect(() => {
    const element = box.current
    if (!element || anchor.current === null || element.scrollTop < ROW) return
    const at = items.findIndex((item) => id(item) === anchor.current)
    if (at < 0) return
    const wanted = at * ROW + (element.scrollTop % ROW)
    if (Math.abs(wanted - element.scrollTop) >= ROW) element.scrollTop = wanted
  }, [items, id])

  const first = Math.max(0, Math.floor(top / ROW) - SPARE)
  const shown = items.slice(first, first + Math.ceil(height / ROW) + 2 * SPARE)
  return (
    <div
      ref={box}
      className="rows"
      tabIndex={0}
      role="region"
      aria-label={label}
      onScroll={(event) => {
        const { scrollTop } = event.currentTarget
        setTop(scrollTop)
        const item = items[Math.floor(scrollTop / ROW)]
        anchor.current = scrollTop < ROW || !item ? null : id(item)
      }}
    >
      <div className="rows-all" style={{ height: items.length * ROW }}>
        {shown.map((item, i) => (
          <div key={id(item)} className="rows-one" style={{ transform: `translateY(${(first + i) * ROW}px)` }}>
            {row(item)}
          </div>
        ))}
      </div>
    </div>
  )
}
