// The cluster under the browser: its nodes by name, and what happens to them.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const scripts = fileURLToPath(new URL('../../cluster-scripts/', import.meta.url))
const NODES = [1, 2, 3]

export class Cluster {
  constructor(port) {
    this.port = port
  }

  url(id, path = '') {
    return `http://127.0.0.1:${this.port + id - 1}${path}`
  }

  /** Sends a request that has to succeed. A write of keys is sent again while there is no leader, and is carried out once. */
  async ask(id, path, options = {}) {
    const method = options.method ?? 'GET'
    const again = method !== 'GET' && /^\/v1\/(kv|batch)/.test(path)
    const headers = again ? { ...options.headers, 'Idempotency-Key': crypto.randomUUID() } : options.headers
    const end = Date.now() + 20_000
    for (;;) {
      const response = await fetch(this.url(id, path), { ...options, headers })
      if (response.ok) return response
      const answer = `${method} ${path}: ${response.status} ${await response.text()}`
      if (!again || ![503, 504].includes(response.status) || Date.now() > end) throw new Error(answer)
      await new Promise((wake) => setTimeout(wake, 100))
    }
  }

  async json(id, path, options) {
    return (await this.ask(id, path, options)).json()
  }

  put(id, key, value, type = 'text/plain') {
    return this.ask(id, `/v1/kv/${encodeURIComponent(key)}`, { method: 'PUT', body: value, headers: { 'Content-Type': type } })
  }

  async read(id, key) {
    return (await this.ask(id, `/v1/kv/${encodeURIComponent(key)}`)).text()
  }

  async batch(id, ops) {
    return this.json(id, '/v1/batch', { method: 'POST', body: JSON.stringify({ ops }) })
  }

  /** The leader's number. */
  async leader() {
    return until('a leader', async () => {
      for (const id of NODES) {
        const status = await this.json(id, '/v1/status').catch(() => null)
        if (status?.leader) return status.leader.id
      }
    })
  }

  async follower() {
    const leader = await this.leader()
    return NODES.find((id) => id !== leader)
  }

  kill(id) {
    return run(`${scripts}kill`, [`n${id}`])
  }

  /** Starts one more node, which has no vote. */
  join(name) {
    return run(`${scripts}join`, [name, '--learner'])
  }

  /** Stops a node that `join` started, and forgets it. */
  leave(name) {
    return run(`${scripts}leave`, [name])
  }

  /** Starts the nodes again that were killed, and waits until they are ready. */
  revive() {
    return run(`${scripts}up`, [])
  }
}

/** Waits for something that is there in the end; it is asked for again and again. */
export async function until(what, attempt, limitMs = 30_000) {
  const end = Date.now() + limitMs
  for (;;) {
    const found = await attempt()
    if (found) return found
    if (Date.now() > end) throw new Error(`no ${what} after ${limitMs / 1000} s`)
    await new Promise((wake) => setTimeout(wake, 50))
  }
}

/** Does `work(0)` to `work(count - 1)`, some at a time. */
export async function many(count, atOnce, work) {
  let next = 0
  const lane = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}
