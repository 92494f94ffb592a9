// redlock over one client a node: a lock is held once, wherever it is asked for.

import { ioredis, load } from './clients.mjs'
import { check, rounds } from './rounds.mjs'

const Redlock = await load('redlock')

const open = async node => {
  const client = await ioredis(node)
  const store = { client, failed: undefined, redlock: new Redlock([client], { retryCount: 0 }) }
  // Why a lock was not acquired: a lock that somebody else has is no client's error.
  store.redlock.on('clientError', error => { store.failed = error })
  return store
}

// The lock, or undefined if somebody else has it.
const acquire = async (store, resource) => {
  store.failed = undefined
  try {
    return await store.redlock.lock(resource, 60_000)
  } catch (error) {
    if (store.failed) throw store.failed
    if (error.name !== 'LockError') throw error
    return undefined
  }
}

await rounds('redlock', open, {
  put: ({ client }, key, value) => client.set(key, value),
  get: ({ client }, key) => client.get(key),
  more: async (store, number, other) => {
    const resource = `redlock:lock:${number}`
    const lock = await acquire(store, resource)
    check(lock, 'a new lock is acquired')
    check(!(await acquire(other, resource)), 'a lock was acquired twice')
    await lock.extend(60_000)
    await lock.unlock()
    const again = await acquire(other, resource)
    check(again, 'a released lock is acquired')
    await again.unlock()
  },
})
