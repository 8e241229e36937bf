// What works at a desk, asked of the desk itself while somebody looks.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, problem } from "./api";
import { Line, Trouble, length, size, useAnswer } from "./parts";
import { list, t } from "./words";

interface Gpu { name: string; use: number | null; memory: number | null; memory_of: number | null }
interface Load { cpu: number | null; memory: number | null; memory_of: number | null; disk: number | null; disk_of: number | null; gpus: Gpu[] }
interface Now { load: Load | null; works: string[]; unsaved: string[]; open: string[]; stays_seconds: number; why: string; remarks: { topic: string; text: string; fix: string }[] }
const EVERY = 10; // seconds

export function Working({ desk }: { desk: string }): JSX.Element {
  const [open, set] = useState(false);
  return (
    <details onToggle={(event) => set(event.currentTarget.open)}>
      <summary>{t("What works there")}</summary>
      {open && <Found desk={desk} />}
    </details>
  );
}

const share = (name: string, of: number | null): string => (of === null ? "" : `${name} ${Math.round(of * 100)} %`);
const part = (word: "memory {0} of {1}" | "disk {0} of {1}", some: number | null, all: number | null): string => (some === null || !all ? "" : t(word, size(some), size(all)));

function Found({ desk }: { desk: string }): JSX.Element {
  const { value, error } = useAnswer(() => ask<Now>("now", { name: desk }), [desk], EVERY);
  if (!value) return error === undefined ? <p class="muted" role="status">{t("Looking…")}</p> : <Trouble problem={problem(error)} />;
  const { load, works, unsaved, open, stays_seconds: stays, why, remarks } = value;
  const figures = load && [share("CPU", load.cpu), part("memory {0} of {1}", load.memory, load.memory_of), part("disk {0} of {1}", load.disk, load.disk_of),
    ...load.gpus.map((gpu) => [share(gpu.name, gpu.use), part("memory {0} of {1}", gpu.memory, gpu.memory_of)].filter(Boolean).join(", "))];
  return (
    <div class="working">
      {why && <div class="notice warm">{why}</div>}
      {works.length ? <ul class="plain">{works.map((what) => <li key={what}>{what}</li>)}</ul> : !why && <p>{t("Nothing works there just now.")}</p>}
      {unsaved.length > 0 && <div class="notice warm">{t("Not saved: {0}", list(unsaved))}</div>}
      {open.length > 0 && <p class="muted">{t("Open: {0}", list(open))}</p>}
      {remarks.map(({ topic, text, fix }) => <div class={fix ? "notice warm" : "muted"} key={topic}><span>{t("{0}: {1}", topic === "data" ? t("Data") : topic, text)}</span>{fix && <Line words={fix} label={t("What to do")} />}</div>)}
      <p class="muted">{[...(figures ?? []), stays > 0 && t("stays for another {0}", length(stays))].filter(Boolean).join(" · ")}</p>
    </div>
  );
}
