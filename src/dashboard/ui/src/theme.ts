// Dark or light: as the system has it, until somebody chooses.

import { createStore } from './data/store'

export type Theme = 'system' | 'light' | 'dark'

const NAME = 'lockstep-theme'
const ORDER: Theme[] = ['system', 'light', 'dark']
const system = matchMedia('(prefers-color-scheme: dark)')

export const theme = createStore<Theme>('system')

/** Rises when colours change, so that what is painted by hand is painted anew. */
export const painted = createStore(0)

export function startTheme(): void {
  theme.set(ORDER.find((name) => name === stored()) ?? 'system')
  apply()
  system.addEventListener('change', apply)
}

export function nextTheme(): void {
  const next = ORDER[(ORDER.indexOf(theme.get()) + 1) % ORDER.length]
  theme.set(next)
  try {
    localStorage.setItem(NAME, next)
  } catch {
    // A browser that keeps nothing still shows it until the page is closed.
  }
  apply()
}

function stored(): string | null {
  try {
    return localStorage.getItem(NAME)
  } catch {
    return null
  }
}

function apply(): void {
  const chosen = theme.get()
  document.documentElement.dataset.theme = chosen === 'system' ? (system.matches ? 'dark' : 'light') : chosen
  painted.set(painted.get() + 1)
}
