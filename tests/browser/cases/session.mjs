// A session of the dashboard, and who else can use it. From its first token on a cluster asks for one, so this and `login` come
// last.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'
import { onForeignPage, socketOf } from '../foreign.mjs'

export async function a_session_is_its_pages_own_until_they_log_out({ page, cluster, context }) {
  const folder = `${process.env.LOCKSTEP_DATA_DIR}/n1`
  const out = `${folder}/token-of-the-session`
  execFileSync(process.env.LOCKSTEP_BIN, ['token', 'recover', '--data-dir', folder, '--out', out])
  const token = readFileSync(out, 'utf8').trim()
  const status = async (id, path, headers) => (await fetch(cluster.url(id, path), { headers })).status
  await until('the node takes it', async () => (await status(1, '/v1/token', { Authorization: `Bearer ${token}` })) === 200)

  await page.goto(cluster.url(1, '/keys'))
  await page.getByRole('textbox', { name: 'Token' }).fill(token)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('button', { name: 'New key' }).waitFor()
  const session = async () => (await context.cookies()).find(({ name }) => name.startsWith('lockstep-'))
  const cookie = await session()
  equal('the cookie', [cookie.httpOnly, cookie.sameSite, cookie.domain, cookie.path].join(), 'true,Strict,127.0.0.1,/')
  holds('it ends within 12 hours', cookie.expires > 0 && cookie.expires <= Date.now() / 1000 + 12 * 3600 + 60)
  const stolen = { Cookie: `${cookie.name}=${cookie.value}` }
  for (const id of [1, 2, 3]) equal(`the cookie at n${id}`, await status(id, '/v1/keys', stolen), 200)

  // The browser is logged in, and a page of another site is in it.
  const form = `<form method="post" enctype="text/plain" action="${cluster.url(1, '/v1/kv/session:form/incr')}"><input name="{}" value=""></form>`
  await onForeignPage(context, form, async (foreign) => {
    equal('a socket', await socketOf(foreign, cluster.url(1, '/v1/live').replace('http', 'ws')), 'refused')
    const read = await foreign.evaluate((url) => fetch(url, { credentials: 'include' }).then(() => 'read', () => 'refused'), cluster.url(1, '/v1/keys'))
    equal('a fetch', read, 'refused')
    const answered = foreign.waitForResponse((answer) => answer.url().endsWith('/incr'))
    await foreign.evaluate(() => document.forms[0].submit())
    holds('a form is refused', [401, 403].includes((await answered).status()))
  })
  equal('what it wrote', await status(1, '/v1/kv/session:form', stolen), 404)

  await page.getByRole('button', { name: 'Log out' }).click()
  await shows(page, '.login', 'This cluster asks for a token')
  equal('the cookie after the end', await session(), undefined)
  // Not only the browser has forgotten it.
  for (const id of [1, 2, 3]) {
    for (const path of ['/v1/keys', '/v1/token', '/v1/status']) equal(`${path} at n${id} with the old cookie`, await status(id, path, stolen), 401)
  }
  equal('the token is good still', await status(2, '/v1/keys', { Authorization: `Bearer ${token}` }), 200)
}
