// Keyv's own test suite (@keyv/test-suite, MIT) with @keyv/redis. Each store that a test makes is at the next node.
// It is run by keyv_suite.py, beside the packages.

import KeyvRedis from '@keyv/redis'
import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite'
import Keyv from 'keyv'
import * as test from 'vitest'

const nodes = process.env.NODES.split(',')
let made = 0
const stores = []
const store = () => {
  const adapter = new KeyvRedis(`redis://${nodes[made++ % nodes.length]}`)
  stores.push(adapter)
  return adapter
}

test.afterEach(async () => {
  await Promise.all(stores.splice(0).map(adapter => adapter.disconnect(true)))
})
test.describe('suite', () => keyvTestSuite(test, Keyv, store))
test.describe('iterators', () => keyvIteratorTests(test, Keyv, store))
