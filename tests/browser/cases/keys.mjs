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
  await page.getByRole('button', { name: 'Store', exact: true }).click()
  await shows(page, 'pre.value', '"a": [')
  equal('the value', await cluster.read(2, 'life/ü 1'), '{"a":[1,2]}')
  await page.getByRole('button', { name: 'TTL' }).click()
  await page.getByRole('textbox', { name: 'Seconds' }).fill('600')
  await page.getByRole('button', { name: 'Set', exact: true }).click()
  await shows(page, '.facts', /TTL(9 min|10 min)/)
  await page.getByRole('button', { name: 'TTL' }).click()
  await page.getByLabel(/No TTL/).check()
  await page.getByRole('button', { name: 'Remove the TTL' }).click()
  await shows(page, '.facts', /TTLnone/)
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

export async function the_list_tells_what_one_wants_to_know({ page, cluster }) {
  await cluster.put(2, 'list/a', 'hello <b>world</b>')
  await cluster.put(3, 'list/b', Uint8Array.from([0, 255, 16]), 'application/octet-stream')
  await cluster.put(1, 'list/c', 'ü'.repeat(200))
  await page.goto(cluster.url(1, '/keys?prefix=list/'))
  const row = (key) => page.locator('.list tbody tr').filter({ hasText: key })
  await row('list/a').getByText('hello <b>world</b>').waitFor()
  await row('list/a').getByText('n2', { exact: true }).waitFor()
  await row('list/a').getByText(/^\d+ s ago$/).waitFor()
  await row('list/a').locator('[data-label="Uses"]').getByText(/^\d+$/).waitFor()
  await row('list/b').getByText('00 ff 10').waitFor()
  await row('list/b').getByText('n3', { exact: true }).waitFor()
  await row('list/c').getByText(/^ü{48}…$/).waitFor()
  const order = async () => (await page.locator('.list tbody .key').allTextContents()).join()
  equal('in byte order', await order(), 'list/a,list/b,list/c')
  await page.getByRole('button', { name: 'Size' }).click()
  equal('the largest first', await order(), 'list/c,list/a,list/b')
  await page.getByRole('button', { name: 'Size' }).click()
  equal('the smallest first', await order(), 'list/b,list/a,list/c')
  await page.getByRole('button', { name: 'Key', exact: true }).click()
  equal('in byte order again', await order(), 'list/a,list/b,list/c')
}

export async function a_prefix_is_cleared({ page, cluster }) {
  await cluster.batch(1, ['a', 'b'].map((name) => ({ op: 'put', key: `clear/x/${name}`, value: 'v' })))
  await cluster.put(1, 'clear/y', 'stays')
  await page.goto(cluster.url(1, '/keys'))
  equal('without a prefix there is no such button', await page.getByRole('button', { name: 'Clear this prefix' }).count(), 0)
  await page.goto(cluster.url(1, '/keys?prefix=clear/x/'))
  await shows(page, '.list .key', 'clear/x/a')
  await page.getByRole('button', { name: 'Clear this prefix' }).click()
  await shows(page, 'dialog', '2 keys as of now')
  const submit = page.locator('dialog').getByRole('button', { name: 'Delete them all' })
  await page.locator('dialog input').fill('clear/')
  holds('another prefix is not enough', await submit.isDisabled())
  await page.locator('dialog input').fill('clear/x/')
  await submit.click()
  await shows(page, '.notice', '2 keys with prefix clear/x/ were deleted')
  await shows(page, '.state', 'No key here')
  const left = await cluster.json(3, '/v1/keys?prefix=clear/')
  equal('what is left', left.keys.map(({ key }) => key).join(), 'clear/y')
}

export async function selected_keys_are_deleted({ page, cluster }) {
  await cluster.batch(1, ['a', 'b', 'c', 'd'].map((name) => ({ op: 'put', key: `pick/${name}`, value: name })))
  await page.goto(cluster.url(1, '/keys?prefix=pick/'))
  await page.getByLabel('Select all on this page').check()
  await shows(page, '.selection', '4 keys selected')
  await page.getByLabel('Select pick/c').uncheck()
  await shows(page, '.selection', '3 keys selected')
  // Somebody else is quicker with one of them.
  await cluster.ask(2, '/v1/kv/pick%2Fd', { method: 'DELETE' })
  await page.getByRole('button', { name: 'Delete selected' }).click()
  const submit = page.locator('dialog').getByRole('button', { name: 'Delete 3 keys' })
  holds('nothing happens before it is typed', await submit.isDisabled())
  await shows(page, 'dialog li', 'pick/a')
  await page.locator('dialog input').fill('delete 3')
  await submit.click()
  await shows(page, '.notice', '2 keys were deleted. 1 other was already gone.')
  const left = await cluster.json(3, '/v1/keys?prefix=pick/')
  equal('what is left', left.keys.map(({ key }) => key).join(), 'pick/c')
  await page.locator('.selection').waitFor({ state: 'detached' })
}

export async function keys_without_prefixes_say_so({ page, cluster }) {
  await cluster.batch(1, Array.from({ length: 30 }, (_, i) => ({ op: 'put', key: `flat${String(i).padStart(2, '0')}`, value: 'x' })))
  await page.goto(cluster.url(1, '/keys?prefix=flat'))
  await shows(page, '.prefixes .note', 'No prefixes among the first 24 keys below this one: a prefix ends in : or /.')
  await cluster.ask(1, '/v1/kv?prefix=flat', { method: 'DELETE' })
}

/** A document on one line is edited a member a line, and is the same document afterwards but for what was changed. */
export async function a_document_on_one_line_is_laid_out_to_edit({ page, cluster }) {
  const stored = '{"a":1.0,"b":[1e3,"x, \\"y: {\\""],"c":{},"d":12345678901234567890}'
  await cluster.put(1, 'json/1', stored, 'application/json')
  await page.goto(cluster.url(1, '/keys/json%2F1'))
  await page.getByRole('button', { name: 'Edit' }).click()
  const field = page.locator('.editor textarea')
  const shown = await field.inputValue()
  equal('lines', shown.split('\n').length, 9)
  await shows(page, '.panel header .note', 'changes by others are not shown while you edit')
  await shows(page, '.editor .note', `${stored.length} B, laid out for editing, stored on one line as it was`)
  await field.fill(shown.replace('1.0', '2.50'))
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, 'pre.value', '2.5')
  equal('the document', await cluster.read(2, 'json/1'), stored.replace('1.0', '2.50'))
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
