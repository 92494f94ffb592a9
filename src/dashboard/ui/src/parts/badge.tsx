// A word with a shape and a colour. The word alone is enough.

export type Tone = 'good' | 'warn' | 'bad' | 'plain' | 'lead'

const SHAPES: Record<Tone, string> = { good: '●', warn: '▲', bad: '■', plain: '○', lead: '★' }

export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return (
    <span className={`badge ${tone}`}>
      <i aria-hidden="true">{SHAPES[tone]}</i> {children}
    </span>
  )
}

function roleTone(role: string | undefined): Tone {
  return role === 'leader' ? 'lead' : role === 'follower' ? 'good' : role === 'candidate' ? 'warn' : 'plain'
}

/** What a node is. One that takes itself for the leader, and has no majority, leads nobody. */
export function RoleBadge({ role, lost }: { role: string; lost: boolean }) {
  if (role === 'leader' && lost) return <Badge tone="bad">no majority</Badge>
  return <Badge tone={roleTone(role)}>{role}</Badge>
}
