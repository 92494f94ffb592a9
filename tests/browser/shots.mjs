// Pictures of every view with a cluster at work, light and dark.

import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { many, until } from './cluster.mjs'
import { shows } from './expect.mjs'

const folder = fileURLToPath(new URL('../../docs/dashboard/', import.meta.url))
/** So that the lines in the pictures are lines. */
const SAMPLES = 75

const VIEWS = {
  overview: ['/', '.verdict.good'],
  nodes: ['/nodes', '.card .good-text'],
  charts: ['/charts', '.u-legend'],
  compare: ['/charts?nodes=all', '.u-legend'],
  keys: ['/keys?prefix=user:', '.list .key'],
  key: ['/keys/profile%2Fada', 'pre.value'],
  eviction: ['/eviction', '.policy.current'],
  operations: ['/operations', '.op.put'],
  hot: ['/hot', '.list .key'],
  log: ['/log', '.good-text'],
}

export async function shots(browser, cluster) {
  await mkdir(folder, { recursive: true })
  await cluster.ask(1, '/v1/config', { method: 'PUT', body: JSON.stringify({ capacity_entries: 5_000 }) })
  // What is used seldom is evicted, as it should be.
  const profile = { name: 'Ada Lovelace', born: 1815, fields: ['mathematics', 'computing'], engine: { cards: 3, notes: 'A to G' } }
  let stop = false
  const load = many(Infinity, 4, async (i) => {
    if (stop) return new Promise(() => undefined)
    await step(cluster, i)
  })
  load.catch((error) => console.log(`the load ended: ${error.message}`))
  await until('history', async () => (await cluster.json(1, '/v1/samples')).columns.at_ms.length >= SAMPLES, 300_000)
  await cluster.ask(1, '/v1/snapshot', { method: 'POST' })
  for (const colorScheme of ['light', 'dark']) {
    for (const [name, [path, ready]] of Object.entries(VIEWS)) {
      await cluster.put(1, 'profile/ada', JSON.stringify(profile), 'application/json')
      await picture(browser, cluster, name, path, ready, { colorScheme })
    }
  }
  for (const name of ['overview', 'keys']) await picture(browser, cluster, `${name}-narrow`, ...VIEWS[name], { colorScheme: 'light', viewport: { width: 375, height: 812 } })
  await conflict(browser, cluster)
  stop = true
  await outage(browser, cluster)
}

/** Some reads, mostly of few keys, and now and then a write. */
async function step(cluster, i) {
  const node = (i % 3) + 1
  const key = `user:${String(Math.floor(Math.random() ** 3 * 9_000)).padStart(5, '0')}`
  const answer = await fetch(cluster.url(node, `/v1/kv/${key}`))
  await answer.arrayBuffer()
  if (answer.status === 404 || i % 7 === 0) {
    const ttl = i % 4 === 0 ? '?ttl_ms=45000' : ''
    await cluster.ask(node, `/v1/kv/${key}${ttl}`, { method: 'PUT', body: 'x'.repeat(20 + (i % 400)) })
  }
  if (i % 97 === 0) await cluster.batch(node, [{ op: 'incr', key: 'visits' }, { op: 'put', key: `session:${i % 50}`, value: 'ada' }])
}

async function picture(browser, cluster, name, path, ready, { colorScheme, viewport = { width: 1280, height: 800 } }) {
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' })
  const page = await context.newPage()
  await page.goto(cluster.url(1, path))
  await page.locator(ready).first().waitFor()
  await shows(page, '.transport', 'live updates')
  if (path === '/operations') await until('some operations', async () => Number(await page.locator('.feed-state').getAttribute('data-kept')) > 60)
  await page.screenshot({ path: `${folder}${name}-${colorScheme}.png` })
  await context.close()
}

/** Two of three nodes are dead. */
async function outage(browser, cluster) {
  for (const id of [2, 3]) await cluster.kill(id)
  await picture(browser, cluster, 'outage', '/nodes', '.said.bad', { colorScheme: 'light' })
  await cluster.revive()
}

async function conflict(browser, cluster) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', reducedMotion: 'reduce' })
  const page = await context.newPage()
  const text = (place) => JSON.stringify({ name: 'Grace Hopper', place, languages: ['FLOW-MATIC', 'COBOL'] })
  await cluster.put(1, 'profile/grace', text('New York'), 'application/json')
  await page.goto(cluster.url(1, '/keys/profile%2Fgrace'))
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill(text('Arlington'))
  await cluster.put(2, 'profile/grace', text('Philadelphia'), 'application/json')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.conflict', 'Nothing was written')
  await page.screenshot({ path: `${folder}conflict-light.png` })
  await context.close()
}
