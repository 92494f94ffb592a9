// Keyv with @keyv/redis; as the second argument says, through cache-manager.

import { load } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

const name = process.argv[3]
const Keyv = await load('keyv', 'Keyv')
const KeyvRedis = await load('@keyv/redis')
const createCache = name === 'cache-manager' ? await load('cache-manager', 'createCache') : undefined

const open = async ({ host, port }) => {
  const url = `redis://${host}:${port}/3`
  const adapter = new KeyvRedis({ url, disableOfflineQueue: true }, { throwOnErrors: true, throwOnConnectError: true })
  const keyv = new Keyv({ store: adapter, namespace: name, throwOnErrors: true })
  // Errors of operations are thrown as well.
  keyv.on('error', () => {})
  adapter.on('error', () => {})
  if (name === 'keyv') return keyv
  const cache = createCache({ stores: [keyv] })
  // cache-manager answers undefined when a read failed, and tells the error to those who listen.
  cache.on('get', ({ error }) => { cache.failed = error })
  return cache
}

const get = async (cache, key) => {
  cache.failed = undefined
  const value = await cache.get(key)
  if (cache.failed) throw cache.failed
  return value
}

await rounds(name, open, {
  put: async (cache, key, value) => check((await cache.set(key, value, 3_600_000)) !== false, `${key} is not set`),
  get,
  more: async (cache, number) => {
    const key = `more:${number}`
    if (name === 'keyv') {
      await cache.setMany([{ key: `${key}:a`, value: 1 }, { key: `${key}:b`, value: [2] }])
      check(await cache.has(`${key}:a`), 'a key is there')
      const got = await cache.getMany([`${key}:a`, `${key}:b`, `${key}:c`])
      check(JSON.stringify(got) === '[1,[2],null]', `getMany answers ${JSON.stringify(got)}`)
      check(await cache.delete([`${key}:a`, `${key}:b`]), 'keys are deleted')
    } else {
      await cache.mset([{ key: `${key}:a`, value: 1 }, { key: `${key}:b`, value: [2] }])
      const got = await cache.mget([`${key}:a`, `${key}:b`])
      check(JSON.stringify(got) === '[1,[2]]', `mget answers ${JSON.stringify(got)}`)
      check(await cache.wrap(`${key}:w`, () => 7, 600_000) === 7, 'wrap returns what it was given')
      await cache.mdel([`${key}:a`, `${key}:b`, `${key}:w`])
    }
    check(await get(cache, `${key}:a`) === undefined, 'a deleted key is there')
  },
})
