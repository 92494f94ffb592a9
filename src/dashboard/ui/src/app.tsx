// The frame around every view: where one is, how the node is, how old its data is.

import { useEffect, useRef, useState } from 'react'
import { Age } from './parts/age'
import { Badge, RoleBadge } from './parts/badge'
import { DetachedBanner } from './parts/detached-banner'
import { Fence } from './parts/failed'
import { Help } from './parts/help'
import { Login } from './parts/login'
import { Link } from './parts/link'
import { Notices } from './parts/notices'
import { Empty } from './parts/state'
import { VerdictLine, VerdictPanel } from './parts/verdict'
import { logOut, may, own } from './data/access'
import { link } from './data/live'
import { useResource } from './data/resource'
import { status } from './data/resources'
import { useLost, useVerdict } from './data/standing'
import { useStore } from './data/store'
import { silentSince } from './data/watcher'
import { usePlace } from './router'
import { useShortcuts } from './shortcuts'
import { nextTheme, theme } from './theme'
import { VIEWS, viewAt } from './views'

/** How what is shown gets here. */
const TRANSPORTS = {
  socket: { text: 'live updates', means: 'Figures are polled every second or two; changes of keys arrive at once, over a WebSocket.' },
  connecting: { text: 'polling every second', means: 'There is no change feed at the moment' },
  events: { text: 'polling, changes by events', means: 'Changes of keys arrive as server-sent events' },
  none: { text: 'polling every second', means: 'There is no change feed' },
}

export function App() {
  const place = usePlace()
  const view = viewAt(place.path)
  const silent = useStore(silentSince) !== null
  const main = useRef<HTMLElement>(null)
  const [help, setHelp] = useState(false)
  const first = useRef(true)
  useShortcuts(() => setHelp(true))

  const title = view?.title ?? 'Nothing here'
  const name = useStore(status.store).data?.node.name
  useEffect(() => {
    document.title = name ? `${title} · ${name} · Lockstep` : `${title} · Lockstep`
  }, [title, name])
  useEffect(() => {
    // Who came by a link within the page goes on reading at the new view.
    if (!first.current) main.current?.focus()
    first.current = false
  }, [place.path])

  // What stops the work is told in full on every view; the overview tells it anyway.
  const urgent = useVerdict()?.level === 'bad' && place.path !== '/'
  const Shown = view?.show
  const asksForToken = useStore(status.store).failure?.code === 'unauthorized'
  const who = useResource(own).data
  const can = { 'data-may-write': may(who, 'write'), 'data-may-admin': may(who, 'admin') }
  return (
    <div className={silent ? 'app silent' : 'app'} {...can}>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <Head onHelp={() => setHelp(true)} />
      <nav aria-label="Views">
        <ul>
          {VIEWS.map(({ path, title, short = title }, i) => (
            <li key={path}>
              <Link href={path} aria-current={view?.path === path ? 'page' : undefined}>
                {short} <kbd aria-hidden="true">{i + 1}</kbd>
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <main id="main" ref={main} tabIndex={-1}>
        <Notices />
        <DetachedBanner />
        <div className="view">
          {urgent && <VerdictPanel />}
          <h1>{title}</h1>
          <Fence key={place.path}>
            {asksForToken ? (
              <Login />
            ) : Shown ? (
              <Shown />
            ) : (
              <Empty>
                There is no view at {place.path}. <Link href="/">Go to the overview</Link>.
              </Empty>
            )}
          </Fence>
        </div>
      </main>
      {help && <Help close={() => setHelp(false)} />}
    </div>
  )
}

function Head({ onHelp }: { onHelp: () => void }) {
  const { data, at } = useStore(status.store)
  const { transport, why } = useStore(link)
  const silent = useStore(silentSince) !== null
  const lost = useLost()
  const chosen = useStore(theme)
  const who = useStore(own.store).data
  const { text, means } = TRANSPORTS[transport]
  return (
    <header className="head">
      <Link href="/" className="brand" aria-label="Lockstep, overview">
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M2 4h12M2 8h12M2 12h12" />
        </svg>
        <span>Lockstep</span>
      </Link>
      <span className="who">
        {data ? (
          <>
            <b>{data.node.name}</b>
            {silent ? <Badge tone="bad">does not answer</Badge> : <RoleBadge role={data.role} lost={lost} />}
          </>
        ) : silent ? (
          <Badge tone="bad">does not answer</Badge>
        ) : (
          'connecting…'
        )}
      </span>
      <VerdictLine />
      <span className="fresh">
        <span className="transport" data-transport={transport} title={why ? `${means}: ${why}.` : means}>
          {silent ? 'retrying' : text}
        </span>
        <Age at={at} what="status" />
      </span>
      <span className="tools">
        {who && (
          <button type="button" className="quiet" onClick={() => void logOut()} title={`Logged in as ${who.name}`}>
            Log out
          </button>
        )}
        <button type="button" className="quiet" onClick={nextTheme} title="Colours: system, light or dark (t)">
          {chosen === 'system' ? 'Auto' : chosen === 'light' ? 'Light' : 'Dark'}
        </button>
        <button type="button" className="quiet" onClick={onHelp} title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts">
          ?
        </button>
      </span>
    </header>
  )
}
