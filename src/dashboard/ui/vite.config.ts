import { defineConfig } from 'vite'

// `LOCKSTEP_URL=http://127.0.0.1:5001 npm run dev` shows another node.
const node = process.env.LOCKSTEP_URL ?? 'http://127.0.0.1:5000'

export default defineConfig({
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: 'es2022',
    // One script and one style sheet: there is nothing to preload, and the polyfill would be dead weight.
    modulePreload: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': { target: node, ws: true } } },
})
