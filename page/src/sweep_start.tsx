// Starting a sweep: its parameters, how many tasks they make, and its price before the click.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Steps } from "./action";
import { ask, problem, shellLine, type Amount, type Step } from "./api";
import { useKnown } from "./live";
import { Dialog, Field, Line, Trouble, perHour, useAnswer } from "./parts";
import { usePlan } from "./start";
import { t } from "./words";

interface Plan { line: string[]; folder: string; tasks: number; machines: number; usd_per_hour: number; told_per_hour: Amount | null; image: string; files: number; first: string[]; steps: Step[] }
const lines = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean);
const number = (text: string): number | null => (text.trim() === "" || Number.isNaN(Number(text)) ? null : Number(text));

export function SweepStarting({ onClose }: { onClose: () => void }): JSX.Element {
  const { desks } = useKnown();
  const names = Object.values(desks).filter((desk) => !desk.elsewhere).map((desk) => desk.name).sort();
  const choices = useAnswer(() => ask<{ folder: string }>("run-choices"), []);
  const [said, set] = useState<Record<string, string>>({});
  const [anyway, setAnyway] = useState(false);
  const get = (name: string): string => said[name] ?? "";
  const put = (name: string) => (event: { currentTarget: { value: string } }) => { setAnyway(false); set((old) => ({ ...old, [name]: event.currentTarget.value })); };
  const asked = {
    name: said["name"] ?? names[0] ?? "", command: get("command"), params: lines(get("params")), folder: said["folder"] ?? choices.value?.folder ?? "",
    samples: number(get("samples")), machines: number(get("machines")), per_gpu: number(get("per_gpu")), retries: number(get("retries")),
    time_limit: get("time_limit").trim(), deadline: get("deadline").trim(), budget: number(get("budget")), pull: get("pull").split(/[\s,]+/).filter(Boolean),
    checkpoint: get("checkpoint").trim(), checkpoint_gib: number(get("checkpoint_gib")), anyway,
  };
  const whole = Boolean(choices.value && asked.name && asked.command.trim() && asked.params.length);
  const { plan, trouble, busy, sent, go } = usePlan<Plan>("sweep-plan", "sweep-start", asked, whole, onClose);
  const ready = Boolean(plan) && !busy && !sent;
  const price = plan && perHour(plan.usd_per_hour, plan.told_per_hour);
  const small = (name: string, label: string, hint = ""): JSX.Element => <Field label={label} hint={hint}><input value={get(name)} autoComplete="off" spellcheck={false} onInput={put(name)} /></Field>;
  return (
    <Dialog title={t("Start a sweep")} onClose={onClose}>
      {choices.error !== undefined && <Trouble problem={problem(choices.error)} />}
      {choices.value && !names.length && <p>{t("There is no desk yet: open one first.")} <a href="#/desks" onClick={onClose}>{t("Desks")}</a></p>}
      {choices.value && names.length > 0 && (
        <form onSubmit={(event) => { event.preventDefault(); if (ready) void go(); }}>
          <div class="fields">
            <Field label={t("Desk")} hint={t("each machine starts from its image")}><select value={asked.name} onChange={put("name")}>{names.map((name) => <option key={name} value={name}>{name}</option>)}</select></Field>
            <Field label={t("Folder")} hint={t("on this computer")}><input value={asked.folder} autoComplete="off" spellcheck={false} onInput={put("folder")} /></Field>
          </div>
          <Field label={t("Command")} hint={t("{lr} is the value of lr")}><input value={asked.command} autoFocus autoComplete="off" spellcheck={false} placeholder="python train.py --lr {lr}" onInput={put("command")} /></Field>
          <Field label={t("Parameters")} hint={t("one on each line: a list, a range or a distribution")}><textarea rows={3} value={get("params")} spellcheck={false} placeholder={"lr=1e-4,3e-4\nseed=0..4\nwd=log:1e-5..1e-1"} onInput={put("params")} /></Field>
          <div class="fields">
            {small("machines", t("Machines"), "1")}
            {small("per_gpu", t("Tasks that share a GPU"))}
            {small("samples", t("Samples"), t("of distributions"))}
          </div>
          <details>
            <summary>{t("Limits and results")}</summary>
            <div class="fields">
              {small("retries", t("Attempts after a failure"), "1")}
              {small("time_limit", t("Longest run of one"), "90m")}
              {small("deadline", t("Deadline"), "8h")}
              {small("budget", t("Budget, $"))}
              {small("pull", t("Fetch from each task"), "results")}
              {small("checkpoint", t("Checkpoint"), t("a folder that follows a task to another machine"))}
              {small("checkpoint_gib", t("No greater one, GiB"), "2")}
            </div>
          </details>
          {busy && <p class="muted" role="status">{t("Looking…")}</p>}
          {plan && (
            <section class="plan">
              <p class="price"><strong>{price}</strong> <span class="muted">{t("{0} tasks on {1} machines", plan.tasks.toLocaleString("en-US"), plan.machines)}</span></p>
              <h3>{t("What will be done")}</h3>
              {plan.steps.length > 0 && <Steps steps={plan.steps} />}
              <ul class="plain">
                <li>{t("{0} files are copied from {1}", plan.files.toLocaleString("en-US"), plan.folder)}</li>
                {plan.first.map((line) => <li key={line}><code>{line}</code></li>)}
                {plan.tasks > plan.first.length && <li>{t("and {0} more", (plan.tasks - plan.first.length).toLocaleString("en-US"))}</li>}
              </ul>
              <Line words={`cd ${shellLine([plan.folder])} && ${shellLine(plan.line)}`} />
            </section>
          )}
          {trouble && <Trouble problem={trouble}>{trouble.exit_code === 5 && !asked.anyway && <button type="button" onClick={() => setAnyway(true)}>{t("Agree, and look again")}</button>}</Trouble>}
          <div class="buttons end">
            <button type="button" onClick={onClose}>{t("Cancel")}</button>
            <button type="submit" class="primary" disabled={!ready}>{t("Start a sweep")}{price ? ` · ${price}` : ""}</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
