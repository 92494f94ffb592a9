// Processes that are killed while somebody looks.

import { shows } from '../expect.mjs'

export async function the_leader_dies({ page, cluster }) {
  const leader = await cluster.leader()
  const here = await cluster.follower()
  await page.goto(cluster.url(here, '/'))
  await shows(page, '.verdict.good .sentence', `n${leader} leads`)
  await cluster.kill(leader)
  await shows(page, '.notice', new RegExp(`n${leader} led before, n\\d leads now, since term \\d+`))
  await shows(page, '.verdict.warn .sentence', new RegExp(`Degraded: 2 of 3 voters answer, n\\d leads in term \\d+. n${leader} does not answer`))
  await cluster.revive()
  await shows(page, '.verdict.good .sentence', 'Healthy: 3 of 3')
  return (await page.locator('.notice').last().locator('span').textContent()).trim()
}

export async function the_node_that_serves_the_page_dies({ page, cluster }) {
  const here = await cluster.follower()
  await cluster.put(here, 'before', 'still shown')
  await page.goto(cluster.url(here, '/'))
  await shows(page, '.verdict.good .sentence', 'Healthy')
  await page.keyboard.press('4')
  await shows(page, '.list .key', 'before')
  await cluster.kill(here)
  await page.locator('.app.silent').waitFor()
  await shows(page, '.head .badge', 'does not answer')
  await shows(page, '.list .key', 'before')
  await page.keyboard.press('1')
  await shows(page, '.verdict.bad .sentence', `n${here} has not answered for`)
  await shows(page, '.head .age', /⚠ status \d+ s old/)
  await cluster.revive()
  await shows(page, '.notice', new RegExp(`n${here} did not answer for .*It was restarted in the meantime. n\\d (still leads|has led)`))
  await shows(page, '.verdict.good .sentence', 'Healthy: 3 of 3')
  await page.locator('.app:not(.silent)').waitFor()
  return (await page.locator('.notice').first().locator('span').textContent()).trim()
}

/** The feed goes on where it was: what happened while the node was away is not missed. */
export async function the_feed_resumes_after_a_restart({ page, cluster }) {
  const here = await cluster.follower()
  const other = [1, 2, 3].find((id) => id !== here)
  await page.goto(cluster.url(here, '/operations?prefix=resume:'))
  await shows(page, '.feed-state', 'Live')
  await cluster.put(other, 'resume:1', 'x')
  await shows(page, '.op .key', 'resume:1')
  await cluster.kill(here)
  await cluster.put(other, 'resume:2', 'x')
  await cluster.revive()
  await shows(page, '.feed-state', 'Live')
  await cluster.put(other, 'resume:3', 'x')
  await shows(page, '.op .key', 'resume:3')
  const shown = await page.locator('.feed').textContent()
  // After a restart a node may know less of the past than it is asked for. Then it says so.
  if (!shown.includes('resume:2') && !shown.includes('no longer known')) throw new Error('a change was missed without a word')
}
