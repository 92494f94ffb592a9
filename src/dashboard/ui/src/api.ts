// Requests to the node that served the page. Every failure becomes a `Failure` that says what happened.

import type { ProblemBody } from './types'

/** Longer than the node's own limit for a request, so that its answer comes first. */
const TIMEOUT_MS = 8_000

export class Failure extends Error {
  constructor(
    /** 0 when there was no answer. */
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly body?: ProblemBody,
  ) {
    super(detail)
  }

  /** The node has no such route: it is of an older version. */
  get noRoute(): boolean {
    return this.code === 'no_route'
  }

  get silent(): boolean {
    return this.status === 0
  }

  /** It may have happened all the same. */
  get unsure(): boolean {
    return this.silent || this.body?.effect === 'unknown'
  }
}

export interface Ask extends Omit<RequestInit, 'signal'> {
  timeoutMs?: number
  signal?: AbortSignal
}

export async function ask(path: string, options: Ask = {}): Promise<Response> {
  const { timeoutMs = TIMEOUT_MS, signal, ...init } = options
  const limit = AbortSignal.timeout(timeoutMs)
  let response: Response
  try {
    response = await fetch(path, { ...init, signal: signal ? AbortSignal.any([signal, limit]) : limit, cache: 'no-store' })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Failure(0, 'no_answer', limit.aborted ? `no answer in ${timeoutMs / 1000} s` : 'no answer from the node')
  }
  if (response.ok) return response
  throw await failure(response)
}

export async function failure(response: Response): Promise<Failure> {
  try {
    const body = (await response.json()) as ProblemBody
    const unsure = body.effect === 'unknown' ? ' It may still have happened: check before you repeat it.' : ''
    return new Failure(response.status, body.code, `${sentence(body.detail)}${unsure}`, body)
  } catch {
    return new Failure(response.status, 'unknown', `The node answered ${response.status} ${response.statusText}`)
  }
}

export async function askJson<T>(path: string, options?: Ask): Promise<T> {
  const response = await ask(path, options)
  return (await response.json()) as T
}

export function sendJson<T>(method: string, path: string, body: unknown): Promise<T> {
  return askJson<T>(path, { method, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } })
}

export function message(error: unknown): string {
  return sentence(error instanceof Error ? error.message : String(error))
}

/** A path without the parameters that are empty. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, String(value))
  }
  const text = parameters.toString()
  return text ? `${path}?${text}` : path
}

/** A URL drops path segments of one or two dots, even percent-encoded, so no browser can ask for these keys. */
export function unreachable(key: string): boolean {
  return key === '.' || key === '..'
}

export function kv(key: string): string {
  return `/v1/kv/${encodeURIComponent(key)}`
}

function sentence(text: string): string {
  const start = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(start) ? start : `${start}.`
}
