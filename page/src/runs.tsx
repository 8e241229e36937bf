// Jobs: how far they are, what they said, what they used; also after their machine is gone.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { keep, useAddress } from "./address";
import { ask, post, problem, type Problem } from "./api";
import { Doing } from "./desks";
import { useKnown, useNow } from "./live";
import { Log } from "./log";
import { Dialog, Field, Line, StateWord, Trouble, clock, date, length, stateWord, usd, useAnswer } from "./parts";
import { COLOURS, Legend, Plot, scale, steps } from "./plot";
import { Progress } from "./progress";
import { Starting } from "./start";
import { Table } from "./table";
import { said, t } from "./words";

interface Job {
  job: number; id: string; desk: string; command: string; state: string; exit_status: number | null; why: string; seconds: number; usd: number;
  attempts: number; checkpoints: number; last_line: string; asked_at: number; ended_at: number | null; then: string; deadline_at: number | null;
}
interface Top { why: string; jobs: { seconds: number; progress: number | null; work_seconds: number }[]; curves: { name: string; times: number[]; shares: number[] }[] }
const EVERY = 15; // seconds between two looks at what a job uses
const LIVE = new Set(["running", "waiting", "interrupted", "ended"]);

export function Runs(): JSX.Element {
  const [view, address] = useAddress();
  const now = useNow();
  const { acts, rows: rowsNow } = useKnown();
  const [starting, setStarting] = useState(false);
  const [closed, setClosed] = useState<Set<string>>(new Set());
  const going = Object.entries(acts).filter(([id, act]) => act.verb === "run" && !closed.has(id) && (!act.ended || act.error));
  const found = useAnswer(() => ask<Job[]>("jobs", { limit: "5000" }), [], 3);
  const get = (name: string) => (view === "runs" ? (address.get(name) ?? "") : "");
  const values = { q: get("q"), state: get("state"), job: get("job") };
  const change = (more: Partial<typeof values>) => keep("runs", { ...values, ...more });
  const words = values.q.toLowerCase().split(/\s+/).filter(Boolean);
  const jobs = (found.value ?? []).slice().reverse();
  const rows = jobs.filter((job) => (!values.state || job.state === values.state) && words.every((word) => `${job.job} ${job.desk} ${job.command}`.toLowerCase().includes(word)));
  const chosen = jobs.find((job) => String(job.job) === values.job);
  const states = [...new Set(jobs.map((job) => job.state))].sort();
  return (
    <>
      <div class="title"><h1>{t("Runs")}</h1>
        <p class="sums">{states.map((state) => <span key={state}><strong>{jobs.filter((job) => job.state === state).length}</strong> {stateWord(state)}</span>)}</p>
        <button type="button" class="primary" onClick={() => setStarting(true)}>{t("Start a job")}</button>
      </div>
      {going.length > 0 && <section class="card" aria-label={t("Start a job")}>{going.map(([id, act]) => <Doing key={id} acts={[[id, act]]} rows={rowsNow.filter((row) => row.desk === act.name && row.at >= act.began - 1)} now={now} onClose={(one) => setClosed((old) => new Set(old).add(one))} onAnyway={() => undefined} />)}</section>}
      {starting && <Starting onClose={() => setStarting(false)} />}
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      {found.value && !jobs.length && <div class="empty"><p>{t("There is no job yet. Begin one, in a project's folder:")}</p><Line words={["hotdesk", "run", "blue", "--", "python", "train.py"]} /></div>}
      {jobs.length > 0 && (
        <>
          <div class="filters">
            <Field label={t("Search")} hint={t("number, desk, command")}><input type="search" value={values.q} onInput={(event) => change({ q: event.currentTarget.value })} /></Field>
            <Field label={t("State")}><select value={values.state} onChange={(event) => change({ state: event.currentTarget.value })}><option value="">{t("all")}</option>{states.map((state) => <option key={state} value={state}>{stateWord(state)}</option>)}</select></Field>
          </div>
          <Table label={t("Runs")} rows={rows} of={`${values.state} ${values.q}`} height={chosen ? 300 : 560} {...(chosen ? { chosen } : {})} onChoose={(job) => change({ job: String(job.job) })} columns={[
            { wide: 3.5, name: t("Job"), cell: (job) => job.job, right: true, narrow: true },
            { wide: 7, name: t("State"), cell: (job) => <StateWord state={job.state} />, narrow: true },
            { wide: 7, name: t("Desk"), cell: (job) => job.desk },
            { wide: 18, name: t("Command"), cell: (job) => <code>{job.command}</code>, narrow: true },
            { wide: 4, name: t("Exit"), cell: (job) => job.exit_status ?? "", right: true },
            { name: t("Ran"), cell: (job) => (job.attempts ? length(job.seconds) : ""), right: true },
            { name: t("Cost"), cell: (job) => (job.usd ? usd(job.usd) : ""), right: true },
            { wide: 4, name: t("Tries"), cell: (job) => job.attempts || "", right: true },
            { name: t("Deadline"), cell: (job) => (job.deadline_at ? (LIVE.has(job.state) ? t("in {0}", length(job.deadline_at - now)) : date(job.deadline_at)) : ""), right: true },
            { wide: 7, name: t("Asked"), cell: (job) => t("{0} ago", length(now - job.asked_at)), right: true },
          ]} />
          {chosen && <One key={chosen.job} job={chosen} onClose={() => change({ job: "" })} onChange={found.again} />}
        </>
      )}
    </>
  );
}

