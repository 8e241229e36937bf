// Sweeps: how far one is, on which machines, for how much; its tasks, and which parameters did best.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { keep, useAddress } from "./address";
import { ask, post, problem, type Amount, type Problem } from "./api";
import { Doing } from "./desks";
import { useKnown, useNow } from "./live";
import { Log } from "./log";
import { Figure } from "./money";
import { Parallel, short, type Scalar, type Told } from "./parallel";
import { Dialog, Field, Line, StateWord, Trouble, length, money, perHour, stateWord, useAnswer } from "./parts";
import { Progress } from "./progress";
import { SweepStarting } from "./sweep_start";
import { Table, type Column } from "./table";
import { list, t } from "./words";

interface Task {
  task: number; params: Record<string, Scalar>; state: string; attempts: number; failed: number; lost: number; machine: string;
  exit_status: number | null; seconds: number; usd: number; told: Amount | null; metrics: Record<string, Scalar>; why: string; last_line: string;
}
interface Sweep {
  sweep: number; desk: string; command: string[]; state: string; stopped: string; tasks: number; machines: { name: string; state: string; address: string; slots: number; why: string }[];
  waiting: number; running: number; done: number; failed: number; cancelled: number;
  away: string; usd: number; told: Amount | null; usd_per_hour: number; told_per_hour: Amount | null; seconds: number; left_seconds: number | null; left_band: [number, number] | null; deadline_at: number | null; asked_at: number; over_at: number | null;
}
type Answer = Sweep & { driven: boolean; at: number; whole: boolean; each: Task[] };
const STATES = ["done", "failed", "running", "waiting", "cancelled"] as const;
const AGAIN = new Set(["failed", "cancelled"]);
const OPEN = new Set(["waiting", "running"]);

const said = (sweep: Sweep): string => sweep.command.join(" ");

export function Sweeps(): JSX.Element {
  const [view, address] = useAddress();
  const now = useNow();
  const { acts, rows } = useKnown();
  const [starting, setStarting] = useState(false);
  const [closed, close] = useState<Set<string>>(new Set());
  const mine = Object.entries(acts).filter(([, act]) => act.verb === "sweep");
  const going = mine.filter(([id, act]) => !closed.has(id) && (!act.ended || act.error));
  const found = useAnswer(() => ask<Sweep[]>("sweeps"), [mine.filter(([, act]) => act.ended).length], 5);
  const all = (found.value ?? []).slice().reverse();
  const wanted = view === "sweeps" ? (address.get("sweep") ?? "") : "";
  const chosen = all.find((sweep) => String(sweep.sweep) === wanted) ?? all[0];
  return (
    <>
      <div class="title"><h1>{t("Sweeps")}</h1><button type="button" class="primary" onClick={() => setStarting(true)}>{t("Start a sweep")}</button></div>
      {going.length > 0 && <section class="card" aria-label={t("Start a sweep")}>{going.map(([id, act]) => <Doing key={id} acts={[[id, act]]} rows={rows.filter((row) => row.desk === act.name && row.at >= act.began - 1)} now={now} onClose={(one) => close((old) => new Set(old).add(one))} onAnyway={() => undefined} />)}</section>}
      {starting && <SweepStarting onClose={() => setStarting(false)} />}
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      {found.value && !all.length && <div class="empty"><p>{t("There is no sweep yet. Begin one, in a project's folder:")}</p><Line words="hotdesk sweep start blue --param seed=0..4 -- python train.py --seed {seed}" /></div>}
      {all.length > 1 && (
        <Table label={t("Sweeps")} rows={all} height={220} {...(chosen ? { chosen } : {})} onChoose={(sweep) => keep("sweeps", { sweep: String(sweep.sweep) })} columns={[
          { wide: 4, name: t("Sweep"), cell: (sweep) => sweep.sweep, right: true, narrow: true },
          { wide: 7, name: t("State"), cell: (sweep) => <StateWord state={sweep.state} />, narrow: true },
          { wide: 7, name: t("Desk"), cell: (sweep) => sweep.desk },
          { wide: 20, name: t("Command"), cell: (sweep) => <code>{said(sweep)}</code>, narrow: true },
          { name: t("Tasks"), cell: (sweep) => sweep.tasks.toLocaleString("en-US"), right: true },
          { name: t("Done"), cell: (sweep) => sweep.done.toLocaleString("en-US"), right: true },
          { name: t("Failed"), cell: (sweep) => sweep.failed || "", right: true },
          { name: t("Cost"), cell: (sweep) => (sweep.usd ? money(sweep.usd, sweep.told) : ""), right: true },
          { wide: 7, name: t("Asked"), cell: (sweep) => t("{0} ago", length(now - sweep.asked_at)), right: true },
        ]} />
      )}
      {chosen && <One key={chosen.sweep} number={chosen.sweep} onChange={found.again} />}
    </>
  );
}

