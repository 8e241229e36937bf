// What is done at a desk that runs, besides its terminal: files to and from it, an editor, a bigger disk, and its Jupyter without a tunnel.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { post, problem, type Desk, type Problem, type Verb } from "./api";
import { Check } from "./options";
import { Dialog, Field, Line, Trouble, size } from "./parts";
import { usePlan } from "./start";
import { list, t } from "./words";

export function Reached({ desk, busy, onVerb }: { desk: Desk; busy: boolean; onVerb: (verb: Verb) => void }): JSX.Element {
  const [files, setFiles] = useState<"push" | "pull">();
  const [editor, setEditor] = useState(false);
  return (
    <details>
      <summary>{t("Files, editor, disk")}</summary>
      <div class="buttons">
        <button type="button" class="quiet" onClick={() => setFiles("push")}>{t("Send files")}</button>
        <button type="button" class="quiet" onClick={() => setFiles("pull")}>{t("Fetch files")}</button>
        <button type="button" class="quiet" onClick={() => setEditor(true)}>VS Code</button>
        {desk.provider !== "local" && <button type="button" class="quiet" disabled={busy} onClick={() => onVerb("disk")}>{t("Enlarge the disk")}</button>}
      </div>
      {files && <Files desk={desk} verb={files} onClose={() => setFiles(undefined)} />}
      {editor && <Editor desk={desk} onClose={() => setEditor(false)} />}
    </details>
  );
}

interface Sent { line: string[]; files: number; names: string[]; bytes: number | null }

/** Which files go or come is shown before they do. */
function Files({ desk, verb, onClose }: { desk: Desk; verb: "push" | "pull"; onClose: () => void }): JSX.Element {
  const [sources, setSources] = useState("");
  const [to, setTo] = useState("");
  const [all, setAll] = useState(false);
  const [anyway, setAnyway] = useState(false);
  const asked = { verb, name: desk.name, sources: sources.split("\n").map((line) => line.trim()).filter(Boolean), to: to.trim(), all, anyway };
  const whole = asked.sources.length > 0 && (verb === "push" || asked.to !== "");
  const { plan, trouble, busy, sent, go } = usePlan<Sent>("files-plan", "files", asked, whole, onClose);
  const ready = Boolean(plan?.files) && !busy && !sent;
  const words = t(verb === "push" ? "Send files" : "Fetch files");
  const [here, there] = [t("on this computer, in full: ~/project/data"), t("at the desk, from its home on: results")];
  return (
    <Dialog title={t("{0}: {1}", words, desk.name)} onClose={onClose}>
      <form onSubmit={(event) => { event.preventDefault(); if (ready) void go(); }}>
        <p class="muted">{t("Again, only what has changed is copied. A folder arrives as a folder, and with / behind it as what is in it.")}</p>
        <Field label={t("Files and folders")} hint={verb === "push" ? here : there}><textarea rows={2} autoFocus spellcheck={false} value={sources} onInput={(event) => setSources(event.currentTarget.value)} /></Field>
        <Field label={t("To the folder")} hint={verb === "push" ? t("at the desk; else its home") : here}><input value={to} autoComplete="off" spellcheck={false} onInput={(event) => setTo(event.currentTarget.value)} /></Field>
        {verb === "push" && <Check on={all} onChange={setAll}>{t("Also what git and .hotdeskignore leave out")}</Check>}
        {busy && <p class="muted" role="status">{t("Looking…")}</p>}
        {plan && (
          <section class="plan">
            <p role="status"><strong>{plan.bytes === null ? t("{0} files", plan.files.toLocaleString("en-US")) : t("{0} files, {1}", plan.files.toLocaleString("en-US"), size(plan.bytes))}</strong></p>
            <p class="muted">{list(plan.names)}{plan.files > plan.names.length && ` ${t("and {0} more", plan.files - plan.names.length)}`}</p>
            <Line words={plan.line} />
          </section>
        )}
        {trouble && <Trouble problem={trouble}>{trouble.exit_code === 5 && !anyway && verb === "push" && <button type="button" onClick={() => setAnyway(true)}>{t("{0} anyway", words)}</button>}</Trouble>}
        <div class="buttons end"><button type="button" onClick={onClose}>{t("Cancel")}</button><button type="submit" class="primary" disabled={!ready}>{words}</button></div>
      </form>
    </Dialog>
  );
}

