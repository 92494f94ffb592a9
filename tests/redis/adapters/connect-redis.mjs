// connect-redis: sessions of Express.

import { load, nodeRedis } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

const RedisStore = await load('connect-redis', 'RedisStore')

await rounds('connect-redis', async node => new RedisStore({ client: await nodeRedis(node), ttl: 3600 }), {
  put: (store, key, value) => store.set(key, { cookie: {}, value }),
  get: async (store, key) => (await store.get(key))?.value,
  more: async (store, number) => {
    const id = `connect-redis:more:${number}`
    await store.set(id, { cookie: {}, number })
    await store.touch(id, { cookie: {} })
    check((await store.get(id)).number === number, 'a session is kept')
    await store.destroy(id)
    check(!(await store.get(id)), 'a destroyed session is there')
  },
})