/** A sweep and its tasks: all at first, then those that run or have ended since. Where these do not add up to the counts, all again. */
function useSweep(number: number): { sweep?: Answer; tasks: Task[]; error?: unknown; again: () => void } {
  const [found, set] = useState<{ sweep?: Answer; tasks: Task[]; error?: unknown }>({ tasks: [] });
  const known = useRef(new Map<number, Task>());
  const since = useRef(0);
  const [round, next] = useState(0);
  useEffect(() => {
    let gone = false;
    let timer = 0;
    const look = async () => {
      let pause = 3;
      try {
        const sweep = await ask<Answer>("sweep", { sweep: String(number), since: String(since.current) });
        if (gone) return;
        if (sweep.whole) known.current = new Map();
        for (const task of sweep.each) {
          const before = known.current.get(task.task);
          if (JSON.stringify(before) !== JSON.stringify(task)) known.current.set(task.task, task);
        }
        const tasks = [...known.current.values()];
        const adds = STATES.every((state) => tasks.filter((task) => task.state === state).length === sweep[state]);
        since.current = adds ? sweep.at : 0;
        if (!adds && !sweep.whole) return void look();
        if (sweep.over_at) pause = 10;
        set({ sweep, tasks });
      } catch (error) {
        if (gone) return;
        since.current = 0;
        set((old) => ({ ...old, error }));
      }
      timer = setTimeout(() => void look(), (document.hidden ? 15 : pause) * 1000) as unknown as number;
    };
    void look();
    return () => { gone = true; clearTimeout(timer); };
  }, [number, round]);
  return { ...found, again: () => { since.current = 0; next((n) => n + 1); } };
}

/** A column of a table, and what it is sorted and searched by. */
interface Valued { key: string; name: string; of: (task: Task) => Scalar | undefined; metric: boolean }

function valued(tasks: Task[]): Valued[] {
  const params = [...new Set(tasks.flatMap((task) => Object.keys(task.params)))];
  const metrics = [...new Set(tasks.flatMap((task) => Object.keys(task.metrics)))];
  return [
    ...params.map((name) => ({ key: `param ${name}`, name, of: (task: Task) => task.params[name], metric: false })),
    ...metrics.map((name) => ({ key: `metric ${name}`, name: params.includes(name) ? `metric.${name}` : name, of: (task: Task) => task.metrics[name], metric: true })),
  ];
}

/** Numbers before words, what is missing last. */
function compare(a: Scalar | undefined, b: Scalar | undefined): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const rank = (v: Scalar | undefined) => (typeof v === "number" ? 0 : v === undefined || v === "" ? 2 : 1);
  return rank(a) - rank(b) || String(a).localeCompare(String(b));
}

