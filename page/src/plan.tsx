// A job before it is run: what it costs and how long it takes, on 1 machine or on 1000.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { keep, useAddress } from "./address";
import { post, problem, type Offer, type Problem } from "./api";
import { offerWords } from "./action";
import { Field, Line, Trouble, length, perHour, usd } from "./parts";
import { Plot, scale, steps } from "./plot";
import { Table } from "./table";
import { t, type Word } from "./words";

interface Choice { offer: Offer; evidence: string; why?: string; hours_p90: number; finish: { machines: number; hours: number; usd: number; multiplier: number; hours_low: number; hours_high: number; usd_low: number; usd_high: number; breaks?: string[] } }
interface Answer { front: Choice[]; plans?: Choice[]; cheapest?: Choice | null; fastest?: Choice | null; knee?: Choice | null; considered?: number; measure_first?: string; bare: boolean; lost: { offer: Offer; why: string; also?: number }[]; left_out: string }
const FIRST = { work: "1000", machines: "1..1000", startup: "5", price: "", gpu: "", market: "", deadline: "", budget: "", data: "", step: "" };
type Values = typeof FIRST;
const BEST: [keyof Pick<Answer, "cheapest" | "knee" | "fastest">, Word][] = [["cheapest", "Cheapest"], ["knee", "Best value"], ["fastest", "Fastest"]];

export function Planning(): JSX.Element {
  const [view, address] = useAddress();
  const values = Object.fromEntries(Object.entries(FIRST).map(([name, first]) => [name, (view === "plan" && address.get(name)) || first])) as Values;
  const change = (more: Partial<Values>) => keep("plan", { ...values, ...more });
  const [answer, setAnswer] = useState<Answer>();
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [at, setAt] = useState(0);
  const key = JSON.stringify(values);
  useEffect(() => {
    let gone = false;
    setBusy(true);
    const timer = setTimeout(() => post<Answer>("job-plan", job(values)).then(
      (found) => { if (!gone) { setAnswer(found); setTrouble(undefined); setBusy(false); } },
      (error: unknown) => { if (!gone) { setTrouble(problem(error)); setBusy(false); } },
    ), 250);
    return () => { gone = true; clearTimeout(timer); };
  }, [key]);
  const input = (name: keyof Values, label: Word, hint = "") => (
    <Field label={t(label)}><input value={values[name]} placeholder={hint} inputMode={name === "machines" || name === "gpu" ? "text" : "decimal"} onInput={(event) => change({ [name]: event.currentTarget.value.trim() })} /></Field>
  );
  return (
    <>
      <div class="title"><h1>{t("Plan")}</h1><p class="muted">{t("What a job costs in all, and when it is done: from the order to the saved results.")}</p></div>
      <div class="filters many">
        {input("work", "Work, hours on one machine")}
        {input("machines", "Machines", "1,10,100 / 1..1000")}
        {input("startup", "Start-up, minutes")}
        {input("data", "Data to bring, GiB")}
        {input("deadline", "Deadline, hours from now")}
        {input("budget", "Budget, $")}
        {input("gpu", "GPU of known offers", "L4")}
        {!values.gpu && input("price", "Price of a machine, $/h", "1")}
        <Field label={t("Machines work")}><select value={values.step} onChange={(event) => change({ step: event.currentTarget.value })}><option value="">{t("independently")}</option><option value="1">{t("in step")}</option></select></Field>
      </div>
      {trouble && <Trouble problem={trouble} />}
      {answer && (
        <section class={busy ? "plan busy" : "plan"} aria-busy={busy}>
          <div class="figures">
            {BEST.map(([name, word]) => { const choice = answer[name]; return choice && (
              <div class="figure" key={name}><span class="muted">{t(word)}</span><strong>{usd(choice.finish.usd)}</strong>
                <small>{length(choice.finish.hours * 3600)} · {count(choice.finish.machines)}{!answer.bare && ` · ${offerWords(choice.offer)}`}</small>
                {!answer.bare && <small>{perHour(choice.offer.usd_per_hour ?? 0, choice.offer.told_per_hour)} {t("each")}</small>}
                <small>{t("in 9 of 10 cases done in {0}", length(choice.hours_p90 * 3600))}</small></div>
            ); })}
          </div>
          {!answer.cheapest && <div class="notice warm">{t("Nothing keeps the deadline and the budget.")} {answer.lost[0]?.why}</div>}
          {answer.left_out && <p class="muted">{t("Left out: {0}", answer.left_out)}</p>}
          {answer.measure_first && <div class="notice warm">{answer.measure_first}</div>}
          <section class="card">
            <header><div><h2>{t("Dollars against time")}</h2><p class="muted">{t("The line joins what nothing beats in both; the bars are 9 of 10 cases.")}</p></div></header>
            <Front answer={answer} {...(values.deadline ? { deadline: Number(values.deadline) } : {})} {...(values.budget ? { budget: Number(values.budget) } : {})} at={at} />
            <Machines answer={answer} at={at} onAt={setAt} />
          </section>
          <section class="card">
            <h2>{t("The plans on the line")}</h2>
            <Table label={t("The plans on the line")} rows={answer.front} height={380} columns={[
              { name: t("Machines"), cell: (c) => c.finish.machines, right: true, narrow: true },
              { wide: 14, name: t("What"), cell: (c) => (answer.bare ? t("a machine") : offerWords(c.offer)) },
              { name: t("Done in"), cell: (c) => length(c.finish.hours * 3600), right: true, narrow: true },
              { name: t("9 of 10"), cell: (c) => length(c.hours_p90 * 3600), right: true },
              { name: "$", cell: (c) => usd(c.finish.usd), right: true, narrow: true },
              { wide: 10, name: t("Paid hours per hour of work"), cell: (c) => c.finish.multiplier.toFixed(3), right: true },
            ]} />
          </section>
        </section>
      )}
      <Line words={command(values)} />
    </>
  );
}

