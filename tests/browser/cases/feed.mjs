// Every message of the feed, also those that a healthy cluster sends seldom. The node's side of the socket is played here.

import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

const INDEX = 1_000

/** Plays the node; collects the requests of each connection. */
async function play(page) {
  const played = { requests: [], sockets: [], last: null }
  // Without a past the feed begins now.
  await page.route('**/api/sync/history*', (route) => route.fulfill({ json: { success: true, history: [] } }))
  await page.routeWebSocket('**/v1/live', (socket) => {
    played.sockets.push(socket)
    socket.onMessage((text) => {
      const request = JSON.parse(text)
      played.requests.push(request.subscribe ?? request)
      if (request.subscribe) played.id = request.subscribe.id
    })
  })
  played.send = (type, more) => played.sockets.at(-1).send(JSON.stringify({ type, id: played.id, ...more }))
  played.change = (index, ...events) => played.send('change', { index, at_ms: 1_760_000_000_000, events })
  /** The request after the first `n`. */
  played.request = (n) => until('request', () => played.requests[n])
  return played
}

export async function the_feed_says_at_which_node_a_change_was_asked_for({ page, cluster }) {
  await page.goto(cluster.url(1, '/operations'))
  await shows(page, 'main', 'Live by WebSocket')
  await cluster.put(2, 'asked/at/n2', 'v')
  const row = page.locator('.op').filter({ hasText: 'asked/at/n2' }).first()
  await shows(page, '.op', 'asked/at/n2')
  await row.filter({ hasText: 'n2' }).getByText('n2', { exact: true }).waitFor({ timeout: 5_000 })
}

export async function every_message_of_the_feed_is_understood({ page, cluster }) {
  const node = await play(page)
  await page.goto(cluster.url(1, '/operations'))
  equal('from now on', (await node.request(0)).from, undefined)
  node.send('subscribed', { index: INDEX })
  node.change(INDEX + 1, { cause: 'put', key: 'played:1', created: true, bytes: 5 })
  await shows(page, '.op .key', 'played:1')
  node.change(INDEX + 2, { cause: 'clear', prefix: 'tmp:', removed: 12 }, { cause: 'delete', key: 'played:1' })
  await shows(page, '.op.batch .key', '2 events: 1 clear, 1 delete')
  node.change(INDEX + 3, { cause: 'lifetime', key: 'played:2', expires_at_ms: 1_760_000_060_000 })
  await shows(page, '.op.lifetime .key', 'played:2')
  // One that was seen before is not shown twice.
  node.change(INDEX + 3, { cause: 'put', key: 'played:twice', created: true, bytes: 5 })
  node.send('bookmark', { index: INDEX + 50 })
  node.send('resync', { from: INDEX + 50, index: INDEX + 90 })
  await shows(page, '.op.gap', `Changes from ${INDEX + 50} to ${INDEX + 90} are no longer known`)
  equal('shown twice', await page.locator('.op', { hasText: 'played:twice' }).count(), 0)
  node.send('cut', { resume: INDEX + 70, reason: 'too slow' })
  equal('after a cut', (await node.request(1)).from, INDEX + 70)
  node.send('subscribed', { index: INDEX + 70 })
  node.change(INDEX + 100, { cause: 'evict', key: 'played:3' })
  await shows(page, '.op.evict .key', 'played:3')
  await node.sockets.at(-1).close()
  equal('after the connection broke', (await node.request(2)).from, INDEX + 100)
  node.send('refused', { code: 'conflict', detail: 'that index is from another history' })
  await shows(page, '.op.gap', 'The feed starts again')
  equal('after a refusal', (await node.request(3)).from, undefined)
  node.send('refused', { code: 'invalid_request', detail: 'the prefix is too long' })
  await shows(page, '.trouble', 'The prefix is too long.')
}

/** What happened before somebody looked is there at once, also after the node was started again. */
export async function the_list_begins_with_what_the_node_remembers({ page, cluster }) {
  const here = await cluster.follower()
  await cluster.put(2, 'earlier:1', 'abc')
  await cluster.batch(1, [{ op: 'put', key: 'earlier:2', value: 'x' }, { op: 'delete', key: 'earlier:1' }])
  await cluster.ask(3, '/v1/kv?prefix=earlier:', { method: 'DELETE' })
  const listed = async () => {
    await shows(page, '.op .key', 'all with prefix earlier:: 1 removed')
    await shows(page, '.op .key', '2 events: ')
    const first = page.locator('.op.put', { hasText: 'earlier:1' }).first()
    await first.waitFor()
    const words = (await first.innerText()).split(/\s+/)
    holds(`node and size are told: ${words}`, words.includes('n2') && words.join(' ').endsWith('3 B'))
    await shows(page, '.feed-state', /earlier log entries from n\d/)
  }
  await page.goto(cluster.url(here, '/operations'))
  await listed()
  await page.reload()
  await listed()
  // Nothing is shown twice, and nothing is left out between what was and what comes.
  await cluster.put(1, 'earlier:3', 'x')
  await shows(page, '.op .key', 'earlier:3')
  await page.keyboard.press('1')
  await cluster.put(1, 'earlier:4', 'x')
  await page.keyboard.press('6')
  await shows(page, '.op .key', 'earlier:4')
  for (const key of ['earlier:3', 'earlier:4']) equal(`rows of ${key}`, await page.locator('.op.put', { hasText: key }).count(), 1)
  await cluster.kill(here)
  await cluster.revive()
  await page.goto(cluster.url(here, '/operations'))
  await listed()
}
