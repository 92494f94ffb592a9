// Two texts side by side, line by line.

export interface Pair {
  left: string | null
  right: string | null
  same: boolean
}

/** Above this many lines on a side, lines are compared by position only. */
const LINES_MAX = 600

export function diff(left: string, right: string): Pair[] {
  const a = left.split('\n')
  const b = right.split('\n')
  if (a.length > LINES_MAX || b.length > LINES_MAX) {
    return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => pair(a[i] ?? null, b[i] ?? null))
  }
  // Length of the longest common run of lines from here to the end.
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1))
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1])
    }
  }
  const pairs: Pair[] = []
  let gone: string[] = []
  let came: string[] = []
  const settle = () => {
    for (let k = 0; k < Math.max(gone.length, came.length); k += 1) pairs.push(pair(gone[k] ?? null, came[k] ?? null))
    gone = []
    came = []
  }
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      settle()
      pairs.push(pair(a[i++], b[j++]))
    } else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) gone.push(a[i++])
    else came.push(b[j++])
  }
  settle()
  return pairs
}

function pair(left: string | null, right: string | null): Pair {
  return { left, right, same: left === right }
}
