// Every view has a URL. The history API is all it takes.

import type { MouseEvent } from 'react'
import { createStore, useStore } from './data/store'

export interface Place {
  path: string
  query: URLSearchParams
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) }
}

const place = createStore<Place>(here())
addEventListener('popstate', () => place.set(here()))

export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return
  if (replace) history.replaceState(null, '', to)
  else history.pushState(null, '', to)
  place.set(here())
}

export function usePlace(): Place {
  return useStore(place)
}

/** A click that the browser should handle itself: a new tab, a download, another button. */
export function isPlainClick(event: MouseEvent): boolean {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey
}
