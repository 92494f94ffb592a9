// Single keys that go places, unless somebody types into a field or a dialog is open.

import { useEffect } from 'react'
import { go } from './router'
import { nextTheme } from './theme'
import { VIEWS } from './views'

export const SHORTCUTS: [string, string][] = [
  ['1 … 8', 'open a view, in the order of the navigation'],
  ['/', 'go to the filter field'],
  ['n', 'new key, in Keys'],
  ['p', 'pause and resume, in Operations'],
  ['t', 'colours: system, light, dark'],
  ['?', 'this list'],
  ['Esc', 'close a dialog'],
]

export function useShortcuts(help: () => void): void {
  useEffect(() => {
    function pressed(event: KeyboardEvent) {
      if (event.ctrlKey || event.metaKey || event.altKey || busy(event.target)) return
      if (event.key === '?') help()
      else if (event.key === 't') nextTheme()
      else if (event.key === '/') press('[data-shortcut="/"]', event)
      else if (event.key === 'p' || event.key === 'n') press(`[data-shortcut="${event.key}"]`, event)
      else {
        const view = VIEWS[Number(event.key) - 1]
        if (view) go(view.path)
      }
    }
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [help])
}

function press(selector: string, event: KeyboardEvent): void {
  const found = document.querySelector<HTMLElement>(selector)
  // What the page's token does not allow is there, and not shown.
  if (!found || found.offsetParent === null) return
  event.preventDefault()
  if (found instanceof HTMLInputElement) found.focus()
  else found.click()
}

function busy(target: EventTarget | null): boolean {
  if (document.querySelector('dialog[open]')) return true
  return target instanceof HTMLElement && /^(input|textarea|select)$/i.test(target.tagName)
}
