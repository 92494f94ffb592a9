// Prints what the page weighs, and fails when it is more than it may.
import { readdirSync, readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

const limit = 150 * 1024
const dist = new URL('../dist/', import.meta.url)
let total = 0
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue
  const path = `${entry.parentPath.replace(/\/$/, '')}/${entry.name}`
  const bytes = gzipSync(readFileSync(path), { level: 9 }).length
  total += bytes
  console.log(`${String(bytes).padStart(8)} bytes gzipped  ${entry.name}`)
}
console.log(`${String(total).padStart(8)} bytes gzipped in total, at most ${limit}`)
if (total > limit) process.exit(1)
