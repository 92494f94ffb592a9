// The keyboard shortcuts.

import { SHORTCUTS } from '../shortcuts'
import { Dialog } from './dialog'

export function Help({ close }: { close: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" close={close}>
      <dl className="keys-help">
        {SHORTCUTS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p className="note">Everything else works with Tab, Enter and the arrow keys.</p>
    </Dialog>
  )
}
