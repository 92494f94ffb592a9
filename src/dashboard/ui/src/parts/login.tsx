// Instead of every view, while the cluster asks for a token that the page does not have.

import { useState, type FormEvent } from 'react'
import { logIn } from '../data/access'
import { Trouble } from './state'

export function Login() {
  const [token, setToken] = useState('')
  const [sending, setSending] = useState(false)
  const [error, setError] = useState<unknown>(null)

  async function send(event: FormEvent) {
    event.preventDefault()
    setSending(true)
    setError(null)
    try {
      await logIn(token.trim())
    } catch (failed) {
      setError(failed)
      setSending(false)
    }
  }

  return (
    <section className="panel login" aria-labelledby="login">
      <h2 id="login">This cluster asks for a token</h2>
      <form onSubmit={(event) => void send(event)}>
        <p>
          <label>
            Token{' '}
            <input
              type="password"
              name="token"
              autoComplete="current-password"
              spellCheck={false}
              placeholder="lsk_…"
              value={token}
              onChange={(event) => setToken(event.target.value)}
            />
          </label>{' '}
          <button type="submit" className="primary" disabled={sending || token.trim() === ''}>
            Log in
          </button>
        </p>
      </form>
      {error !== null && <Trouble error={error} />}
      <p className="note">
        The browser keeps a session for 12 hours, which no script can read, and not the token. An admin makes tokens with lockstep token create.
      </p>
    </section>
  )
}
