export { CacheSynchronizer } from "./synchronizer.js";
export { jsonCodec } from "./codec.js";
export type { Codec, Encoded } from "./codec.js";
export { decide } from "./decide.js";
export type { BaseState, ClockState, DecideInput, Decision, LocalChange, RemoteState } from "./decide.js";
export { IndexedDbStorage, MemoryStorage } from "./storage.js";
export type { SyncStorage } from "./storage.js";
export { SyncError } from "./types.js";
export type {
  CacheInstance,
  Conflict,
  DecidedConflict,
  Group,
  Policy,
  Resolution,
  SyncChange,
  SyncDetails,
  SyncEvent,
  SyncOptions,
  SyncStatus,
} from "./types.js";
