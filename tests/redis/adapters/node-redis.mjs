// node-redis: plain commands, commands in one go, a transaction, and an iterator over keys.

import { nodeRedis } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

await rounds('node-redis', nodeRedis, {
  put: (client, key, value) => client.set(key, value, { EX: 3600 }),
  get: (client, key) => client.get(key),
  count: (client, key) => client.incr(key),
  more: async (client, number) => {
    const key = `node-redis:more:${number}`
    const [, length, value] = await Promise.all([client.set(key, 'a'), client.append(key, 'b'), client.get(key)])
    check(length === 2 && value === 'ab', `a pipeline answers ${length} ${value}`)
    const changed = await client.multi().set(key, '1').incrBy(key, 41).get(key).exec()
    check(changed[2] === '42', `a transaction answers ${changed}`)
    const found = []
    for await (const keys of client.scanIterator({ MATCH: key, COUNT: 1000 })) found.push(...keys)
    check(found.length === 1 && found[0] === key, `a scan finds ${found}`)
    check(await client.del(key) === 1, 'a key is deleted')
  },
  close: client => client.destroy(),
})
