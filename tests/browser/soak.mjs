// A page that is kept open while the cluster works: neither it nor a node may grow.
//
// Takes a sample every few seconds of what the page and each node hold, and compares the second quarter of the time, when caches
// and logs have filled, with the last.

import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { Cluster } from './cluster.mjs'

/** Growth from the second quarter to the last that is taken for chance, as a part and in MiB. */
const PART_MAX = 0.1
const MIB_MAX = 4
const SAMPLE_MS = 5_000
const MIB = 1024 * 1024

/** Keeps the operations and the charts in view for so long, under so many writes a second. */
export async function soak(browser, port, minutes, rate) {
  const cluster = new Cluster(port)
  const up = JSON.parse(await readFile(`${process.env.LOCKSTEP_DATA_DIR}/up.json`, 'utf8'))
  const pages = await Promise.all(['/operations', '/charts'].map((path) => open(browser, cluster.url(1, path))))
  const load = spawn(process.env.LOCKSTEP_BIN, [
    'bench', 'put', '--connections', '64', '--rate', `${rate}`, '--seconds', `${minutes * 60}`, '--json',
    ...[1, 2, 3].flatMap((id) => ['--url', cluster.url(id)]),
  ], { stdio: ['ignore', 'pipe', 'ignore'] })
  let report = ''
  load.stdout.on('data', (text) => (report += text))
  let goesOn = true
  load.once('exit', () => (goesOn = false))

  const series = new Map()
  const note = (name, mib) => series.set(name, [...(series.get(name) ?? []), mib])
  while (goesOn) {
    for (const { path, measure } of pages) note(`page ${path}`, await measure())
    for (const { name, pid } of up.nodes) note(`node ${name}`, await resident(pid))
    await new Promise((wake) => setTimeout(wake, SAMPLE_MS))
  }
  const { operations_per_s: reached, errors, latency_us: latency } = JSON.parse(report.trim().split('\n').at(-1))
  console.log(`  ${reached} writes/s for ${minutes} min, ${errors} errors, p99 ${latency.p99} us`)
  let grown = errors > 0 || reached < rate * 0.95
  for (const [name, samples] of series) {
    const quarter = Math.floor(samples.length / 4)
    const [early, late] = [median(samples.slice(quarter, 2 * quarter)), median(samples.slice(-quarter))]
    const grows = late > early * (1 + PART_MAX) + MIB_MAX
    grown ||= grows
    console.log(`  ${grows ? 'GROWS ' : ''}${name}: ${early.toFixed(1)} MiB, then ${late.toFixed(1)} MiB, at most ${Math.max(...samples).toFixed(1)}`)
  }
  for (const { page } of pages) await page.close()
  return !grown
}

async function open(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  const page = await context.newPage()
  await page.goto(url)
  const devtools = await context.newCDPSession(page)
  const measure = async () => {
    await devtools.send('HeapProfiler.collectGarbage')
    const { usedSize } = await devtools.send('Runtime.getHeapUsage')
    return usedSize / MIB
  }
  return { page, path: new URL(url).pathname, measure }
}

async function resident(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(status.match(/VmRSS:\s+(\d+) kB/)[1]) / 1024
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
}
