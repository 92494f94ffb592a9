// The cache synchronizer exercise: its signature and its example, as they are. Only the import and the local cache are ours.
import { CacheSynchronizer as Implementation, type CacheInstance as Cache } from "../../src/sync/index.js";

type SyncOptions = {
  syncInterval?: number;     // Sync interval in ms
  conflict?: 'newest' | 'oldest' | 'custom';
  retries?: number;         // Number of sync retries
  batchSize?: number;       // Updates per batch
};

type SyncEvent = {
  key: string;
  value: unknown;
  timestamp: number;
  node: string;
  version: number;
};

interface CacheInstance {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  getKeys(): Promise<string[]>;
}

type SyncStatus = {
  connected: boolean;
  lastSync: number;
  peers: string[];
  pending: number;
  conflicts: number;
};

interface Signature {
  connect(nodeId: string): Promise<void>;
  registerCache(cache: CacheInstance): void;
  handleUpdate(event: SyncEvent): Promise<void>;
  sync(): Promise<void>;
  getStatus(): SyncStatus;
}

const CacheSynchronizer: new (options: SyncOptions) => Signature = Implementation;
const sameCache: Cache = {} as CacheInstance;
void sameCache;

const contents = new Map<string, unknown>();
const localCache = {
  get: (key: string) => contents.get(key),
  set: async (key: string, value: unknown) => void contents.set(key, value),
  delete: async (key: string) => void contents.delete(key),
  keys: () => [...contents.keys()],
};

const sync = new CacheSynchronizer({
  syncInterval: 5000,       // 5 seconds
  conflict: 'newest',
  retries: 3,
  batchSize: 100
});

// Connect node to network
await sync.connect('node-1');

// Register local cache
sync.registerCache({
  async get(key) {
    return localCache.get(key);
  },
  async set(key, value) {
    await localCache.set(key, value);
  },
  async delete(key) {
    await localCache.delete(key);
  },
  async getKeys() {
    return localCache.keys();
  }
});

// Handle incoming update
sync.handleUpdate({
  key: 'user:123',
  value: { name: 'John' },
  timestamp: Date.now(),
  node: 'node-2',
  version: 1
});

// Force sync
await sync.sync();

// Check status
console.log(sync.getStatus());
// {
//   connected: true,
//   lastSync: 1621234567890,
//   peers: ['node-2', 'node-3'],
//   pending: 0,
//   conflicts: 0
// }
