// What is known now: one stream of events, all at first and then the differences. A page that nobody sees holds none,
// so that many tabs do not use up a browser's connections to one host.
import { useEffect, useState } from "preact/hooks";
import type { Act, Desk, Look, Row } from "./api";

export interface Known {
  desks: Record<string, Desk>; acts: Record<string, Act>; look: Look; rows: Row[];
  heard: boolean; // anything at all yet
  lost: number; // since when nothing is heard, in seconds; 0: it is
  refused: boolean; // the server is another one now, and does not know this browser
}
type Parts = { desks?: Record<string, Partial<Desk>>; acts?: Record<string, Partial<Act>>; look?: { last?: Look } };
type Message = Parts & { rows?: Row[]; gone?: Record<"desks" | "acts" | "look", string[] | undefined> };

export const known: Known = { desks: {}, acts: {}, look: {}, rows: [], heard: false, lost: 0, refused: false };
const MOST_ROWS = 400;
const listeners = new Set<() => void>();
let source: EventSource | undefined;
let drawn = 0;

function changed(): void {
  drawn ||= requestAnimationFrame(() => {
    drawn = 0;
    for (const listener of listeners) listener();
  });
}

function merge<T extends object>(into: Record<string, T>, news: Record<string, Partial<T>> | undefined, gone: string[] = []): Record<string, T> {
  if (!news && !gone.length) return into;
  const all = { ...into };
  for (const [name, fields] of Object.entries(news ?? {})) all[name] = { ...all[name], ...fields } as T;
  for (const name of gone) delete all[name];
  return all;
}

function hear(message: Message, fresh: boolean): void {
  if (fresh) Object.assign(known, { desks: {}, acts: {}, look: {}, rows: [] });
  known.desks = merge(known.desks, message.desks, message.gone?.desks);
  known.acts = merge(known.acts, message.acts, message.gone?.acts);
  if (message.look?.last) known.look = { ...known.look, ...message.look.last };
  if (message.rows) {
    const ids = new Set(message.rows.map((row) => row.id));
    known.rows = [...known.rows.filter((row) => !ids.has(row.id)), ...message.rows].sort((a, b) => a.id - b.id).slice(-MOST_ROWS);
  }
  Object.assign(known, { heard: true, lost: 0, refused: false });
  changed();
}

function listen(): void {
  source?.close();
  if (document.hidden) return;
  const mine = (source = new EventSource("/api/events"));
  mine.addEventListener("all", (event) => hear(JSON.parse(event.data as string) as Message, true));
  mine.addEventListener("change", (event) => hear(JSON.parse(event.data as string) as Message, false));
  mine.addEventListener("error", () => {
    known.lost ||= Date.now() / 1000;
    changed();
    if (mine.readyState !== EventSource.CLOSED || source !== mine) return; // else the browser tries again by itself
    void fetch("/icon.svg", { cache: "no-store" }).then((reply) => { known.refused = reply.status === 401; changed(); }, () => undefined);
    setTimeout(() => source === mine && listen(), 2000);
  });
}

/** Begin to listen, for as long as the page is seen. */
export function begin(): void {
  document.addEventListener("visibilitychange", listen);
  listen();
}

/** What is known, in a component that is drawn anew when it changes. */
export function useKnown(): Known {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((n) => n + 1);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return known;
}

/** The time in seconds, again and again. */
export function useNow(every = 1): number {
  const [now, set] = useState(Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => set(Date.now() / 1000), every * 1000);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
