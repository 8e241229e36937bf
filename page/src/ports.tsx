// A desk's ports at this computer's loopback: TensorBoard, MLflow, a web app.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { post, problem, type Desk, type Port, type Problem } from "./api";
import { Dialog, Field, Line, Trouble } from "./parts";
import { t } from "./words";

const Link = ({ port }: { port: Port }): JSX.Element => <a href={port.url} target="_blank" rel="noreferrer noopener">{port.url}</a>;

/** The ports that are forwarded, each with its address; they stay wanted while the desk is away. */
export function Ports({ desk }: { desk: Desk }): JSX.Element | null {
  const [trouble, setTrouble] = useState<Problem>();
  const stop = (port: Port) => post("forward-stop", { name: desk.name, ports: [`${port.here}:${port.there}`] }).then(() => setTrouble(undefined), (error: unknown) => setTrouble(problem(error)));
  if (!desk.forwards.length) return null;
  return (
    <div>
      <h3>{t("Forwarded ports")}</h3>
      <ul class="plain">
        {desk.forwards.map((port) => (
          <li key={port.here} class="bar-line">
            <span class="grow">{port.open ? <Link port={port} /> : port.url} <span class="muted">{t("port {0} of the desk", port.there)}{port.why && `: ${port.why}`}</span></span>
            <button type="button" class="quiet tiny" aria-label={t("{0}: {1}", t("Stop forwarding"), port.there)} onClick={() => void stop(port)}>{t("Stop forwarding")}</button>
          </li>
        ))}
      </ul>
      {trouble && <Trouble problem={trouble} onClose={() => setTrouble(undefined)} />}
    </div>
  );
}

/** Asks for a port, and opens it. */
export function Forward({ desk }: { desk: Desk }): JSX.Element {
  const [asking, setAsking] = useState(false);
  const [text, setText] = useState("6006");
  const [found, setFound] = useState<Port[]>();
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const words = text.split(/[\s,]+/).filter(Boolean);
  const open = async () => {
    setBusy(true);
    setTrouble(undefined);
    try {
      const all = await post<Port[]>("forward", { name: desk.name, ports: words });
      const there = words.map((word) => Number(word.split(":").at(-1)));
      setFound(all.filter((port) => there.includes(port.there)));
    } catch (error) {
      setTrouble(problem(error));
    }
    setBusy(false);
  };
  const close = () => { setAsking(false); setFound(undefined); setTrouble(undefined); };
  return (
    <>
      <button type="button" class="quiet" onClick={() => setAsking(true)}>{t("Forward a port")}</button>
      {asking && (
        <Dialog title={t("{0}: {1}", t("Forward a port"), desk.name)} onClose={close}>
          <form onSubmit={(event) => { event.preventDefault(); void open(); }}>
            <Field label={t("Port")} hint={t("6006, or 8000:80 for port 80 at 8000 here")}><input value={text} autoFocus onInput={(event) => { setText(event.currentTarget.value); setFound(undefined); }} /></Field>
            <p class="muted">{t("It is reached at this computer only, and kept open in the background until it is stopped.")}</p>
            {trouble && <Trouble problem={trouble} />}
            {found?.map((port) => <p key={port.here} role="status"><Link port={port} /> <span class="muted">{t("port {0} of the desk", port.there)}{port.direct && ` · ${t("this computer")}`}</span></p>)}
            <Line words={["hotdesk", "forward", desk.name, ...words]} />
            <div class="buttons end"><button type="button" onClick={close}>{t("Close")}</button>{!found && <button type="submit" class="primary" disabled={busy || !words.length}>{busy ? t("Opening…") : t("Forward a port")}</button>}</div>
          </form>
        </Dialog>
      )}
    </>
  );
}
