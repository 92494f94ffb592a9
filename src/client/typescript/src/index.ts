export { BATCH_OPS_MAX, splitOps } from "./batch.js";
export type { BatchResult, Condition, Lifetime, Op, OpResult, Refusal } from "./batch.js";
export { Client } from "./client.js";
export type {
  Change,
  ChangesPage,
  ConditionOptions,
  Consistency,
  DeleteResult,
  EntriesPage,
  FoundOrGone,
  KeyInfo,
  Lineage,
  PutResult,
  ReadOptions,
  ReadResult,
  Status,
  WriteOptions,
  WriteResult,
} from "./client.js";
export type { Clock } from "./clock.js";
export { Entry } from "./entry.js";
export {
  Forbidden,
  Garbled,
  Locked,
  LockstepError,
  NotFound,
  OtherCluster,
  OtherHistory,
  OutcomeForgotten,
  OutcomeUnknown,
  PreconditionFailed,
  Unauthorized,
  Unavailable,
  Unreachable,
} from "./errors.js";
export type { Effect, ErrorCode, Gone, Holder, Problem } from "./errors.js";
export type { Lock, Locks } from "./locks.js";
export { Session } from "./sessions.js";
export type { SessionInfo, Sessions } from "./sessions.js";
export type { CallOptions, ClientOptions, TokenSource } from "./transport.js";
export { json } from "./values.js";
export type { Json, Value } from "./values.js";
export { Watch } from "./watch.js";
export type { Cursor, HistoryName, WatchEvent, WatchMessage, WatchOptions } from "./watch.js";
