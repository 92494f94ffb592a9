// One key from its creation to its end, and a hundred thousand of them.

import { many } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

const MANY = 100_000
const AT_ONCE = 1_000

export async function a_key_lives_and_dies({ page, cluster }) {
  await page.goto(cluster.url(1, '/keys'))
  await page.getByRole('button', { name: 'New key' }).click()
  await page.getByLabel('Key', { exact: true }).fill('life/ü 1')
  await page.getByLabel('Value').fill('{"a":[1,2]}')
  await page.getByLabel('Content type').fill('application/json')
  await page.getByRole('button', { name: 'Store' }).click()
  await shows(page, 'pre.value', '"a": [')
  equal('the value', await cluster.read(2, 'life/ü 1'), '{"a":[1,2]}')
  await page.getByRole('button', { name: 'Time to live' }).click()
  await page.getByRole('textbox', { name: 'Seconds' }).fill('600')
  await page.getByRole('button', { name: 'Set', exact: true }).click()
  await shows(page, '.facts', /Time left(9 min|10 min)/)
  await page.getByRole('button', { name: 'Time to live' }).click()
  await page.getByLabel(/lives for ever/).check()
  await page.getByRole('button', { name: 'Keep for ever' }).click()
  await shows(page, '.facts', /Time leftfor ever/)
  await page.getByRole('button', { name: 'Delete' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Delete' }).click()
  await shows(page, '.state', 'There is no key')
}

export async function a_change_of_the_key_in_view_shows_by_itself({ page, cluster }) {
  await cluster.put(1, 'watched', 'before')
  await page.goto(cluster.url(1, '/keys/watched'))
  await shows(page, 'pre.value', 'before')
  await shows(page, '.panel .note', 'watched')
  await cluster.put(2, 'watched', 'after')
  await shows(page, 'pre.value', 'after')
}

export async function bytes_are_shown_and_kept({ page, cluster }) {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  await cluster.put(1, 'bytes', bytes, 'application/octet-stream')
  await page.goto(cluster.url(1, '/keys/bytes'))
  await shows(page, 'pre.value', '000010  10 11 12')
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill('00 ff 7f')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, 'pre.value', '000000  00 ff 7f')
  const stored = new Uint8Array(await (await cluster.ask(2, '/v1/kv/bytes')).arrayBuffer())
  equal('the bytes', stored.join(), '0,255,127')
}

export async function a_hundred_thousand_keys_are_browsed({ page, cluster }) {
  await many(MANY / AT_ONCE, 4, (batch) => {
    const key = (i) => `many/${String.fromCharCode(97 + (batch % 5))}:${String(batch * AT_ONCE + i).padStart(6, '0')}`
    return cluster.batch(1, Array.from({ length: AT_ONCE }, (_, i) => ({ op: 'put', key: key(i), value: 'x' })))
  })
  const started = Date.now()
  await page.goto(cluster.url(1, '/keys?prefix=many/'))
  await shows(page, '.list .key', 'many/a:000000')
  const first = Date.now() - started
  for (const part of ['a:', 'b:', 'c:', 'd:', 'e:']) await shows(page, '.prefixes .down', part)
  const next = page.getByRole('button', { name: 'Next' })
  let slowest = 0
  for (let turn = 1; turn <= 5; turn += 1) {
    const before = Date.now()
    await next.click()
    await shows(page, '.list .key', `many/a:000${turn}00`)
    slowest = Math.max(slowest, Date.now() - before)
  }
  await page.getByRole('button', { name: 'Previous' }).click()
  await shows(page, '.list .key', 'many/a:000400')
  await page.locator('.prefixes .down', { hasText: 'e:' }).click()
  await shows(page, '.list .key', 'many/e:004000')
  equal('rows of a page', await page.locator('.list tbody tr').count(), 100)
  holds(`a page turns within 1 s, the slowest took ${slowest} ms`, slowest < 1_000)
  await cluster.ask(1, '/v1/kv?prefix=many/', { method: 'DELETE' })
  return `first page after ${first} ms, slowest turn ${slowest} ms`
}
