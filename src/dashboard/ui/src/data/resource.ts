// Something that is asked for again and again while somebody looks. The last good answer stays when the node
// falls silent, with its age.

import { useEffect } from 'react'
import { Failure } from '../api'
import { monotonic } from './clock'
import { createStore, useStore, type Store } from './store'

export interface Held<T> {
  data: T | null
  /** When the last good answer came, by the page's own clock. */
  at: number | null
  /** What went wrong since; null after a good answer. */
  failure: Failure | null
}

/** How much slower a page asks that nobody sees. */
const HIDDEN_FACTOR = 10

export class Resource<T> {
  readonly store: Store<Held<T>>
  private users = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private asking: AbortController | undefined

  constructor(
    private readonly fetcher: (last: T | null, signal: AbortSignal) => Promise<T>,
    private readonly everyMs: number,
  ) {
    this.store = createStore<Held<T>>({ data: null, at: null, failure: null })
  }

  private readonly seenAgain = () => {
    if (!document.hidden) this.kick()
  }

  use(): () => void {
    this.users += 1
    if (this.users === 1) {
      document.addEventListener('visibilitychange', this.seenAgain)
      this.kick()
    }
    return () => {
      this.users -= 1
      if (this.users === 0) {
        document.removeEventListener('visibilitychange', this.seenAgain)
        clearTimeout(this.timer)
        this.asking?.abort()
        this.asking = undefined
      }
    }
  }

  /** Asks now, unless an answer is on its way. */
  kick(): void {
    clearTimeout(this.timer)
    if (this.users > 0 && !this.asking) void this.round()
  }

  private async round(): Promise<void> {
    const asking = new AbortController()
    this.asking = asking
    const started = monotonic()
    try {
      const data = await this.fetcher(this.store.get().data, asking.signal)
      if (this.asking !== asking) return
      this.store.set({ data, at: monotonic(), failure: null })
    } catch (error) {
      if (this.asking !== asking) return
      const failure = error instanceof Failure ? error : new Failure(0, 'unknown', String(error))
      this.store.set({ ...this.store.get(), failure })
    }
    this.asking = undefined
    const every = document.hidden ? this.everyMs * HIDDEN_FACTOR : this.everyMs
    // A node that lacks the route may be replaced by a newer one, but not soon.
    const pause = this.store.get().failure?.noRoute ? 30_000 : Math.max(100, every - (monotonic() - started))
    if (this.users > 0) this.timer = setTimeout(() => this.kick(), pause)
  }
}

export function useResource<T>(resource: Resource<T>): Held<T> {
  useEffect(() => resource.use(), [resource])
  return useStore(resource.store)
}
