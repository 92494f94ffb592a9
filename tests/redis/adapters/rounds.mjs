// The rounds of work that an adapter written in JavaScript does: as rounds.py tells.

const END_MS = 60_000

export const nodes = process.argv[2].split(',').map(address => {
  const [host, port] = address.split(':')
  return { host, port: Number(port) }
})

export const say = (...words) => console.log(words.map(word => String(word).replace(/\s+/g, ' ')).join(' '))

// An error that adapters.py shall see as a wrong answer.
export class Wrong extends Error {}

export const check = (holds, what) => {
  if (!holds) throw new Wrong(what)
}

// Everything that an error says, and those that it has inside.
export const describe = error =>
  [error?.name, error?.code, error?.message, ...(error?.errors ?? []).map(describe), error?.cause && describe(error.cause)]
    .filter(Boolean).join(' ')

// Lets sockets and timers have their turn: an operation that is refused at once has none.
const others = () => new Promise(resolve => setImmediate(resolve))

export const rounds = async (name, open, { put, get, count, more, close }) => {
  let ended = false
  process.stdin.on('end', () => { ended = true })
  process.stdin.resume()
  const stores = []
  for (const [number, node] of nodes.entries()) stores.push(await open(node, number))
  // `node` is a number, or two where an operation needs both.
  const attempt = async (node, work, ...words) => {
    try {
      return [true, await work(stores[[node].flat()[0]], ...words)]
    } catch (error) {
      if (error instanceof Wrong) say('wrong', name, error.message)
      else say('error', node, describe(error))
      return [false, undefined]
    }
  }
  const acknowledged = new Map()
  let counted = 0
  let number = 0
  for (; !ended; number++) {
    const here = number % stores.length
    const there = (number + 1) % stores.length
    const [key, value] = [`${name}:${number}`, `value ${number}`]
    const [written] = await attempt(here, put, key, value)
    if (written) {
      acknowledged.set(number, value)
      const [read, got] = await attempt(there, get, key)
      if (read && got !== value) say('wrong', `${key} was written at node ${here}, and node ${there} answers ${got}`)
    }
    if (count) {
      const [done, total] = await attempt(here, count, `${name}:total`)
      if (done && total < ++counted) say('wrong', `${counted} additions were acknowledged, and the sum is ${total}`)
    }
    if (more) await attempt([here, there], more, number, stores[there])
    say('round', number)
    // Standard input is looked at between rounds.
    await others()
  }
  const end = Date.now() + END_MS
  for (const [at, value] of acknowledged) {
    let [read, got] = await attempt(at % stores.length, get, `${name}:${at}`)
    while (!read && Date.now() < end) {
      await others()
      ;[read, got] = await attempt(at % stores.length, get, `${name}:${at}`)
    }
    if (got !== value) say('wrong', `${name}:${at} was acknowledged, and is ${got} at the end`)
  }
  say('done', number, acknowledged.size)
  for (const store of stores) await close?.(store)
  process.exit(0)
}
