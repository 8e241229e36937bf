// A verb before it is done: its steps, its price, what would end, and the same line for the terminal.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, planned, post, problem, type Asked, type Carriage, type Deed, type Desk, type Offer, type Plan, type Problem, type Step, type Verb } from "./api";
import { known } from "./live";
import { Dialog, Field, Line, Trouble, length, perHour, size, usd, useAnswer } from "./parts";
import { list, t, type Word } from "./words";

export const FIRST = "blue"; // the name that is offered for the first desk

export const VERBS: Record<Deed, Word> = {
  up: "Open", resume: "Resume", start: "Start", park: "Park", stop: "Stop", move: "Move", down: "Delete", stay: "Stay", run: "Start a job", sweep: "Start a sweep",
};
const ABOUT: Record<Verb, Word> = {
  up: "A machine is launched; the desk is up once a login works and Jupyter answers.",
  resume: "The desk comes back from its image, on the offer that is best now.",
  start: "The machine is turned on again, with the disk it had.",
  park: "Everything is saved in one image, which is read back; only then is the machine deleted.",
  stop: "The machine is turned off. Its disk stays, and a cloud keeps billing it.",
  move: "The same desk on other hardware, with everything on it.",
  down: "The machine, its disks, images, keys and the logs of its jobs are deleted. This cannot be undone.",
  stay: "Neither idleness nor the lease ends the desk for so long.",
};
const STEPS: Record<string, Word> = {
  launch: "Launch a machine", hold: "Ask for a better place", start: "Start the machine", stop: "Stop the machine", retype: "Change the machine's type",
  bake: "Take an image", verify: "Read the image back", copy: "Copy the image", delete: "Delete", prove: "Log in, and ask Jupyter",
  leave: "It has shut itself down; it is parked", vacate: "Its machine is about to be ended; it is parked", hand: "Hand over to its new place", fetch: "Copy its files to this computer", bring: "Bring its files to the new machine", grow: "Enlarge the disk", told: "Event on the desk", begin: "Start a job", move: "Move a job", wait: "Wait", ask: "Ask you",
};

/** A step in words. */
export const stepWord = (step: string): string => (STEPS[step] ? t(STEPS[step]) : step);

function offerOf(step: Step): Offer | undefined {
  return step.order?.offer ?? step.offer;
}

const place = (offer: Offer): string => offer.zone === "here" ? t("this computer") : offer.zone || offer.region;

export function offerWords(offer: Offer): string {
  const gpu = offer.gpu ? `${offer.gpu}${(offer.gpu_count ?? 1) > 1 ? ` ×${offer.gpu_count}` : ""}` : "";
  return [offer.instance_type, gpu, place(offer), offer.market === "spot" ? "spot" : ""].filter(Boolean).join(" · ");
}

/** What the steps come to an hour, from the launch or start among them; undefined where none costs anything new. */
function priceOf(plan: Plan): string | undefined {
  if (plan.carries) return perHour(plan.carries.usd_per_hour, plan.carries.told_per_hour); // of its new place
  for (const step of plan.steps) {
    const offer = offerOf(step);
    if (offer) return perHour(offer.usd_per_hour ?? 0, offer.told_per_hour);
    if (step.step === "start") return perHour(step.usd_per_hour ?? 0, step.told_per_hour);
  }
  return undefined;
}

