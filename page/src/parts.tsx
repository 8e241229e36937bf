// Small parts that every view is made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { shellLine, type Amount, type Problem, type Sum } from "./api";
import { t, said, type Word } from "./words";

export const usd = (amount: number, digits = 2): string =>
  `$${amount.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;

/** Four digits, or all before the point. */
export const figure = (amount: number): string => amount.toLocaleString("en-US", Math.abs(amount) < 999.95 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 });

/** Money as its cloud tells it; with its dollars, where a rate is set. */
export const money = (amount: number, told?: Amount | null, digits = 2): string => (told ? told.text + (told.day ? ` (${usd(amount, digits)})` : "") : usd(amount, digits));

/** Money a month as its cloud tells it; with its dollars, where a rate is set. */
export const perMonth = (amount: number, told?: Amount | null): string => t("{0} a month", told?.text ?? usd(amount)) + (told?.day ? ` (${usd(amount)})` : "");

/** A price an hour, likewise: as many digits as it takes. */
export const perHour = (amount: number, told?: Amount | null): string =>
  told ? t("{0}/h", told.text) + (told.day ? ` ($${figure(amount)})` : "") : amount ? t("${0}/h", figure(amount)) : t("free");

/** A sum, of which dollars are said so; what cannot be added to them stands beside them. */
export const together = ({ usd: amount, besides }: Sum, dollars: (amount: number) => string, each: (text: string) => string = String): string =>
  [...(amount || !besides.length ? [dollars(amount)] : []), ...besides.map(each)].join(" + ");

/** A length of time in the unit that reads best. */
export function length(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 60) return t("{0} s", Math.floor(s));
  if (s < 5400) return t("{0} min", Math.round(s / 60));
  if (s < 172800) return t("{0} h", Number((s / 3600).toPrecision(2)));
  return t("{0} d", Math.round(s / 86400));
}

/** Bytes, in the unit that gives it few digits. */
export const size = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : bytes >= 2 ** 20 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;

export const clock = (at: number): string =>
  new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export const date = (at: number): string => new Date(at * 1000).toISOString().slice(0, 10);

/** Copies a text, and says so. */
export function Copy({ text, label = t("Copy") }: { text: string; label?: string }): JSX.Element {
  const [done, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    set(true);
    setTimeout(() => set(false), 1500);
  };
  return (
    <button type="button" class="quiet" onClick={() => void copy()} aria-label={`${label}: ${text}`}>
      <span aria-live="polite">{done ? t("Copied") : label}</span>
    </button>
  );
}

/** A line for the terminal, to copy. */
export function Line({ words, label }: { words: string[] | string; label?: string }): JSX.Element {
  const text = typeof words === "string" ? words : shellLine(words);
  return (
    <div class="line">
      <code tabIndex={0} role="group" aria-label={label ?? t("Command")}>{text}</code>
      <Copy text={text} label={label ? t("Copy") : t("Copy as command")} />
    </div>
  );
}

/** What happened, why, and what to do. */
export function Trouble({ problem, children, onClose }: { problem: Problem; children?: ComponentChildren; onClose?: () => void }): JSX.Element {
  return (
    <div class="notice bad" role="alert">
      <strong>{problem.what}</strong>
      {problem.why && <p>{problem.why}</p>}
      {problem.fix && <Line words={problem.fix} label={t("What to do")} />}
      {(children || onClose) && (
        <div class="buttons">
          {children}
          {onClose && <button type="button" class="quiet" onClick={onClose}>{t("Dismiss")}</button>}
        </div>
      )}
    </div>
  );
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }): JSX.Element {
  return (
    <label class="field">
      <span>{label}{hint && <small>{hint}</small>}</span>
      {children}
    </label>
  );
}

/** A dialog over the page; Esc and the button close it. The browser keeps the focus inside. */
export function Dialog({ title, children, onClose }: { title: string; children: ComponentChildren; onClose: () => void }): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const [dialog, from] = [box.current, document.activeElement as HTMLElement | null];
    dialog?.showModal();
    return () => { // it is out of the page by now, so that the browser gives no focus back
      dialog?.close();
      (from?.isConnected ? from : document.getElementById("main"))?.focus();
    };
  }, []);
  return (
    <dialog ref={box} aria-label={title} onCancel={(event) => { event.preventDefault(); onClose(); }}
      onMouseDown={(event) => event.target === box.current && onClose()}>
      <div class="inside">
        <header>
          <h2>{title}</h2>
          <button type="button" class="quiet close" aria-label={t("Close")} onClick={onClose}>✕</button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** What is asked for, while it comes: the last answer stays meanwhile. */
export function useAnswer<T>(call: () => Promise<T>, on: unknown[], every = 0): { value?: T; error?: unknown; busy: boolean; again: () => void } {
  const [found, set] = useState<{ value?: T; error?: unknown; busy: boolean }>({ busy: true });
  const [round, next] = useState(0);
  useEffect(() => {
    let gone = false;
    let timer = 0;
    const look = () => { // a page that nobody sees asks nothing until it is seen
      if (gone) return;
      if (document.hidden) document.addEventListener("visibilitychange", look, { once: true });
      else next((n) => n + 1);
    };
    set((old) => ({ ...old, busy: true }));
    call().then(
      (value) => { if (!gone) set({ value, busy: false }); },
      (error: unknown) => { if (!gone) set((old) => ({ ...old, error, busy: false })); },
    ).finally(() => {
      if (!gone && every) timer = setTimeout(look, every * 1000) as unknown as number;
    });
    return () => { gone = true; clearTimeout(timer); };
  }, [...on, round]);
  return { ...found, again: () => next((n) => n + 1) };
}

const SIGNS: Record<string, [string, string]> = {
  ready: ["full", "up"], pending: ["half", "moving"], stopping: ["half", "moving"], stopped: ["ring", "warm"],
  parked: ["diamond", "saved"], saving: ["half", "saved"], verifying: ["half", "saved"], ending: ["half", "moving"],
  unknown: ["question", "warm"],
};

/** A desk's state as a shape and a colour; the word stands beside it. */
export function Sign({ phase }: { phase: string }): JSX.Element {
  const [shape, colour] = SIGNS[phase] ?? ["dot", "none"];
  return (
    <svg class={`sign ${colour} ${shape}`} viewBox="0 0 16 16" aria-hidden="true">
      {shape === "full" && <circle cx="8" cy="8" r="5.5" class="fill" />}
      {shape === "ring" && <circle cx="8" cy="8" r="4.8" class="stroke" />}
      {shape === "diamond" && <path d="M8 2.2 13.8 8 8 13.8 2.2 8Z" class="fill" />}
      {shape === "half" && <><circle cx="8" cy="8" r="5" class="stroke faint" /><path d="M8 3a5 5 0 0 1 5 5" class="stroke" /></>}
      {shape === "question" && <path d="M5.6 5.8a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2.9-1.2 1.7m0 2.4v.1" class="stroke" />}
      {shape === "dot" && <circle cx="8" cy="8" r="2" class="fill" />}
    </svg>
  );
}

/** A phase in words. */
export const phaseWord = (phase: string): string => (said(phase) ? t(phase as never) : phase);

const MARKS: Record<string, string> = {
  running: "●", starting: "◐", waiting: "◌", interrupted: "◐", ended: "◐", stopping: "◐", ending: "◐", done: "✓", failed: "✗", cancelled: "–", stopped: "–", lost: "?", up: "●", wanted: "◌", leaving: "◐", gone: "–",
};

/** The state of a job, a sweep, a task or a machine in words. */
export const stateWord = (state: string): string => { const word = `job ${state}`; return said(word) ? t(word as Word) : state; };

/** It with its mark. */
export const StateWord = ({ state }: { state: string }): JSX.Element => <span class={`state-${state}`}><span aria-hidden="true">{MARKS[state]}</span> {stateWord(state)}</span>;
