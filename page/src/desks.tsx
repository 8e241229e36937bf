// The desks: what they are, what they cost, what is being done about them and why, and what can be done.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { post, problem, type Act, type Desk, type Problem, type Row, type Sum, type Verb } from "./api";
import { ABOUT, ActionDialog, FIRST, VERBS, stepWord } from "./action";
import { useKnown, useNow } from "./live";
import { Copy, Dialog, Line, Sign, Trouble, clock, date, length, perHour, perMonth, phaseWord, together, usd } from "./parts";
import { Forward, Ports } from "./ports";
import { Do, Reached, WithoutTunnel } from "./reached";
import { list, t } from "./words";
import { Working } from "./working";

const JUST = 20; // seconds for which steps that have ended are still of today's interest
const NEXT: Record<string, Verb[]> = {
  ready: ["park", "stop", "move", "stay", "down"],
  stopped: ["start", "park", "move", "down"],
  parked: ["resume", "down"],
  none: ["up", "down"],
};

export function Desks(): JSX.Element {
  const { desks, acts, rows, look, heard } = useKnown();
  const now = useNow();
  const [dialog, open] = useState<{ verb: Verb; desk?: Desk }>();
  const [closed, close] = useState<Set<string>>(new Set());
  const all = Object.values(desks).sort((a, b) => a.name.localeCompare(b.name));
  const some = (sum?: Sum): sum is Sum => Boolean(sum && (sum.usd || sum.besides.length));
  const homeless = Object.entries(acts).filter(([id, act]) => !desks[act.name] && !closed.has(id) && (!act.ended || act.error));
  return (
    <>
      <div class="title">
        <h1>{t("Desks")}</h1>
        {look.per_hour && (some(look.per_hour) || some(look.per_month)) && (
          <p class="sums">
            <span><strong>{together(look.per_hour, perHour, (text) => t("{0}/h", text))}</strong> {t("now")}</span>
            {some(look.per_month) && <span><strong>{together(look.per_month, usd)}</strong> {t("a month for disks and images")}</span>}
          </p>
        )}
        <button type="button" class="primary" onClick={() => open({ verb: "up" })}>{t("Open a desk")}</button>
      </div>
      {look.error && <Trouble problem={look.error} />}
      {look.frozen && <div class="notice warm">{look.frozen}</div>}
      {homeless.map(([id, act]) => (
        <section class="card" key={id} aria-label={act.name}>
          <h2>{act.name}</h2>
          <Doing acts={[[id, act]]} rows={rows.filter((row) => row.desk === act.name && row.at >= act.began - 1)} now={now}
            onClose={(one) => close((old) => new Set(old).add(one))} onAnyway={() => undefined} />
        </section>
      ))}
      {!all.length && !homeless.length && heard && look.at && (
        <div class="empty">
          <p>{t("There is no desk yet. A desk is a machine with your files, Jupyter and a terminal: open it when you need it, leave when you are done, lose nothing.")}</p>
          <Line words={["hotdesk", "up", FIRST]} />
        </div>
      )}
      {!look.at && !look.error && !all.length && <p class="muted" role="status">{t("Looking…")}</p>}
      <div class="cards">
        {all.map((desk) => (
          <Card key={desk.name} looking={!look.at} watched={Boolean(look.watcher)} desk={desk} now={now} rows={rows} closed={closed}
            acts={Object.entries(acts).filter(([, act]) => act.name === desk.name)}
            onClose={(id) => close((old) => new Set(old).add(id))} onVerb={(verb) => open({ verb, desk })} />
        ))}
      </div>
      {look.others && Object.keys(look.others).length > 0 && (
        <p class="muted">{t("{0}: {1}", t("Other people's in the same account, left alone"), list(Object.entries(look.others).map(([name, who]) => `${name} (${list(who)})`)))}</p>
      )}
      {look.watcher && <p class="muted">{t("Process {0} watches over them", look.watcher)} · <code>hotdesk watch --stop</code></p>}
      {dialog && <ActionDialog {...dialog} onClose={() => open(undefined)} />}
    </>
  );
}

