// Listens as a page of a well-known Node.js cache server does, with the real socket.io-client, to each node of a cluster,
// over each transport, and compares what comes with what such pages expect (docs/compat.md).
//
//     node events.mjs http://127.0.0.1:5000 http://127.0.0.1:5001 http://127.0.0.1:5002 [PID of the last node]
import assert from 'node:assert/strict'
import { io } from 'socket.io-client'

const PATIENCE_MS = 30_000
const urls = process.argv.slice(2).filter((argument) => argument.startsWith('http'))
const pid = Number(process.argv.slice(2).find((argument) => /^\d+$/.test(argument)))

// Events in the order they came, and those who wait for one.
class Page {
  constructor(url, options) {
    this.seen = []
    this.waiting = []
    this.frames = 0
    this.socket = io(url, { reconnection: false, forceNew: true, ...options })
    this.socket.onAny((name, payload) => {
      this.frames += 1
      this.seen.push({ name, payload })
      this.waiting = this.waiting.filter((waiter) => !waiter())
    })
  }

  // The first event of this name, seen or to come, that fits; those before it are forgotten.
  event(name, fits = () => true) {
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no ${name} that fits ${fits}; seen: ${JSON.stringify(this.seen).slice(0, 2_000)}`))
      const timer = setTimeout(late, PATIENCE_MS)
      const look = () => {
        const at = this.seen.findIndex((event) => event.name === name && fits(event.payload))
        if (at < 0) return false
        clearTimeout(timer)
        resolve(this.seen.splice(0, at + 1).at(-1).payload)
        return true
      }
      if (!look()) this.waiting.push(look)
    })
  }

  close() {
    this.socket.close()
  }
}

async function call(url, method, path, body) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  const answer = await fetch(url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`)
  return answer.json()
}

const item = (state, key) => state.items.find((item) => item.key === key)