function One({ number, onChange }: { number: number; onChange: () => void }): JSX.Element {
  const [, address] = useAddress();
  const { sweep, tasks, error, again } = useSweep(number);
  const [asking, setAsking] = useState<"retry" | "cancel" | "tasks">();
  const get = (name: string) => address.get(name) ?? "";
  const values = { sweep: String(number), q: get("q"), state: get("state"), sort: get("sort"), task: get("task"), metric: get("metric"), best: get("best") };
  const change = (more: Partial<typeof values>) => keep("sweeps", { ...values, ...more });
  const columns = useMemo(() => valued(tasks), [tasks]);
  const falling = values.sort.startsWith("-");
  const sorted = values.sort.replace(/^-/, "");
  const rows = useMemo(() => {
    const words = values.q.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (task: Task) => `${task.task} ${columns.map(({ name, of }) => `${name}=${of(task) ?? ""}`).join(" ")} ${task.machine} ${task.last_line} ${task.why}`.toLowerCase();
    const shown = tasks.filter((task) => (!values.state || task.state === values.state) && (!words.length || words.every((word) => text(task).includes(word))));
    const own: Record<string, (task: Task) => Scalar | undefined> = { task: (task) => task.task, state: (task) => task.state, seconds: (task) => task.seconds || undefined, tries: (task) => task.attempts, usd: (task) => task.usd };
    const of = own[sorted] ?? columns.find(({ key }) => key === sorted)?.of;
    return of ? shown.sort((a, b) => { const [x, y] = [of(a), of(b)]; return (x === undefined || y === undefined ? 1 : falling ? -1 : 1) * compare(x, y); }) : shown;
  }, [tasks, columns, values.q, values.state, sorted, falling]);
  if (!sweep) return error !== undefined ? <Trouble problem={problem(error)} /> : <p class="muted" role="status">{t("Looking…")}</p>;
  const chosen = tasks.find((task) => String(task.task) === values.task);
  const can = rows.filter((task) => AGAIN.has(task.state)).map((task) => task.task);
  const open = rows.filter((task) => OPEN.has(task.state)).map((task) => task.task);
  const ending = chosen && OPEN.has(chosen.state) ? [chosen.task] : open.length < sweep.waiting + sweep.running ? open : [];
  const every = can.length === sweep.failed + sweep.cancelled;
  const up = sweep.machines.filter((machine) => machine.state === "up").length;
  const over = sweep.over_at !== null;
  const ended = sweep.done + sweep.failed;
  const table: Column<Task>[] = [
    { wide: 4, name: t("Task"), sort: "task", cell: (task) => task.task, right: true, narrow: true },
    { wide: 7, name: t("State"), sort: "state", cell: (task) => <StateWord state={task.state} />, narrow: true },
    ...columns.map((column, n) => ({ wide: 6, name: column.name, sort: column.key, cell: (task: Task) => short(column.of(task)), right: tasks.some((task) => typeof column.of(task) === "number"), narrow: n < 2 || column.metric })),
    { name: t("Ran"), sort: "seconds", cell: (task) => (task.seconds ? length(task.seconds) : ""), right: true },
    { wide: 4, name: t("Tries"), sort: "tries", cell: (task) => task.attempts || "", right: true },
    ...(sweep.usd ? [{ name: t("Cost"), sort: "usd", cell: (task: Task) => (task.usd ? money(task.usd, task.told, 3) : ""), right: true }] : []),
    { wide: 7, name: t("Machine"), cell: (task) => task.machine },
    { wide: 16, name: t("Last line"), cell: (task) => task.why || <code>{task.last_line}</code> },
  ];
  return (
    <>
      <section class="card" aria-label={t("Sweep {0}", number)}>
        <header>
          <div><h2>{t("Sweep {0}", number)} · {stateWord(sweep.state)}</h2><p class="muted"><code>{said(sweep)}</code></p></div>
          {!over && sweep.state !== "stopping" && sweep.state !== "ending" && <button type="button" onClick={() => setAsking("cancel")}>{t("Cancel the sweep")}</button>}
        </header>
        {sweep.stopped && <p>{sweep.stopped}</p>}
        {sweep.away && <div class="notice warm"><p>{t("It goes on at {0}. Here again with:", sweep.away)}</p><Line words={["hotdesk", "sweep", "resume", sweep.desk]} /></div>}
        {!over && !sweep.driven && !sweep.away && <div class="notice warm"><p>{t("Nobody goes on with it now. This does:")}</p><Line words={["hotdesk", "sweep", "show", String(number), "-f"]} /></div>}
        <Bar sweep={sweep} />
        {!over && (sweep.left_seconds !== null || sweep.deadline_at !== null) && <Progress share={ended / Math.max(1, sweep.tasks)} rest={sweep.left_seconds} band={sweep.left_band} deadline={sweep.deadline_at} began={() => sweep.asked_at} />}
        <div class="figures">
          <Figure name={t("Done")} value={`${Math.floor((100 * ended) / Math.max(1, sweep.tasks))} %`}><small>{t("{0} of {1} tasks", ended.toLocaleString("en-US"), sweep.tasks.toLocaleString("en-US"))}</small></Figure>
          <Figure name={t("Machines")} value={String(up)}><small>{t("{0} of {1} up", up, sweep.machines.length)}</small></Figure>
          <Figure name={t("Price now")} value={up ? perHour(sweep.usd_per_hour, sweep.told_per_hour) : "–"}><small>{up ? "" : t("nothing runs")}</small></Figure>
          <Figure name={t("Cost so far")} value={money(sweep.usd, sweep.told)}><small>{t("{0}: {1}", t("Machine time"), length(sweep.seconds))}</small></Figure>
        </div>
        {sweep.machines.length > 0 && (
          <details open={!over && sweep.machines.length <= 8}>
            <summary>{t("Each machine")}</summary>
            <Table label={t("Machines")} height={260} rows={sweep.machines} columns={[
              { wide: 8, name: t("Name"), cell: (machine) => machine.name, narrow: true },
              { wide: 7, name: t("State"), cell: (machine) => <StateWord state={machine.state} />, narrow: true },
              { wide: 7, name: t("Address"), cell: (machine) => <code>{machine.address}</code> },
              { wide: 6.5, name: t("Processors"), cell: (machine) => machine.slots || "", right: true, narrow: true },
              { wide: 20, name: t("Why"), cell: (machine) => machine.why },
            ]} />
          </details>
        )}
      </section>
      <Across tasks={tasks} columns={columns} metric={values.metric} best={values.best} {...(chosen ? { chosen } : {})} change={change} />
      <section class="card">
        <header>
          <div><h2>{t("Tasks")}</h2><p class="muted">{t("{0} of {1} tasks", rows.length.toLocaleString("en-US"), tasks.length.toLocaleString("en-US"))}</p></div>
          {!over && ending.length > 0 && <button type="button" disabled={sweep.state === "stopping"} onClick={() => setAsking("tasks")}>{chosen && ending.length === 1 ? t("Cancel task {0}", chosen.task) : t("Cancel {0}", ending.length.toLocaleString("en-US"))}</button>}
          <button type="button" disabled={!can.length || sweep.state === "stopping"} onClick={() => setAsking("retry")}>{t("Retry {0}", can.length)}</button>
        </header>
        <div class="filters">
          <Field label={t("Search")} hint={t("number, parameter, machine, last line")}><input type="search" value={values.q} onInput={(event) => change({ q: event.currentTarget.value })} /></Field>
          <Field label={t("State")}><select value={values.state} onChange={(event) => change({ state: event.currentTarget.value })}><option value="">{t("all")}</option>{STATES.map((state) => <option key={state} value={state}>{`${stateWord(state)} (${sweep[state]})`}</option>)}</select></Field>
        </div>
        <Table label={t("Tasks")} rows={rows} of={`${values.state} ${values.q}`} height={chosen ? 320 : 560} columns={table} sorted={sorted} falling={falling} onSort={(by) => change({ sort: by === sorted && !falling ? `-${by}` : by })} {...(chosen ? { chosen } : {})} onChoose={(task) => change({ task: String(task.task) })} />
        <Line words={["hotdesk", "sweep", "results", String(number), "-o", `sweep-${number}.csv`]} label={t("As CSV")} />
      </section>
      {chosen && <TaskCard key={chosen.task} number={number} task={chosen} onClose={() => change({ task: "" })} />}
      {asking && <Asking what={asking} number={number} tasks={asking === "tasks" ? ending : every || asking === "cancel" ? [] : can} count={asking === "tasks" ? ending.length : can.length} onClose={() => setAsking(undefined)} onDone={() => { setAsking(undefined); again(); onChange(); }} />}
    </>
  );
}

