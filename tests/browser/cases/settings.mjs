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
  await shows(page, '.notice', `The policy is now ${wanted}`)
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
  equal('the field for bytes', await dialog.getByLabel('Keys and values together, in MiB').inputValue(), String(capacity_bytes / 1024 / 1024))
  await dialog.getByLabel('Entries').fill('0')
  holds('nothing is no capacity', await submit.isDisabled())
  await dialog.getByLabel('Entries').fill('10')
  await shows(page, 'dialog', /At least [\d,]+ entr(y is|ies are) evicted/)
  await submit.click()
  await shows(page, '.notice', 'The capacity is now 10 entries')
  await shows(page, 'dd', /of 10$/)
  const elsewhere = await cluster.json(3, '/v1/config')
  equal('on another node', JSON.stringify([elsewhere.capacity_entries, elsewhere.capacity_bytes, elsewhere.default_ttl_ms]), JSON.stringify([10, capacity_bytes, default_ttl_ms]))
  await until('room for ten', async () => (await cluster.json(3, '/v1/cache')).entries === 10)
  await panel.getByRole('button', { name: 'Change' }).click()
  await dialog.getByLabel('Entries').fill('200000')
  await submit.click()
  await shows(page, '.notice', 'The capacity is now 200,000 entries')
}

export async function a_snapshot_is_taken({ page, cluster }) {
  await page.goto(cluster.url(1, '/log'))
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Take it' }).click()
  await shows(page, '.notice', /took a snapshot at index/)
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download a backup' }).click()])
  equal('the backup', await download.failure(), null)
}

/** Estimates that rest on a handful of reads are no figures yet. */
export async function few_reads_make_no_percentages({ page, cluster }) {
  const report = await cluster.json(1, '/v1/cache')
  const play = (reads) => ({ ...report, reads: { hits: 6, misses: 6, hit_percent: 50 }, shadow: { one_key_in: 1, reads, hit_percent: { lru: 50, lfu: 50, s3fifo: 50 } } })
  let reads = 12
  await page.route('**/v1/cache', (route) => route.fulfill({ json: play(reads) }))
  await page.goto(cluster.url(1, '/eviction'))
  await shows(page, '.panel .note', 'Measured since n1 started: it found the key in 6 of 12 reads.')
  await shows(page, '.panel .note', 'Estimates start at 1,000 reads of the whole cluster; the leader has counted 12.')
  equal('percentages', await page.locator('.panel:has(.policy)', { hasText: '%' }).count(), 0)
  reads = 1_000
  await shows(page, '.policy .figure', '50.0 %')
}
