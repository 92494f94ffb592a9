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

export function roleTone(role: string | undefined): Tone {
  return role === 'leader' ? 'lead' : role === 'follower' ? 'good' : role === 'candidate' ? 'warn' : 'plain'
}