/** The tasks by state, as one bar. */
function Bar({ sweep }: { sweep: Sweep }): JSX.Element {
  const parts = STATES.filter((state) => sweep[state]);
  return (
    <div>
      <div class="share" role="img" aria-label={list(parts.map((state) => `${sweep[state]} ${stateWord(state)}`))}>
        {parts.map((state) => <span key={state} class={`is-${state}`} style={{ flexGrow: sweep[state] }} />)}
      </div>
      <ul class="legend">{parts.map((state) => <li key={state}><span class={`share key`}><span class={`is-${state}`} style={{ flexGrow: 1 }} /></span><span><strong>{sweep[state].toLocaleString("en-US")}</strong> {stateWord(state)}</span></li>)}</ul>
    </div>
  );
}

/** Whether more of it is better, by its usual name. */
const rises = (name: string): boolean => /acc|score|auc|f1|reward|return|r2|iou|bleu|dice|map|precision|recall|psnr|ssim/i.test(name);

/** The parameters against a metric. */
function Across({ tasks, columns, metric, best, chosen, change }: { tasks: Task[]; columns: Valued[]; metric: string; best: string; chosen?: Task; change: (more: Record<string, string>) => void }): JSX.Element | null {
  const done = useMemo(() => tasks.filter((task) => task.state === "done"), [tasks]);
  const seconds: Valued = { key: "seconds", name: t("seconds"), of: (task) => task.seconds, metric: true };
  const choice = [...columns.filter((column) => column.metric && done.some((task) => typeof column.of(task) === "number")), seconds];
  const by = choice.find(({ key }) => key === metric) ?? (choice[0] as Valued);
  const high = best ? best === "high" : rises(by.name);
  const params: Told<Task>[] = columns.filter((column) => !column.metric);
  const found = useMemo(() => {
    const rows = done.filter((task) => typeof by.of(task) === "number");
    const order = [...rows].sort((a, b) => (high ? -1 : 1) * ((by.of(a) as number) - (by.of(b) as number)));
    return { rows, best: new Set(order.slice(0, Math.ceil(order.length / 10))) };
  }, [done, by.key, high]);
  if (!params.length) return null;
  const label = t("Parameters and {0}", by.name);
  return (
    <section class="card">
      <header><div><h2>{label}</h2><p class="muted">{t("Coloured: the best tenth. A click on a line chooses its task; the table below has the same values.")}</p></div></header>
      <div class="filters few">
        <Field label={t("Metric")}><select value={by.key} onChange={(event) => change({ metric: event.currentTarget.value, best: "" })}>{choice.map(({ key, name }) => <option key={key} value={key}>{name}</option>)}</select></Field>
        <Field label={t("Best")}><select value={high ? "high" : "low"} onChange={(event) => change({ best: event.currentTarget.value })}><option value="low">{t("the lowest")}</option><option value="high">{t("the highest")}</option></select></Field>
      </div>
      {found.rows.length ? <Parallel label={label} rows={found.rows} told={[...params, by]} best={found.best} {...(chosen ? { chosen } : {})} onChoose={(task) => change({ task: String(task.task) })} /> : <p class="muted">{t("No task is done yet that told a number.")}</p>}
    </section>
  );
}

