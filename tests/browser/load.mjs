// Many writes at once, in a thread of their own: who measures a page must not be busy himself.

import { parentPort, workerData } from 'node:worker_threads'
import { Cluster, many } from './cluster.mjs'

const { port, writes } = workerData
const cluster = new Cluster(port)
const started = Date.now()
await many(writes, 64, (i) => cluster.put((i % 3) + 1, `burst:${i}`, 'x'))
parentPort.postMessage(Date.now() - started)
