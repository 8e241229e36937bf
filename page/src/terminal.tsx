// A desk's terminal in the page. A cut is mended by itself: at the desk it is one tmux session all the while.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useAddress } from "./address";
import { post, problem, type Problem } from "./api";
import { useKnown } from "./live";
import { Line, Trouble, phaseWord } from "./parts";
import { t } from "./words";
import type { Screen } from "./xterm";

const ENDED = 4000; // the socket was closed because the program has ended; its exit status is the reason
const lost = (status: number): boolean => status === 255 || status > 128; // the connection to the desk was cut, or ssh was ended from outside
const PAUSES = [0.5, 1, 2, 5, 10]; // seconds, from one try to the next

type State = "opening" | "open" | "cut" | "over";

export function TerminalView(): JSX.Element {
  const [, address] = useAddress();
  const name = address.get("desk") ?? "";
  const { desks, heard } = useKnown();
  const desk = desks[name];
  const box = useRef<HTMLDivElement>(null);
  const out = useRef<HTMLAnchorElement>(null);
  const [state, setState] = useState<State>("opening");
  const [trouble, setTrouble] = useState<Problem>();
  const [round, again] = useState(0);
  const up = desk?.phase === "ready";
  useEffect(() => {
    document.title = `${name} · hotdesk`;
    return () => { document.title = "hotdesk"; };
  }, [name]);
  useEffect(() => {
    if (!up || !box.current) return;
    setTrouble(undefined);
    setState("opening");
    return connect(name, box.current, setState, setTrouble, () => out.current?.focus());
  }, [name, up, round]);
  const word = { opening: t("Opening…"), open: t("connected"), cut: t("The connection was cut; trying again…"), over: t("The terminal has ended.") }[state];
  return (
    <section class="terminal" aria-label={t("Terminal of {0}", name)}>
      <div class="title">
        <h1>{name} <small>{t("Terminal")}</small></h1>
        <p class="sums" role="status">{desk && (up ? word : phaseWord(desk.phase))}</p>
        {up && (state === "over" || trouble) && <button type="button" class="primary" onClick={() => again((n) => n + 1)}>{t("Open again")}</button>}
        <a class="button right" href="#/desks" ref={out}>{t("To the desks")}</a>
      </div>
      {trouble && <Trouble problem={trouble} />}
      {!desk && heard && <p>{t("There is no desk {0}.", name)}</p>}
      {desk && !up && state !== "over" && <p class="muted">{t("A terminal is there while the desk runs.")}</p>}
      <div class={`screen ${state === "open" ? "" : "dimmed"}`} ref={box} hidden={!desk} />
      <p class="muted">{t("At the desk it is one tmux session: close this, come back, or look from another browser. Ctrl+F6 leaves the terminal; Shift selects with the mouse, Ctrl+Shift+C copies, Ctrl+Shift+V pastes.")}</p>
      {name && <Line words={["hotdesk", "ssh", name]} />}
    </section>
  );
}

/** Keep a terminal open in a box until this is called off. */
function connect(name: string, box: HTMLElement, onState: (state: State) => void, onTrouble: (problem?: Problem) => void, onLeave: () => void): () => void {
  let gone = false;
  let screen: Screen | undefined;
  let socket: WebSocket | undefined;
  let timer = 0;
  let failed = 0;
  const bytes = new TextEncoder();
  const send = (data: string | Uint8Array<ArrayBuffer>) => { if (socket?.readyState === WebSocket.OPEN) socket.send(data); };
  const later = () => {
    onState("cut");
    timer = setTimeout(() => void begin(), 1000 * (PAUSES[Math.min(failed++, PAUSES.length - 1)] as number)) as unknown as number;
  };
  const begin = async () => {
    try {
      const [{ open }, { ticket }] = await Promise.all([import("./xterm"), post<{ ticket: string }>("terminal", { name })]);
      if (gone) return;
      screen ??= open(box, {
        typed: (data) => send(bytes.encode(data)),
        binary: (data) => send(Uint8Array.from(data, (c) => c.charCodeAt(0))),
        sized: (columns, rows) => send(`size ${columns} ${rows}`),
        left: onLeave,
      });
      const here = screen;
      const mine = (socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/terminal?ticket=${ticket}`));
      mine.binaryType = "arraybuffer";
      mine.onopen = () => {
        here.clear();
        send(`size ${here.size().join(" ")}`);
        here.focus();
      };
      mine.onmessage = (event: MessageEvent<ArrayBuffer>) => {
        failed = 0;
        onState("open");
        onTrouble();
        const data = new Uint8Array(event.data);
        here.write(data, () => { if (socket === mine) send(`seen ${data.length}`); });
      };
      mine.onclose = ({ code, reason }) => {
        if (gone || socket !== mine) return;
        if (code === ENDED && !lost(Number(reason))) onState("over");
        else later();
      };
    } catch (error) {
      if (gone) return;
      onTrouble(problem(error));
      if (failed) later(); // it was open: the desk or `hotdesk web` may come back
      else onState("over");
    }
  };
  void begin();
  return () => {
    gone = true;
    clearTimeout(timer);
    socket?.close();
    screen?.close();
  };
}