function TaskCard({ number, task, onClose }: { number: number; task: Task; onClose: () => void }): JSX.Element {
  const values = [...Object.entries(task.params), ...Object.entries(task.metrics)];
  return (
    <section class="card" aria-label={t("Task {0}", task.task)}>
      <header>
        <div><h2>{t("Task {0}", task.task)} · {stateWord(task.state)}</h2></div>
        <button type="button" class="quiet close" aria-label={t("Close")} onClick={onClose}>✕</button>
      </header>
      {task.why && <p>{task.why}</p>}
      <dl>
        {values.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{String(value)}</dd></div>)}
        {task.exit_status !== null && <div><dt>{t("Exit")}</dt><dd>{task.exit_status}</dd></div>}
        {task.attempts > 0 && <div><dt>{t("Attempts")}</dt><dd>{task.attempts}{task.lost > 0 && `, ${t("{0} lost with their machine", task.lost)}`}</dd></div>}
        {task.machine && <div><dt>{t("Machine")}</dt><dd>{task.machine}</dd></div>}
      </dl>
      <Log question="sweep-logs" said={{ sweep: String(number), task: String(task.task) }} live={task.state === "running"} file={`sweep-${number}-task-${task.task}.log`} line={["hotdesk", "sweep", "logs", String(number), String(task.task)]} />
    </section>
  );
}

/** Asks before tasks run again, or a sweep ends. */
function Asking({ what, number, tasks, count, onClose, onDone }: { what: "retry" | "cancel" | "tasks"; number: number; tasks: number[]; count: number; onClose: () => void; onDone: () => void }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<Problem>();
  const verb = what === "retry" ? "retry" : "cancel";
  const word = what === "retry" ? t("Retry {0}", count) : what === "tasks" ? t("Cancel {0}", count) : t("Cancel the sweep");
  const go = async () => {
    setBusy(true);
    try {
      await post(`sweep-${verb}`, { number, tasks });
      onDone();
    } catch (error) {
      setTrouble(problem(error));
      setBusy(false);
    }
  };
  const line = ["hotdesk", "sweep", verb, String(number), ...tasks.flatMap((task) => ["--task", String(task)])];
  return (
    <Dialog title={word} onClose={onClose}>
      <p>{what === "tasks" ? t("What of these runs is ended, what waits does not begin; the rest goes on.") : what === "retry" ? t("These run again; what is done stays done. Its machines are started anew where they are gone.") : t("What runs is ended, what is done is kept, and the machines are deleted.")}</p>
      {trouble && <Trouble problem={trouble} />}
      <Line words={line} />
      <div class="buttons end"><button type="button" onClick={onClose}>{t("Leave it")}</button><button type="button" class={`primary ${verb === "cancel" ? "danger" : ""}`} disabled={busy} onClick={() => void go()}>{word}</button></div>
    </Dialog>
  );
}
