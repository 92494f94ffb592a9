// The lines: what they show where little was measured, after a restart, and of other nodes.

import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

const samplesOf = async (cluster, id) => (await cluster.json(id, '/v1/samples')).columns.at_ms

export async function a_chart_grows_by_itself({ page, cluster }) {
  await page.goto(cluster.url(1, '/charts'))
  const samples = async () => Number((await page.locator('.bar .note').textContent()).match(/, (\d+) shown/)[1])
  const first = await samples()
  await until('new sample', async () => (await samples()) > first)
  await page.locator('.chart-table summary').first().click()
  await shows(page, '.chart-table caption', 'Newest first')
}

/** The hour before a crash is the one that is looked for. */
export async function charts_survive_a_restart_of_the_node({ page, cluster }) {
  const id = await cluster.follower()
  const before = await until('samples', async () => {
    const samples = await samplesOf(cluster, id)
    return samples.length >= 3 && samples
  })
  await cluster.kill(id)
  const killedMs = Date.now()
  await cluster.revive()
  const after = await until('new sample', async () => {
    const samples = await samplesOf(cluster, id)
    return samples.at(-1) > killedMs && samples
  })
  equal('the oldest sample', after[0], before[0])
  holds('the second before the end is there', after.some((at) => at >= before.at(-1) && at < killedMs))
  await page.goto(cluster.url(id, '/charts?minutes=60'))
  const shown = Number((await page.locator('.bar .note').textContent()).match(/, (\d+) shown/)[1])
  holds(`${shown} samples are shown, ${before.length} were there before`, shown > before.length)
}

export async function the_charts_compare_the_nodes({ page, cluster }) {
  const dead = await cluster.follower()
  const here = [1, 2, 3].find((id) => id !== dead)
  const asked = new Set()
  page.on('request', (request) => asked.add(new URL(request.url()).origin))
  await page.goto(cluster.url(here, '/charts'))
  await page.getByRole('button', { name: 'Compare nodes' }).click()
  await page.waitForURL('**/charts?nodes=all')
  const legend = page.locator('.chart').first().locator('.u-legend .u-label')
  await shows(page, '.u-legend .u-label', 'n3')
  equal('lines', (await legend.allTextContents()).join(), 'Time,n1,n2,n3')
  await page.locator('.chart-table summary').first().click()
  await until('figures of every node', async () => {
    const cells = await page.locator('.chart-table tbody tr').nth(1).locator('td').allTextContents()
    return cells.length === 3 && cells.every((cell) => cell !== '–')
  })
  equal('asked', [...asked].join(), cluster.url(here))
  await cluster.kill(dead)
  await shows(page, '.stale', `Last known figures of n${dead}: it is not running: nothing listens at its peer address.`)
  await cluster.revive()
  await page.locator('.stale').waitFor({ state: 'detached' })
}

/** A history in which every thirtieth second had a few requests. */
async function playSparseHistory(page) {
  const now = Date.now()
  const at_ms = Array.from({ length: 290 }, (_, i) => now - (290 - i) * 1_000)
  const rare = (value) => at_ms.map((_, i) => (i % 30 === 0 ? value : null))
  const zero = at_ms.map(() => 0)
  const names = 'requests errors writes misses puts evicted expired touches flushes entries bytes applied_index is_leader'.split(' ')
  const columns = { at_ms, ...Object.fromEntries(names.map((name) => [name, zero])) }
  Object.assign(columns, { reads: rare(3).map(Number), hits: rare(3).map(Number), p50_us: rare(400), p99_us: rare(900), flush_us: rare(500) })
  await page.route('**/v1/samples*', (route) =>
    route.fulfill({ json: { node: { id: 1, name: 'n1' }, interval_ms: 1_000, now_ms: now, columns: route.request().url().includes('since') ? { ...columns, ...Object.fromEntries(Object.keys(columns).map((name) => [name, []])) } : columns } }),
  )
}

/** The share of a chart's width in which something has the colour of its first line. */
function drawnShare(canvas) {
  const wanted = getComputedStyle(document.documentElement).getPropertyValue('--line-1').trim()
  const [r, g, b] = wanted.match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16))
  const { width, height } = canvas
  // Read from a copy: the page's own canvas is made for drawing.
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })
  copy.drawImage(canvas, 0, 0)
  const { data } = copy.getImageData(0, 0, width, height)
  let drawn = 0
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const i = 4 * (y * width + x)
      if (data[i + 3] > 60 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 90) {
        drawn += 1
        break
      }
    }
  }
  return drawn / width
}

export async function what_is_measured_seldom_is_a_line_too({ page, cluster }) {
  await playSparseHistory(page)
  await page.goto(cluster.url(1, '/charts'))
  for (const title of ['Latency', 'Hit ratio', 'Flush time']) {
    const chart = page.locator('.chart').filter({ has: page.getByRole('heading', { name: title, exact: true }) })
    await shows(page, '.u-legend .u-label', 'p99')
    const share = await until(`line of ${title}`, async () => {
      const drawn = await chart.locator('canvas').evaluate(drawnShare)
      return drawn > 0.6 && drawn
    }, 5_000)
    holds(`${title}: ${share}`, share > 0.6)
  }
  await shows(page, '.chart .note', 'p99 is the slowest request in a second with fewer than 100')
  await page.keyboard.press('1')
  await shows(page, '.tile .detail', 'newest second: p99 is the slowest of 3 requests')
  await shows(page, '.tile', /Latency, p50 and p99400 µs/)
  // Of few reads their number is told, and no percentage.
  await shows(page, '.tile', /Hit ratio6 of 6 ?reads found their key, in the last minute/)
}
