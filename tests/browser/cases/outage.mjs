// Two of three nodes are dead, or the one that serves the page: what every view says then.

import { equal, fitsItsWidth, holds, shows } from '../expect.mjs'

const TITLES = ['Overview', 'Nodes', 'Charts', 'Keys', 'Eviction', 'Operations', 'Hot keys', 'Divergence', 'Snapshots and log']

async function each(page, look) {
  for (const [i, title] of TITLES.entries()) {
    await page.keyboard.press(String(i + 1))
    await shows(page, 'h1', title)
    await look(title)
  }
}

/** The page is the leader's, who does not notice at once that nobody follows. */
export async function without_a_majority_every_view_says_so({ page, cluster }) {
  const here = await cluster.leader()
  await cluster.put(here, 'outage:kept', 'kept')
  await page.goto(cluster.url(here, '/'))
  await shows(page, '.verdict.good .sentence', 'Healthy')
  await shows(page, '.head .said.good', `3 of 3 voters answer, n${here} leads`)
  for (const id of [1, 2, 3].filter((id) => id !== here)) await cluster.kill(id)
  await shows(page, '.verdict.bad .sentence', 'No majority: 1 of 3 voters answer, 2 are needed.')
  await each(page, async (title) => {
    await shows(page, '.head .said.bad', 'No majority: 1 of 3 voters answer')
    await shows(page, '.verdict.bad .advice', /^Start n\d and n\d\./)
    equal(`sentences on ${title}`, await page.locator('.verdict').count(), 1)
    equal(`leaders on ${title}`, await page.locator('.badge', { hasText: 'leader' }).count(), 0)
    await fitsItsWidth(page, title)
  })
  await page.keyboard.press('2')
  await shows(page, '.panel h2', '3 voters, 1 answers, majority 2, no majority')
  equal('silent cards', await page.locator('.card .badge', { hasText: 'silent' }).count(), 2)
  const cards = await page.locator('.cards').textContent()
  holds(`the reasons are in plain words: ${cards}`, !cards.includes('os error') && cards.includes('it is not running'))
  await page.getByRole('article', { name: `Node n${here}` }).getByRole('button', { name: 'Remove' }).click()
  await shows(page, 'dialog .quorum', '3 voters, 1 answers, majority 2, no majority')
  await page.keyboard.press('Escape')
  await page.keyboard.press('6')
  await shows(page, '.feed-state', 'Without a majority nothing can change')
  // Somebody who opens a key need not wait for a read that fails.
  await page.goto(cluster.url(here, '/keys/outage%3Akept'))
  await shows(page, '.stale', 'Without a majority no node knows the newest value')
  await page.getByRole('button', { name: 'Read this node’s own copy' }).click()
  await shows(page, 'pre.value', 'kept')
  await page.setViewportSize({ width: 375, height: 812 })
  await each(page, (title) => fitsItsWidth(page, `${title}, narrow`))
  await page.goto(cluster.url(here, '/charts?nodes=all'))
  await shows(page, '.stale', 'it is not running: nothing listens at its peer address.')
  await fitsItsWidth(page, 'the comparison, narrow')
  await cluster.revive()
  await shows(page, '.head .said.good', '3 of 3 voters answer')
}

/** One that is left has one dead node to count: nothing more may fail. */
export async function with_one_node_dead_no_further_failure_is_survived({ page, cluster }) {
  const dead = await cluster.follower()
  const here = await cluster.leader()
  await page.goto(cluster.url(here, '/nodes'))
  await shows(page, '.panel h2', '3 voters, majority 2, survives 1 failure')
  await cluster.kill(dead)
  await shows(page, '.panel h2', '3 voters, 2 answer, majority 2, survives no further failure')
  await shows(page, '.head .said.warn', `2 of 3 voters answer, n${here} leads`)
  await page.getByRole('article', { name: `Node n${dead}` }).getByRole('button', { name: 'Remove' }).click()
  await shows(page, 'dialog .quorum', '2 voters, majority 2, survives no failure')
  await page.keyboard.press('Escape')
  await cluster.revive()
  await shows(page, '.panel h2', '3 voters, majority 2, survives 1 failure')
}

/** Wherever one is, the other nodes are one click away, at the same view. */
export async function when_the_node_dies_every_view_leads_to_the_others({ page, cluster }) {
  const here = await cluster.follower()
  const others = [1, 2, 3].filter((id) => id !== here)
  await cluster.put(here, 'outage:key', 'x')
  await page.goto(cluster.url(here, '/keys/outage%3Akey'))
  await shows(page, 'pre.value', 'x')
  await cluster.kill(here)
  const leads = async (path) => {
    await shows(page, '.verdict.bad .sentence', `n${here} has not answered for`)
    await shows(page, '.head .said.bad', `n${here} does not answer`)
    const links = await page.locator('.verdict a').evaluateAll((all) => all.map((link) => link.getAttribute('href')))
    equal(`links at ${path}`, links.join(), others.map((id) => cluster.url(id, path)).join())
  }
  await leads('/keys/outage%3Akey')
  await each(page, () => leads(new URL(page.url()).pathname))
  await page.keyboard.press('2')
  await page.locator('.verdict a').first().click()
  await page.waitForURL(cluster.url(others[0], '/nodes'))
  await shows(page, '.panel h2', '3 voters, 2 answer')
  await cluster.revive()
  await shows(page, '.head .said.good', '3 of 3 voters answer')
}
