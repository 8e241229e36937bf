// Parallel coordinates: an axis for each parameter and one for the metric, a line for each task.
import type { JSX } from "preact";
import { scale, useWidth } from "./plot";

export type Scalar = string | number | boolean;
export interface Told<R> { name: string; of: (row: R) => Scalar | undefined }
interface Axis<R> { name: string; y: (row: R) => number; ticks: [number, string][] }
const TOP = 34;
const BOTTOM = 12;
const LEAST = 96; // pixels between two axes
const MOST_WORDS = 12;

/** A value in few characters: a number by its first five digits. */
export function short(value: Scalar | undefined): string {
  if (typeof value !== "number") return value === undefined ? "" : String(value);
  const rounded = Number(value.toPrecision(5));
  return rounded && Math.abs(rounded) < 0.001 ? rounded.toExponential() : String(rounded);
}

/** Numbers go up; where they are all above 0 and span a factor of 50, by their logarithm. Words come in their order. */
function axis<R>({ name, of }: Told<R>, rows: R[], height: number): Axis<R> {
  const values = [...new Set(rows.map(of) as Scalar[])];
  if (values.every((value) => typeof value === "number")) {
    const numbers = (values as number[]).sort((a, b) => a - b);
    const [low, high] = [numbers[0] as number, numbers.at(-1) as number];
    const y = scale(low, high, height, 0, { log: low > 0 && high / low >= 50 });
    const ticks = numbers.length <= 7 ? numbers : y.ticks;
    return { name, y: (row) => y(of(row) as number), ticks: ticks.map((tick) => [y(tick), short(tick)]) };
  }
  const words = values.map(String).sort();
  const place = new Map(words.map((word, n) => [word, words.length > 1 ? height - (n / (words.length - 1)) * height : height / 2]));
  const every = Math.ceil(words.length / MOST_WORDS);
  return { name, y: (row) => place.get(String(of(row))) ?? 0, ticks: words.filter((_, n) => n % every === 0).map((word) => [place.get(word) ?? 0, word]) };
}

interface ParallelProps<R> { label: string; rows: R[]; told: Told<R>[]; best: Set<R>; chosen?: R; onChoose: (row: R) => void; height?: number }

export function Parallel<R>({ label, rows, told, best, chosen, onChoose, height = 320 }: ParallelProps<R>): JSX.Element {
  const [box, width] = useWidth();
  const complete = rows.filter((row) => told.every(({ of }) => of(row) !== undefined));
  const draw = () => {
    const h = height - TOP - BOTTOM;
    const left = 70;
    const wide = Math.max(width, left + 24 + LEAST * (told.length - 1));
    const x = (n: number) => left + (told.length > 1 ? (n / (told.length - 1)) * (wide - left - 24) : 0);
    const axes = told.map((one) => axis(one, complete, h));
    const line = (row: R) => axes.map(({ y }, n) => `${n ? "L" : "M"}${x(n).toFixed(1)} ${(TOP + y(row)).toFixed(1)}`).join("");
    const lines = (some: R[]) => some.map(line).join("");
    const choose = (event: MouseEvent) => {
      const at = (event.currentTarget as SVGElement).getBoundingClientRect();
      const [px, py] = [event.clientX - at.left, event.clientY - at.top - TOP];
      const n = Math.max(0, Math.min(axes.length - 2, Math.floor(((px - left) / (wide - left - 24)) * (axes.length - 1))));
      const share = axes.length > 1 ? (px - x(n)) / (x(n + 1) - x(n)) : 0;
      const far = (row: R) => { const [a, b] = [axes[n]?.y(row) ?? 0, (axes[n + 1] ?? axes[n])?.y(row) ?? 0]; return Math.abs(a + (b - a) * share - py); };
      let nearest: R | undefined;
      for (const row of complete) if (nearest === undefined || far(row) < far(nearest)) nearest = row;
      if (nearest !== undefined && far(nearest) < 12) onChoose(nearest);
    };
    return (
      <svg width={wide} height={height} role="img" aria-label={label} onClick={choose}>
        <path class={`threads ${complete.length > 200 ? "many" : ""}`} d={lines(complete.filter((row) => !best.has(row)))} />
        <path class={`series a ${best.size > 20 ? "thin" : ""}`} d={lines(complete.filter((row) => best.has(row)))} />
        {chosen !== undefined && complete.includes(chosen) && <path class="front thick" d={line(chosen)} />}
        {axes.map(({ name, ticks }, n) => (
          <g key={n} transform={`translate(${x(n)} ${TOP})`}>
            <line y2={h} class="axis" />
            <text y={-18} text-anchor={n && n === axes.length - 1 ? "end" : "middle"} dx={n && n === axes.length - 1 ? 22 : 0} class="name head"><title>{name}</title>{name.length > 14 ? `${name.slice(0, 13)}…` : name}</text>
            {ticks.map(([at, word]) => <text key={word} x={-6} y={at} dy=".32em" text-anchor="end" class="over">{word.length > 9 ? `${word.slice(0, 8)}…` : word}</text>)}
          </g>
        ))}
      </svg>
    );
  };
  return <figure class="plot across" ref={box} tabIndex={0} role="group" aria-label={label}>{width > 0 && draw()}</figure>;
}
