// Starts the page: what watches the cluster first, then what shows it.

import { createRoot } from 'react-dom/client'
import { App } from './app'
import { startLive } from './data/live'
import { startWatcher } from './data/watcher'
import { startTheme } from './theme'
import './style/base.css'
import './style/parts.css'
import './style/views.css'

startTheme()
startWatcher()
startLive()
createRoot(document.getElementById('root') as HTMLElement).render(<App />)
