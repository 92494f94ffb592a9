// ioredis that asks the nodes' Sentinel ports where to go, beginning with another node for each of its connections.

import { load } from './clients.mjs'
import { rounds } from './rounds.mjs'

const pair = address => ({ host: address.slice(0, address.lastIndexOf(':')), port: Number(address.slice(address.lastIndexOf(':') + 1)) })
const sentinels = process.env.SENTINELS.split(',').map(pair)
const nodes = process.argv[2].split(',').map(pair)

const open = async ({ host, port }) => {
  const Redis = await load('ioredis', 'Redis')
  const at = nodes.findIndex(node => node.host === host && node.port === port)
  const client = new Redis({
    sentinels: [...sentinels.slice(at), ...sentinels.slice(0, at)],
    name: 'mymaster',
    maxRetriesPerRequest: 1,
    retryStrategy: () => 100,
    sentinelRetryStrategy: () => 100,
  })
  client.on('error', () => {})
  return client
}

await rounds('ioredis-sentinel', open, {
  put: (client, key, value) => client.set(key, value, 'EX', 3600),
  get: (client, key) => client.get(key),
  count: (client, key) => client.incr(key),
  close: client => client.disconnect(),
})
