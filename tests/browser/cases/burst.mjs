// Ten thousand writes at once: the page goes on answering clicks, and keeps no more than it says.

import { Worker } from 'node:worker_threads'
import { until } from '../cluster.mjs'
import { holds, shows } from '../expect.mjs'

const WRITES = 10_000
const KEPT_MAX = 2_000
const CLICK_MAX_MS = 500

/** In the page: how long each click took until the page was painted anew, and the longest task. */
function measure() {
  const seen = { click: 0, task: 0 }
  window.seen = seen
  const observe = (type, note, more) => new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type, ...more })
  observe('longtask', (entry) => (seen.task = Math.max(seen.task, entry.duration)))
  observe('event', (entry) => entry.name === 'click' && (seen.click = Math.max(seen.click, entry.duration)), { durationThreshold: 16 })
}

export async function a_burst_leaves_the_page_responsive({ page, cluster }) {
  await page.goto(cluster.url(1, '/operations'))
  await shows(page, '.feed-state', 'Live')
  await page.evaluate(measure)
  const state = async (name) => Number(await page.locator('.feed-state').getAttribute(`data-${name}`))
  const load = new Worker(new URL('../load.mjs', import.meta.url), { workerData: { port: cluster.port, writes: WRITES } })
  let took = 0
  load.once('message', (ms) => (took = ms))
  load.once('error', (error) => (took = error))
  let clicks = 0
  let rows = 0
  while (!took) {
    for (const paused of ['true', 'false']) {
      await page.locator('.pause').click()
      await page.locator(`.pause[aria-pressed="${paused}"]`).waitFor()
      clicks += 1
    }
    rows = Math.max(rows, await page.locator('.rows-one').count())
  }
  if (took instanceof Error) throw took
  await until('all writes on the page', async () => (await state('seen')) >= WRITES)
  const { click, task } = await page.evaluate(() => window.seen)
  holds(`a click is answered within ${CLICK_MAX_MS} ms, the slowest took ${click} ms`, click < CLICK_MAX_MS)
  holds(`no task holds the page up for ${CLICK_MAX_MS} ms, the longest took ${task} ms`, task < CLICK_MAX_MS)
  holds('what is kept is bounded', (await state('kept')) <= KEPT_MAX)
  holds(`only rows in sight exist, there were ${rows}`, rows < 100)
  await cluster.ask(1, '/v1/kv?prefix=burst:', { method: 'DELETE' })
  await shows(page, '.op .key', /burst:.*removed/)
  return `${WRITES} writes in ${(took / 1000).toFixed(1)} s, slowest of ${clicks} clicks ${click} ms, longest task ${task} ms`
}

export async function a_pause_counts_what_it_skips({ page, cluster }) {
  await page.goto(cluster.url(1, '/operations?prefix=pause:'))
  await shows(page, '.feed-state', 'Live')
  await cluster.put(1, 'pause:1', 'x')
  await shows(page, '.op .key', 'pause:1')
  await page.keyboard.press('p')
  await cluster.put(1, 'pause:2', 'x')
  await cluster.put(1, 'unseen', 'x')
  await shows(page, '.feed-state', '1 skipped')
  await page.keyboard.press('p')
  await shows(page, '.op.gap', '1 were skipped')
  await cluster.batch(1, [{ op: 'put', key: 'pause:3', value: 'x' }, { op: 'delete', key: 'pause:1' }])
  await page.locator('button.op', { hasText: '2 events' }).click()
  await shows(page, 'dialog', 'pause:3')
}