const count = (machines: number): string => (machines === 1 ? t("1 machine") : t("{0} machines", machines));

function job(values: Values): object {
  const number = (text: string) => (text === "" || Number.isNaN(Number(text)) ? undefined : Number(text));
  return {
    work_hours: number(values.work), machines: values.machines, startup_minutes: number(values.startup), data_gib: number(values.data) ?? 0,
    deadline_hours: number(values.deadline), budget_usd: number(values.budget), divisible: !values.step,
    ...(values.gpu ? { gpu: [values.gpu], reference: values.gpu.split(":")[0] } : { usd_per_hour: number(values.price) }),
  };
}

function command(values: Values): string[] {
  const said: [string, string][] = [["--work", values.work && `${values.work}h`], ["--machines", values.machines], ["--startup", values.startup && `${values.startup}m`], ["--data-gib", values.data], ["--deadline", values.deadline && `${values.deadline}h`], ["--budget", values.budget], ["--gpu", values.gpu], ["--on", values.gpu.split(":")[0] ?? ""], ["--usd-per-hour", values.gpu ? "" : values.price]];
  return ["hotdesk", "plan", ...said.filter(([, value]) => value).flat()];
}

function Front({ answer, deadline, budget, at }: { answer: Answer; deadline?: number; budget?: number; at: number }): JSX.Element {
  const all = answer.plans?.length ? answer.plans : answer.front;
  if (!all.length) return <></>;
  const hours = all.flatMap((c) => [c.finish.hours_low, c.finish.hours_high]).filter((h) => h > 0);
  const dollars = all.flatMap((c) => [c.finish.usd_low, c.finish.usd_high]).filter((d) => d > 0);
  const front = [...answer.front].sort((a, b) => a.finish.hours - b.finish.hours);
  const chosen = byMachines(answer)[at];
  const word = (v: number) => v.toLocaleString("en-US");
  return (
    <Plot label={t("Dollars against time")} x={t("hours until it is done")} y="$" height={340} left={64}
      scales={(w, h) => [scale(Math.min(...hours) * 0.9, Math.max(...hours) * 1.1, 0, w, { log: true, word }), scale(Math.min(...dollars) * 0.92, Math.max(...dollars) * 1.08, h, 0, { log: Math.max(...dollars) > 4 * Math.min(...dollars), word })]}>
      {(x, y, w, h) => (
        <>
          {deadline && <><line x1={x(deadline)} x2={x(deadline)} y2={h} class="limit" /><text x={x(deadline) - 5} y={12} text-anchor="end">{t("deadline")}</text></>}
          {budget && <><line x2={w} y1={y(budget)} y2={y(budget)} class="limit" /><text x={4} y={y(budget) - 5}>{t("budget")}</text></>}
          {all.map((c, n) => <circle key={n} cx={x(c.finish.hours)} cy={y(c.finish.usd)} r="2.4" class="dim" />)}
          {front.map((c, n) => <g key={n} class="band"><line x1={x(c.finish.hours_low)} x2={x(c.finish.hours_high)} y1={y(c.finish.usd)} y2={y(c.finish.usd)} /><line x1={x(c.finish.hours)} x2={x(c.finish.hours)} y1={y(c.finish.usd_low)} y2={y(c.finish.usd_high)} /></g>)}
          <path class="front" d={steps(front.map((c) => c.finish.usd), (n) => x(front[n]?.finish.hours ?? 1), y)} />
          {front.map((c, n) => <circle key={n} cx={x(c.finish.hours)} cy={y(c.finish.usd)} r="4" class="knot"><title>{`${c.finish.machines} · ${length(c.finish.hours * 3600)} · ${usd(c.finish.usd)}`}</title></circle>)}
          {chosen && <circle cx={x(chosen.finish.hours)} cy={y(chosen.finish.usd)} r="8" class="ring" />}
        </>
      )}
    </Plot>
  );
}

