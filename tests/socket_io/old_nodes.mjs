// A node of the original Node.js cache server (old_node.cjs) and a cluster of three: many operations each way, at the same
// time, while nodes of both kinds are killed. In the end both have the same (docs/compat.md).
//
//     node old_nodes.mjs PROGRAM PORT     (uses the nine ports from PORT)
//
// OLD_NODE_OPERATIONS (2,000): how many operations each way. OLD_NODE_SEED: which.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [program, first] = [process.argv[2], Number(process.argv[3])]
const OPERATIONS = Number(process.env.OLD_NODE_OPERATIONS || 2_000)
const seed = Number(process.env.OLD_NODE_SEED || Date.now() % 1_000_000)
console.log(`  OLD_NODE_SEED=${seed}, ${OPERATIONS} operations each way`)
const BULK = 1_000
const LARGE_BYTES = 100_000
const PATIENCE_MS = 60_000
const POLL_MS = 100

const work = mkdtempSync(join(tmpdir(), 'lockstep-old-node-'))
const urls = [0, 1, 2].map((n) => `http://127.0.0.1:${first + n}`)
const oldUrl = `http://127.0.0.1:${first + 6}`
const running = new Map()

// Numbers that a seed decides (mulberry32).
let state = seed
function random(below) {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) % below
}

function start(name, command, args, env) {
  const log = openSync(join(work, `${name}.log`), 'a')
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', log, log] })
  closeSync(log)
  running.set(name, child)
}

const log = (name) => readFileSync(join(work, `${name}.log`), 'utf8')

async function kill(name, signal = 'SIGKILL') {
  const child = running.get(name)
  running.delete(name)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  await ended
}

function startMember(n, env = {}) {
  start(`n${n + 1}`, program, [
    'serve', '--name', `n${n + 1}`, '--data-dir', join(work, `data-${n + 1}`), '--http', `127.0.0.1:${first + n}`,
    '--peer', `127.0.0.1:${first + 3 + n}`, '--initial-cluster', urls.join(','), '--capacity-entries', '200000',
  ], { LOCKSTEP_LOG: 'info,lockstep::requests=off', ...env })
}

const startOld = (env = {}) =>
  start('old', process.execPath, [new URL('old_node.cjs', import.meta.url).pathname], {
    PORT: String(first + 6), NODE_ID: 'old-1', PEER_NODES: urls.join(','), CACHE_CAPACITY: '200000', ...env,
  })

// Calls until it is answered well: a node that was killed is away for a while.
async function call(bases, method, path, body) {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const until = Date.now() + PATIENCE_MS
  for (let at = 0; ; at += 1) {
    try {
      const answer = await fetch(bases[at % bases.length] + path, {
        method, headers: text === undefined ? {} : { 'content-type': 'application/json' }, body: text,
        signal: AbortSignal.timeout(10_000),
      })
      if (answer.ok || answer.status === 404) return await answer.json()
      if (Date.now() > until) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    } catch (error) {
      if (Date.now() > until) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

const dump = () => call([oldUrl], 'GET', '/test/dump')
const hash = (value) => createHash('sha1').update(JSON.stringify(value)).digest('hex')

async function clusterItems(base = urls) {
  const items = {}
  for (let after = ''; ;) {
    const page = await call(base, 'GET', `/api/cache?limit=1000${after && `&after=${encodeURIComponent(after)}`}`)
    for (const { key, value } of page.items) items[key] = hash(value.value)
    if (!page.next) return items
    after = page.next
  }
}

function difference(ours, theirs) {
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)])
  const differ = [...keys].filter((key) => ours[key] !== theirs[key])
  const how = (key) => `${key} (${!(key in theirs) ? 'only in the cluster' : !(key in ours) ? 'only on the old node' : 'differs'})`
  return `${differ.length} of ${keys.size} keys differ: ${differ.slice(0, 5).map(how).join(', ')}`
}

