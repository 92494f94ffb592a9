// A chart with time below. All charts on a page share one cursor.

import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { useStore } from '../data/store'
import { painted } from '../theme'

export interface Line {
  label: string
  /** Null cuts the line, undefined leaves it out: nothing to measure there. */
  values: (number | null | undefined)[]
  /** Which colour, counted from 0; the dashes go along, so that colour is not all that tells lines apart. */
  style: number
  format: (value: number) => string
}

interface Props {
  times: number[]
  lines: Line[]
  format: (value: number) => string
  from: number
  to: number
  log?: boolean
  top?: number
}

const HEIGHT = 190
const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-4']
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]]
const MARKERS = ['solid', 'dashed', 'dotted', 'double']

export function Plot({ times, lines, format, from, to, log, top }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const paint = useStore(painted)
  const shape = lines.map((line) => line.label).join()
  const range = useRef<[number, number]>([from, to])
  range.current = [from, to]
  const data = [times, ...lines.map((line) => line.values)] as uPlot.AlignedData
  const newest = useRef(data)
  newest.current = data

  useEffect(() => {
    const element = box.current
    if (!element) return
    const css = getComputedStyle(element)
    const colour = (name: string) => css.getPropertyValue(name).trim()
    const axis = {
      stroke: colour('--muted'),
      grid: { stroke: colour('--rule'), width: 1 },
      ticks: { show: false },
      font: `11px ${css.fontFamily}`,
    }
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        padding: [8, 26, 0, 0],
        cursor: { sync: { key: 'lockstep' }, drag: { x: false, y: false }, points: { size: 6 } },
        legend: { live: true, markers: { width: 2, dash: (_, line) => MARKERS[(lines[line - 1]?.style ?? 0) % MARKERS.length] } },
        scales: {
          x: { range: () => range.current },
          y: log ? { distr: 3, range: logRange } : { range: (_, __, high) => [0, top ?? Math.max(1, high * 1.08)] },
        },
        axes: [
          { ...axis, size: 26, space: 56, values: (_, ticks) => ticks.map(timeOf) },
          { ...axis, size: 62, ...(log ? { grid: { ...axis.grid, filter: decades }, filter: decades } : {}), values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : format(tick))) },
        ],
        series: [
          { label: 'Time', value: (self, s) => (s === null ? (self.cursor.idx == null ? 'newest' : '–') : new Date(s * 1_000).toLocaleTimeString('en-GB')) },
          ...lines.map(({ label, style, format: show }) => ({
            label,
            stroke: colour(COLOURS[style % COLOURS.length]),
            dash: DASHES[style % DASHES.length],
            width: 1.5,
            // Few values are points, so that one sees where there was something to measure.
            points: { size: 4, width: 1, show: (self: uPlot, line: number, from: number, to: number) => fewKnown(self.data[line], from, to) },
            // Where nobody points, the newest value is the one that counts.
            value: (self: uPlot, value: number | null | undefined, line: number) => {
              const said = value ?? (self.cursor.idx == null ? lastOf(self.data[line]) : null)
              return said === null ? '–' : show(said)
            },
          })),
        ],
      },
      newest.current,
      element,
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = null
    }
    // The lines' shape and the colours need a new chart; data does not.
  }, [shape, paint, log, top, format])

  useEffect(() => {
    plot.current?.setData(newest.current)
  }, [times, from, to])

  return <div className="plot" ref={box} aria-hidden="true" />
}

/** Seconds only where they say something. */
function timeOf(s: number): string {
  const text = new Date(s * 1_000).toLocaleTimeString('en-GB')
  return s % 60 ? text : text.slice(0, 5)
}

/** The newest value that there is. */
function lastOf(values: uPlot.AlignedData[number]): number | null {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] != null) return values[i] as number
  return null
}

const POINTS_MAX = 60

function fewKnown(values: uPlot.AlignedData[number], from: number, to: number): boolean {
  let known = 0
  for (let i = from; i <= to && known <= POINTS_MAX; i += 1) if (values[i] != null) known += 1
  return known <= POINTS_MAX && known < (to - from) / 2
}

function decades(_: uPlot, ticks: number[]): (number | null)[] {
  return ticks.map((tick) => (Number.isInteger(Math.log10(tick)) ? tick : null))
}

/** Whole decades, so that the labels do not move with each sample. */
function logRange(_: uPlot, low: number | null, high: number | null): [number, number] {
  const bottom = 10 ** Math.floor(Math.log10(Math.max(1, low ?? 100)))
  const top = 10 ** Math.ceil(Math.log10(Math.max(10, high ?? 10_000)))
  return [bottom, Math.max(top, bottom * 10)]
}
