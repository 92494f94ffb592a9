// What pages of other sites try in the browser of somebody who can reach the nodes: a name of theirs that leads to a node, forms,
// fetches, sockets and frames.

import { until } from '../cluster.mjs'
import { equal, holds, shows } from '../expect.mjs'
import { onForeignPage, socketOf } from '../foreign.mjs'

/** DNS rebinding: once the page is loaded, its site's name leads to a node, and for the browser all is one site. */
export async function a_name_that_leads_to_a_node_does_not_make_it_the_sites({ cluster, context }) {
  const page = await context.newPage()
  const site = `evil.test:${cluster.port}`
  const answer = await page.goto(`http://${site}/`)
  equal('the dashboard under a name of another site', answer.status(), 421)
  holds('it says why', (await answer.text()).includes('evil.test'))
  const statuses = await page.evaluate(async () => {
    const asked = [['GET', '/v1/keys'], ['GET', '/metrics'], ['PUT', '/v1/kv/attacks:rebound'], ['POST', '/api/cache'], ['GET', '/socket.io/?EIO=4&transport=polling']]
    return Promise.all(asked.map(async ([method, path]) => (await fetch(path, { method, body: method === 'GET' ? undefined : '{}' })).status))
  })
  equal('what it may do there', statuses.join(), '421,421,421,421,421')
  for (const path of ['/v1/live', '/socket.io/?EIO=4&transport=websocket']) {
    equal(`a socket to ${path}`, await socketOf(page, `ws://${site}${path}`), 'refused')
  }
  await page.close()
  equal('what it wrote', (await fetch(cluster.url(1, '/v1/kv/attacks:rebound'))).status, 404)
}

export async function forms_of_another_site_change_nothing({ cluster, context }) {
  for (const [path, status] of [['/v1/kv/attacks:form/incr', 403], ['/v1/batch', 403], ['/api/cache', 403]]) {
    // As text, a form can send nearly JSON: a field's name, a =, and its value.
    const form = `<form method="post" enctype="text/plain" action="${cluster.url(1, path)}">
      <input name='{"key":"attacks:form","value":"1","x":"' value='"}'></form>`
    await onForeignPage(context, form, async (page) => {
      const answered = page.waitForResponse((answer) => answer.url().endsWith(path))
      await page.evaluate(() => document.forms[0].submit())
      equal(`a form for ${path}`, (await answered).status(), status)
    })
  }
  equal('what the forms wrote', (await fetch(cluster.url(1, '/v1/kv/attacks:form'))).status, 404)
}

export async function sockets_of_another_site_are_refused({ cluster, context }) {
  await onForeignPage(context, '<p>another site</p>', async (page) => {
    for (const path of ['/v1/live', '/socket.io/?EIO=4&transport=websocket']) {
      equal(`a socket to ${path}`, await socketOf(page, cluster.url(1, path).replace('http', 'ws')), 'refused')
    }
    const polling = cluster.url(1, '/socket.io/?EIO=4&transport=polling')
    const answered = page.waitForResponse((answer) => answer.url() === polling)
    await page.evaluate((url) => fetch(url, { mode: 'no-cors' }).catch(() => null), polling)
    equal('polling', (await answered).status(), 403)
  })
}

/** Who is shown the dashboard in a frame could be made to click what they do not see. */
export async function no_other_site_shows_the_dashboard_in_a_frame({ page, cluster, context }) {
  for (const path of ['/', '/keys', '/nothing-here']) {
    await onForeignPage(context, `<iframe src="${cluster.url(1, path)}"></iframe>`, async (foreign) => {
      const url = await until('page in the frame', () => foreign.frames()[1]?.url())
      equal(`the frame of ${path}`, url, 'chrome-error://chromewebdata/')
    })
  }
  await page.goto(cluster.url(1, '/'))
  await shows(page, '.verdict .sentence', 'Healthy')
}
