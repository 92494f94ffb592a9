// What happened, newest first, until it is dismissed.

import { dismiss, dismissAll, notices } from '../data/notices'
import { useStore } from '../data/store'
import { clock } from '../format'

const SHOWN = 3

export function Notices() {
  const all = useStore(notices)
  return (
    <div className="notices" role="log" aria-live="polite" aria-label="What happened">
      {all.slice(0, SHOWN).map((notice) => (
        <p key={notice.id} className={`notice ${notice.kind}`}>
          <time>{clock(notice.atMs)}</time>
          <span>{notice.text}</span>
          <button type="button" className="quiet" onClick={() => dismiss(notice.id)} aria-label="Dismiss">
            ✕
          </button>
        </p>
      ))}
      {all.length > 1 && (
        <p className="notice more">
          <span>{all.length > SHOWN && `and ${all.length - SHOWN} before`}</span>
          <button type="button" className="quiet" onClick={dismissAll}>
            Dismiss all
          </button>
        </p>
      )}
    </div>
  )
}
