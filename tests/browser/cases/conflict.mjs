// Two write one key. Who is second is shown what the first one wrote, and loses nothing.

import { equal, holds, shows } from '../expect.mjs'

async function lose({ page, cluster }, key) {
  await cluster.put(1, key, 'one\ntwo\nthree')
  await page.goto(cluster.url(1, `/keys/${encodeURIComponent(key)}`))
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill('one\nmine\nthree')
  await cluster.put(2, key, 'one\ntheirs\nthree')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.conflict', 'Nothing was written')
  await shows(page, '.conflict', '1 of 3 lines differ')
  await shows(page, '.diff .differs td:first-child', 'theirs')
  await shows(page, '.diff .differs td:last-child', 'mine')
}

export async function a_conflict_is_shown_and_mine_written({ page, cluster }) {
  await lose({ page, cluster }, 'conflict/1')
  await page.getByRole('button', { name: /Write mine over revision/ }).click()
  await shows(page, 'pre.value', 'mine')
  equal('the value', await cluster.read(3, 'conflict/1'), 'one\nmine\nthree')
}

export async function a_conflict_is_shown_and_theirs_taken({ page, cluster }) {
  await lose({ page, cluster }, 'conflict/2')
  await page.getByRole('button', { name: 'Take theirs' }).click()
  await shows(page, 'pre.value', 'theirs')
  equal('the value', await cluster.read(3, 'conflict/2'), 'one\ntheirs\nthree')
}

export async function after_a_conflict_editing_goes_on({ page, cluster }) {
  await lose({ page, cluster }, 'conflict/3')
  await page.getByRole('button', { name: 'Back to editing' }).click()
  equal('the text', await page.locator('.editor textarea').inputValue(), 'one\nmine\nthree')
  await page.locator('.editor textarea').fill('one\nboth\nthree')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, 'pre.value', 'both')
  equal('the value', await cluster.read(3, 'conflict/3'), 'one\nboth\nthree')
}

/** An answer that is lost is no failure: the same save, sent again, is one write. */
export async function a_save_without_an_answer_is_sent_again({ page, cluster }) {
  await cluster.put(1, 'conflict/5', 'old')
  await page.goto(cluster.url(1, '/keys/conflict%2F5'))
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill('mine')
  let writes = 0
  await page.route('**/v1/kv/**', async (route) => {
    if (route.request().method() !== 'PUT' || writes++ > 0) return route.continue()
    // It gets there, and its answer does not come back.
    await route.fetch()
    await route.abort()
  })
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.trouble', 'No answer from the node')
  equal('the value', await cluster.read(2, 'conflict/5'), 'mine')
  const { index } = await cluster.json(2, '/v1/keys?prefix=conflict%2F5&consistency=linearizable')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, 'pre.value', 'mine')
  equal('saves', writes, 2)
  const listed = await cluster.json(2, '/v1/keys?prefix=conflict%2F5')
  holds('the second one wrote nothing', listed.keys[0].revision <= index)
}

/** When it is another save, nobody can say whose the change was. */
export async function after_a_save_without_an_answer_nobody_is_blamed({ page, cluster }) {
  await cluster.put(1, 'conflict/6', 'old')
  await page.goto(cluster.url(1, '/keys/conflict%2F6'))
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill('mine')
  await page.route('**/v1/kv/**', async (route) => {
    if (route.request().method() !== 'PUT') return route.continue()
    await route.fetch()
    await route.abort()
  })
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.trouble', 'No answer from the node')
  await page.unroute('**/v1/kv/**')
  await page.locator('.editor textarea').fill('mine again')
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.conflict', 'or by your own attempt that got no answer')
}

export async function a_key_that_went_meanwhile_is_created_again({ page, cluster }) {
  await cluster.put(1, 'conflict/4', 'old')
  await page.goto(cluster.url(1, '/keys/conflict%2F4'))
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.locator('.editor textarea').fill('new')
  await cluster.ask(2, '/v1/kv/conflict%2F4', { method: 'DELETE' })
  await page.getByRole('button', { name: /Save over revision/ }).click()
  await shows(page, '.conflict', 'It was deleted, expired or evicted')
  await page.getByRole('button', { name: 'Create it again with mine' }).click()
  await shows(page, 'pre.value', 'new')
}
