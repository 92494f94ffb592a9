/**
 * Every code a node answers with, and the client's own: `unreachable` (no connection, or a read without an answer), `garbled` (not
 * an answer of a node: a proxy, a redirect, a malformed body), `other_cluster`, `closed`.
 */
export type ErrorCode =
  | "invalid_key"
  | "invalid_value"
  | "invalid_ttl"
  | "invalid_header"
  | "invalid_query"
  | "invalid_body"
  | "invalid_batch"
  | "invalid_config"
  | "unauthorized"
  | "forbidden"
  | "no_route"
  | "method_not_allowed"
  | "not_found"
  | "not_a_number"
  | "overflow"
  | "wrong_kind"
  | "conflict"
  | "locked"
  | "other_history"
  | "detached"
  | "feature_level"
  | "precondition_failed"
  | "too_large"
  | "unsupported_encoding"
  | "expectation_failed"
  | "misdirected"
  | "idempotency_key_reused"
  | "outcome_forgotten"
  | "busy"
  | "rate_limited"
  | "not_implemented"
  | "unavailable"
  | "superseded"
  | "fatal"
  | "outcome_unknown"
  | "cache_full"
  | "unreachable"
  | "garbled"
  | "other_cluster"
  | "closed";

/** Whether a failed request changed anything: `none`, it did not and will not; `unknown`, it may have, or may still. */
export type Effect = "none" | "unknown";

/** How a key went that is not there. */
export interface Gone {
  cause: "delete" | "expire" | "evict" | "clear";
  /** The index of the log entry that removed it. */
  revision: number;
  /** Log time of that, in milliseconds since 1970. */
  at_ms: number;
}

/** Who holds a lock. */
export interface Holder {
  name: string;
  /** The id of the session that holds it. */
  session: number;
  /** Its name, if the client's token may read it. */
  session_name?: string;
  token: number;
  since_ms: number;
}

/** The body of a refusal: `application/problem+json`. */
export interface Problem {
  type?: string;
  title?: string;
  status: number;
  detail: string;
  code: ErrorCode;
  effect: Effect;
  /** The field at fault. */
  field?: string;
  /** The position in a batch of the operation at fault. */
  op?: number;
  /** The key's current revision, of a condition that did not hold. */
  revision?: number;
  leader?: { id: number; name?: string; http: string };
  retry_after_ms?: number;
  gone?: Gone | null;
  /** Whether a `gone` of null means that the key was never there. */
  complete?: boolean;
  holder?: Holder;
}

/** What a {@link LockstepError} is made of. */
export interface ErrorParts {
  code: ErrorCode;
  effect: Effect;
  url?: string | undefined;
  status?: number | undefined;
  problem?: Problem | undefined;
  retryAfterMs?: number | undefined;
  index?: number | undefined;
  history?: string | undefined;
  replayed?: boolean | undefined;
  cause?: unknown;
}

/** A request that failed. `code` says why, `effect` whether it may have changed something. */
export class LockstepError extends Error {
  readonly code: ErrorCode;
  readonly effect: Effect;
  /** The node that was asked last. */
  readonly url: string | undefined;
  readonly status: number | undefined;
  /** What the node said, where it said something. */
  readonly problem: Problem | undefined;
  /** How long the node asks to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The log index at which the node answered, where it said so. */
  readonly index: number | undefined;
  /** The history of that index. */
  readonly history: string | undefined;
  /** Whether the refusal was recorded for an earlier request with the same idempotency key. */
  readonly replayed: boolean;

  constructor(message: string, parts: ErrorParts) {
    super(message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = parts.code;
    this.effect = parts.effect;
    this.url = parts.url;
    this.status = parts.status;
    this.problem = parts.problem;
    this.retryAfterMs = parts.retryAfterMs;
    this.index = parts.index;
    this.history = parts.history;
    this.replayed = parts.replayed ?? false;
  }
}

/**
 * A write may have happened, or may still: its answer was lost or late. Not a failure. Read to find out, or send it again with the
 * same {@link idempotencyKey}.
 */
export class OutcomeUnknown extends LockstepError {
  /** The key under which the write was sent: it can be sent again with it, soon, and is carried out once. */
  readonly idempotencyKey: string | undefined;

  constructor(message: string, parts: Omit<ErrorParts, "effect">, idempotencyKey: string | undefined) {
    super(message, { ...parts, effect: "unknown" });
    this.idempotencyKey = idempotencyKey;
  }
}

/**
 * Nodes do not know any more whether the write was carried out before, under its idempotency key. It was not now. Only for writes with
 * {@link WriteOptions.sentAfter}.
 */
export class OutcomeForgotten extends LockstepError {}

/** A condition did not hold. */
export class PreconditionFailed extends LockstepError {
  /** The key's revision now; undefined if there is no such key. */
  get revision(): number | undefined {
    return this.problem?.revision;
  }
  /** How the key went, if it is not there and that is remembered. */
  get gone(): Gone | null {
    return this.problem?.gone ?? null;
  }
}

/** There is no such key, member, session or lock. */
export class NotFound extends LockstepError {}

/** Another session holds the lock. */
export class Locked extends LockstepError {
  get holder(): Holder | undefined {
    return this.problem?.holder;
  }
}

/** The token is missing, unknown, expired or revoked. */
export class Unauthorized extends LockstepError {}

/** The token does not allow it. */
export class Forbidden extends LockstepError {}

/** No node could be asked, or none answered a read. Nothing was changed. */
export class Unreachable extends LockstepError {}

/** The nodes have no leader or no majority, or have too much to do. Nothing was changed; it passes. */
export class Unavailable extends LockstepError {}

/** The nodes are in another history of the cluster: a backup was restored, say. Indexes and revisions from before mean nothing. */
export class OtherHistory extends LockstepError {}

/** The nodes belong to another cluster than before. */
export class OtherCluster extends LockstepError {}

/** What answered is no node, or the answer makes no sense. */
export class Garbled extends LockstepError {}

const CLASSES: Partial<Record<ErrorCode, typeof LockstepError>> = {
  precondition_failed: PreconditionFailed,
  not_found: NotFound,
  locked: Locked,
  unauthorized: Unauthorized,
  forbidden: Forbidden,
  unreachable: Unreachable,
  unavailable: Unavailable,
  busy: Unavailable,
  rate_limited: Unavailable,
  superseded: Unavailable,
  detached: Unavailable,
  other_history: OtherHistory,
  outcome_forgotten: OutcomeForgotten,
  other_cluster: OtherCluster,
  garbled: Garbled,
};

/** The error of its code's class. */
export function makeError(message: string, parts: ErrorParts): LockstepError {
  const type = CLASSES[parts.code] ?? LockstepError;
  return new type(message, parts);
}

/** What a node's refusal becomes. */
export function fromProblem(problem: Problem, parts: Omit<ErrorParts, "code" | "effect" | "problem">): LockstepError {
  return makeError(problem.detail, {
    ...parts,
    code: problem.code,
    effect: problem.effect,
    problem,
    retryAfterMs: problem.retry_after_ms ?? parts.retryAfterMs,
  });
}

/** Whether an error passes by itself: the same request may succeed later, on this node or another. */
export function passes(error: unknown): boolean {
  if (!(error instanceof LockstepError)) return false;
  switch (error.code) {
    case "busy":
    case "rate_limited":
    case "unavailable":
    case "unreachable":
    case "outcome_unknown":
    case "fatal":
    case "superseded":
    case "detached":
      return true;
    default:
      return false;
  }
}
