// Where WebSockets do not get through, the page does without, and says so.

import { shows } from '../expect.mjs'

/** Sockets that never open. */
function noSockets() {
  window.WebSocket = class {
    static OPEN = 1
    constructor() {
      setTimeout(() => this.onclose?.())
    }
  }
}

export async function without_sockets_the_page_polls({ page, cluster }) {
  await page.addInitScript(noSockets)
  await page.goto(cluster.url(1, '/operations'))
  await shows(page, '.transport', 'polling, changes by events')
  await shows(page, '.feed-state', 'Live by server-sent events')
  await cluster.put(2, 'blocked:1', 'x')
  await shows(page, '.op .key', 'blocked:1')
  await page.keyboard.press('1')
  await shows(page, '.verdict.good .sentence', 'Healthy')
  await shows(page, '.head .age', /^status [0-5] s old$/)
}

export async function without_any_feed_the_rest_goes_on({ page, cluster }) {
  await page.addInitScript(noSockets)
  await page.route('**/v1/watch*', (route) => route.abort())
  await page.goto(cluster.url(1, '/operations'))
  await shows(page, '.feed-state', /No feed/)
  await page.keyboard.press('1')
  await shows(page, '.verdict.good .sentence', 'Healthy')
}

/** A node of an older version has none of the newer routes. */
export async function an_older_node_is_told_in_a_line({ page, cluster }) {
  await page.addInitScript(noSockets)
  const problem = { type: 'urn:lockstep:error:no_route', title: 'no route', status: 404, detail: 'there is nothing here', code: 'no_route', effect: 'none' }
  await page.route(/\/v1\/(nodes|samples|watch|live)/, (route) =>
    route.fulfill({ status: 404, contentType: 'application/problem+json', body: JSON.stringify(problem) }),
  )
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.verdict.good .sentence', 'Healthy')
  await shows(page, '.foot', '/v1/samples')
  await page.keyboard.press('2')
  await shows(page, '.state', '/v1/nodes')
  await page.keyboard.press('3')
  await shows(page, '.state', '/v1/samples')
  await page.keyboard.press('6')
  await shows(page, '.feed-state', 'version has no change feed')
}
