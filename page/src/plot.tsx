// Plots in SVG: they take the page's colours, and a table always stands beside them.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export interface Scale { (value: number): number; ticks: number[]; word: (value: number) => string; invert: (at: number) => number }

/** Round numbers that cover a range. */
export function scale(low: number, high: number, from: number, to: number, { log = false, word = String }: { log?: boolean; word?: (value: number) => string } = {}): Scale {
  if (!(high > low)) [low, high] = log ? [low / 2 || 0.1, (low || 1) * 2] : [low - (low ? Math.abs(low) / 2 : 0), low + (Math.abs(low) || 1)];
  const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const map = ((value: number) => from + (((log ? Math.log10(Math.max(value, 1e-9)) : value) - a) / (b - a)) * (to - from)) as Scale;
  map.invert = (at) => { const v = a + ((at - from) / (to - from)) * (b - a); return log ? 10 ** v : v; };
  map.ticks = log ? logTicks(low, high) : linearTicks(low, high, Math.max(2, Math.abs(to - from) / 55));
  map.word = word;
  return map;
}

function linearTicks(low: number, high: number, most: number): number[] {
  const rough = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 5, 10].find((n) => n * size >= rough) ?? 10);
  const found: number[] = [];
  for (let n = Math.ceil(low / step); n * step <= high + step * 1e-6; n++) found.push(Number((n * step).toPrecision(10)));
  return found;
}

function logTicks(low: number, high: number): number[] {
  const every = high / low > 3000 ? [1] : high / low > 60 ? [1, 3] : [1, 2, 5];
  const found: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) for (const n of every) if (n * 10 ** e >= low * 0.999 && n * 10 ** e <= high * 1.001) found.push(Number((n * 10 ** e).toPrecision(3)));
  return found;
}

/** How wide a part of the page is, now. */
export function useWidth(): [preact.RefObject<HTMLElement | null>, number] {
  const box = useRef<HTMLElement>(null);
  const [width, set] = useState(0);
  useEffect(() => {
    if (!box.current) return;
    const watch = new ResizeObserver(([entry]) => set(Math.floor(entry?.contentRect.width ?? 0)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

interface PlotProps {
  label: string; x: string; y: string; height?: number; left?: number;
  scales: (width: number, height: number) => [Scale, Scale];
  children: (x: Scale, y: Scale, width: number, height: number) => ComponentChildren;
}
const TOP = 12;
const BOTTOM = 42;
const RIGHT = 12; // beside the last number of the axis below, which may be wider

/** Axes, a quiet grid, and what is drawn between them. */
export function Plot({ label, x: xName, y: yName, height = 300, left = 58, scales, children }: PlotProps): JSX.Element {
  const [box, width] = useWidth();
  const w = Math.max(0, width - left - RIGHT);
  const h = height - TOP - BOTTOM;
  const draw = () => {
    const [x, y] = scales(w, h);
    return (
      <svg width={width} height={height} role="img" aria-label={label}>
        <g transform={`translate(${left} ${TOP})`}>
          {y.ticks.map((tick) => <g key={tick} transform={`translate(0 ${y(tick)})`}><line x2={w} class="grid" /><text x={-8} dy=".32em" text-anchor="end">{y.word(tick)}</text></g>)}
          {x.ticks.map((tick) => <text key={tick} x={Math.min(x(tick), w + RIGHT - 3.6 * x.word(tick).length)} y={h + 17} text-anchor="middle">{x.word(tick)}</text>)}
          <line y1={h} y2={h} x2={w} class="axis" />
          {children(x, y, w, h)}
          <text x={w / 2} y={h + 37} text-anchor="middle" class="name">{xName}</text>
          <text transform={`translate(${14 - left} ${h / 2})${yName.length > 1 ? " rotate(-90)" : ""}`} text-anchor="middle" class="name">{yName}</text>
        </g>
      </svg>
    );
  };
  return <figure class="plot" ref={box}>{width > 0 && draw()}</figure>;
}

/** Many points as one path: those on the same pixel are drawn once, and neighbours in a line as one stroke with the same round ends. */
export class Dots {
  private readonly marks: Uint8Array;
  constructor(private readonly width: number, private readonly height: number) {
    this.marks = new Uint8Array((width + 1) * (height + 1));
  }
  add(x: number, y: number): void {
    const [column, line] = [Math.round(x), Math.round(y)];
    if (column >= 0 && column <= this.width && line >= 0 && line <= this.height) this.marks[line * (this.width + 1) + column] = 1;
  }
  path(): string {
    let path = "";
    const wide = this.width + 1;
    for (let at = this.marks.indexOf(1); at >= 0; at = this.marks.indexOf(1, at)) {
      const [from, end] = [at, at - (at % wide) + wide];
      while (++at < end && this.marks[at]);
      path += `M${from % wide} ${Math.floor(from / wide)}h${at - from - 1 || 0.01}`;
    }
    return path;
  }
}

/** Prices that hold until the next: a line of steps, with gaps where nothing is known. */
export function steps(values: (number | null)[], x: (n: number) => number, y: (value: number) => number): string {
  let path = "";
  let open = false;
  values.forEach((value, n) => {
    if (value === null) { open = false; return; }
    path += open ? `H${x(n).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(n).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
  });
  return path;
}

export const COLOURS = ["a", "b", "c", "d", "e"] as const;

/** What a colour and a dash stand for. */
export function Legend({ names, dots: points = false }: { names: string[]; dots?: boolean }): JSX.Element {
  return (
    <ul class="legend">
      {names.map((name, n) => <li key={name}><svg width="22" height="12" aria-hidden="true">{points ? <path d="M11 6h.01" class={`dots ${COLOURS[n % 5]}`} /> : <line x1="1" x2="21" y1="6" y2="6" class={`series ${COLOURS[n % 5]} d${Math.floor(n / 5) % 3}`} />}</svg>{name}</li>)}
    </ul>
  );
}
