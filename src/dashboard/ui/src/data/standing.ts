// How the cluster stands, for every view: the verdict of the newest answers.

import { useClock } from './clock'
import { nodes, status } from './resources'
import { useStore } from './store'
import { quorumNow, verdict, type Verdict } from './verdict'
import { silentSince } from './watcher'

/** Null until the first status. */
export function useVerdict(): Verdict | null {
  const own = useStore(status.store).data
  const others = useStore(nodes.store).data
  const since = useStore(silentSince)
  const now = useClock()
  return own ? verdict(own, others, since === null ? null : (now - since) / 1_000) : null
}

/** Whether so few voters answer that whoever takes itself for the leader leads nobody. */
export function useLost(): boolean {
  const own = useStore(status.store).data
  const others = useStore(nodes.store).data
  return own !== null && quorumNow(own, others).survives < 0
}