function One({ job, onClose, onChange }: { job: Job; onClose: () => void; onChange: () => void }): JSX.Element {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<Problem>();
  const live = LIVE.has(job.state);
  const cancel = async () => {
    setBusy(true);
    try {
      await post("cancel", { name: job.desk, number: job.job });
      setAsking(false);
      onChange();
    } catch (error) {
      setTrouble(problem(error));
    }
    setBusy(false);
  };
  return (
    <section class="card" aria-label={t("Job {0}", job.job)}>
      <header>
        <div><h2>{t("Job {0}", job.job)} · {stateWord(job.state)}</h2><p class="muted"><code>{job.command}</code></p></div>
        {live && <button type="button" onClick={() => setAsking(true)}>{t("Cancel the job")}</button>}
        <button type="button" class="quiet close" aria-label={t("Close")} onClick={onClose}>✕</button>
      </header>
      {job.why && <p>{job.why}</p>}
      <dl>
        <div><dt>{t("Desk")}</dt><dd>{job.desk}</dd></div>
        <div><dt>{t("Asked")}</dt><dd>{date(job.asked_at)} {clock(job.asked_at)}</dd></div>
        <div><dt>{t("Ran")}</dt><dd>{length(job.seconds)}{job.attempts > 1 && `, ${t("{0} attempts", job.attempts)}`}</dd></div>
        {job.checkpoints > 0 && <div><dt>{t("Checkpoints")}</dt><dd>{job.checkpoints}</dd></div>}
        {job.usd > 0 && <div><dt>{t("Cost")}</dt><dd>{usd(job.usd)}</dd></div>}
      </dl>
      <Log question="logs" said={{ name: job.desk, job: String(job.job) }} live={live} file={`${job.desk}-job-${job.job}.log`} line={["hotdesk", "logs", job.desk, String(job.job), ...(live ? ["-f"] : [])]} />
      <Curves job={job} />
      {asking && (
        <Dialog title={t("Cancel the job")} onClose={() => setAsking(false)}>
          <p>{t("It gets SIGTERM, and SIGKILL if it does not end. What it wrote stays at the desk.")}</p>
          {trouble && <Trouble problem={trouble} />}
          <Line words={["hotdesk", "cancel", job.desk, String(job.job)]} />
          <div class="buttons end"><button type="button" onClick={() => setAsking(false)}>{t("Leave it")}</button><button type="button" class="primary danger" disabled={busy} onClick={() => void cancel()}>{t("Cancel the job")}</button></div>
        </Dialog>
      )}
    </section>
  );
}

function Curves({ job }: { job: Job }): JSX.Element | null {
  const live = LIVE.has(job.state);
  const found = useAnswer(() => ask<Top[]>("top", { name: job.desk, job: String(job.job) }), [job.job, live], live ? EVERY : 0);
  const curves = found.value?.[0]?.curves ?? [];
  const told = found.value?.[0]?.jobs[0];
  const share = told?.progress ?? (told?.work_seconds ? Math.min(1, job.seconds / told.work_seconds) : null);
  const bar = live && <Progress share={share} rest={share ? (job.seconds * (1 - share)) / share : null} deadline={job.deadline_at} began={(now) => now - job.seconds} />;
  const times = curves.flatMap((curve) => curve.times);
  if (!times.length) return <>{bar}</>;
  const first = Math.min(...times);
  const last = Math.max(...times, first + 1);
  const long = last - first > 3 * 3600;
  return (
    <div>
      {bar}
      <h3>{t("What it used")}</h3>
      <Plot label={t("What it used")} x={long ? t("hours") : t("minutes")} y="%" height={220} scales={(w, h) => [scale(0, (last - first) / (long ? 3600 : 60), 0, w), scale(0, 100, h, 0)]}>
        {(x, y) => curves.map((curve, n) => <path key={curve.name} class={`series ${COLOURS[n % 5]}`} d={steps(curve.shares.map((share) => share * 100), (k) => x(((curve.times[k] ?? first) - first) / (long ? 3600 : 60)), y)} />)}
      </Plot>
      <Legend names={curves.map(({ name }) => (said(name) ? t(name) : name))} />
    </div>
  );
}
