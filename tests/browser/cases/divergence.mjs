// A node leaves its cluster from the page, and comes back from it, with a conflict that a person decides. The last case: the
// node has another number afterwards.

import { until } from '../cluster.mjs'
import { equal, fitsItsWidth, holds, shows } from '../expect.mjs'

export async function a_node_leaves_and_comes_back_by_hand({ page, cluster }) {
  const here = await cluster.follower()
  const there = await cluster.leader()
  const name = `n${here}`
  await cluster.put(there, 'divergence:both', 'base')
  await page.goto(cluster.url(here, '/divergence'))
  await shows(page, '.tree', 'began with the cluster')
  await page.getByRole('button', { name: 'Have it leave' }).click()
  await shows(page, 'dialog', /2 voters/)
  await page.locator('dialog input').fill(name)
  await page.locator('dialog').getByRole('button', { name: 'Leave', exact: true }).click()
  await shows(page, '.badge', 'detached')
  await shows(page, '.notice', `${name} has left its cluster after index`)
  await page.keyboard.press('2')
  await shows(page, '.notice', 'goes on alone: what is shown is not what the cluster has')
  await page.getByRole('link', { name: 'Bring it back' }).click()
  await fitsItsWidth(page, 'divergence')

  await cluster.put(here, 'divergence:both', 'alone')
  await cluster.put(here, 'divergence:own', 'alone')
  await cluster.put(there, 'divergence:both', 'cluster')
  await page.getByRole('button', { name: 'Bring it back' }).click()
  await shows(page, 'dialog .diff', 'divergence:both')
  await shows(page, 'dialog .diff', /base.*cluster.*alone/s)
  await page.locator('dialog select').first().selectOption('custom')
  await shows(page, 'dialog .warn-text', '1 conflict left to decide')
  const submit = page.locator('dialog').getByRole('button', { name: 'Bring it back' })
  holds('it waits for the decision', await submit.isDisabled())
  await page.getByLabel('What is kept of divergence:both').selectOption('incoming')
  await submit.click()
  await shows(page, '.badge', 'member')
  await shows(page, '.panel td', 'done, up to index')
  await shows(page, '.panel td.value', 'cluster')
  equal('the value that was chosen', await cluster.read(there, 'divergence:both'), 'alone')
  equal('its own key', await cluster.read(there, 'divergence:own'), 'alone')
  await until('three votes', async () => {
    const { members } = await cluster.json(there, '/v1/members')
    return members.filter((member) => member.voter).length === 3
  })
}
