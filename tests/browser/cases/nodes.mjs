// Handing the lead over, what is asked before a node is removed, and who speaks the Redis protocol.

import { createConnection } from 'node:net'
import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

export async function the_lead_is_handed_over({ page, cluster }) {
  const to = await cluster.follower()
  await page.goto(cluster.url(to, '/nodes'))
  const card = page.locator('.card').filter({ hasText: `n${to}` }).first()
  await card.getByRole('button', { name: 'Make leader' }).click()
  const submit = page.locator('dialog').getByRole('button', { name: `Make n${to} the leader` })
  holds('nothing happens before the name is typed', await submit.isDisabled())
  await page.locator('dialog input').fill(`n${to}`)
  await submit.click()
  await until('new leader', async () => (await cluster.leader()) === to)
  await shows(page, '.notice', new RegExp(`led before, n${to} leads now`))
}

export async function a_node_is_promoted_and_removed({ page, cluster }) {
  await cluster.join('n4')
  await page.goto(cluster.url(1, '/nodes'))
  const card = page.getByRole('article', { name: 'Node n4' })
  await card.getByRole('button', { name: 'Promote' }).click()
  await shows(page, 'dialog .quorum', /4 voters, majority 3, survives 1 failure/)
  await page.locator('dialog input').fill('n4')
  await page.locator('dialog').getByRole('button', { name: 'Give n4 a vote' }).click()
  await shows(page, '.notice', 'n4 is now a voter')
  await card.getByRole('button', { name: 'Make leader' }).waitFor()
  const voters = async (id) => (await cluster.json(id, '/v1/members')).members.filter((member) => member.voter).length
  equal('voters', await voters(2), 4)

  await card.getByRole('button', { name: 'Remove' }).click()
  await page.locator('dialog input').fill('n4')
  await page.locator('dialog').getByRole('button', { name: 'Remove n4' }).click()
  await shows(page, '.notice', 'n4 was removed')
  await card.waitFor({ state: 'detached' })
  equal('voters', await voters(3), 3)
  await cluster.leave('n4')
}

export async function removing_shows_what_is_left({ page, cluster }) {
  await page.goto(cluster.url(1, '/nodes'))
  await page.locator('.card').nth(2).getByRole('button', { name: 'Remove' }).click()
  await shows(page, 'dialog .quorum', /3 voters, majority 2, survives 1 failure/)
  await shows(page, 'dialog .quorum', /2 voters, majority 2, survives no failure/)
  const submit = page.locator('dialog').getByRole('button', { name: 'Remove n3' })
  await page.locator('dialog input').fill('n2')
  holds('another name is not enough', await submit.isDisabled())
  await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click()
  await page.locator('dialog').waitFor({ state: 'detached' })
}

export async function the_command_to_join_is_copied({ page, cluster, context }) {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  await page.goto(cluster.url(2, '/nodes'))
  await page.getByRole('button', { name: 'Add a node' }).click()
  const advertised = (await cluster.json(2, '/v1/members')).members.find((member) => member.name === 'n2').http
  await page.getByRole('button', { name: 'Copy the command' }).click()
  await shows(page, 'dialog .note', 'Copied.')
  const copied = await page.evaluate(() => navigator.clipboard.readText())
  equal('the command', copied, `lockstep serve --data-dir data/new --http HOST:PORT --join ${advertised}`)
  await shows(page, 'dialog .warn-text', 'works on its own machine only')
  // On a page that came over plain http from elsewhere there is no clipboard to write to.
  await page.evaluate(async () => {
    await navigator.clipboard.writeText('')
    Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })
  })
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Add a node' }).click()
  await page.getByRole('button', { name: 'Copy the command' }).click()
  await shows(page, 'dialog .note', 'Copied.')
}

/** `lockstep up` listens for Redis clients so far above its port for HTTP. */
const REDIS_ABOVE_HTTP = 1_379

export async function clients_of_the_redis_protocol_are_shown_with_their_commands({ page, cluster }) {
  const client = createConnection(cluster.port + REDIS_ABOVE_HTTP, '127.0.0.1')
  try {
    let told = ''
    client.on('data', (bytes) => (told += bytes))
    client.write('CLIENT SETNAME the-shop\r\nSET redis:seen a\r\nGET redis:seen\r\nINCR redis:seen\r\nSELECT 3\r\nMULTI\r\nGET x\r\n')
    await until('replies', async () => told.endsWith('+QUEUED\r\n'))
    await page.goto(cluster.url(1, '/nodes'))
    const row = page.locator('.redis-clients tbody tr').filter({ hasText: 'the-shop' })
    await row.filter({ hasText: 'database 3, transaction of 1' }).waitFor()
    const incr = page.locator('.redis-commands tbody tr').filter({ hasText: 'INCR' })
    equal('replies to INCR, and errors', (await incr.locator('td').allTextContents()).slice(0, 2).join(), '1,1')
    client.end()
    await row.waitFor({ state: 'detached' })
  } finally {
    client.destroy()
  }
}
