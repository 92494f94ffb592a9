// Runs the cases one after another, each on a page of its own, and counts those that fail.

import { chromium } from 'playwright-core'
import { Cluster } from './cluster.mjs'
import * as attacks from './cases/attacks.mjs'
import * as blocked from './cases/blocked.mjs'
import * as burst from './cases/burst.mjs'
import * as charts from './cases/charts.mjs'
import * as conflict from './cases/conflict.mjs'
import * as divergence from './cases/divergence.mjs'
import * as failures from './cases/failures.mjs'
import * as feed from './cases/feed.mjs'
import * as keys from './cases/keys.mjs'
import * as login from './cases/login.mjs'
import * as nodes from './cases/nodes.mjs'
import * as outage from './cases/outage.mjs'
import * as served from './cases/served.mjs'
import * as session from './cases/session.mjs'
import * as settings from './cases/settings.mjs'
import * as views from './cases/views.mjs'
import { shots } from './shots.mjs'
import { soak } from './soak.mjs'

const cases = { ...served, ...attacks, ...views, ...charts, ...settings, ...nodes, ...conflict, ...keys, ...feed, ...burst, ...blocked, ...failures, ...outage, ...divergence, ...login, ...session }
const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Names of other sites, for those that attack.
  '--host-resolver-rules=MAP *.test 127.0.0.1',
]
/** Those that say how quick the page is. Nothing else should be busy meanwhile. */
const MEASURED = ['the_first_load_is_quick', 'a_burst_leaves_the_page_responsive', 'a_hundred_thousand_keys_are_browsed']
/** What a browser says of a node that is away, or of an answer that the case is about. */
const EXPECTED = /Failed to load resource|WebSocket connection to|net::ERR_/

const [first, ...wanted] = process.argv.slice(2)
if (first === '--list') {
  console.log(Object.keys(cases).join('\n'))
  process.exit()
}
/** All cases, those that are named, those that measure, or every so many of the others. */
function chosen() {
  const all = Object.keys(cases)
  if (wanted[0] === '--measured') return MEASURED
  if (wanted[0] !== '--part') return wanted.length ? wanted : all
  const [part, parts] = wanted[1].split('/').map(Number)
  return all.filter((name) => !MEASURED.includes(name)).filter((_, at) => at % parts === part - 1)
}
const cluster = new Cluster(Number(first))
// A profile of its own, made new and thrown away.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, headless: true, args: ARGUMENTS })
let failed = 0
try {
  if (wanted[0] === '--shots') await shots(browser, cluster)
  else if (wanted[0] === '--soak') failed += !(await soak(browser, Number(first), Number(wanted[1] ?? 10), Number(wanted[2] ?? 5_000)))
  else for (const name of chosen()) await one(name)
} finally {
  await browser.close()
}
console.log(failed ? `${failed} failed` : 'the dashboard works')
process.exitCode = failed ? 1 : 0

async function one(name) {
  if (!cases[name]) throw new Error(`there is no case ${name}`)
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  const complaints = []
  page.on('pageerror', (error) => complaints.push(`threw: ${error.message}`))
  page.on('console', (line) => {
    if (['error', 'warning'].includes(line.type()) && !EXPECTED.test(line.text())) complaints.push(`said: ${line.text()}`)
  })
  const started = Date.now()
  try {
    const note = await cases[name]({ page, cluster, context })
    if (complaints.length) throw new Error(`the page ${complaints.join('; ')}`)
    console.log(`  ok    ${name}${note ? ` (${note})` : ''}, ${((Date.now() - started) / 1000).toFixed(1)} s`)
  } catch (error) {
    failed += 1
    console.log(`  FAIL  ${name}: ${error.message}`)
    for (const complaint of complaints) console.log(`        the page ${complaint}`)
    if (process.env.SHOT_ON_FAIL) await page.screenshot({ path: `${process.env.SHOT_ON_FAIL}/${name}.png` })
  }
  await context.close()
}
