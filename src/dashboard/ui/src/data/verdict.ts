// The cluster's state in one sentence: what is worst comes first, with what to do about it.

import { coarse, count, plural } from '../format'
import type { Nodes, Status } from '../types'

export interface Verdict {
  level: 'good' | 'warn' | 'bad'
  /** The same in a few words, for where there is little room. */
  brief: string
  sentence: string
  advice: string
}

/** So far behind that a node can't be promoted, and is no help when the leader fails. */
const LAG_MAX = 1_000
const SILENT_MAX_MS = 2_000
const CLOCK_AHEAD_MAX_MS = 10_000

export interface Quorum {
  voters: number
  /** Voters that answer. */
  answering: number
  majority: number
  /** How many more may fail before nothing can be written; below zero without a majority. */
  survives: number
}

export function quorum(voters: number, answering: number): Quorum {
  const majority = Math.floor(voters / 2) + 1
  return { voters, answering, majority, survives: answering - majority }
}

/** What the voters amount to at the moment. */
export function quorumNow(status: Status, nodes: Nodes | null): Quorum {
  const voters = status.members.filter((member) => member.voter).length
  return quorum(voters, voters - silentVoters(status, nodes).length)
}

export function survivesText({ voters, answering, survives }: Quorum): string {
  if (survives < 0) return 'no majority'
  const more = answering < voters
  return survives === 0 ? `survives no ${more ? 'further ' : ''}failure` : `survives ${plural(survives, more ? 'more failure' : 'failure', more ? 'more failures' : 'failures')}`
}

export function quorumText(of: Quorum): string {
  const answering = of.answering === of.voters ? '' : `, ${of.answering || 'none'} ${of.answering === 1 ? 'answers' : 'answer'}`
  return `${plural(of.voters, 'voter')}${answering}, majority ${of.majority}, ${survivesText(of)}`
}

/** Names of the voters that do not answer, as far as this node knows. */
export function silentVoters(status: Status, nodes: Nodes | null): string[] {
  const voters = status.members.filter((member) => member.voter)
  return voters
    .filter((voter) => {
      const asked = nodes?.nodes.find((node) => node.id === voter.id)
      if (asked) return asked.error !== null
      return voter.silent_ms !== null && voter.silent_ms > SILENT_MAX_MS
    })
    .map((voter) => voter.name)
}

/** The lowest index at which all copies that answered are known to be equal; null when none was compared. */
export function equalAt(nodes: Nodes | null): number | null {
  const compared = nodes?.nodes.filter((node) => node.id !== nodes.asked_by && node.report) ?? []
  if (!compared.length || compared.some((node) => node.equal_at === null)) return null
  return Math.min(...compared.map((node) => node.equal_at as number))
}

