// Switching the policy, and taking a snapshot.

import { equal, shows } from '../expect.mjs'

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

export async function a_snapshot_is_taken({ page, cluster }) {
  await page.goto(cluster.url(1, '/log'))
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Take it' }).click()
  await shows(page, '.notice', /took a snapshot at index/)
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download a backup' }).click()])
  equal('the backup', await download.failure(), null)
}
