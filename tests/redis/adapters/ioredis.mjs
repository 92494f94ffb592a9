// ioredis: plain commands, a pipeline, and a transaction.

import { ioredis } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

const results = answers => answers.map(([error, result]) => {
  if (error) throw error
  return result
})

await rounds('ioredis', ioredis, {
  put: (client, key, value) => client.set(key, value, 'EX', 3600),
  get: (client, key) => client.get(key),
  count: (client, key) => client.incr(key),
  more: async (client, number) => {
    const key = `ioredis:more:${number}`
    const piped = results(await client.pipeline().set(key, 'a').append(key, 'b').get(key).exec())
    check(piped[2] === 'ab', `a pipeline answers ${piped}`)
    const changed = results(await client.multi().set(key, '1').incrby(key, 41).get(key).exec())
    check(changed[2] === '42', `a transaction answers ${changed}`)
    check(await client.del(key) === 1, 'a key is deleted')
  },
  close: client => client.disconnect(),
})
