import { type Clock, pause, systemClock, timeLimit } from "./clock.js";
import {
  fromProblem,
  Garbled,
  LockstepError,
  makeError,
  OutcomeUnknown,
  type Problem,
  Unavailable,
  Unreachable,
} from "./errors.js";
import { Nodes } from "./nodes.js";
import { decodeUtf8, randomId } from "./values.js";

/** A token, or what is asked for one: at the beginning, and again after a 401. */
export type TokenSource = string | (() => string | Promise<string>);

/** How a client finds and treats its cluster. */
export interface ClientOptions {
  /** The nodes, as `http://host:port`; as one text, separated by commas. Any of them will do, several survive a node. */
  urls: string | readonly string[];
  /** Shown with every request. */
  token?: TokenSource;
  /** How long a request and its repetitions may take, in milliseconds: 10,000 by default. */
  timeoutMs?: number;
  /**
   * How long one node may take to begin its answer if there are others, and to go on with it, in milliseconds: 3,000 by default. A body that is
   * sent may take 1 ms for 16 bytes besides.
   */
  tryTimeoutMs?: number;
  /** How long to go on while no node listens at all, in milliseconds: 2,000 by default. */
  unreachableMs?: number;
  /** Who writes: kept with what is stored. 1 to 64 visible ASCII characters, none of `" \ , ;`. */
  origin?: string;
  /** Takes answers also of a node that has left its cluster on purpose. */
  allowDetached?: boolean;
  /** The id of the only history that may answer. */
  expectHistory?: string;
  /** The function that sends requests: the global `fetch` by default. */
  fetch?: typeof fetch;
  /** Time, for tests. */
  clock?: Clock;
}

/** What every call can say. */
export interface CallOptions {
  /** Ends the call. A write that was on its way may have happened. */
  signal?: AbortSignal | undefined;
  /** In place of the client's `timeoutMs`. */
  timeoutMs?: number | undefined;
}

/**
 * When a request may be repeated: `read`, after any failure; `keyed`, it has an idempotency key and is carried out once however
 * often it is sent; `never`, not where it might be carried out twice.
 */
export type Retry = "read" | "keyed" | "never";

/** A place in the log. */
interface Place {
  index: number;
  history: string;
}

/** A request, before a node is chosen. */
export interface Request {
  method: string;
  /** With its query. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array | undefined;
  retry: Retry;
  idempotencyKey?: string | undefined;
  /** A place that was known before it was first sent. */
  sentAfter?: Place | undefined;
  /** Whether any node will do as well as the leader. */
  anyNode?: boolean;
}

/** A node's answer. */
export interface Answer {
  status: number;
  headers: Headers;
  bytes: Uint8Array;
  url: string;
  /** When the request was sent, on the monotonic clock: what the answer says was true after that. */
  sentAt: number;
}

/** The most bytes of an answer: a page of 8 MiB, and what JSON adds to it in the worst case. */
const ANSWER_BYTES_MAX = 96 * 1024 * 1024;
/** An answer that is read at once. */
const SHORT_BYTES = 1024;
/** The slowest link that is not taken for a node that hangs, in bytes a millisecond. */
const BYTES_PER_MS_MIN = 16;
const PAUSE_FIRST_MS = 20;
const PAUSE_LAST_MS = 500;

/** Codes of errors of `fetch` after which nothing was sent. */
const REFUSED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
]);
/** Refusals that are the final answer to all tries with an idempotency key: the first of them was answered so. */
const FINAL = new Set(["precondition_failed", "not_a_number", "overflow", "wrong_kind", "idempotency_key_reused", "not_found"]);

/** Sends requests to one node after the other, until one answers or time is up. */
export class Transport {
  readonly nodes: Nodes;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly tryTimeoutMs: number;
  private readonly unreachableMs: number;
  private readonly fetch: typeof fetch;
  private token: Promise<string> | undefined;
  /** The newest place that answers have named. */
  private newest: Place | undefined;

