// Starting a job: at which desk, what, and its price before the click.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Steps } from "./action";
import { ask, post, problem, shellLine, type Amount, type Problem, type Step } from "./api";
import { useKnown } from "./live";
import { Dialog, Field, Line, Trouble, length, perHour, usd, useAnswer } from "./parts";
import { t } from "./words";

interface Cost { machine: string; place: string; usd_per_hour: number; told_per_hour: Amount | null; runs_already: boolean; hours: number | null; usd: number | null; told: Amount | null }
interface Plan { line: string[]; folder: string; command: string; files: number; steps: Step[]; cost: Cost | null; after: number | null; then: "park" | "stop" | "stay" }
interface Run { name: string; job: string; command: string; folder: string; then: string; work: string; anyway: boolean }
const THEN = { park: "Park", stop: "Stop", stay: "Leave it" } as const;

/** What would be done for what is asked, a moment after it was last changed; and doing it. */
export function usePlan<P>(question: string, deed: string, asked: object, whole: boolean, onBegun: () => void): { plan: P | undefined; trouble: Problem | undefined; busy: boolean; sent: boolean; go: () => Promise<void> } {
  const [found, set] = useState<{ plan?: P; trouble?: Problem; of?: string }>({});
  const [sent, setSent] = useState(false);
  const key = JSON.stringify(asked);
  useEffect(() => {
    if (!whole) return;
    let gone = false;
    const timer = setTimeout(() => {
      post<P>(question, asked).then(
        (plan) => { if (!gone) set({ plan, of: key }); },
        (error: unknown) => { if (!gone) set({ trouble: problem(error), of: key }); },
      );
    }, 400);
    return () => { gone = true; clearTimeout(timer); };
  }, [key, whole]);
  const go = async () => {
    setSent(true);
    try {
      await post(deed, asked);
      onBegun();
    } catch (error) {
      set({ trouble: problem(error), of: key });
      setSent(false);
    }
  };
  const now = whole && found.of === key;
  return { plan: now ? found.plan : undefined, trouble: now ? found.trouble : undefined, busy: whole && !now, sent, go };
}

export function Starting({ onClose }: { onClose: () => void }): JSX.Element {
  const { desks } = useKnown();
  const names = Object.values(desks).filter((desk) => !desk.elsewhere).map((desk) => desk.name).sort();
  const choices = useAnswer(() => ask<{ folder: string; jobs: Record<string, string> }>("run-choices"), []);
  const jobs = Object.entries(choices.value?.jobs ?? {});
  const [said, set] = useState<Partial<Run>>({});
  const asked: Run = { name: names[0] ?? "", job: jobs[0]?.[0] ?? "", command: "", folder: choices.value?.folder ?? "", then: "", work: "", anyway: false, ...said };
  const change = (more: Partial<Run>) => set((old) => ({ ...old, ...more }));
  const whole = Boolean(choices.value && asked.name && (asked.job || asked.command.trim()));
  const { plan, trouble, busy, sent, go } = usePlan<Plan>("run-plan", "run", asked, whole, onClose);
  const ready = Boolean(plan) && !busy && !sent;
  const cost = plan?.cost;
  const price = cost && perHour(cost.usd_per_hour, cost.told_per_hour);
  return (
    <Dialog title={t("Start a job")} onClose={onClose}>
      {choices.error !== undefined && <Trouble problem={problem(choices.error)} />}
      {choices.value && !names.length && <p>{t("There is no desk yet: open one first.")} <a href="#/desks" onClick={onClose}>{t("Desks")}</a></p>}
      {choices.value && names.length > 0 && (
        <form onSubmit={(event) => { event.preventDefault(); if (ready) void go(); }}>
          <div class="fields">
            <Field label={t("Desk")}><select value={asked.name} onChange={(event) => change({ name: event.currentTarget.value })}>{names.map((name) => <option key={name} value={name}>{name}</option>)}</select></Field>
            {jobs.length > 0 && <Field label={t("Job")}><select value={asked.job} onChange={(event) => change({ job: event.currentTarget.value })}>{jobs.map(([name, line]) => <option key={name} value={name}>{`${name}: ${line}`}</option>)}<option value="">{t("a command")}</option></select></Field>}
          </div>
          {!asked.job && (
            <>
              <Field label={t("Command")}><input value={asked.command} autoFocus autoComplete="off" spellcheck={false} placeholder="python train.py" onInput={(event) => change({ command: event.currentTarget.value })} /></Field>
              <Field label={t("Folder")} hint={t("on this computer; it is copied to the desk")}><input value={asked.folder} autoComplete="off" spellcheck={false} onInput={(event) => change({ folder: event.currentTarget.value })} /></Field>
            </>
          )}
          <div class="fields">
            <Field label={t("Run time")} hint={t("if known: 10h")}><input value={asked.work} onInput={(event) => change({ work: event.currentTarget.value.trim() })} /></Field>
            <Field label={t("Afterwards")}><select value={asked.then} onChange={(event) => change({ then: event.currentTarget.value })}>
              <option value="">{asked.job ? t("as the job says") : t("as usual: park")}</option><option value="park">{t("Park")}</option><option value="stop">{t("Stop")}</option><option value="stay">{t("Leave it")}</option>
            </select></Field>
          </div>
          {busy && <p class="muted" role="status">{t("Looking…")}</p>}
          {plan && (
            <section class="plan">
              {cost && <p class="price"><strong>{price}</strong> <span class="muted">{[`${cost.machine} · ${cost.place === "here" ? t("this computer") : cost.place}`, cost.runs_already && t("which runs already"), cost.hours !== null && cost.usd !== null && cost.usd > 0 && t("about {0} for {1} of work", cost.told?.text ?? usd(cost.usd), length(cost.hours * 3600))].filter(Boolean).join(", ")}</span></p>}
              <h3>{t("What will be done")}</h3>
              {plan.steps.length > 0 && <Steps steps={plan.steps} />}
              <ul class="plain">
                <li>{t("{0} files are copied from {1}", plan.files.toLocaleString("en-US"), plan.folder)}</li>
                {plan.after !== null && <li>{t("It waits for job {0}.", plan.after)}</li>}
                <li>{t("Then it runs: {0}", plan.command)}</li>
                <li>{t("{0}: {1}", t("Afterwards"), t(THEN[plan.then]))}</li>
              </ul>
              <Line words={`cd ${shellLine([plan.folder])} && ${shellLine(plan.line)}`} />
            </section>
          )}
          {trouble && <Trouble problem={trouble}>{trouble.exit_code === 5 && !asked.anyway && <button type="button" onClick={() => change({ anyway: true })}>{t("Run it all the same")}</button>}</Trouble>}
          <div class="buttons end">
            <button type="button" onClick={onClose}>{t("Cancel")}</button>
            <button type="submit" class="primary" disabled={!ready}>{t("Start a job")}{price ? ` · ${price}` : ""}</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
