// How much the cache may hold and how long, and changing that for all nodes at once.

import { useId, useState } from 'react'
import { sendJson } from '../api'
import { notify } from '../data/notices'
import { cache, status } from '../data/resources'
import { bytes, count, duration, plural } from '../format'
import { Dialog } from '../parts/dialog'
import { Fact } from '../parts/fact'
import { Meter } from '../parts/meter'
import { Panel } from '../parts/panel'
import type { CacheReport, Config } from '../types'

const MIB = 1024 * 1024

export function Capacity({ report, config }: { report: CacheReport; config: Config }) {
  const [changing, setChanging] = useState(false)
  const { counts } = report
  const { touch } = config
  return (
    <Panel
      title="Capacity"
      actions={
        <button type="button" data-needs="admin" onClick={() => setChanging(true)}>
          Change
        </button>
      }
    >
      <dl className="facts wide">
        <Fact
          name="Entries"
          value={
            <>
              {count(report.entries)} of {count(config.capacity_entries)}
              <Meter value={report.entries} of={config.capacity_entries} label="Entries of the capacity" />
            </>
          }
        />
        <Fact
          name="Bytes"
          value={
            <>
              {bytes(report.bytes)} of {bytes(config.capacity_bytes)}
              <Meter value={report.bytes} of={config.capacity_bytes} label="Bytes of the capacity" />
            </>
          }
        />
        <Fact name="Evicted for entries" value={count(counts.evicted_by_entries)} />
        <Fact name="Evicted for bytes" value={count(counts.evicted_by_bytes)} />
        <Fact name="Expired" value={count(counts.expired)} />
        <Fact name="Default TTL" value={config.default_ttl_ms === null ? 'none' : duration(config.default_ttl_ms)} />
        <Fact name="Reads count as uses" value={touch.enabled ? `yes; each node reports them every ${duration(touch.interval_ms)}, at most ${count(touch.max_per_flush)} keys` : 'no: only writes count'} />
        <Fact name="Reads reported by this node" value={`${count(report.touches.sent)} sent, ${count(report.touches.dropped)} dropped`} />
      </dl>
      {changing && <Change report={report} config={config} close={() => setChanging(false)} />}
    </Panel>
  )
}

function Change({ report, config, close }: { report: CacheReport; config: Config; close: () => void }) {
  const [entries, setEntries] = useState(String(config.capacity_entries))
  const [mib, setMib] = useState(String(config.capacity_bytes / MIB))
  const [life, setLife] = useState(config.default_ttl_ms === null ? '' : String(config.default_ttl_ms / 1_000))
  const ids = { entries: useId(), mib: useId(), life: useId() }
  const wanted = {
    capacity_entries: Number(entries),
    capacity_bytes: Math.round(Number(mib) * MIB),
    default_ttl_ms: life.trim() === '' ? null : Math.round(Number(life) * 1_000),
  }
  // Only what was changed: the rest may have been changed by others meanwhile.
  const changed = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => config[name as keyof typeof wanted] !== value))
  const finite = [wanted.capacity_entries, wanted.capacity_bytes, wanted.default_ttl_ms ?? 0].every(Number.isFinite)
  const sound = finite && wanted.capacity_entries >= 1 && Number.isInteger(wanted.capacity_entries) && wanted.capacity_bytes >= 1 && (wanted.default_ttl_ms ?? 1) >= 1
  const tooMany = report.entries - wanted.capacity_entries
  const tooLarge = report.bytes - wanted.capacity_bytes

  async function run() {
    const now = await sendJson<Config>('PUT', '/v1/config', changed)
    notify('good', `The capacity is now ${plural(now.capacity_entries, 'entry', 'entries')} and ${bytes(now.capacity_bytes)}.`)
    status.kick()
    cache.kick()
  }

  return (
    <Dialog title="Change the capacity" action="Change it" disabled={!sound || Object.keys(changed).length === 0} danger={sound && (tooMany > 0 || tooLarge > 0)} run={run} close={close}>
      <p>The change is one log entry and takes effect on all nodes at the same index.</p>
      <p>
        <label htmlFor={ids.entries}>Entries, at most</label>
        <input id={ids.entries} inputMode="numeric" value={entries} onChange={(event) => setEntries(event.target.value)} />
      </p>
      <p>
        <label htmlFor={ids.mib}>Keys and values together, in MiB (1 MiB = 1,048,576 bytes)</label>
        <input id={ids.mib} inputMode="decimal" value={mib} onChange={(event) => setMib(event.target.value)} />
      </p>
      <p>
        <label htmlFor={ids.life}>Default TTL in seconds; empty for none</label>
        <input id={ids.life} inputMode="decimal" value={life} onChange={(event) => setLife(event.target.value)} />
      </p>
      {!sound && <p className="warn-text">▲ Entries are a whole number from 1; MiB and seconds are more than 0.</p>}
      {sound && (tooMany > 0 || tooLarge > 0) && (
        <p className="warn-text">
          ▲{' '}
          {config.policy === 'noeviction'
            ? 'The cache holds more than that. This policy evicts nothing, so writes that need room are refused with 507.'
            : tooMany > 0
              ? `At least ${plural(tooMany, 'entry is', 'entries are')} evicted over the next log entries.`
              : `Entries of at least ${bytes(tooLarge)} are evicted over the next log entries.`}
        </p>
      )}
    </Dialog>
  )
}
