// How the cluster is, in a sentence with what to do, and the way to the other nodes when this one does not answer.

import { useStore } from '../data/store'
import { status } from '../data/resources'
import { useVerdict } from '../data/standing'
import { silentSince } from '../data/watcher'
import { usePlace } from '../router'
import { Link } from './link'

const MARKS = { good: '✓', warn: '▲', bad: '✕' }

export function VerdictPanel() {
  const said = useVerdict()
  const silent = useStore(silentSince) !== null
  if (!said) return null
  return (
    <section className={`verdict ${said.level}`} aria-label="State of the cluster">
      <span className="mark" aria-hidden="true">
        {MARKS[said.level]}
      </span>
      <div>
        <p className="sentence">{said.sentence}</p>
        <p className="advice">
          {said.advice} {silent && <Others />}
        </p>
      </div>
    </section>
  )
}

/** In the top bar: a few words. */
export function VerdictLine() {
  const said = useVerdict()
  return (
    <span className="said-line" role="status">
      {said && (
        <Link href="/" className={`said ${said.level}`} title={said.sentence}>
          <i aria-hidden="true">{MARKS[said.level]}</i> {said.brief}
        </Link>
      )}
    </span>
  )
}

/** The same view on every other node. */
function Others() {
  const of = useStore(status.store).data
  usePlace()
  const others = of?.members.filter((member) => member.id !== of.node.id) ?? []
  return (
    <>
      {others.map((other, i) => (
        <span key={other.id}>
          {i > 0 && ', '}
          <a href={other.http.replace(/\/$/, '') + location.pathname + location.search}>
            {other.name} at {other.http}
          </a>
        </span>
      ))}
    </>
  )
}
