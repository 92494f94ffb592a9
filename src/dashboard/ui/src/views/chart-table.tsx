// The same figures as a chart's, in words: for screen readers, and for who wants to copy them.

import { useState } from 'react'
import { clock, NONE } from '../format'
import type { Line } from '../parts/plot'

const ROWS_MAX = 30

export function ChartTable({ times, lines, title }: { times: number[]; lines: Line[]; title: string }) {
  const [open, setOpen] = useState(false)
  return (
    <details className="chart-table" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span className="unseen">{title} </span>as a table
      </summary>
      {open && <Table times={times} lines={lines} />}
    </details>
  )
}

function Table({ times, lines }: { times: number[]; lines: Line[] }) {
  const step = Math.max(1, Math.ceil(times.length / ROWS_MAX))
  const starts: number[] = []
  for (let end = times.length; end > 0; end -= step) starts.push(Math.max(0, end - step))
  return (
    <div className="scroll">
      <table>
        <caption>Newest first; each row is the mean of {step === 1 ? '1 second' : `${step} seconds`}</caption>
        <thead>
          <tr>
            <th scope="col">From</th>
            {lines.map((line) => (
              <th key={line.label} scope="col" className="number">
                {line.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {starts.map((start) => (
            <tr key={start}>
              <th scope="row">{clock(times[start] * 1_000)}</th>
              {lines.map((line) => (
                <td key={line.label} className="number">
                  {meanOf(line, start, start + step)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function meanOf({ values, format }: Line, start: number, end: number): string {
  const known = values.slice(start, end).filter((value): value is number => value != null)
  return known.length ? format(known.reduce((sum, value) => sum + value, 0) / known.length) : NONE
}
