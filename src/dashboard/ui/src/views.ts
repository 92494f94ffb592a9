// The views, their URLs and what they are called.

import type { ComponentType } from 'react'
import { Charts } from './views/charts'
import { Divergence } from './views/divergence'
import { Eviction } from './views/eviction'
import { Hot } from './views/hot'
import { KeyView } from './views/key'
import { Keys } from './views/keys'
import { Log } from './views/log'
import { Nodes } from './views/nodes'
import { Operations } from './views/operations'
import { Overview } from './views/overview'

export interface View {
  path: string
  title: string
  /** What the navigation calls it, where that is shorter. */
  short?: string
  show: ComponentType
}

/** In the order of the navigation, and of the digits that open them. */
export const VIEWS: View[] = [
  { path: '/', title: 'Overview', show: Overview },
  { path: '/nodes', title: 'Nodes', show: Nodes },
  { path: '/charts', title: 'Charts', show: Charts },
  { path: '/keys', title: 'Keys', show: Keys },
  { path: '/eviction', title: 'Eviction', show: Eviction },
  { path: '/operations', title: 'Operations', show: Operations },
  { path: '/hot', title: 'Hot keys', show: Hot },
  { path: '/divergence', title: 'Divergence', show: Divergence },
  { path: '/log', title: 'Snapshots and log', short: 'Log', show: Log },
]

export function viewAt(path: string): View | undefined {
  if (path.startsWith('/keys/')) return { path: '/keys', title: 'Key', show: KeyView }
  return VIEWS.find((view) => view.path === path || `${view.path}/` === path)
}