export function ActionDialog({ verb, desk, first = {}, onClose }: { verb: Verb; desk?: Desk; first?: Partial<Asked>; onClose: () => void }): JSX.Element {
  const [asked, set] = useState<Asked>({ verb, name: desk?.name ?? (Object.keys(known.desks).length ? "" : FIRST), ...(verb === "stay" ? { seconds: "2h" } : {}), ...first });
  const [plan, setPlan] = useState<Plan>();
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState(false);
  const change = (more: Partial<Asked>) => set((old) => ({ ...old, ...more }));
  const lacksTarget = verb === "move" && !asked.gpu && !asked.instance_type && !asked.market && !asked.zone && !asked.provider;
  const key = JSON.stringify({ ...asked, typed: undefined, anyway: undefined });

  useEffect(() => {
    if (!asked.name || lacksTarget) return setPlan(undefined);
    let gone = false;
    setBusy(true);
    const timer = setTimeout(() => {
      planned(asked).then(
        (found) => { if (!gone) { setPlan(found); setTrouble(undefined); setBusy(false); } },
        (error: unknown) => { if (!gone) { setPlan(undefined); setTrouble(problem(error)); setBusy(false); } },
      );
    }, verb === "up" || verb === "move" ? 300 : 0);
    return () => { gone = true; clearTimeout(timer); };
  }, [key]);

  const clouds = useAnswer(() => ask<{ clouds: Cloud[]; usual: string }>("clouds"), []).value;
  const chosen = asked.provider || desk?.provider || clouds?.usual;
  const rented = clouds?.clouds.find((cloud) => cloud.name === chosen)?.rented ?? false;
  const ends = plan ? [...plan.works, ...plan.unsaved, ...plan.lost] : [];
  const all: Asked = { ...asked, anyway: ends.length > 0 || verb === "down" };
  const go = async () => {
    setSent(true);
    try {
      await post("do", all);
      onClose();
    } catch (error) {
      setTrouble(problem(error));
      setSent(false);
    }
  };
  const price = plan && priceOf(plan);
  const ready = Boolean(plan) && !busy && !sent && (verb !== "down" || asked.typed === asked.name);
  const words = t(VERBS[verb]);
  return (
    <Dialog title={desk ? `${words}: ${desk.name}` : t("Open a desk")} onClose={onClose}>
      <form onSubmit={(event) => { event.preventDefault(); if (ready) void go(); }}>
        <p class="muted">{t(ABOUT[verb])}</p>
        {verb === "up" && !desk && <Opening asked={asked} change={change} clouds={clouds?.clouds ?? []} chosen={chosen ?? ""} />}
        {verb === "move" && desk && <Places asked={asked} change={change} clouds={clouds?.clouds ?? []} stays={desk.provider} />}
        {rented && (verb === "up" || verb === "move" || verb === "resume") && <Hardware asked={asked} change={change} />}
        {rented && verb === "up" && <Leaving asked={asked} change={change} />}
        {busy && !plan && <p class="muted" role="status">{t("Looking…")}</p>}
        {verb === "stay" && (
          <Field label={t("How long")} hint={t("45m, 1.5h, 2d")}>
            <input value={asked.seconds} onInput={(event) => change({ seconds: event.currentTarget.value })} required />
          </Field>
        )}
        {plan && verb !== "stay" && (
          <section class={busy ? "plan busy" : "plan"} aria-busy={busy}>
            {price !== undefined && (
              <p class="price"><strong>{price}</strong> <span class="muted">{t("from then on")}</span></p>
            )}
            {plan.notes.length > 0 && <details open><summary>{t("The places")}</summary><ul class="plain">{plan.notes.map((note) => <li key={note}>{note}</li>)}</ul></details>}
            {plan.carries && <Carried goods={plan.carries} />}
            <h3>{t("What will be done")}</h3>
            <Steps steps={plan.steps} />
            {plan.offers.length > 1 && price !== undefined && (
              <details>
                <summary>{t("The next best offers")}</summary>
                <ul class="plain">
                  {plan.offers.slice(1).map((offer) => (
                    <li key={offerWords(offer)}>{offerWords(offer)} · {perHour(offer.usd_per_hour ?? 0, offer.told_per_hour)}</li>
                  ))}
                </ul>
              </details>
            )}
            <Ending title={t("Works there, and would end")} items={plan.works} />
            <Ending title={t("Not saved there")} items={plan.unsaved} />
            <Ending title={t("In no image, and would be lost")} items={plan.lost} />
            {plan.open.length > 0 && <p class="muted">{t("{0}: {1}", t("Open there, and will be closed"), list(plan.open))}</p>}
          </section>
        )}
        {trouble && <Trouble problem={trouble} />}
        {verb === "down" && plan && (
          <Field label={t("Type its name to delete it: {0}", asked.name)}>
            <input value={asked.typed ?? ""} autoComplete="off" spellcheck={false} onInput={(event) => change({ typed: event.currentTarget.value })} />
          </Field>
        )}
        {plan && <Line words={withYes(plan.line, all)} />}
        <div class="buttons end">
          <button type="button" onClick={onClose}>{t("Cancel")}</button>
          <button type="submit" class={verb === "down" ? "primary danger" : "primary"} disabled={!ready}>
            {ends.length > 0 && verb !== "down" ? t("{0} anyway", words) : words}
            {price ? ` · ${price}` : ""}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Steps in order, each with its reason. */
export function Steps({ steps }: { steps: Step[] }): JSX.Element {
  if (!steps.length) return <p>{t("Nothing: it is so already.")}</p>;
  return (
    <ol class="steps">
      {steps.map((step, n) => (
        <li key={n}>
          <span>{step.what ?? stepWord(step.step)}{offerOf(step) && <> · {offerWords(offerOf(step) as Offer)}</>}{step.id && step.step === "delete" && <> · <code>{step.id}</code></>}</span>
          <small>{step.why}</small>
          {step.fix && <Line words={step.fix} label={t("What to do")} />}
        </li>
      ))}
    </ol>
  );
}

const withYes = (line: string[], asked: Asked): string[] => (asked.anyway && !line.includes("--yes") ? [...line, "--yes"] : line);

function Ending({ title, items }: { title: string; items: string[] }): JSX.Element | null {
  if (!items.length) return null;
  return (
    <div class="notice warm">
      <strong>{title}</strong>
      <ul class="plain">{items.map((item) => <li key={item}>{item}</li>)}</ul>
    </div>
  );
}

/** What goes along to another place, for how long and for how much, and what cannot. */
function Carried({ goods }: { goods: Carriage }): JSX.Element {
  const { files, bytes } = goods;
  const counted = files === null || bytes === null ? t("not counted: {0}", goods.uncounted) : t("{0} files, {1}", files.toLocaleString("en-US"), size(bytes));
  return (
    <>
      <h3>{t("Goes along")}</h3>
      <p>
        {[counted, goods.seconds !== null && t("{0} for all of it", length(Math.max(1, goods.seconds))),
          goods.usd_once ? t("{0} once for traffic, at most", usd(goods.usd_once)) : "",
          goods.data_files ? t("{0} files of data come from their source", goods.data_files.toLocaleString("en-US")) : ""].filter(Boolean).join(" · ")}
      </p>
      <Ending title={t("cannot be read, and stops the move")} items={goods.unreadable} />
      {goods.replaced.length > 0 && (
        <details>
          <summary>{t("Stays behind")}</summary>
          <ul class="plain">{goods.replaced.map(({ what, by }) => <li key={what}>{what} → {by}</li>)}</ul>
        </details>
      )}
    </>
  );
}

interface Fields { asked: Asked; change: (more: Partial<Asked>) => void }
interface Cloud { name: string; label: string; rented: boolean }

function Opening({ asked, change, clouds, chosen }: Fields & { clouds: Cloud[]; chosen: string }): JSX.Element {
  return (
    <div class="fields">
      <Field label={t("Name")} hint={t("a-z, 0-9 and hyphens")}>
        <input value={asked.name} required autoFocus autoComplete="off" spellcheck={false} onFocus={(event) => event.currentTarget.select()} onInput={(event) => change({ name: event.currentTarget.value.trim() })} />
      </Field>
      <Where value={chosen} clouds={clouds} change={change} />
    </div>
  );
}

/** Where a desk is to move; at first, nowhere. */
function Places({ asked, change, clouds, stays }: Fields & { clouds: Cloud[]; stays: string }): JSX.Element {
  const others = clouds.filter((cloud) => cloud.name !== stays);
  return <div class="fields"><Where value={asked.provider ?? ""} clouds={others} change={change} first={t("Where it is")} /></div>;
}

function Where({ value, clouds, change, first }: { value: string; clouds: Cloud[]; change: Fields["change"]; first?: string }): JSX.Element {
  const label = (cloud: Cloud): string => cloud.name === "any" ? t("Wherever it is best") : cloud.label === "this computer" ? t("This computer") : cloud.label;
  return (
    <Field label={t("Where")}>
      <select value={value} onChange={(event) => change({ provider: event.currentTarget.value })}>
        {first && <option value="">{first}</option>}
        {clouds.map((cloud) => <option key={cloud.name} value={cloud.name}>{label(cloud)}</option>)}
      </select>
    </Field>
  );
}

function Leaving({ asked, change }: Fields): JSX.Element {
  return (
    <div class="fields">
      <Field label={t("Park when idle for")} hint={t("45m, or never")}>
        <input value={asked.idle ?? ""} onInput={(event) => change({ idle: event.currentTarget.value.trim() })} />
      </Field>
      <Field label={t("Shut down after")} hint={t("8h, or never")}>
        <input value={asked.until ?? ""} onInput={(event) => change({ until: event.currentTarget.value.trim() })} />
      </Field>
    </div>
  );
}

function Hardware({ asked, change }: Fields): JSX.Element {
  return (
    <div class="fields">
      <Field label="GPU" hint={t("L4, A100:8 or none")}>
        <input value={asked.gpu ?? ""} autoComplete="off" onInput={(event) => change({ gpu: event.currentTarget.value.trim() })} />
      </Field>
      <Field label={t("Type")} hint={t("such as g6.xlarge")}>
        <input value={asked.instance_type ?? ""} autoComplete="off" onInput={(event) => change({ instance_type: event.currentTarget.value.trim() })} />
      </Field>
      <Field label={t("Market")}>
        <select value={asked.market ?? ""} onChange={(event) => change({ market: event.currentTarget.value })}>
          <option value="">{t(asked.verb === "up" ? "As usual" : "As it was")}</option>
          <option value="cheapest">{t("Cheapest")}</option>
          <option value="spot">{t("Spot")}</option>
          <option value="on-demand">{t("On-demand")}</option>
        </select>
      </Field>
      <Field label={t("At most, $/h")}>
        <input type="number" min="0" step="any" value={asked.usd_per_hour_max ?? ""} onInput={(event) => {
          const { usd_per_hour_max: _, ...rest } = asked;
          const most = event.currentTarget.valueAsNumber;
          change(Number.isNaN(most) ? { ...rest, usd_per_hour_max: undefined as never } : { usd_per_hour_max: most });
        }} />
      </Field>
    </div>
  );
}
