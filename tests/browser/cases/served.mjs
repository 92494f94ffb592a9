// How the page is served: what is answered for views, for assets, and for paths that are neither.

import { equal, holds, shows } from '../expect.mjs'

const VIEWS = ['/', '/nodes', '/charts', '/keys', '/keys/a%2Fb', '/eviction', '/operations', '/hot', '/divergence', '/log']

export async function every_view_has_a_url({ cluster }) {
  for (const path of VIEWS) {
    const answer = await cluster.ask(1, path)
    holds(`${path} is a page`, answer.headers.get('content-type').startsWith('text/html'))
    equal(`${path}: cache-control`, answer.headers.get('cache-control'), 'no-cache')
    equal(`${path}: nosniff`, answer.headers.get('x-content-type-options'), 'nosniff')
    holds(`${path} has a policy`, answer.headers.get('content-security-policy').includes('/assets/; style-src'))
    const again = await fetch(cluster.url(1, path), { headers: { 'If-None-Match': answer.headers.get('etag') } })
    equal(`${path} again`, again.status, 304)
  }
}

export async function assets_are_kept_for_ever({ cluster }) {
  const page = await (await cluster.ask(1, '/')).text()
  const assets = [...page.matchAll(/\/assets\/[^"]+/g)].map(([path]) => path)
  holds('the page names assets', assets.length >= 2)
  for (const path of assets) {
    const answer = await cluster.ask(1, path)
    holds(`${path} is immutable`, answer.headers.get('cache-control').includes('immutable'))
    const again = await fetch(cluster.url(1, path), { headers: { 'If-None-Match': answer.headers.get('etag') } })
    equal(`${path} again`, again.status, 304)
  }
}

export async function what_is_no_view_is_told_as_json({ cluster }) {
  for (const path of ['/assets/gone.js', '/v1/nothing', '/nothing', '/nodes/1', '/v1/kv']) {
    const answer = await fetch(cluster.url(1, path))
    holds(`${path} is an error`, answer.status === 404 || answer.status === 405)
    holds(`${path} is a problem`, answer.headers.get('content-type').startsWith('application/problem+json'))
  }
}

/** Who types an address wrongly gets a page that can be read, and a way on. */
export async function what_is_no_view_is_a_page_for_people({ page, cluster }) {
  await page.setViewportSize({ width: 375, height: 812 })
  for (const path of ['/nothing', '/nodes/1', '/v1/nothing', '/%3Cb%3E&x']) {
    const answer = await page.goto(cluster.url(1, path))
    equal(`${path}: status`, answer.status(), 404)
    holds(`${path} is a page`, answer.headers()['content-type'].startsWith('text/html'))
    holds(`${path} has a policy`, answer.headers()['content-security-policy'].includes("default-src 'none'"))
    equal(`${path}: vary`, answer.headers().vary, 'accept')
    await shows(page, 'h1', 'Nothing here')
    await shows(page, 'code', path)
    equal(`${path}: width`, await page.evaluate(() => document.documentElement.scrollWidth), 375)
  }
  await page.getByRole('link', { name: 'Go to the dashboard' }).click()
  await shows(page, '.verdict .sentence', 'Healthy')
}