export function verdict(status: Status, nodes: Nodes | null, silentForS: number | null): Verdict {
  const self = status.node.name
  const voters = status.members.filter((member) => member.voter)
  const silent = silentVoters(status, nodes)
  const of = quorum(voters.length, voters.length - silent.length)
  const { answering } = of
  const names = list(silent)
  if (silentForS !== null) {
    return {
      level: 'bad',
      brief: `${self} does not answer`,
      sentence: `${self} has not answered for ${coarse(silentForS)}. This page shows the state at that time.`,
      advice: 'This page retries by itself. Start the node, or continue on another one.',
    }
  }
  const differs = nodes?.nodes.find((node) => node.differs_at !== null)
  if (status.differs_at !== null || differs) {
    const name = status.differs_at !== null ? self : (differs?.name ?? self)
    const at = status.differs_at ?? differs?.differs_at
    return {
      level: 'bad',
      brief: `${name} differs from other nodes`,
      sentence: `${name} differs from other nodes at index ${count(at)}.`,
      advice: 'Keep its data folder for a report, then restart it. If it differs again, rejoin it with an empty folder.',
    }
  }
  if (answering < of.majority) {
    return {
      level: 'bad',
      brief: `No majority: ${answering} of ${plural(voters.length, 'voter')} answer`,
      sentence: `No majority: ${answering} of ${plural(voters.length, 'voter')} answer, ${of.majority} are needed. Writes and linearizable reads fail.`,
      advice: `Start ${names}. Stale reads still work. If a majority is lost for good, restore the newest backup.`,
    }
  }
  if (!status.leader) {
    return {
      level: 'bad',
      brief: `No leader in term ${status.term}`,
      sentence: `No leader in term ${status.term}: writes and linearizable reads wait or fail.`,
      advice: silent.length ? `The remaining voters elect one. Start ${names}.` : 'An election takes well under a second. If this lasts, check the links between the nodes.',
    }
  }
  const leads = `${status.leader.name} leads in term ${status.term}`
  const led = `${status.leader.name} leads`
  if (silent.length) {
    const left = of.survives
    return {
      level: 'warn',
      brief: `${answering} of ${plural(voters.length, 'voter')} answer, ${led}`,
      sentence: `Degraded: ${answering} of ${plural(voters.length, 'voter')} answer, ${leads}. ${names} ${silent.length === 1 ? 'does' : 'do'} not answer.`,
      advice: `Start ${names}. Until then ${left === 0 ? 'one more failure stops all writes' : `the cluster survives ${plural(left, 'more failure')}`}.`,
    }
  }
  const late = nodes?.nodes.find((node) => (node.lag_entries ?? 0) > LAG_MAX)
  if (late) {
    return {
      level: 'warn',
      brief: `${late.name} is behind, ${led}`,
      sentence: `${late.name} is ${plural(late.lag_entries ?? 0, 'entry', 'entries')} behind. ${leads}.`,
      advice: 'It catches up by itself unless it is slower than the writes: check its disk and its network.',
    }
  }
  const [warning] = status.warnings
  if (warning) {
    return {
      level: 'warn',
      brief: `A warning, ${led}`,
      sentence: `${warning.detail.charAt(0).toUpperCase()}${warning.detail.slice(1)}. ${leads}.`,
      advice: status.warnings.length > 1 ? `There are ${status.warnings.length - 1} more: see /v1/status.` : 'The operations page says what each warning means.',
    }
  }
  if (status.config.policy === 'noeviction' && status.entries >= status.config.capacity_entries) {
    return {
      level: 'warn',
      brief: `The cache is full, ${led}`,
      sentence: `The cache is full and the policy is noeviction: new keys are refused. ${leads}.`,
      advice: 'Raise the capacity, remove keys, or choose a policy that evicts.',
    }
  }
  if ((status.log_time_ahead_ms ?? 0) > CLOCK_AHEAD_MAX_MS) {
    return {
      level: 'warn',
      brief: `Log time is ahead, ${led}`,
      sentence: `Log time is ${coarse((status.log_time_ahead_ms ?? 0) / 1_000)} ahead of the clock of ${self}. ${leads}.`,
      advice: 'TTLs follow log time only, so this does not affect them. Check the machines’ clocks.',
    }
  }
  const equal = equalAt(nodes)
  const copies = voters.length === 1 ? 'one copy' : equal === null ? 'copies not compared yet' : `all copies equal at index ${count(equal)}`
  const healthy = `Healthy: ${answering} of ${plural(voters.length, 'voter')}, ${leads}, ${copies}.`
  const learners = status.members.length - voters.length
  const freeing = status.cache.entries_to_free
  const moving = status.cache.entries_to_move
  const advice = [
    of.survives === 0 ? `${quorumText(of)}: add nodes to survive one.` : `The cluster ${survivesText(of)}.`,
    learners ? `${plural(learners, 'learner')} without a vote.` : '',
    freeing ? `${plural(freeing, 'cleared entry', 'cleared entries')} still to free.` : '',
    moving ? `${plural(moving, 'entry', 'entries')} still to move to ${status.config.policy}.` : '',
  ]
  return { level: 'good', brief: `${answering} of ${plural(voters.length, 'voter')} answer, ${led}`, sentence: healthy, advice: advice.filter(Boolean).join(' ') }
}

function list(names: string[]): string {
  return names.length < 2 ? (names[0] ?? 'the others') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`
}

/** Why a node did not answer, without the system's numbers. */
export function reason(error: string): string {
  const plain = error.replace(/ ?\(os error \d+\)/g, '').replace(/^the peer does not run: /, '')
  return /refused/i.test(plain) ? 'it is not running: nothing listens at its peer address' : plain
}
