// Switching the policy, and taking a snapshot.

import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

export async function the_policy_is_switched({ page, cluster }) {
  const before = (await cluster.json(1, '/v1/config')).policy
  const wanted = before === 'lfu' ? 's3fifo' : 'lfu'
  await page.goto(cluster.url(1, '/eviction'))
  await page.getByRole('button', { name: `Switch to ${wanted}` }).click()
  await shows(page, 'dialog', 'No key is lost')
  await page.locator('dialog').getByRole('button', { name: `Switch to ${wanted}` }).click()
  await shows(page, '.notice', `The policy is ${wanted} now`)
  await shows(page, '.policy.current h3', wanted)
  equal('on another node', (await cluster.json(3, '/v1/config')).policy, wanted)
}

export async function the_capacity_is_changed({ page, cluster }) {
  const { capacity_bytes, default_ttl_ms } = await cluster.json(1, '/v1/config')
  await cluster.batch(1, Array.from({ length: 20 }, (_, i) => ({ op: 'put', key: `capacity/${i}`, value: 'v' })))
  await page.goto(cluster.url(1, '/eviction'))
  const panel = page.locator('section').filter({ has: page.getByRole('heading', { name: 'Capacity' }) })
  const dialog = page.locator('dialog')
  const submit = dialog.getByRole('button', { name: 'Change it' })
  await panel.getByRole('button', { name: 'Change' }).click()
  await dialog.getByLabel('Entries').fill('0')
  holds('nothing is no capacity', await submit.isDisabled())
  await dialog.getByLabel('Entries').fill('10')
  await shows(page, 'dialog', /At least [\d,]+ entr(y is|ies are) evicted/)
  await submit.click()
  await shows(page, '.notice', 'The cache may hold 10 entries')
  await shows(page, 'dd', /of 10$/)
  const elsewhere = await cluster.json(3, '/v1/config')
  equal('on another node', JSON.stringify([elsewhere.capacity_entries, elsewhere.capacity_bytes, elsewhere.default_ttl_ms]), JSON.stringify([10, capacity_bytes, default_ttl_ms]))
  await until('room for ten', async () => (await cluster.json(3, '/v1/cache')).entries === 10)
  await panel.getByRole('button', { name: 'Change' }).click()
  await dialog.getByLabel('Entries').fill('200000')
  await submit.click()
  await shows(page, '.notice', 'The cache may hold 200,000 entries')
}

export async function a_snapshot_is_taken({ page, cluster }) {
  await page.goto(cluster.url(1, '/log'))
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Take it' }).click()
  await shows(page, '.notice', /took a snapshot at index/)
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download a backup' }).click()])
  equal('the backup', await download.failure(), null)
}
