// rate-limit-redis: hits are counted by its scripts, at two nodes in turn.

import { load, nodeRedis } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

const RedisStore = await load('rate-limit-redis', 'RedisStore')
const open = async node => {
  const client = await nodeRedis(node)
  const store = new RedisStore({ sendCommand: (...words) => client.sendCommand(words), prefix: 'rl:' })
  store.init({ windowMs: 3_600_000 })
  return { client, store }
}

await rounds('rate-limit-redis', open, {
  put: ({ client }, key, value) => client.set(key, value),
  get: ({ client }, key) => client.get(key),
  count: async ({ store }, key) => (await store.increment(key)).totalHits,
  more: async ({ store }, number, other) => {
    const key = `more:${number}`
    const first = await store.increment(key)
    check(first.totalHits === 1 && first.resetTime > new Date(), `the first hit is number ${first.totalHits}`)
    const second = await other.store.increment(key)
    check(second.totalHits === 2, `the second hit is number ${second.totalHits}`)
    await store.decrement(key)
    check((await store.get(key)).totalHits === 1, 'a hit was taken back')
    await store.resetKey(key)
  },
})
