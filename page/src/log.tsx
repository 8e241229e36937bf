// What a job or a task has said.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, problem, type Problem } from "./api";
import { Line, Trouble } from "./parts";
import { t } from "./words";

/** A log: it grows at the end, is searched here, and can be kept as a file. */
export function Log({ question, said, live, file, line }: { question: string; said: Record<string, string>; live: boolean; file: string; line: string[] }): JSX.Element {
  const [text, setText] = useState("");
  const [lacks, setLacks] = useState("");
  const [heard, setHeard] = useState(false);
  const [trouble, setTrouble] = useState<Problem>();
  const [query, setQuery] = useState("");
  const box = useRef<HTMLPreElement>(null);
  const have = useRef(0);
  const follows = useRef(true);
  useEffect(() => {
    let timer = 0;
    let gone = false;
    const more = async () => {
      try {
        const found = await ask<{ text: string; length: number; lacks: string }>(question, { ...said, after: String(have.current) });
        if (gone) return;
        setText((old) => (have.current <= found.length ? old + found.text : found.text));
        have.current = found.length;
        setLacks(found.lacks);
        setHeard(true);
        setTrouble(undefined);
      } catch (error) {
        if (!gone) setTrouble(problem(error));
      }
      if (live && !gone) timer = setTimeout(() => void more(), document.hidden ? 15000 : 2000) as unknown as number;
    };
    void more();
    return () => { gone = true; clearTimeout(timer); };
  }, [question, ...Object.values(said), live]);
  useEffect(() => { if (follows.current && box.current) box.current.scrollTop = box.current.scrollHeight; }, [text, query]);
  const lines = text.split("\n");
  const shown = query ? lines.filter((line) => line.toLowerCase().includes(query.toLowerCase())) : lines;
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  return (
    <div class="log">
      <div class="bar-line">
        <h3>{t("Log")}{query && ` · ${t("{0} of {1} lines", shown.length, lines.length)}`}</h3>
        <input type="search" aria-label={t("Search the log")} placeholder={t("Search the log")} value={query} onInput={(event) => setQuery(event.currentTarget.value)} />
        <button type="button" onClick={save} disabled={!text}>{t("Download")}</button>
      </div>
      {trouble && <Trouble problem={trouble} />}
      {lacks && <div class="notice warm">{lacks}</div>}
      <pre ref={box} tabIndex={0} role="log" aria-label={t("Log")} onScroll={(event) => { const e = event.currentTarget; follows.current = e.scrollHeight - e.scrollTop - e.clientHeight < 40; }}>{shown.slice(-5000).join("\n") || (trouble ? "" : heard ? t("It has said nothing.") : "…")}</pre>
      <Line words={line} />
    </div>
  );
}