  constructor(private readonly options: ClientOptions) {
    this.nodes = new Nodes(options.urls);
    this.clock = options.clock ?? systemClock;
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.tryTimeoutMs = options.tryTimeoutMs ?? 3_000;
    this.unreachableMs = options.unreachableMs ?? 2_000;
    // Browsers insist on being called with their own `this`.
    this.fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    if (options.origin !== undefined && !/^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,64}$/.test(options.origin)) {
      throw new TypeError(`origin: 1 to 64 visible ASCII characters, none of " \\ , ;`);
    }
  }

  /**
   * Sends a request, and again where that is safe.
   * @throws LockstepError. A write whose answer was lost is {@link OutcomeUnknown}; everything else had no effect.
   */
  async send(request: Request, call: CallOptions = {}): Promise<Answer> {
    const { clock } = this;
    const begun = clock.monotonic();
    const deadline = begun + (call.timeoutMs ?? this.timeoutMs);
    const key = request.retry === "keyed" ? (request.idempotencyKey ?? randomId()) : request.idempotencyKey;
    // So that a repetition which comes too late is not taken for a new request.
    const sentAfter = request.sentAfter ?? (request.retry === "keyed" ? this.newest : undefined);
    const several = this.nodes.urls.length > 1;
    let backoff = PAUSE_FIRST_MS;
    let renewed = false;
    let leftBehind = 0;
    // How long the last refused try took: with less time left, another would turn a known outcome into an unknown one.
    let tooLate = 0;
    let lastProblem: LockstepError | undefined;
    let unknown: LockstepError | undefined;
    for (;;) {
      call.signal?.throwIfAborted();
      const now = clock.monotonic();
      const { url } = this.nodes.choose(now, request.anyNode !== true);
      const left = Math.max(deadline - now, 1);
      // A node that hangs must not use up the whole time. A slow link is no such node: what is sent and what comes may take theirs.
      const sent = typeof request.body === "string" ? request.body.length : (request.body?.byteLength ?? 0);
      const limit = several && request.retry !== "never" ? Math.min(left, this.tryTimeoutMs + sent / BYTES_PER_MS_MIN) : left;
      let error: LockstepError;
      try {
        const isRepeated = unknown !== undefined || request.sentAfter !== undefined;
        const named = { key, sentAfter: isRepeated ? sentAfter : undefined };
        return await this.tryOnce(url, request, named, { head: limit, pause: several ? this.tryTimeoutMs : left, whole: left }, call.signal);
      } catch (caught) {
        if (!(caught instanceof LockstepError)) throw caught;
        error = caught;
      }
      const after = clock.monotonic();
      this.learn(url, error, after);
      if (error.code === "unauthorized" && !renewed && typeof this.options.token === "function") {
        // It may have been replaced meanwhile; a function is asked once more.
        renewed = true;
        this.token = undefined;
        continue;
      }
      const elsewhere = error.code === "detached" || error.code === "superseded";
      leftBehind += elsewhere ? 1 : 0;
      const again =
        error.code === "busy" ||
        error.code === "rate_limited" ||
        error.code === "unavailable" ||
        error.code === "unreachable" ||
        (error.effect === "unknown" && request.retry !== "never" && error.code !== "outcome_forgotten") ||
        (elsewhere && leftBehind < this.nodes.urls.length);
      if (error.effect === "none") tooLate = after - now + 100;
      const nobody = error.code === "unreachable" && lastProblem === undefined && unknown === undefined;
      const givenUp = nobody && after - begun >= this.unreachableMs;
      // With jitter, so that clients which failed together do not come back together.
      const wait = Math.max(this.nodes.choose(after, request.anyNode !== true).at - after, backoff * (0.5 + Math.random() / 2));
      if (!again || givenUp || after + wait + tooLate >= deadline) {
        throw this.final(error, request, key, lastProblem, unknown);
      }
      if (error.problem !== undefined) lastProblem = error;
      if (error.effect === "unknown") unknown ??= error;
      await pause(clock, wait, call.signal);
      backoff = Math.min(backoff * 2, PAUSE_LAST_MS);
    }
  }

  /** Asks one node once, with a time limit. @throws LockstepError */
  private async tryOnce(
    url: string,
    request: Request,
    { key, sentAfter }: { key: string | undefined; sentAfter: Place | undefined },
    /** Milliseconds until the answer begins, between two parts of it, and until its end. */
    limits: { head: number; pause: number; whole: number },
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const begun = this.clock.monotonic();
    let now = limits.head;
    const limit = timeLimit(this.clock, now, signal, () => new Error(`nothing came within ${Math.round(now)} ms`));
    const goesOn = () => {
      now = Math.min(limits.pause, Math.max(begun + limits.whole - this.clock.monotonic(), 1));
      limit.restart(now);
    };
    try {
      const headers = await this.headers(request.headers);
      if (key !== undefined) headers["Idempotency-Key"] = key;
      if (key !== undefined && sentAfter !== undefined) headers["Idempotency-Sent-After"] = `${sentAfter.index}@${sentAfter.history}`;
      const sentAt = this.clock.monotonic();
      const response = await this.ask(url, request, headers, limit.signal);
      let bytes: Uint8Array;
      try {
        goesOn();
        bytes = await readAll(response, ANSWER_BYTES_MAX, goesOn);
      } catch (error) {
        throw lost(url, error);
      }
      const answer = { status: response.status, headers: response.headers, bytes, url, sentAt };
      if (response.ok || response.status === 304) {
        this.nodes.answered(url);
        this.note(response.headers);
        return answer;
      }
      throw refusal(answer, response.type === "opaqueredirect");
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw error;
    } finally {
      limit.done();
    }
  }

  /** Opens a stream at one node. @throws LockstepError */
  async open(url: string, request: Request, signal: AbortSignal): Promise<Response> {
    const response = await this.ask(url, request, await this.headers(request.headers), signal);
    if (response.ok && response.body !== null) return response;
    const bytes = await readAll(response, 1024 * 1024, () => {}).catch((error: unknown) => {
      throw lost(url, error);
    });
    throw refusal({ status: response.status, headers: response.headers, bytes, url, sentAt: 0 }, false);
  }

  /** The token was refused: asks for another one the next time. Answers whether there can be another. */
  forgetToken(): boolean {
    this.token = undefined;
    return typeof this.options.token === "function";
  }

  /** After a failure: chooses another node, remembers a pause, and the leader if the answer named it. */
  learn(url: string, error: LockstepError, now: number): void {
    const leader = error.problem?.leader?.http;
    const useless =
      error.effect === "unknown" || ["unavailable", "unreachable", "superseded", "detached", "busy"].includes(error.code);
    if (useless) this.nodes.failed(url);
    if (error.retryAfterMs !== undefined) this.nodes.holdOff(url, now, error.retryAfterMs);
    if (leader !== undefined && leader !== "" && leader !== url) this.nodes.learn(url, leader);
  }

  private async ask(url: string, request: Request, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const init: RequestInit = { method: request.method, headers, signal, redirect: "manual" };
    if (request.body !== undefined) init.body = request.body as BodyInit;
    try {
      return await this.fetch(`${url}${request.path}`, init);
    } catch (error) {
      const cause = signal.aborted ? (signal.reason as unknown) : error;
      if (!signal.aborted && isRefused(error)) {
        throw new Unreachable(`${url}: ${innermost(error)}`, { code: "unreachable", effect: "none", url, cause: error });
      }
      throw lost(url, cause);
    }
  }

  private async headers(own: Record<string, string> | undefined): Promise<Record<string, string>> {
    const { origin, allowDetached, expectHistory, token } = this.options;
    const headers: Record<string, string> = { ...own };
    if (allowDetached !== true) headers["Lockstep-Consistency"] ??= "linearizable";
    if (expectHistory !== undefined) headers["Lockstep-Expect-History"] = expectHistory;
    if (origin !== undefined) headers["Lockstep-Origin"] = origin;
    if (!IN_BROWSER) headers["User-Agent"] = "lockstep-client/0.1.0 (typescript)";
    if (token !== undefined) {
      this.token ??= Promise.resolve(typeof token === "string" ? token : token());
      try {
        headers["Authorization"] = `Bearer ${await this.token}`;
      } catch (error) {
        this.token = undefined;
        throw makeError(`no token: ${innermost(error)}`, { code: "unauthorized", effect: "none", cause: error });
      }
    }
    return headers;
  }

  /** The error to throw: an unknown outcome is not undone by a later refusal, and a read's outcome is never in doubt. */
  /** The newest history that an answer has named. */
  get history(): string | undefined {
    return this.newest?.history;
  }

  private note(headers: Headers): void {
    const history = headers.get("lockstep-history");
    if (history === null) return;
    const index = Number(headers.get("lockstep-index") ?? 0);
    const known = this.newest?.history === history ? this.newest.index : 0;
    this.newest = { index: Math.max(index, known), history };
  }

  private final(
    error: LockstepError,
    request: Request,
    key: string | undefined,
    lastProblem: LockstepError | undefined,
    unknown: LockstepError | undefined,
  ): LockstepError {
    if (request.retry === "read") {
      if (error.problem !== undefined && error.effect === "none") return error;
      if (lastProblem !== undefined && lastProblem.effect === "none") return lastProblem;
      if (error.effect === "none") return error;
      return new Unreachable(error.message, { code: "unreachable", effect: "none", url: error.url, cause: error });
    }
    if (error.code === "outcome_forgotten" && request.sentAfter !== undefined) return error;
    const doubtful = error.effect === "unknown" ? error : FINAL.has(error.code) ? undefined : unknown;
    if (doubtful !== undefined) {
      const { url, status, problem } = doubtful;
      return new OutcomeUnknown(
        `it may have happened: ${doubtful.message}`,
        { code: "outcome_unknown", url, status, problem, cause: doubtful },
        key,
      );
    }
    return error.code === "unreachable" && lastProblem !== undefined ? lastProblem : error;
  }
}

