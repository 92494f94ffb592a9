// Who goes when there is no room, and what other policies would do.

import { useState } from 'react'
import { sendJson } from '../api'
import { notify } from '../data/notices'
import { READS_FEW } from '../data/history'
import { useResource } from '../data/resource'
import { cache, status } from '../data/resources'
import { useStore } from '../data/store'
import { bytes, count, NONE, percent, plural } from '../format'
import { Dialog } from '../parts/dialog'
import { Link } from '../parts/link'
import { Meter } from '../parts/meter'
import { Panel } from '../parts/panel'
import { Absent, Empty, Stale } from '../parts/state'
import type { CacheReport, Policy } from '../types'
import { Capacity } from './capacity'

const POLICIES: { name: Policy; rule: string }[] = [
  { name: 'lru', rule: 'Evicts the key that was used longest ago. Reads count as uses.' },
  { name: 'lfu', rule: 'Evicts the key that is used least often. Old uses count less.' },
  { name: 's3fifo', rule: 'Evicts a key that was not used twice soon after it was stored, otherwise one that has not been used for long.' },
  { name: 'noeviction', rule: 'Evicts nothing: a write that does not fit is refused.' },
]

/** Entries that one log entry moves to another policy's order. */
const MOVED_AT_ONCE = 2_048

export function Eviction() {
  const held = useResource(cache)
  const own = useStore(status.store).data
  const [wanted, setWanted] = useState<Policy | null>(null)
  const report = held.data
  if (!report || !own) return <Absent held={held} what="report of the cache" route="/v1/cache" />
  return (
    <>
      <Stale held={held} />
      <Panel title={`Policy: ${report.policy}`} at={held.at} note={report.entries_to_move ? `${plural(report.entries_to_move, 'entry', 'entries')} still to move` : ''}>
        <Policies report={report} choose={setWanted} />
        <ShadowNote report={report} node={own.node.name} />
      </Panel>
      <div className="columns">
        <Capacity report={report} config={own.config} />
        <Victims report={report} at={held.at} />
      </div>
      {wanted && <Switch from={report} to={wanted} close={() => setWanted(null)} />}
    </>
  )
}

function Policies({ report, choose }: { report: CacheReport; choose: (policy: Policy) => void }) {
  const asked = report.shadow?.reads ?? 0
  // A figure that rests on a handful of reads looks as sure as any other.
  const shadows = asked < READS_FEW ? {} : (report.shadow?.hit_percent ?? {})
  // Worth a mark only where switching would pay.
  const own = shadows[report.policy] ?? 0
  const best = Math.max(...Object.values(shadows))
  return (
    <div className="policies">
      {POLICIES.map(({ name, rule }) => {
        const current = name === report.policy
        const shadow = shadows[name]
        return (
          <article key={name} className={current ? 'policy current' : 'policy'} aria-label={`Policy ${name}`}>
            <header>
              <h3>{name}</h3>
              {current && <span className="badge good">● in force</span>}
              {!current && shadow === best && best > own && <span className="badge lead">★ best estimate</span>}
            </header>
            <p>{rule}</p>
            <p className="figure">
              {shadow === undefined ? NONE : percent(shadow)} <small>{shadow !== undefined ? 'estimated hits' : name === 'noeviction' ? 'nothing to estimate' : 'no estimate yet'}</small>
            </p>
            {shadow === undefined ? <span /> : <Meter value={shadow} of={100} label={`Estimated hits of ${name}`} />}
            <button type="button" data-needs="admin" disabled={current} onClick={() => choose(name)}>
              {current ? 'In force' : `Switch to ${name}`}
            </button>
          </article>
        )
      })}
    </div>
  )
}

function ShadowNote({ report: { shadow, reads }, node }: { report: CacheReport; node: string }) {
  const all = reads.hits + reads.misses
  const hits = all < READS_FEW ? `${count(reads.hits)} of ${plural(all, 'read')}` : `${percent(reads.hit_percent)} of ${plural(all, 'read')}`
  const real = all === 0 ? `${node} has answered no read of a key since it started.` : `Measured since ${node} started: it found the key in ${hits}.`
  if (!shadow) return <p className="note">{real} The leader, which keeps the estimates, cannot be reached at the moment.</p>
  const sample = shadow.one_key_in === 1 ? 'all keys' : `one key in ${count(shadow.one_key_in)}`
  return (
    <p className="note">
      {real}{' '}
      {shadow.reads < READS_FEW ? (
        <b className="warn-text">
          ▲ Estimates start at {count(READS_FEW)} reads of the whole cluster; the leader has counted {count(shadow.reads)}.
        </b>
      ) : (
        `Estimates cover the reads of the whole cluster and are based on ${plural(shadow.reads, 'read')} of ${sample}.`
      )}
    </p>
  )
}

function Victims({ report, at }: { report: CacheReport; at: number | null }) {
  return (
    <Panel title="Evicted next" at={at} note="if no key is used before then">
      {report.next_victims.length === 0 ? (
        <Empty>{report.policy === 'noeviction' ? 'This policy evicts nothing.' : 'The cache is empty.'}</Empty>
      ) : (
        <div className="scroll">
          <table className="list stacks">
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col" className="number">Uses</th>
                <th scope="col" className="number">Size with overhead</th>
              </tr>
            </thead>
            <tbody>
              {report.next_victims.map((victim) => (
                <tr key={victim.key}>
                  <th scope="row" className="key">
                    <Link href={`/keys/${encodeURIComponent(victim.key)}`}>{victim.key}</Link>
                  </th>
                  <td className="number" data-label="Uses">{count(victim.frequency)}</td>
                  <td className="number" data-label="Size with overhead">{bytes(victim.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}

function Switch({ from, to, close }: { from: CacheReport; to: Policy; close: () => void }) {
  const steps = Math.ceil(from.entries / MOVED_AT_ONCE)
  async function run() {
    await sendJson('PUT', '/v1/config', { policy: to })
    notify('good', `The policy is now ${to}.`)
    status.kick()
    cache.kick()
  }
  return (
    <Dialog title={`Switch from ${from.policy} to ${to}`} action={`Switch to ${to}`} run={run} close={close}>
      <p>The change is one log entry and takes effect on all nodes at the same index. No key is lost.</p>
      <p>
        {from.entries === 0
          ? 'There is nothing to move.'
          : `${plural(from.entries, 'entry moves', 'entries move')} to the new order over the next ${plural(steps, 'log entry', 'log entries')}. When and how often each was used is kept.`}
      </p>
      {to === 'noeviction' && <p className="warn-text">▲ Once the cache is full, writes that need room are refused with 507.</p>}
    </Dialog>
  )
}