function Editor({ desk, onClose }: { desk: Desk; onClose: () => void }): JSX.Element {
  const { found, trouble } = usePosted<{ link: string; included: boolean }>("code", { name: desk.name });
  return (
    <Dialog title={`VS Code: ${desk.name}`} onClose={onClose}>
      {!found && !trouble && <p class="muted" role="status">{t("Looking…")}</p>}
      {trouble && <Trouble problem={trouble} />}
      {found && !found.included && <p>{t("Your ssh settings do not know this desk yet. Once, in a terminal:")}</p>}
      {found && <Line words={found.included ? ["hotdesk", "code", desk.name] : ["hotdesk", "code", desk.name, "--setup"]} />}
      {found && <div class="buttons end"><a class="button primary" href={found.link} rel="noreferrer noopener">{t("Open in VS Code")}</a></div>}
    </Dialog>
  );
}

/** The answer to what is sent once. */
function usePosted<T>(path: string, body: object): { found: T | undefined; trouble: Problem | undefined } {
  const [answer, set] = useState<{ found?: T; trouble?: Problem }>();
  if (answer === undefined) {
    set({});
    post<T>(path, body).then((found) => set({ found }), (error: unknown) => set({ trouble: problem(error) }));
  }
  return { found: answer?.found, trouble: answer?.trouble };
}

interface Public { url: string; fingerprint: string; open_to: string[] }

/** A Jupyter at the machine's own address, for those who are named. */
export function WithoutTunnel({ desk }: { desk: Desk }): JSX.Element {
  const [to, setTo] = useState("");
  const [found, setFound] = useState<Public>();
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const open = async () => {
    setBusy(true);
    setTrouble(undefined);
    try {
      setFound((await post<{ public: Public }>("notebook", { name: desk.name, public: to.trim() || "caller" })).public);
    } catch (error) {
      setTrouble(problem(error));
    }
    setBusy(false);
  };
  return (
    <details>
      <summary>{t("Jupyter without a tunnel")}</summary>
      <p class="muted">{t("At the machine's own address, with TLS and the password, until it is closed again.")}</p>
      <Field label={t("For whom")} hint={t("203.0.113.0/24; empty: this computer's address")}><input value={to} autoComplete="off" spellcheck={false} onInput={(event) => setTo(event.currentTarget.value)} /></Field>
      {trouble && <Trouble problem={trouble} />}
      {found && <p role="status"><a href={found.url} target="_blank" rel="noreferrer noopener">{found.url}</a> · {list(found.open_to)} · SHA-256 <code>{found.fingerprint}</code></p>}
      <Line words={["hotdesk", "notebook", desk.name, ...(to.trim() ? ["--public-to", to.trim()] : ["--public"])]} />
      <div class="buttons end"><button type="button" disabled={busy} onClick={() => void open()}>{busy ? t("Opening…") : t("Open it")}</button></div>
    </details>
  );
}

/** A click that sends one thing, and says what went wrong. */
export function Do({ path, body, children }: { path: string; body: object; children: string }): JSX.Element {
  const [state, set] = useState<{ busy?: boolean; trouble?: Problem }>({});
  const go = () => { set({ busy: true }); void post(path, body).then(() => set({}), (error: unknown) => set({ trouble: problem(error) })); };
  return <><div class="buttons"><button type="button" disabled={state.busy} onClick={go}>{children}</button></div>{state.trouble && <Trouble problem={state.trouble} onClose={() => set({})} />}</>;
}
