// Each view shows live data, fits its window, and can be reached and left without a mouse.

import { equal, fitsItsWidth, holds, shows } from '../expect.mjs'
import { until } from '../cluster.mjs'

/** What every view shows once it has data. */
const SHOWN = {
  '/': ['.verdict.good .sentence', /Healthy: 3 of 3 voters, n\d leads in term \d+, all copies equal/],
  '/nodes': ['.card', /equal at/],
  '/charts': ['.u-legend .u-value', /newest/],
  '/keys': ['.list .key', 'views:1'],
  '/keys/views%3A1': ['pre.value', 'one'],
  '/eviction': ['.policy.current', 'in force'],
  '/operations': ['.op .key', 'views:'],
  '/hot': ['.list .key', 'views:1'],
  '/log': ['.good-text', /equal at/],
}

async function live({ page, cluster }, path) {
  await page.goto(cluster.url(1, path))
  if (path === '/operations') {
    await shows(page, '.feed-state', 'Live')
    await cluster.put(2, 'views:2', 'two')
  }
  await shows(page, ...SHOWN[path])
  await shows(page, '.head .age', /^[0-5] s old$/)
}

export async function each_view_shows_live_data(test) {
  const { page, cluster } = test
  await cluster.put(1, 'views:1', 'one')
  for (let i = 0; i < 400; i += 1) await cluster.read(1, 'views:1')
  for (const path of Object.keys(SHOWN)) {
    await live(test, path)
    await fitsItsWidth(page, path)
  }
}

export async function each_view_fits_a_narrow_window(test) {
  const { page, cluster } = test
  await cluster.put(1, 'views:1', 'one')
  for (let i = 0; i < 400; i += 1) await cluster.read(1, 'views:1')
  await page.setViewportSize({ width: 390, height: 844 })
  for (const path of Object.keys(SHOWN)) {
    await live(test, path)
    await fitsItsWidth(page, path)
  }
}

export async function the_first_load_is_quick({ page, cluster }) {
  const started = Date.now()
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.verdict .sentence', /./)
  const took = Date.now() - started
  holds(`the first sentence comes within 3 s, it took ${took} ms`, took < 3_000)
  return `first sentence after ${took} ms`
}

export async function the_keyboard_is_enough({ page, cluster }) {
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.verdict .sentence', /./)
  await page.keyboard.press('Tab')
  equal('the first stop', await page.evaluate(() => document.activeElement.textContent), 'Skip to content')
  await page.keyboard.press('?')
  await shows(page, 'dialog', 'Keyboard shortcuts')
  await page.keyboard.press('Escape')
  await page.locator('dialog').waitFor({ state: 'detached' })
  const titles = ['Overview', 'Nodes', 'Charts', 'Keys', 'Eviction', 'Operations', 'Hot keys', 'Snapshots and log']
  for (const [i, title] of titles.entries()) {
    await page.keyboard.press(String(i + 1))
    await shows(page, 'h1', title)
  }
  await page.keyboard.press('4')
  await page.locator('[data-shortcut="/"]').waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('views:')
  await page.waitForURL('**/keys?prefix=views%3A')
  await page.goBack()
  await shows(page, 'h1', 'Snapshots and log')
}

export async function colours_follow_the_system_and_the_button({ page, cluster }) {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme)
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.tools', 'Auto')
  equal('as the system has it', await theme(), 'dark')
  await page.getByRole('button', { name: 'Auto' }).click()
  equal('as chosen', await theme(), 'light')
  await page.reload()
  await shows(page, '.tools', 'Light')
  equal('after a reload', await theme(), 'light')
}

export async function a_chart_grows_by_itself({ page, cluster }) {
  await page.goto(cluster.url(1, '/charts'))
  const samples = async () => Number((await page.locator('.bar .note').textContent()).match(/, (\d+) shown/)[1])
  const first = await samples()
  await until('new sample', async () => (await samples()) > first)
  await page.locator('.chart-table summary').first().click()
  await shows(page, '.chart-table caption', 'Newest first')
}