// Waits until something holds, and says what did not.
async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS
  for (;;) {
    const missing = await holds()
    if (!missing) return
    if (Date.now() > end) throw new Error(`${what}: ${missing}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

async function equal(what) {
  await until(what, async () => {
    const [ours, theirs] = [await clusterItems(), (await dump()).items]
    const same = Object.keys(ours).length === Object.keys(theirs).length
      && Object.entries(ours).every(([key, value]) => theirs[key] === value)
    return same ? undefined : difference(ours, theirs)
  })
}

const connected = (count) =>
  until(`the old node has ${count} peers`, async () => {
    const seen = await dump()
    return seen.connected === count && seen.fullSyncs >= count ? undefined : `${seen.connected}, ${seen.fullSyncs} full-syncs`
  })

const large = (n) => `${n}:`.padEnd(LARGE_BYTES, 'x')

// Bulks, deletes and large values, partly of the same keys as the other side.
async function operate(side, bases, count) {
  let done = 0
  for (let round = 0; done < count; round += 1) {
    const size = Math.min(BULK, count - done)
    const items = Array.from({ length: size }, (_, n) => ({
      key: n % 10 === 0 ? `shared-${random(200)}` : `${side}-${round}-${n}`,
      value: n % 100 === 0 ? large(n) : { side, round, n, text: 'ü"\\' },
    }))
    const to = bases.length > 1 ? [bases[round % bases.length], ...bases] : bases
    await call(to, 'POST', '/api/cache/bulk', { items })
    for (let n = 0; n < 5; n += 1) await call(to, 'DELETE', `/api/cache/${side}-${round}-${1 + random(size)}`)
    done += size
  }
}

async function attach() {
  await call(urls, 'POST', '/api/cache', { key: 'before', value: { x: [1, 'ü'] } })
  const items = Array.from({ length: 600 }, (_, n) => ({ key: `before-${n}`, value: n % 100 ? n : large(n) }))
  await call(urls, 'POST', '/api/cache/bulk', { items })
  startOld()
  await connected(3)
  await equal('the full-sync')
  const seen = await dump()
  assert.ok(seen.pages > 3, `${seen.pages} pages`)
  const status = await call([urls[1]], 'GET', '/api/sync/status')
  const listed = status.nodeList.find((node) => node.nodeId === 'old-1')
  assert.deepEqual([listed.role, listed.connected, listed.port], ['old-node', true, first + 6])
  assert.equal(status.connectedNodes, 3)
  console.log(`  the old node is attached to all nodes, by ${seen.pages} pages`)
}

// Its own operations are not told to it, those of others are, whole; what is refused is answered.
async function oneByOne() {
  const before = await dump()
  await call([oldUrl], 'POST', '/api/cache', { key: 'from-old', value: { a: 1 } })
  await until('the cluster has it', async () => ((await call(urls, 'GET', '/api/cache/from-old')).success ? undefined : 'no'))
  await call(urls, 'POST', '/api/cache', { key: 'from-cluster', value: large(7) })
  await equal('one each way')
  const after = await dump()
  assert.equal(after.own, 0, 'none has its own id')
  // The one of the cluster, by each of its three connections.
  await until('three are told', async () => {
    const told = (await dump()).operations - before.operations
    return told === 3 ? undefined : `${told} told`
  })
  await call([oldUrl], 'POST', '/api/strategy', { strategy: 'LFU' })
  await until('LFU', async () => {
    const { cache } = await call(urls, 'GET', '/api/metrics')
    return cache.strategy === 'LFU' ? undefined : cache.strategy
  })
  await call(urls, 'POST', '/api/strategy', { strategy: 'LRU' })
  await until('LRU', async () => ((await dump()).strategy === 'LRU' ? undefined : 'LFU'))
  // Too large: refused by each node that it was sent to, and taken back here.
  await call([oldUrl], 'POST', '/api/cache', { key: 'too-large', value: 'x'.repeat(3 * 1024 * 1024) })
  await until('refused', async () => ((await dump()).errors.length === 3 ? undefined : 'not by all'))
  const { errors } = await dump()
  for (const error of errors) {
    assert.deepEqual([error.success, error.code, error.key], [false, 'too_large', 'too-large'])
    assert.match(error.operationId, /^[0-9a-f-]{36}$/)
  }
  await equal('after a refusal')
  assert.match(log('n1'), /an operation of an old node is refused/)
  // What expires, and a part that is cleared.
  await call(urls, 'POST', '/api/cache', { key: 'short', value: 1, ttl: 0.3 })
  await call(urls, 'POST', '/api/cache/bulk', { items: ['a', 'b'].map((n) => ({ key: `part-${n}`, value: n })) })
  await call(urls, 'DELETE', '/v1/kv?prefix=part-')
  await until('expired', async () => ('short' in (await dump()).items ? 'still there' : undefined))
  await equal('after a part was cleared')
  // Its own state, on request: what the cluster does not have is taken in.
  await call([oldUrl], 'POST', '/api/sync/force')
  await equal('after its full-sync')
  console.log('  each way, one by one: told, not echoed, refused with a word')
}

async function many() {
  const begun = Date.now()
  const cut = (await dump()).disconnects.length
  await Promise.all([operate('old', [oldUrl], OPERATIONS), operate('cluster', urls, OPERATIONS)])
  await equal('after many')
  const seen = await dump()
  assert.equal(seen.disconnects.length, cut, `cut: ${JSON.stringify(seen.disconnects)}`)
  console.log(`  ${OPERATIONS} each way are equal after ${((Date.now() - begun) / 1_000).toFixed(1)} s, no connection was cut`)
}

async function kills() {
  // A node that is starting says that it cannot tell its state yet, which is about no operation.
  const refused = async () => (await dump()).errors.filter((error) => error.operationId)
  const errors = (await refused()).length
  const work = Promise.all([operate('old2', [oldUrl], OPERATIONS), operate('cluster2', urls, OPERATIONS)])
  await kill('n3')
  await work
  startMember(2)
  await connected(3)
  await equal('after a member was killed')
  const { leader } = await call([urls[0]], 'GET', '/api/sync/status')
  const more = Promise.all([operate('old3', [oldUrl], OPERATIONS), operate('cluster3', urls, OPERATIONS)])
  await kill(leader)
  await more
  startMember(Number(leader.slice(1)) - 1)
  await connected(3)
  await equal('after the leader was killed')
  const seen = await refused()
  assert.equal(seen.length, errors, `refused: ${JSON.stringify(seen.slice(errors, errors + 3))}`)
  const away = operate('cluster4', urls, OPERATIONS)
  await kill('old')
  await away
  await call(urls, 'DELETE', '/api/cache/before')
  startOld()
  await connected(3)
  await equal('after the old node was killed')
  console.log('  equal after kills of a member, of the leader, and of the old node')
}

// One that reads nothing for a while gets what it missed, or all.
async function slow() {
  const before = await dump()
  await call([oldUrl], 'POST', '/test/block/4000')
  for (let round = 0; round < 12; round += 1) {
    const items = Array.from({ length: 30 }, (_, n) => ({ key: `slow-${round}-${n}`, value: large(n) }))
    await call(urls, 'POST', '/api/cache/bulk', { items })
  }
  await call(urls, 'DELETE', '/api/cache/slow-0-0')
  await equal('after it was slow')
  const after = await dump()
  assert.equal(after.disconnects.length, before.disconnects.length, 'it was not cut')
  console.log(`  equal after it was slow, ${after.fullSyncs - before.fullSyncs} full-syncs, no connection was cut`)
}

// A member that has an old node in its list says what that is.
async function wrongList() {
  start('lost', program, [
    'serve', '--name', 'lost', '--data-dir', join(work, 'lost'), '--http', `127.0.0.1:${first + 7}`,
    '--peer', `127.0.0.1:${first + 8}`, '--initial-cluster', `http://127.0.0.1:${first + 7},${oldUrl}`,
  ], {})
  await until('it says so', async () => (/original Node\.js cache server/.test(log('lost')) ? undefined : log('lost')))
  await kill('lost')
  console.log('  a node with an old node in its list says so')
}

try {
  for (const n of [0, 1, 2]) startMember(n)
  await until('the cluster is ready', async () => ((await call(urls, 'GET', '/health')).status === 'healthy' ? undefined : 'no'))
  await attach()
  await oneByOne()
  await many()
  await slow()
  await kills()
  await call(urls, 'DELETE', '/api/cache')
  await equal('cleared')
  await wrongList()
  console.log('old nodes and the cluster have the same')
} catch (error) {
  for (const name of ['n1', 'n2', 'n3', 'old']) {
    console.error(`--- ${name}\n${log(name).split('\n').slice(-8).join('\n').slice(-2_000)}`)
  }
  throw error
} finally {
  for (const child of running.values()) child.kill('SIGKILL')
  rmSync(work, { recursive: true, force: true })
}
