// A node of the original Node.js cache server, as it is written: Express, Socket.IO, a cache in memory, and a
// SyncManager that connects to PEER_NODES. Beyond that it only counts what it is told, and answers GET /test/dump.
//
//     PORT=5000 PEER_NODES=http://127.0.0.1:5001 node old_node.cjs
const { createHash, randomUUID } = require('node:crypto')
const http = require('node:http')
const express = require('express')
const { Server } = require('socket.io')
const { io: Client } = require('socket.io-client')

class LRUCache {
  constructor(capacity) {
    this.capacity = capacity
    this.cache = new Map()
  }

  get(key) {
    if (!this.cache.has(key)) return null
    const value = this.cache.get(key)
    this.cache.delete(key)
    this.cache.set(key, value)
    return value
  }

  set(key, value) {
    if (this.cache.has(key)) this.cache.delete(key)
    else if (this.cache.size >= this.capacity) this.cache.delete(this.cache.keys().next().value)
    this.cache.set(key, value)
  }

  delete(key) {
    return this.cache.delete(key)
  }

  clear() {
    this.cache.clear()
  }

  getAll() {
    return Array.from(this.cache.entries(), ([key, value]) => ({ key, value }))
  }
}

class SyncManager {
  constructor(cache, io, peers) {
    this.cache = cache
    this.io = io
    this.peers = peers
    this.nodeId = process.env.NODE_ID || `node-${process.env.PORT}`
    this.selfUrl = `http://127.0.0.1:${process.env.PORT}`
    this.connectedPeers = new Map()
    this.connectedNodes = new Map()
    this.syncHistory = []
    this.syncEnabled = true
    this.strategy = 'LRU'
    // For the test.
    this.counts = { operations: 0, pages: 0, fullSyncs: 0, disconnects: [], errors: [], own: 0 }
    io.on('connection', (socket) => this.serve(socket))
    this.connectToPeers()
  }

  serve(socket) {
    socket.on('register-node', (nodeInfo) => {
      this.connectedNodes.set(socket.id, { ...nodeInfo, socketId: socket.id, lastSync: Date.now() })
      socket.emit('cache-sync', {
        type: 'full-sync', data: this.cache.getAll(), nodeId: this.nodeId, timestamp: Date.now(),
      })
    })
    socket.on('cache-operation', (operation) => this.handleRemoteOperation(operation, socket.id))
    socket.on('disconnect', () => this.connectedNodes.delete(socket.id))
  }

  connectToPeers() {
    this.peers.forEach((peerUrl) => {
      if (peerUrl === this.selfUrl) return
      const options = { reconnectionAttempts: 5, timeout: 5000, transports: ['websocket'] }
      if (process.env.PEER_RETRIES) Object.assign(options, { retries: 20, ackTimeout: 2000 })
      if (process.env.PEER_TOKEN) options.auth = { token: process.env.PEER_TOKEN }
      const socket = Client(peerUrl, options)
      socket.on('connect', () => {
        this.connectedPeers.set(peerUrl, socket)
        socket.emit('register-node', { nodeId: this.nodeId, port: process.env.PORT })
      })
      socket.on('disconnect', (reason) => this.counts.disconnects.push({ peerUrl, reason }))
      socket.on('cache-sync', (syncData) => {
        if (syncData.nodeId === this.nodeId) return
        this.counts.pages += 1
        if (!syncData.more) this.counts.fullSyncs += 1
        syncData.data.forEach(({ key, value }) => this.cache.set(key, value))
        socket.lastSync = Date.now()
      })
      socket.on('cache-operation', (operation) => this.handleRemoteOperation(operation))
      socket.on('cache-error', (error) => this.counts.errors.push(error))
    })
  }

  broadcastOperation(operation) {
    if (!this.syncEnabled) return
    const syncData = { ...operation, nodeId: this.nodeId, timestamp: Date.now(), operationId: randomUUID() }
    this.io.emit('cache-operation', syncData)
    this.connectedPeers.forEach((socket) => socket.emit('cache-operation', syncData))
    this.addToSyncHistory(syncData)
  }

