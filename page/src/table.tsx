// A table of any length: only what is in view is drawn, and a column keeps its width whatever comes into view. Arrow keys, Page, Home and End move; Enter chooses.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { t } from "./words";

export interface Column<R> { name: string; cell: (row: R) => ComponentChildren; right?: boolean; sort?: string; narrow?: boolean; wide?: number }
interface TableProps<R> {
  label: string; columns: Column<R>[]; rows: ArrayLike<R>; height?: number; sorted?: string; falling?: boolean;
  onSort?: (by: string) => void; onChoose?: (row: R) => void; chosen?: R;
  of?: string; // what the rows were chosen by: while it stays, rows come and go without a jump to the first
}
const ROW = 36;
const REST = 150; // milliseconds without a leap

export function Table<R>({ label, columns, rows, height = 520, sorted, falling, onSort, onChoose, chosen, of }: TableProps<R>): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [at, setAt] = useState(0);
  const tall = Math.min(height, rows.length * ROW + ROW + 18);
  const [leaps, setLeaps] = useState(false); // while every look shows other rows, none is drawn besides those in view
  const beyond = leaps ? 0 : 5;
  const first = Math.max(0, Math.min(Math.floor(top / ROW) - beyond, rows.length - 1));
  const most = Math.ceil(height / ROW) + 10;
  const last = Math.min(rows.length, leaps ? first + Math.ceil(tall / ROW) : first + most);
  const ring = useRef({ first: 0, base: 0 });
  if (Math.abs(first - ring.current.first) >= most / 2) ring.current.base += first - ring.current.first; // a leap: the rows stay where they are, and change
  ring.current.first = first;
  const rest = useRef(0);
  const scrolled = (y: number) => {
    if (Math.abs(y - top) >= tall) {
      clearTimeout(rest.current);
      rest.current = setTimeout(() => setLeaps(false), REST) as unknown as number;
      setLeaps(true);
    }
    setTop(y);
  };
  useEffect(() => () => clearTimeout(rest.current), []);
  useEffect(() => {
    setAt(0);
    setTop(0);
    if (box.current) box.current.scrollTop = 0;
  }, [of ?? rows.length, sorted, falling]);
  const move = (event: KeyboardEvent) => {
    if (event.target !== box.current) return;
    if (event.key === "Enter" && onChoose && rows[at] !== undefined) return onChoose(rows[at]);
    const page = Math.floor(tall / ROW) - 2;
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
    if (!by || !box.current) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(rows.length - 1, at + by));
    setAt(next);
    const y = next * ROW;
    if (y < box.current.scrollTop) box.current.scrollTop = y;
    else if (y > box.current.scrollTop + tall - 3 * ROW) box.current.scrollTop = y - tall + 3 * ROW;
  };
  const shown: JSX.Element[] = [];
  for (let n = first; n < last; n++) {
    const row = rows[n] as R; // by its key, a row that stays in view is not drawn anew when the table scrolls
    shown.push(<TableRow<R> key={(((n - ring.current.base) % most) + most) % most} row={row} n={n} columns={columns} at={n === at} chosen={chosen !== undefined && row === chosen} can={Boolean(onChoose)} onClick={() => { setAt(n); onChoose?.(row); }} />);
  }
  return (
    <div class="table" ref={box} tabIndex={0} role="region" aria-label={`${label}: ${t("{0} rows; arrow keys move", rows.length)}`} style={{ height: `${tall}px` }}
      onKeyDown={move} onScroll={(event) => { const y = event.currentTarget.scrollTop; requestAnimationFrame(() => scrolled(y)); }}>
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.sort ?? column.name} scope="col" style={{ width: `${column.wide ?? 5}rem` }} class={`${column.right ? "right" : ""} ${column.narrow ? "" : "wide"}`}
                aria-sort={column.sort && column.sort === sorted ? (falling ? "descending" : "ascending") : undefined}>
                {column.sort && onSort ? <button type="button" onClick={() => onSort(column.sort as string)}>{column.name}<span aria-hidden="true">{column.sort === sorted ? (falling ? " ↓" : " ↑") : ""}</span></button> : column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr aria-hidden="true"><td style={{ height: `${first * ROW}px`, padding: 0 }} /></tr>}
          {shown}
          {last < rows.length && <tr aria-hidden="true"><td style={{ height: `${(rows.length - last) * ROW}px`, padding: 0 }} /></tr>}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps<R> { row: R; n: number; columns: Column<R>[]; at: boolean; chosen: boolean; can: boolean; onClick: () => void }

/** Drawn anew only with another row, or when the view above gives other columns. */
function TableRow<R>({ row, n, columns, at, chosen, can, onClick }: RowProps<R>): JSX.Element {
  return useMemo(() => (
    <tr aria-rowindex={n + 2} class={`${at ? "at" : ""} ${chosen ? "chosen" : ""} ${can ? "can" : ""}`} onClick={onClick}>
      {columns.map((column) => <td key={column.sort ?? column.name} class={`${column.right ? "right" : ""} ${column.narrow ? "" : "wide"}`}>{column.cell(row)}</td>)}
    </tr>
  ), [row, n, columns, at, chosen, can]);
}