/** Pages may not set `User-Agent` for other sites without asking first. */
const IN_BROWSER =
  typeof (globalThis as { document?: unknown }).document !== "undefined" ||
  typeof (globalThis as { importScripts?: unknown }).importScripts === "function";

function isRefused(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (typeof code === "string" && REFUSED.has(code)) return true;
    // Of several addresses of a host each was refused.
    if (at instanceof AggregateError && at.errors.length > 0 && at.errors.every(isRefused)) return true;
  }
  return false;
}

/** The message of the error that began it. */
export function innermost(error: unknown): string {
  let at: unknown = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return at instanceof Error ? at.message || at.name : String(at);
}

function lost(url: string, error: unknown): LockstepError {
  if (error instanceof LockstepError) return error;
  return new Unavailable(`${url}: ${innermost(error)}`, { code: "outcome_unknown", effect: "unknown", url, cause: error });
}

/** What an answer without success becomes. */
function refusal(answer: Answer, redirected: boolean): LockstepError {
  const { url, status, bytes, headers } = answer;
  const text = decodeUtf8(bytes);
  const retryAfterMs = retryAfter(headers.get("retry-after"));
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === "string" && (problem.effect === "none" || problem.effect === "unknown")) {
      const index = Number(headers.get("lockstep-index") ?? "0");
      const history = headers.get("lockstep-history") ?? "";
      const replayed = headers.get("idempotency-replayed") === "true";
      return fromProblem(problem, { url, status, retryAfterMs, index, history, replayed });
    }
  } catch {
    // No problem description: something between us and the node says it in words.
  }
  const said = (text.split("\n", 1)[0] ?? "").replace(/[^\x20-\x7e]/g, "").slice(0, 120);
  const parts = { url, status, retryAfterMs };
  const words = `${url}: status ${status} without a problem description${said === "" ? "" : `: ${said}`}`;
  if (redirected || (status >= 300 && status < 400)) {
    return new Garbled(`${url}: redirects, which no node does`, { ...parts, code: "garbled", effect: "none" });
  }
  if (status === 429) return makeError(words, { ...parts, code: "rate_limited", effect: "none" });
  if (status >= 500) return new Unavailable(words, { ...parts, code: "outcome_unknown", effect: "unknown" });
  return new Garbled(words, { ...parts, code: "garbled", effect: "none" });
}

/** `Retry-After` in milliseconds: seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds) && seconds >= 0) return seconds * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

async function readAll(response: Response, max: number, goesOn: () => void): Promise<Uint8Array> {
  const length = response.headers.get("content-length");
  if (length !== null && Number(length) > max) throw new Error(`the answer has more than ${max} bytes`);
  const isShort = length !== null && Number(length) <= SHORT_BYTES && response.headers.get("content-encoding") === null;
  if (response.body === null || isShort) {
    return new Uint8Array(await response.arrayBuffer());
  }
  const parts: Uint8Array[] = [];
  let total = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    goesOn();
    total += value.length;
    if (total > max) {
      await reader.cancel();
      throw new Error(`the answer has more than ${max} bytes`);
    }
    parts.push(value);
  }
  const all = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
