// What is wrong and how to mend it; and hotdesk.toml, checked before it is written.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, post, problem, type Problem } from "./api";
import { Line, Trouble, useAnswer } from "./parts";
import { t } from "./words";

interface Finding { level: string; what: string; why?: string; fix?: string; mends?: string }
interface Settings { path: string; text: string; faults: { what: string; why: string }[] }

export function Doctor(): JSX.Element {
  const found = useAnswer(() => ask<Finding[]>("doctor"), []);
  const [trouble, setTrouble] = useState<Problem>();
  const mendable = found.value?.some((finding) => finding.mends);
  const mend = () => post("mend", {}).then(found.again, (error: unknown) => setTrouble(problem(error)));
  const order = ["bad", "note", "ok"];
  return (
    <>
      <div class="title"><h1>{t("Doctor")}</h1>
        <div class="buttons right">
          {mendable && <button type="button" class="primary" onClick={() => void mend()}>{t("Mend what is safe")}</button>}
          <button type="button" onClick={found.again} disabled={found.busy}>{found.busy ? t("Looking…") : t("Look again")}</button>
        </div>
      </div>
      {trouble && <Trouble problem={trouble} onClose={() => setTrouble(undefined)} />}
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      <ul class="findings" aria-live="polite">
        {[...(found.value ?? [])].sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level)).map((finding) => (
          <li key={finding.what + finding.why} class={finding.level}>
            <span class="mark" role="img" aria-label={t(finding.level === "bad" ? "wrong" : finding.level === "note" ? "worth knowing" : "in order")}>{finding.level === "bad" ? "✗" : finding.level === "note" ? "•" : "✓"}</span>
            <div><span>{finding.what}</span>{finding.why && <small>{finding.why}</small>}{finding.fix && <Line words={finding.fix} label={t("What to do")} />}</div>
          </li>
        ))}
      </ul>
      <SettingsEditor />
    </>
  );
}

function SettingsEditor(): JSX.Element {
  const read = useAnswer(() => ask<Settings>("settings"), []);
  const [text, setText] = useState<string>();
  const [faults, setFaults] = useState<{ what: string; why: string }[]>([]);
  const [trouble, setTrouble] = useState<Problem>();
  const [written, setWritten] = useState(false);
  const was = read.value?.text ?? "";
  const now = text ?? was;
  useEffect(() => {
    if (text === undefined) return;
    setWritten(false);
    const timer = setTimeout(() => post<{ faults: typeof faults }>("settings", { text, was, check_only: true }).then((found) => setFaults(found.faults), () => undefined), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const write = async () => {
    try {
      await post("settings", { text: now, was });
      setTrouble(undefined);
      setWritten(true);
      read.again();
    } catch (error) {
      setTrouble(problem(error));
    }
  };
  const shown = text === undefined ? (read.value?.faults ?? []) : faults;
  return (
    <section class="card">
      <header><div><h2>{t("Settings")}</h2><p class="muted"><code>{read.value?.path}</code></p></div></header>
      {read.error !== undefined && <Trouble problem={problem(read.error)} />}
      <textarea rows={Math.min(24, Math.max(8, now.split("\n").length + 1))} spellcheck={false} aria-label="hotdesk.toml" value={now} placeholder={'[defaults]\nusd_per_month = 50.0\n\n[desks.blue]\ngpu = "L4"\nidle = "45m"'}
        onInput={(event) => setText(event.currentTarget.value)} />
      {shown.map((fault) => <div class="notice bad" role="alert" key={fault.why}><strong>{fault.what}</strong><p>{fault.why}</p></div>)}
      {trouble && <Trouble problem={trouble} onClose={() => setTrouble(undefined)} />}
      <div class="buttons end">
        <span class="muted" role="status">{written ? t("Written.") : shown.length ? "" : now !== was ? t("It can be used as it is.") : ""}</span>
        <button type="button" disabled={now === was} onClick={() => setText(was)}>{t("Undo")}</button>
        <button type="button" class="primary" disabled={now === was || shown.length > 0} onClick={() => void write()}>{t("Save")}</button>
      </div>
    </section>
  );
}