/** For each number of machines the cheapest plan. */
function byMachines(answer: Answer): Choice[] {
  const best = new Map<number, Choice>();
  for (const choice of answer.plans ?? answer.front) {
    const known = best.get(choice.finish.machines);
    if (!known || choice.finish.usd < known.finish.usd) best.set(choice.finish.machines, choice);
  }
  return [...best.values()].sort((a, b) => a.finish.machines - b.finish.machines);
}

function Machines({ answer, at, onAt }: { answer: Answer; at: number; onAt: (at: number) => void }): JSX.Element | null {
  const choices = byMachines(answer);
  const chosen = choices[Math.min(at, choices.length - 1)];
  if (!chosen || choices.length < 2) return null;
  const { finish } = chosen;
  const bend = Math.max(...choices.map((c) => c.finish.multiplier)) - 1;
  return (
    <div class="slide">
      <Field label={count(finish.machines)}><input type="range" min="0" max={choices.length - 1} value={Math.min(at, choices.length - 1)} aria-valuetext={count(finish.machines)} onInput={(event) => onAt(event.currentTarget.valueAsNumber)} /></Field>
      <p role="status"><strong>{usd(finish.usd)}</strong> · {length(finish.hours * 3600)} · {t("{0} paid hours for one hour of work", finish.multiplier.toFixed(3))}</p>
      {choices.length > 2 && bend > 0 && (
        <Plot label={t("Paid hours per hour of work")} x={t("machines")} y={t("paid hours")} height={190}
          scales={(w, h) => { const word = (v: number) => v.toLocaleString("en-US"); return [scale(1, choices.at(-1)?.finish.machines ?? 2, 0, w, { log: true, word }), scale(1 - bend / 8, 1 + bend * 1.1, h, 0, { word: (v) => String(Number(v.toPrecision(4))) })]; }}>
          {(x, y, w) => (
            <>
              <line x2={w} y1={y(1)} y2={y(1)} class="limit own" />
              <path class="series a" d={choices.map((c, n) => `${n ? "L" : "M"}${x(c.finish.machines).toFixed(1)} ${y(c.finish.multiplier).toFixed(1)}`).join("")} />
              <circle cx={x(finish.machines)} cy={y(finish.multiplier)} r="6" class="ring" />
            </>
          )}
        </Plot>
      )}
      {finish.breaks?.map((why) => <p class="muted" key={why}>{why}</p>)}
    </div>
  );
}