/** Whether a desk is as it is wanted, or that is not for us to say. */
function reached({ goal, phase, elsewhere, left }: Desk): boolean {
  if (elsewhere || left || phase === "unknown") return true;
  return { running: phase === "ready", stopped: phase === "stopped" || phase === "parked", parked: phase === "parked" || phase === "none", gone: phase === "none" }[goal] ?? true;
}

interface CardProps {
  looking: boolean; watched: boolean; desk: Desk; now: number; rows: Row[]; acts: [string, Act][]; closed: Set<string>; onClose: (id: string) => void; onVerb: (verb: Verb) => void;
}

function Card({ looking, watched, desk, now, rows, acts, closed, onClose, onVerb }: CardProps): JSX.Element {
  const mine = rows.filter((row) => row.desk === desk.name);
  const shown = acts.filter(([id, act]) => !act.ended || (act.error && !closed.has(id)));
  const began = Math.min(...shown.filter(([, act]) => !act.ended).map(([, act]) => act.began - 1), now - JUST);
  const busy = Boolean(desk.holder) || shown.some(([, act]) => !act.ended);
  const recent = mine.filter((row) => !row.ended_at || row.at >= began).filter((row) => busy || !row.ended_at || row.ended_at > now - JUST).slice(-8);
  const phase = desk.goal === "stopped" && desk.phase === "parked" ? "stopped" : desk.phase;
  const verbs = NEXT[desk.phase] ?? ["up", "park", "down"];
  const [first, ...more] = verbs.filter((verb) => !(verb === "park" && desk.phase === "ready")) as [Verb, ...Verb[]];
  const up = desk.phase === "ready";
  const { limits } = desk;
  return (
    <section class={`card ${phase}`} aria-labelledby={`desk-${desk.name}`}>
      <header>
        <Sign phase={phase} />
        <div>
          <h2 id={`desk-${desk.name}`}>{desk.name}</h2>
          <p class="state">
            {phase === "unknown" && looking ? t("Looking…") : phaseWord(phase)}
            {desk.phase === "unknown" && desk.known_at && <> · {t("not known since {0}", clock(desk.known_at))}</>}
            {up && <> · {t("for {0}", length(now - desk.since))}</>}
          </p>
        </div>
        <p class="now">
          <strong>{desk.instance_type ? perHour(desk.usd_per_hour, desk.told_per_hour) : "–"}</strong>
          {desk.price_time && <small>{t("price of {0}", date(desk.price_time))}</small>}
        </p>
      </header>
      <dl>
        {desk.instance_type && <Fact name={t("Machine")}>{desk.instance_type}{desk.gpu && ` · ${desk.gpu}`}{desk.market === "spot" && " · spot"}</Fact>}
        <Fact name={t("Where")}>{desk.zone === "here" || (!desk.zone && desk.region === desk.provider) ? t("this computer") : [desk.provider, desk.zone || desk.region].filter(Boolean).join(" · ")}</Fact>
        {desk.cost_usd > 0 && <Fact name={t("Cost so far")}>{desk.cost_told?.text ?? usd(desk.cost_usd)}</Fact>}
        {desk.usd_per_month > 0 && <Fact name={t("Storage")}>{perMonth(desk.usd_per_month, desk.told_per_month)}</Fact>}
        {up && limits && <Fact name={t("Idle")}>{idleWords(desk, limits.idle_minutes, now)}</Fact>}
        {up && limits && limits.lease_hours > 0 && <Fact name={t("Lease")}>{length(limits.lease_hours * 3600)}</Fact>}
        {desk.released_at > 0 && <Fact name={t("Deleted by its cloud")}>{t("in {0}, unless its lease is renewed", length(desk.released_at - now))}</Fact>}
        {desk.ends_at > 0 && <Fact name={t("Ended by its cloud")}>{t("in {0}; its disk stays", length(desk.ends_at - now))}</Fact>}
        {up && limits && limits.stop_at > 0 && <Fact name={t("Shuts down")}>{t("in {0}", length(limits.stop_at - now))}</Fact>}
        {desk.image && <Fact name={t("Last image")}><span title={desk.image}>{desk.image_time ? t("{0} ago", length(now - desk.image_time)) : desk.image}</span></Fact>}
      </dl>
      {desk.phase === "unknown" && desk.why && <div class="notice warm">{desk.why}</div>}
      {desk.why && desk.phase !== "unknown" && desk.phase !== "ready" && <p class="muted">{desk.why}</p>}
      {desk.charged_while_off && <div class="notice warm">{t("It is off and still costs {0}: park it.", perHour(desk.usd_per_hour, desk.told_per_hour))}</div>}
      {desk.left && <div class="notice warm">{t("Its machine has ended itself; what is left is being parked.")}</div>}
      {desk.open_to.length > 0 && <div class="notice warm">{t("Its Jupyter is open to {0}.", list(desk.open_to))} <Line words={["hotdesk", "notebook", desk.name, "--private"]} /><Do path="notebook" body={{ name: desk.name, private: true }}>{t("Close it again")}</Do></div>}
      {desk.kept.map((what) => <div class="notice warm" key={what}>{t("Another beginning's {0} is kept.", what)} <code>hotdesk gc</code></div>)}
      {!busy && !watched && !reached(desk) && (
        <div class="notice warm"><span>{t("It was to be {0}, and nobody works on that now. This goes on with it:", phaseWord(desk.goal === "running" ? "ready" : desk.goal))}</span><Line words={["hotdesk", "watch", desk.name]} /><Do path="go-on" body={{ name: desk.name }}>{t("Go on with it")}</Do></div>
      )}
      <Doing acts={shown} rows={recent} now={now} holder={busy && !shown.some(([, act]) => !act.ended) ? desk.holder : ""} onClose={onClose} onAnyway={(verb) => onVerb(verb)} />
      {up && desk.ssh && <Line words={desk.ssh} label={t("ssh")} />}
      <Ports desk={desk} />
      {desk.elsewhere ? (
        <Line words="hotdesk doctor --adopt" label={t("Another computer's desk; to take it over")} />
      ) : (
        <div class="buttons">
          {up && <Jupyter desk={desk} />}
          {up && <a class="button" href={`#/terminal?desk=${desk.name}`}>{t("Terminal")}</a>}
          {up && <button type="button" onClick={() => onVerb("park")} disabled={busy}>{t("Park")}</button>}
          {!up && first && <button type="button" class="primary" onClick={() => onVerb(first)} disabled={busy}>{t(VERBS[first])}</button>}
          {(up ? [first, ...more] : more).map((verb) => (
            <button type="button" key={verb} class="quiet" onClick={() => onVerb(verb)} disabled={busy && verb !== "stay"}>{t(VERBS[verb])}</button>
          ))}
          {up && <Forward desk={desk} />}
        </div>
      )}
      {up && !desk.elsewhere && <Reached desk={desk} busy={busy} onVerb={onVerb} />}
      {up && <Working desk={desk.name} />}
      {mine.length > 0 && <Journal rows={mine} />}
    </section>
  );
}

