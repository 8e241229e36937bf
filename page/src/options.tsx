// The options of a verb, as fields: what it is asked for often, and the rest of the command's options.
import type { ComponentChildren, JSX } from "preact";
import type { Asked, Desk } from "./api";
import { Field } from "./parts";
import { t, type Word } from "./words";

export interface Fields { asked: Asked; change: (more: Partial<Asked>) => void }
export interface Cloud { name: string; label: string; rented: boolean; machines: boolean }

export function Opening({ asked, change, clouds, chosen }: Fields & { clouds: Cloud[]; chosen: string }): JSX.Element {
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
export function Places({ asked, change, clouds, stays }: Fields & { clouds: Cloud[]; stays: string }): JSX.Element {
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

export function Leaving({ asked, change }: Fields): JSX.Element {
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

export function Hardware({ asked, change }: Fields): JSX.Element {
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

type Flag = "fresh" | "rescue" | "notify" | "there" | "no_wait" | "keep_logs" | "off" | "over_budget";
type Text = "zone" | "image" | "origin" | "lease" | "wait" | "keep_old";
const FLAGS: Record<Flag, Word> = {
  fresh: "Go on from the newest image that is found, even if later work is lost",
  rescue: "A login is enough: ~/.bashrc or Jupyter may be broken",
  notify: "Tell me when it is done",
  there: "The image stays at its machine",
  no_wait: "The machine off is enough; a watcher saves the rest",
  keep_logs: "Keep the logs of its jobs that are on this computer",
  off: "As usual again: its limits count from now on",
  over_budget: "Also past the month's budget",
};
const TEXTS: Record<Text, [Word, Word]> = {
  zone: ["Zone", "such as us-west-2b"],
  image: ["Base image", "its id, if not the cloud's own"],
  origin: ["Go on from", "an image or volume, where several hold work"],
  lease: ["Lease", "4h without a sign of this computer, or never"],
  wait: ["Where it is sold out, try for", "2h"],
  keep_old: ["Its image stays where it was for", "7d, or 0"],
};
/** By verb: what has a switch, and what a line. */
const OF: Record<string, { flags: Flag[]; texts: Text[] }> = {
  up: { flags: ["fresh", "rescue", "notify", "over_budget"], texts: ["zone", "image", "lease", "wait", "origin"] },
  resume: { flags: ["fresh", "rescue", "over_budget"], texts: ["zone", "origin"] },
  start: { flags: ["rescue", "over_budget"], texts: [] },
  move: { flags: ["over_budget"], texts: ["zone", "keep_old"] },
  park: { flags: ["there", "no_wait"], texts: [] },
  down: { flags: ["keep_logs"], texts: [] },
  stay: { flags: ["off"], texts: [] },
  disk: { flags: ["over_budget"], texts: [] },
};
const RENTED = new Set<string>(["over_budget", "zone", "image", "lease", "wait", "no_wait"]);

/** The other options of a verb's command. `machines`: the desk is at a machine of one's own. */
export function More({ asked, change, desk, rented, machines }: Fields & { desk: Desk | undefined; rented: boolean; machines: boolean }): JSX.Element | null {
  const { verb } = asked;
  const away = rented || desk?.provider !== "local"; // where it is, or goes, a machine has a price and a place
  const fits = (name: string) => (away && (verb !== "up" || rented)) || !RENTED.has(name);
  const flags = (OF[verb]?.flags ?? []).filter((name) => fits(name) && (name !== "there" || machines));
  const texts = (OF[verb]?.texts ?? []).filter(fits);
  const hardware = rented && (verb === "up" || verb === "move" || verb === "resume");
  if (!flags.length && !texts.length) return null;
  const set = (name: "disk_gib" | "initialization_rate", value: number) => change({ [name]: Number.isNaN(value) ? null : value });
  return (
    <details>
      <summary>{t("More options")}</summary>
      <div class="fields">
        {hardware && (
          <>
            <Field label={t("Regions")} hint={t("us-west-2, eu-west-1")}><input value={(asked.regions ?? []).join(" ")} onChange={(event) => change({ regions: event.currentTarget.value.split(/[\s,]+/).filter(Boolean) })} /></Field>
            <Field label={t("Disk, GiB")}><input type="number" min="1" value={asked.disk_gib ?? ""} onInput={(event) => set("disk_gib", event.currentTarget.valueAsNumber)} /></Field>
            <Field label={t("Load the disk in full at, MiB/s")} hint={t("100 to 300, which is billed")}><input type="number" min="100" max="300" value={asked.initialization_rate ?? ""} onInput={(event) => set("initialization_rate", event.currentTarget.valueAsNumber)} /></Field>
          </>
        )}
        {texts.map((name) => <Field key={name} label={t(TEXTS[name][0])} hint={t(TEXTS[name][1])}><input value={asked[name] ?? ""} autoComplete="off" spellcheck={false} onInput={(event) => change({ [name]: event.currentTarget.value.trim() })} /></Field>)}
        {verb === "up" && rented && <Field label={t("Jupyter without a tunnel")} hint={t("for 203.0.113.0/24, or caller: this computer")}><input value={asked.public_to ?? ""} autoComplete="off" spellcheck={false} onInput={(event) => change({ public_to: event.currentTarget.value.trim() })} /></Field>}
        {verb === "move" && machines && (
          <Field label={t("Way of its files")}>
            <select value={asked.route ?? ""} onChange={(event) => change({ route: event.currentTarget.value })}>
              <option value="">{t("What is faster")}</option><option value="direct">{t("Straight from one machine to the other")}</option><option value="here">{t("Through this computer")}</option>
            </select>
          </Field>
        )}
      </div>
      {flags.map((name) => <Check key={name} on={Boolean(asked[name])} onChange={(on) => change({ [name]: on })}>{t(FLAGS[name])}</Check>)}
    </details>
  );
}

export function Check({ on, onChange, children }: { on: boolean; onChange: (on: boolean) => void; children: ComponentChildren }): JSX.Element {
  return <label class="check"><input type="checkbox" checked={on} onChange={(event) => onChange(event.currentTarget.checked)} /><span>{children}</span></label>;
}
