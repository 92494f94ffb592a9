// The cluster gets its first token, and the page asks for one. From then on every request needs one, so it comes
// last, with `session`.

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'

export async function a_page_logs_in_and_sees_what_it_may({ page, cluster, context }) {
  await cluster.put(1, 'login:key', 'value')
  const folder = `${process.env.LOCKSTEP_DATA_DIR}/n1`
  const out = `${folder}/token-of-the-case`
  execFileSync(process.env.LOCKSTEP_BIN, ['token', 'recover', '--data-dir', folder, '--out', out])
  const root = readFileSync(out, 'utf8').trim()
  const asAdmin = { Authorization: `Bearer ${root}`, 'Content-Type': 'application/json' }
  await until('the node takes it', async () => (await fetch(cluster.url(1, '/v1/token'), { headers: asAdmin })).status === 200)
  const make = async (name, grants) => {
    const made = await cluster.json(1, '/v1/tokens', { method: 'POST', headers: asAdmin, body: JSON.stringify({ name, grants }) })
    return made.token
  }
  const logIn = async (token) => {
    await shows(page, '.login', 'This cluster asks for a token')
    await page.getByRole('textbox', { name: 'Token' }).fill(token)
    await page.getByRole('button', { name: 'Log in' }).click()
  }

  await page.goto(cluster.url(2, '/keys'))
  await logIn('lsk_wrong')
  await shows(page, '.login', 'is no token')
  await logIn(await make('looks', [{ role: 'read' }]))
  await shows(page, 'a', 'login:key')
  const cookie = (await context.cookies()).find(({ name }) => name.startsWith('lockstep-'))
  equal('no script can read the cookie', [cookie.httpOnly, cookie.sameSite, cookie.path].join(), 'true,Strict,/')
  equal('what scripts see', await page.evaluate(() => document.cookie), '')
  holds('who only looks has no button for a new key', !(await page.getByRole('button', { name: 'New key' }).isVisible()))
  await page.goto(cluster.url(2, '/nodes'))
  await shows(page, 'h1', 'Nodes')
  holds('and does not see what operators did', !(await page.locator('.admin-log').isVisible()))
  holds('nor one for a new node', !(await page.locator('[data-needs=admin]').first().isVisible()))

  // Cookies do not tell ports apart, so another node of the cluster is served as well. The pages of another server on this machine
  // are sent with the cookie, too, and do nothing.
  await page.goto(cluster.url(3, '/keys'))
  await shows(page, 'a', 'login:key')
  await page.getByRole('button', { name: 'Log out' }).click()
  await logIn(root)
  await page.getByRole('button', { name: 'New key' }).waitFor()
  await page.goto(cluster.url(3, '/nodes'))
  await shows(page, '.admin-log', 'POST /v1/tokens')
  await page.goto(cluster.url(3, '/keys'))
  const foreign = createServer((_, answer) => answer.end('<p>another server</p>')).listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  await page.goto(`http://127.0.0.1:${foreign.address().port}/`)
  await page.evaluate(async (url) => {
    for (const path of ['/v1/kv/login:count/incr', '/api/cache']) {
      await fetch(url + path, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"key":"login:count","value":1}' }).catch(() => null)
    }
  }, cluster.url(1))
  foreign.close()
  const made = await fetch(cluster.url(1, '/v1/kv/login:count'), { headers: asAdmin })
  equal('what a page of another server wrote', made.status, 404)
}