const OLD = 120; // seconds: the watch at a desk looks twice a minute

/** For how long nothing has worked at a desk, as it last told, and its limit. */
function idleWords({ idle_seconds: seconds, idle_at: at }: Desk, limit: number, now: number): string {
  const told = seconds === null ? t("not known") : seconds === 0 ? t("not idle") : length(seconds);
  const old = at !== null && now - at > OLD && t("not known since {0}", clock(at));
  return [told, old, limit > 0 ? t("parks after {0}", length(limit * 60)) : t("never parks by itself")].filter(Boolean).join(" · ");
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }): JSX.Element {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

const MARKS: Record<string, string> = { done: "✓", refused: "✗", unknown: "?", begun: "…" };

function Past({ row }: { row: Row }): JSX.Element {
  return (
    <li class={row.status}>
      <span class="mark" aria-label={t((row.status in MARKS ? row.status : "begun") as "done")} role="img">{MARKS[row.status] ?? "…"}</span>
      <div>
        <span>{stepWord(row.step)}</span> <time dateTime={new Date(row.at * 1000).toISOString()}>{date(row.at)} {clock(row.at)}</time>
        <small>{row.message || row.why}</small>
      </div>
    </li>
  );
}

/** What was done, the latest first; drawn while somebody reads it. */
function Journal({ rows }: { rows: Row[] }): JSX.Element {
  const [open, set] = useState(false);
  return (
    <details onToggle={(event) => set(event.currentTarget.open)}>
      <summary>{t("Journal")}</summary>
      {open && <ol class="journal">{rows.slice(-30).reverse().map((row) => <Past key={row.id} row={row} />)}</ol>}
    </details>
  );
}

interface DoingProps { acts: [string, Act][]; rows: Row[]; now: number; holder?: string; onClose: (id: string) => void; onAnyway: (verb: Verb) => void }

/** What is being done about a desk now, by whomever, step by step; and what went wrong. */
export function Doing({ acts, rows, now, holder = "", onClose, onAnyway }: DoingProps): JSX.Element {
  const going = acts.filter(([, act]) => !act.ended);
  return (
    <>
      {(going.length > 0 || rows.length > 0 || holder) && (
        <div class="doing" role="status">
          {going.map(([id, act]) => <p class="what" key={id}><strong>{t(VERBS[act.verb])}</strong> · {t("for {0}", length(now - act.began))}</p>)}
          {holder && <p class="what">{t("Process {0}", holder)}</p>}
          <ol class="journal">
            {rows.map((row) => <Past key={row.id} row={row} />)}
          </ol>
          {going.map(([id, act]) => act.wait && (
            <p class="wait" key={id}>
              <span>{act.wait.why}…</span>
              <progress aria-label={act.wait.why} {...(act.wait.progress === null ? {} : { value: act.wait.progress })} max={1} />
            </p>
          ))}
          {going.flatMap(([, act]) => act.notes).map((note) => <p class="muted" key={note}>{note}</p>)}
        </div>
      )}
      {acts.filter(([, act]) => act.error).map(([id, act]) => (
        <Trouble key={id} problem={act.error as Problem} onClose={() => onClose(id)}>
          {act.error?.exit_code === 5 && act.verb in ABOUT && <button type="button" onClick={() => { onClose(id); onAnyway(act.verb as Verb); }}>{t("Look again")}</button>}
        </Trouble>
      ))}
    </>
  );
}

/** Opens Jupyter, through a tunnel where the desk is elsewhere; its password is asked for there. */
function Jupyter({ desk }: { desk: Desk }): JSX.Element {
  const [found, set] = useState<{ url: string; password: string }>();
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const open = async () => {
    setBusy(true);
    try {
      set(await post("notebook", { name: desk.name }));
    } catch (error) {
      setTrouble(problem(error));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" class="primary" onClick={() => void open()} disabled={busy}>{busy ? t("Opening…") : "Jupyter"}</button>
      {(found || trouble) && (
        <Dialog title={`Jupyter: ${desk.name}`} onClose={() => { set(undefined); setTrouble(undefined); }}>
          {trouble && <Trouble problem={trouble} />}
          {found && (
            <>
              <p class="muted">{t("It asks for this password once; your browser then stays signed in.")}</p>
              <div class="line"><code tabIndex={0} role="group" aria-label={t("Password")}>{found.password}</code><Copy text={found.password} /></div>
              <div class="buttons end"><a class="button primary" href={found.url} target="_blank" rel="noreferrer noopener" autoFocus>{t("Open Jupyter")}</a></div>
              {desk.provider !== "local" && desk.provider !== "ssh" && <WithoutTunnel desk={desk} />}
            </>
          )}
        </Dialog>
      )}
    </>
  );
}
