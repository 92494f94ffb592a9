// Connections as the adapters' users make them. What happens to a connection itself is no operation's error.

import { createRequire } from 'node:module'

// The packages are where the suite has put them, and not beside this file.
const require = createRequire(`${process.cwd()}/package.json`)
// What a package exports by this name, whichever kind of module it is.
export const load = async (name, exported = 'default') => {
  const loaded = await import(require.resolve(name))
  return loaded.default?.[exported] ?? loaded[exported]
}

export const nodeRedis = async ({ host, port }) => {
  const createClient = await load('redis', 'createClient')
  const client = createClient({ socket: { host, port, connectTimeout: 2000 }, disableOfflineQueue: true })
  client.on('error', () => {})
  await client.connect()
  return client
}

export const ioredis = async ({ host, port }) => {
  const Redis = await load('ioredis', 'Redis')
  const client = new Redis({ host, port, maxRetriesPerRequest: 1, retryStrategy: () => 100 })
  client.on('error', () => {})
  return client
}