  handleRemoteOperation(operation, fromSocketId = null) {
    this.counts.operations += 1
    if (operation.nodeId === this.nodeId) {
      this.counts.own += 1
      return
    }
    switch (operation.type) {
      case 'set':
        this.cache.set(operation.key, operation.value)
        break
      case 'delete':
        this.cache.delete(operation.key)
        break
      case 'clear':
        this.cache.clear()
        break
      case 'strategy-change':
        this.strategy = operation.strategy
        break
    }
    this.addToSyncHistory({ ...operation, source: 'remote', fromNode: fromSocketId || operation.nodeId })
  }

  addToSyncHistory(operation) {
    this.syncHistory.unshift({ ...operation, id: randomUUID() })
    if (this.syncHistory.length > 100) this.syncHistory = this.syncHistory.slice(0, 100)
  }
}

// What is stored under a key: as its own clients store it, with a time and a count, or as another node tells it.
const plain = (item) =>
  item !== null && typeof item === 'object' && 'timestamp' in item && 'accessCount' in item ? item.value : item

const app = express()
const server = http.createServer(app)
const cache = new LRUCache(parseInt(process.env.CACHE_CAPACITY) || 100)
const peers = process.env.PEER_NODES ? process.env.PEER_NODES.split(',').map((url) => url.trim()) : []
const sync = new SyncManager(cache, new Server(server), peers)
app.use(express.json({ limit: '200mb' }))

app.get('/health', (req, res) => {
  res.json({ status: 'healthy', timestamp: new Date().toISOString(), nodeId: sync.nodeId })
})
app.get('/api/cache/:key', (req, res) => {
  const item = cache.get(req.params.key)
  if (item === null) res.status(404).json({ success: false, message: 'Key not found' })
  else res.json({ success: true, key: req.params.key, value: item })
})
app.post('/api/cache', (req, res) => {
  const { key, value } = req.body
  cache.set(key, { value, timestamp: new Date().toISOString(), accessCount: 1 })
  sync.broadcastOperation({ type: 'set', key, value })
  res.json({ success: true, message: 'Item cached successfully' })
})
app.post('/api/cache/bulk', (req, res) => {
  const { items } = req.body
  items.forEach((item) => {
    cache.set(item.key, item.value)
    sync.broadcastOperation({ type: 'set', key: item.key, value: item.value })
  })
  res.json({ successCount: items.length, totalCount: items.length })
})
app.delete('/api/cache/:key', (req, res) => {
  cache.delete(req.params.key)
  sync.broadcastOperation({ type: 'delete', key: req.params.key })
  res.json({ success: true })
})
app.delete('/api/cache', (req, res) => {
  cache.clear()
  sync.broadcastOperation({ type: 'clear' })
  res.json({ success: true })
})
app.post('/api/strategy', (req, res) => {
  sync.broadcastOperation({ type: 'strategy-change', strategy: req.body.strategy })
  res.json({ success: true })
})
// A full-sync that an operator asks for, to all peers.
app.post('/api/sync/force', (req, res) => {
  const data = { type: 'full-sync', data: cache.getAll(), nodeId: sync.nodeId, timestamp: Date.now() }
  sync.connectedPeers.forEach((socket) => socket.emit('cache-sync', data))
  res.json({ message: 'Force sync initiated' })
})
app.get('/test/dump', (req, res) => {
  const items = {}
  for (const [key, item] of cache.cache) {
    items[key] = createHash('sha1').update(JSON.stringify(plain(item)) ?? 'undefined').digest('hex')
  }
  const connected = [...sync.connectedPeers.values()].filter((socket) => socket.connected).length
  res.json({ items, connected, strategy: sync.strategy, ...sync.counts })
})
// An event loop that does nothing else for a while.
app.post('/test/block/:ms', (req, res) => {
  res.json({ success: true })
  res.on('finish', () => setImmediate(() => {
    const until = Date.now() + Number(req.params.ms)
    while (Date.now() < until);
  }))
})

server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log(`listening on ${process.env.PORT}`))
