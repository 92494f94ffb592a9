// The cluster's state in one sentence: what is worst comes first, with what to do about it.

import { coarse, count, plural } from '../format'
import type { Nodes, Status } from '../types'

export interface Verdict {
  level: 'good' | 'warn' | 'bad'
  sentence: string
  advice: string
}

/** So far behind that a node can't be promoted, and is no help when the leader fails. */
const LAG_MAX = 1_000
const SILENT_MAX_MS = 2_000
const CLOCK_AHEAD_MAX_MS = 10_000

export interface Quorum {
  voters: number
  majority: number
  survives: number
}

export function quorum(voters: number): Quorum {
  const majority = Math.floor(voters / 2) + 1
  return { voters, majority, survives: Math.max(0, voters - majority) }
}

export function survivesText({ survives }: Quorum): string {
  return survives === 0 ? 'survives no failure' : `survives ${plural(survives, 'failure')}`
}

export function quorumText(of: Quorum): string {
  return `${plural(of.voters, 'voter')}, majority ${of.majority}, ${survivesText(of)}`
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
  const of = quorum(voters.length)
  const silent = silentVoters(status, nodes)
  const answering = voters.length - silent.length
  const names = list(silent)
  if (silentForS !== null) {
    return {
      level: 'bad',
      sentence: `${self} has not answered for ${coarse(silentForS)}. What you see is how things were then.`,
      advice: 'This page tries again by itself. Start the node, or go on at another one.',
    }
  }
  const differs = nodes?.nodes.find((node) => node.differs_at !== null)
  if (status.differs_at !== null || differs) {
    const name = status.differs_at !== null ? self : (differs?.name ?? self)
    const at = status.differs_at ?? differs?.differs_at
    return {
      level: 'bad',
      sentence: `${name} differs from other nodes at index ${count(at)}.`,
      advice: 'Keep its data folder for a report, then restart it. If it differs again, join it anew with an empty folder.',
    }
  }
  if (answering < of.majority) {
    return {
      level: 'bad',
      sentence: `No majority: ${answering} of ${plural(voters.length, 'voter')} answer, ${of.majority} are needed. Writes and linearizable reads fail.`,
      advice: `Start ${names}. Stale reads work meanwhile. If a majority is lost for good, restore the newest backup.`,
    }
  }
  if (!status.leader) {
    return {
      level: 'bad',
      sentence: `No leader in term ${status.term}: writes and linearizable reads wait or fail.`,
      advice: silent.length ? `The voters that are left elect one. Start ${names}.` : 'An election takes well under a second. If this stays, look at the links between the nodes.',
    }
  }
  const leads = `${status.leader.name} leads in term ${status.term}`
  if (silent.length) {
    const left = answering - of.majority
    return {
      level: 'warn',
      sentence: `Degraded: ${answering} of ${plural(voters.length, 'voter')} answer, ${leads}. ${names} ${silent.length === 1 ? 'does' : 'do'} not answer.`,
      advice: `Start ${names}. Until then ${left === 0 ? 'one more failure stops all writes' : `the cluster survives ${plural(left, 'more failure')}`}.`,
    }
  }
  const late = nodes?.nodes.find((node) => (node.lag_entries ?? 0) > LAG_MAX)
  if (late) {
    return {
      level: 'warn',
      sentence: `${late.name} is ${plural(late.lag_entries ?? 0, 'entry', 'entries')} behind. ${leads}.`,
      advice: 'It catches up by itself unless it is slower than the writes: look at its disk and its link.',
    }
  }
  if (status.config.policy === 'noeviction' && status.entries >= status.config.capacity_entries) {
    return { level: 'warn', sentence: `The cache is full and the policy is noeviction: new keys are refused. ${leads}.`, advice: 'Raise the capacity, remove keys, or choose a policy that evicts.' }
  }
  if ((status.log_time_ahead_ms ?? 0) > CLOCK_AHEAD_MAX_MS) {
    return {
      level: 'warn',
      sentence: `Log time is ${coarse((status.log_time_ahead_ms ?? 0) / 1_000)} ahead of the clock of ${self}. ${leads}.`,
      advice: 'Keys live longer or shorter by no clock but the log’s, so nothing is wrong with them. Look at the machines’ clocks.',
    }
  }
  const equal = equalAt(nodes)
  const copies = voters.length === 1 ? 'one copy' : equal === null ? 'copies not compared yet' : `all copies equal at index ${count(equal)}`
  const healthy = `Healthy: ${answering} of ${plural(voters.length, 'voter')}, ${leads}, ${copies}.`
  const learners = status.members.length - voters.length
  const moving = status.cache.entries_to_move
  const advice = [
    of.survives === 0 ? `${quorumText(of)}: add nodes to survive one.` : `The cluster ${survivesText(of)}.`,
    learners ? `${plural(learners, 'learner')} without a vote.` : '',
    moving ? `${plural(moving, 'entry', 'entries')} still to move to ${status.config.policy}.` : '',
  ]
  return { level: 'good', sentence: healthy, advice: advice.filter(Boolean).join(' ') }
}

function list(names: string[]): string {
  return names.length < 2 ? (names[0] ?? 'the others') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`
}