async function listen(at, transport) {
  const url = urls[at]
  const other = urls[(at + 1) % urls.length]
  await call(url, 'DELETE', '/api/cache')
  await call(url, 'POST', '/api/strategy', { strategy: 'LRU' })
  await call(url, 'POST', '/api/cache', { key: 'before', value: { x: 1 } })
  const page = new Page(url, { transports: [transport] })

  const first = await page.event('cache-state')
  assert.deepEqual(item(first, 'before').value.value, { x: 1 })
  assert.equal(typeof item(first, 'before').value.timestamp, 'string')
  assert.equal(typeof item(first, 'before').value.accessCount, 'number')
  assert.deepEqual([first.strategy, first.count, first.total], ['LRU', 1, 1])
  assert.equal(first.metrics.size, 1)
  const nodes = await page.event('node-list-update')
  assert.equal(nodes.totalNodes, urls.length)
  assert.equal(nodes.nodes.length, urls.length - 1)
  assert.ok(!nodes.nodes.some((node) => node.nodeId === nodes.currentNode))
  assert.ok(nodes.nodes.every((node) => node.connected))

  // Whichever node a client talks to, the pages of all nodes hear of it.
  await call(other, 'POST', '/api/cache', { key: 'k', value: 'v' })
  const set = await page.event('cache-operation', (operation) => operation.key === 'k')
  assert.deepEqual([set.type, set.value, set.source], ['set', 'v', 'remote'])
  assert.equal(set.nodeId, nodes.nodes.find((node) => node.url === other).nodeId)
  for (const name of ['operationId', 'id']) assert.match(set[name], /^[0-9a-f-]{36}$/)
  assert.ok(Number.isInteger(set.timestamp) && Number.isInteger(set.index))
  const state = await page.event('cache-state', (state) => state.index >= set.index)
  assert.equal(item(state, 'k').value.value, 'v')
  const known = await call(url, 'GET', '/api/sync/history?limit=5')
  assert.ok(known.history.some((operation) => operation.operationId === set.operationId), 'the history has it too')

  const before = state.metrics.hits
  await call(url, 'GET', '/api/cache/k')
  const read = await page.event('metrics-update', (metrics) => metrics.hits > before)
  assert.ok(read.hitRate > 0 && read.capacity > 0)

  await call(other, 'DELETE', '/api/cache/k')
  assert.equal((await page.event('cache-operation', (operation) => operation.type === 'delete')).key, 'k')
  await call(other, 'POST', '/api/strategy', { strategy: 'LFU' })
  const change = await page.event('cache-operation', (operation) => operation.type === 'strategy-change')
  assert.equal(change.strategy, 'LFU')
  await page.event('cache-state', (state) => state.strategy === 'LFU')
  await call(other, 'DELETE', '/api/cache')
  await page.event('cache-operation', (operation) => operation.type === 'clear')
  await page.event('cache-state', (state) => state.total === 0)
  // A sync that somebody asks for is told to pages, though nothing has changed.
  page.seen.length = 0
  await call(url, 'POST', '/api/sync/force')
  assert.equal((await page.event('cache-state')).total, 0)

  // Many writes are a few frames, the last of which tells how it is now.
  page.frames = 0
  for (let batch = 0; batch < 10; batch += 1) {
    const items = Array.from({ length: 1_000 }, (_, n) => ({ key: `burst-${batch}-${n}`, value: n }))
    assert.equal((await call(other, 'POST', '/api/cache/bulk', { items })).successCount, 1_000)
  }
  const full = await page.event('cache-state', (state) => state.total === 10_000)
  assert.equal(full.count, full.items.length)
  assert.ok(full.count <= 100, `${full.count} items`)
  // The slower the machine, the longer the writes take, and frames come at most so often.
  assert.ok(page.frames <= 200, `${page.frames} frames for 10,000 writes`)
  const { frames } = page

  page.seen.length = 0
  page.socket.emit('get-cache-state')
  assert.equal((await page.event('cache-state')).total, 10_000)

  // Beyond the first hundred: pages by key, and the newest changed first.
  await call(other, 'POST', '/api/cache', { key: 'zzz', value: 'newest' })
  for (const [order, at] of [[undefined, 10_000], ['newest', 0]]) {
    const keys = []
    let after = null
    do {
      page.seen.length = 0
      page.socket.emit('get-cache-state', { order, after, limit: 100 })
      // Others are sent unasked.
      const asked = (state) => state.order === (order ?? 'key') && state.after === after && (order || after || state.total === 10_001)
      const part = await page.event('cache-state', asked)
      keys.push(...part.items.map((item) => item.key))
      after = part.next
    } while (after !== null && keys.length < 20_000)
    assert.equal(new Set(keys).size, 10_001, `all keys, ${order}`)
    assert.equal(keys.length, 10_001, `each once, ${order}`)
    assert.equal(keys[at], 'zzz')
    page.socket.emit('get-cache-state', { order: 'newest', after: 'zzz' })
    assert.match((await page.event('cache-error')).message, /must be the `next`/)
  }
  await call(url, 'DELETE', '/api/cache')
  page.close()
  console.log(`  ${url} by ${transport}: all as told, ${frames} frames for 10,000 writes`)
}

// A page is told when a node stops answering, and when it is back.
async function notice(pid) {
  const page = new Page(urls[0], { transports: ['websocket'] })
  const last = urls.at(-1)
  const connected = (list) => list.nodes.find((node) => node.url === last).connected
  await page.event('node-list-update', connected)
  process.kill(pid, 'SIGSTOP')
  try {
    await page.event('node-list-update', (list) => !connected(list))
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await page.event('node-list-update', connected)
  page.close()
  console.log('  a node that does not answer is noticed')
}

async function refused(origin) {
  for (const transport of ['websocket', 'polling']) {
    const page = new Page(urls[0], { transports: [transport], extraHeaders: { origin } })
    await new Promise((resolve, reject) => {
      page.socket.on('connect', () => reject(new Error(`${origin} was let in by ${transport}`)))
      page.socket.on('connect_error', resolve)
    })
    page.close()
  }
  console.log('  pages of other sites are sent away')
}

for (const at of urls.keys()) for (const transport of ['websocket', 'polling']) await listen(at, transport)
if (pid) await notice(pid)
await refused('https://evil.example')
