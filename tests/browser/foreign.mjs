// A site of somebody else. The runner has every name below `.test` lead to this machine.

import { once } from 'node:events'
import { createServer } from 'node:http'

/** Does `work` on a page of another site. It is not the case's own page: what a browser says of attacks is no complaint. */
export async function onForeignPage(context, html, work) {
  const server = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end(html)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const page = await context.newPage()
  try {
    await page.goto(`http://evil.test:${server.address().port}/`)
    await work(page)
  } finally {
    await page.close()
    server.close()
  }
}

/** How a page's WebSocket ends: `open` if it begins. */
export function socketOf(page, url) {
  return page.evaluate(
    (url) =>
      new Promise((done) => {
        const socket = new WebSocket(url)
        socket.onopen = () => done('open')
        socket.onerror = () => done('refused')
      }),
    url,
  )
}
