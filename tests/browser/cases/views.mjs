// Each view shows live data, fits its window, and can be reached and left without a mouse.

import { equal, fitsItsWidth, holds, shows } from '../expect.mjs'

/** What every view shows once it has data. */
const SHOWN = {
  '/': ['.verdict.good .sentence', /Healthy: 3 of 3 voters, n\d leads in term \d+, all copies equal/],
  '/nodes': ['.card', /equal at/],
  '/charts': ['.u-legend .u-value', /newest/],
  '/keys': ['.list .key', 'views:1'],
  '/keys/views%3A1': ['pre.value', 'one'],
  '/eviction': ['.policy.current', 'in force'],
  '/operations': ['.op .key', /\S/],
  '/hot': ['.list .key', 'views:1'],
  '/log': ['.good-text', /equal at/],
}

async function live({ page, cluster }, path) {
  await page.goto(cluster.url(1, path))
  if (path === '/operations') await shows(page, '.feed-state', 'Live')
  await shows(page, ...SHOWN[path])
  await shows(page, '.head .age', /^status [0-5] s old$/)
  await shows(page, '.head .said.good', '3 of 3 voters answer')
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
  const titles = ['Overview', 'Nodes', 'Charts', 'Keys', 'Eviction', 'Operations', 'Hot keys', 'Divergence', 'Snapshots and log']
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

/** At the width of a phone nothing is beyond an edge, unless a shadow says so, and every view can be gone to. */
export async function a_phone_shows_all_of_it(test) {
  const { page, cluster } = test
  await cluster.put(1, 'views:1', 'one')
  await cluster.put(1, `views:${'long-name/'.repeat(12)}`, 'x'.repeat(400))
  for (let i = 0; i < 400; i += 1) await cluster.read(1, 'views:1')
  await page.setViewportSize({ width: 375, height: 812 })
  for (const path of [...Object.keys(SHOWN), '/charts?nodes=all']) {
    await page.goto(cluster.url(1, path))
    await shows(page, ...(SHOWN[path] ?? ['.u-legend', 'n2']))
    await fitsItsWidth(page, path)
    const cut = await page.evaluate(() => {
      const beyond = [...document.querySelectorAll('nav[aria-label="Views"] a')].filter((link) => {
        const { left, right } = link.getBoundingClientRect()
        return left < 0 || right > innerWidth || link.scrollWidth > link.clientWidth
      })
      const silent = [...document.querySelectorAll('.view *')].filter((one) => {
        const css = getComputedStyle(one)
        return one.scrollWidth > one.clientWidth + 1 && css.overflowX === 'auto' && !css.backgroundAttachment.includes('local')
      })
      const tables = [...document.querySelectorAll('.scroll')].filter((box) => box.querySelector('.stacks') && box.scrollWidth > box.clientWidth)
      return [...beyond, ...silent, ...tables].map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`)
    })
    equal(`cut at ${path}`, cut.join('; '), '')
  }
  // What the heads of the columns do on a wide screen is done here too.
  await page.goto(cluster.url(1, '/keys?prefix=views:'))
  await page.getByLabel('Select all on this page').check()
  await shows(page, '.selection', /keys? selected/)
  await page.getByRole('button', { name: 'Size' }).click()
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.strip td[data-label="Uptime"]', /s|min/)
  await page.locator('nav').getByRole('link', { name: 'Log' }).click()
  await shows(page, 'td[data-label="Compared with n1"]', /equal at/)
}

export async function figures_say_what_they_are({ page, cluster }) {
  await page.goto(cluster.url(1, '/'))
  const { term } = await cluster.json(1, '/v1/status')
  await shows(page, '.tile .detail', new RegExp(`^term ${term}: ${term} elections? so far$`))
  const bars = await page.locator('.tile .meter-named').allTextContents()
  holds(`the bars have names: ${bars}`, /^entries[\d.]+ %$/.test(bars[0]) && /^bytes[\d.]+ %$/.test(bars[1]))
  await shows(page, '.transport', 'live updates')
  await shows(page, '.head .age', /^status [0-5] s old$/)
  equal('ages beside what is new', await page.locator('.panel .age').count(), 0)
}

const RIDDLES = [
  'compared with', 'itself', 'Reads told of', 'Reads count every', 'About so many', 'Really,', 'os error', 'Make it lead', 'Empty', 'Beside n1', 'Counts',
]

export async function every_view_speaks_plainly({ page, cluster }) {
  await cluster.put(1, 'views:1', 'one')
  for (let i = 0; i < 400; i += 1) await cluster.read(1, 'views:1')
  for (const path of Object.keys(SHOWN)) {
    await page.goto(cluster.url(1, path))
    await shows(page, ...SHOWN[path])
    // A heading of a table is told by its cells, and not with its node's name behind it.
    const words = await page.locator('dt, dd, td, th[scope=col], button, p, .note').allInnerTexts()
    const found = RIDDLES.filter((riddle) => words.some((text) => text === riddle || (riddle.includes(' ') && riddle !== 'compared with' && text.includes(riddle)) || text.startsWith(`${riddle}, `)))
    equal(`riddles at ${path}`, found.join(), '')
  }
}
