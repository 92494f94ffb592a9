// What happened while the page was open, in sentences.

import { createStore } from './store'

export interface Notice {
  id: number
  /** Wall clock, to be shown. */
  atMs: number
  kind: 'good' | 'warn' | 'bad'
  text: string
}

/** Older ones go. */
const NOTICES_MAX = 20
const GOOD_MS = 10_000

export const notices = createStore<Notice[]>([])
let nextId = 1

export function notify(kind: Notice['kind'], text: string): void {
  const notice = { id: nextId++, atMs: Date.now(), kind, text }
  notices.set([notice, ...notices.get()].slice(0, NOTICES_MAX))
  // What somebody just did himself need not be dismissed by hand.
  if (kind === 'good') setTimeout(() => dismiss(notice.id), GOOD_MS)
}

export function dismiss(id: number): void {
  notices.set(notices.get().filter((notice) => notice.id !== id))
}

export function dismissAll(): void {
  notices.set([])
}
