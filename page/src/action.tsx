// A verb before it is done: its steps, its price, what would end, and the same line for the terminal.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, planned, post, problem, type Grown, type Asked, type Carriage, type Deed, type Desk, type Offer, type Plan, type Problem, type Step, type Verb } from "./api";
import { known } from "./live";
import { More, Opening, Hardware, Leaving, Places, type Cloud } from "./options";
import { Dialog, Field, Line, Trouble, length, perHour, perMonth, size, usd, useAnswer } from "./parts";
import { list, t, type Word } from "./words";

export const FIRST = "blue"; // the name that is offered for the first desk

export const VERBS: Record<Deed, Word> = {
  up: "Open", resume: "Resume", start: "Start", park: "Park", stop: "Stop", move: "Move", down: "Delete", stay: "Stay", disk: "Enlarge the disk", push: "Send files", pull: "Fetch files", run: "Start a job", sweep: "Start a sweep",
};
export const ABOUT: Record<Verb, Word> = {
  up: "A machine is launched; the desk is up once a login works and Jupyter answers.",
  resume: "The desk comes back from its image, on the offer that is best now.",
  start: "The machine is turned on again, with the disk it had.",
  park: "Everything is saved in one image, which is read back; only then is the machine deleted.",
  stop: "The machine is turned off. Its disk stays, and a cloud keeps billing it.",
  move: "The same desk on other hardware, with everything on it.",
  down: "The machine, its disks, images, keys and the logs of its jobs are deleted. This cannot be undone.",
  stay: "Neither idleness nor the lease ends the desk for so long.",
  disk: "The disk grows while the desk runs, and its file system with it. A disk never gets smaller.",
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
  const lacksTarget = verb === "move" && !asked.gpu && !asked.instance_type && !asked.market && !asked.zone && !asked.provider && !asked.disk_gib && !asked.regions?.length && asked.usd_per_hour_max === undefined;
  const lacksSize = verb === "disk" && !asked.disk_gib;
  const key = JSON.stringify({ ...asked, typed: undefined, anyway: undefined });

  useEffect(() => {
    if (!asked.name || lacksTarget || lacksSize) return setPlan(undefined);
    let gone = false;
    setBusy(true);
    const timer = setTimeout(() => {
      planned(asked).then(
        (found) => { if (!gone) { setPlan(found); setTrouble(undefined); setBusy(false); } },
        (error: unknown) => { if (!gone) { setPlan(undefined); setTrouble(problem(error)); setBusy(false); } },
      );
    }, verb === "up" || verb === "move" || verb === "disk" ? 300 : 0);
    return () => { gone = true; clearTimeout(timer); };
  }, [key]);

  const clouds = useAnswer(() => ask<{ clouds: Cloud[]; usual: string }>("clouds"), []).value;
  const chosen = asked.provider || desk?.provider || clouds?.usual;
  const rented = clouds?.clouds.find((cloud) => cloud.name === chosen)?.rented ?? false;
  const ends = plan ? [...plan.works, ...plan.unsaved, ...plan.lost] : [];
  const way = plan?.carries?.route?.by; // that was measured and shown is the one that is gone
  const all: Asked = { ...asked, ...(way ? { route: way } : {}), anyway: ends.length > 0 || verb === "down" };
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
    <Dialog title={desk ? t("{0}: {1}", words, desk.name) : t("Open a desk")} onClose={onClose}>
      <form onSubmit={(event) => { event.preventDefault(); if (ready) void go(); }}>
        <p class="muted">{t(ABOUT[verb])}</p>
        {verb === "up" && !desk && <Opening asked={asked} change={change} clouds={clouds?.clouds ?? []} chosen={chosen ?? ""} />}
        {verb === "move" && desk && <Places asked={asked} change={change} clouds={clouds?.clouds ?? []} stays={desk.provider} />}
        {rented && (verb === "up" || verb === "move" || verb === "resume") && <Hardware asked={asked} change={change} />}
        {rented && verb === "up" && <Leaving asked={asked} change={change} />}
        {busy && !plan && <p class="muted" role="status">{t("Looking…")}</p>}
        {verb === "stay" && !asked.off && (
          <Field label={t("How long")} hint={t("45m, 1.5h, 2d")}>
            <input value={asked.seconds} onInput={(event) => change({ seconds: event.currentTarget.value })} required />
          </Field>
        )}
        {verb === "disk" && (
          <Field label={t("Disk, GiB")}>
            <input type="number" min="1" required autoFocus value={asked.disk_gib ?? ""} onInput={(event) => change({ disk_gib: event.currentTarget.valueAsNumber || null })} />
          </Field>
        )}
        <More asked={asked} change={change} desk={desk} rented={rented} machines={clouds?.clouds.find((cloud) => cloud.name === desk?.provider)?.machines ?? false} />
        {plan?.grown && <p role="status">{grownWords(plan.grown)}</p>}
        {plan && verb !== "stay" && verb !== "disk" && (
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

/** What a disk would be, and cost. */
const grownWords = ({ before_gib, gib, usd_per_month, told_per_month, runs }: Grown): string =>
  before_gib ? [t("From {0} to {1} GiB", Math.round(before_gib), gib), usd_per_month > 0 && perMonth(usd_per_month, told_per_month), !runs && t("its file system grows at the next start")].filter(Boolean).join(" · ")
    : t("Its next machine has a disk of {0} GiB.", gib);

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
      {goods.route && <p><strong>{t(goods.route.by === "direct" ? "Straight from one machine to the other" : "Through this computer")}</strong>: {goods.route.why}</p>}
      {goods.lines.length > 0 && <p class="muted">{list(goods.lines.map(({ place, bytes_per_second: speed }) => t("line to {0}: {1}", place, speed ? t("{0}/s, measured just now", size(speed)) : t("not measured"))))}</p>}
      {goods.largest.filter((folder) => folder.may_be_data).map((folder) => (
        <p class="muted" key={folder.name}>{t("{0} is {1}, unchanged for {2}: it travels, unless hotdesk.toml marks it as data.", folder.name, size(folder.bytes), length(folder.unchanged_seconds))}</p>
      ))}
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
