// Who looks at the page, once the cluster asks for tokens, and what they may do.

import { askJson, Failure, sendJson } from '../api'
import { Resource } from './resource'
import { status } from './resources'

export interface Grant {
  role: 'observe' | 'read' | 'write' | 'admin'
  prefix?: string
}

export interface Own {
  name: string
  grants: Grant[]
  expires_at_ms: number | null
}

/** The page's own token; null where none is asked for. */
export const own = new Resource<Own | null>(async (_, signal) => {
  try {
    return await askJson<Own>('/v1/token', { signal })
  } catch (error) {
    // A node of an older version has no such route, and asks for no tokens.
    if (error instanceof Failure && error.status === 404) return null
    throw error
  }
}, 30_000)

const ORDER = ['observe', 'read', 'write', 'admin']

/** Whether one of the grants has this role, for whatever keys. */
export function may(own: Own | null, role: Grant['role']): boolean {
  return !own || own.grants.some((grant) => ORDER.indexOf(grant.role) >= ORDER.indexOf(role))
}

export async function logIn(token: string): Promise<void> {
  await send('POST', { token })
  // The feed of changes was refused, too: the page begins anew.
  location.reload()
}

export async function logOut(): Promise<void> {
  await send('DELETE', {})
  status.kick()
  location.reload()
}

async function send(method: string, body: unknown): Promise<void> {
  try {
    await sendJson(method, '/v1/login', body)
  } catch (error) {
    // The answer has no body.
    if (error instanceof Failure) throw error
  }
}
