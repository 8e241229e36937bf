// Every offer that is known: filtered and sorted here, seen as points, and opened from here.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ActionDialog } from "./action";
import { keep, useAddress } from "./address";
import { ask, problem } from "./api";
import { Field, Line, Trouble, clock, date, figure, perHour, useAnswer } from "./parts";
import { COLOURS, Dots, Legend, Plot, scale, steps } from "./plot";
import { Regions } from "./regions";
import { Table } from "./table";
import { list, t } from "./words";

export interface Machine { instance_type: string; gpu: string; gpu_count: number; gpu_memory_gib: number; vcpus: number; memory_gib: number; arch: string; burstable: boolean; speed: number }
export interface Place { provider: string; region: string; zone: string; latency_ms: number | null }
export interface Offers {
  machines: Machine[]; places: Place[]; bands: string[]; machine: number[]; place: number[]; spot: number[]; usd: number[];
  currencies: { name: string; rated: boolean; per_usd: number }[]; currency: number[]; told: Record<string, string>; source: number[]; estimates: boolean[];
  time: (number | null)[]; band: (number | null)[]; notes: string[]; gathered_at: number | null;
  reserved: Reserved[]; // paid already
}
interface Reserved { provider: string; region: string; zone: string; instance_type: string; gpu?: string; gpu_count?: number; source: string; reservation: string; free?: number; reserved_until?: number }
/** The currency in which an offer's price is told. Dollars of one that is not rated only put prices in order: nobody is shown them. */
export const currencyOf = (offers: Offers, row: number): Offers["currencies"][number] => offers.currencies[offers.currency[row] as number] as Offers["currencies"][number];

/** An offer's price as its cloud tells it; "~": an estimate. */
export const priceOf = (offers: Offers, row: number): string => {
  const told = offers.told[row];
  return (offers.estimates[offers.source[row] as number] ? "~" : "") + (told ? t("{0}/h", told) : perHour(offers.usd[row] as number));
};

/** How many of these no limit or line in dollars can judge, in words; "": none. */
function unrated(offers: Offers, rows: ArrayLike<number>): string {
  if (offers.currencies.every((currency) => currency.rated)) return "";
  const found = new Map<string, number>();
  for (let n = 0; n < rows.length; n++) {
    const { name, rated } = currencyOf(offers, rows[n] as number);
    if (!rated) found.set(name, (found.get(name) ?? 0) + 1);
  }
  return list([...found].map(([name, n]) => t("{0} priced in {1}", n.toLocaleString("en-US"), name)));
}

const SORTS = ["price", "speed", "value", "latency"];
let kept: Offers | undefined; // 60,000 rows are not asked for again at every visit

export function Choose(): JSX.Element {
  const [view, address] = useAddress();
  const found = useAnswer(() => (kept ? Promise.resolve(kept) : ask<Offers>("offers").then((offers) => (kept = offers))), []);
  const said = (name: string) => (view === "choose" ? (address.get(name) ?? "") : "");
  const values = Object.fromEntries(["q", "gpu", "market", "usd", "memory", "sort", "down", "plot", "spot"].map((name) => [name, said(name)])) as Record<string, string>;
  const change = (more: Record<string, string>) => keep("choose", { ...values, ...more });
  const [launch, setLaunch] = useState<number>();
  const [inside, setInside] = useState<Reserved>();
  const offers = found.value;
  const wanted = (values["q"] ?? "").toLowerCase().split(/\s+/);
  const reserved = values["market"] === "spot" ? [] : (offers?.reserved ?? []).filter((one) => (!values["gpu"] || (values["gpu"] === "any" ? one.gpu : one.gpu === values["gpu"])) && wanted.every((word) => `${one.instance_type} ${one.zone} ${one.provider}`.includes(word)));
  const sort = SORTS.includes(values["sort"] ?? "") ? (values["sort"] as string) : "price";
  const key = [values["q"], values["gpu"], values["market"], values["usd"], values["memory"]].join("|");
  const fitting = useMemo(() => (offers ? filter(offers, values) : new Uint32Array()), [offers, key]);
  const rows = useMemo(() => (offers ? order(offers, fitting, sort, Boolean(values["down"])) : fitting), [offers, fitting, sort, values["down"]]);
  const gpus = useMemo(() => [...new Set(offers?.machines.map((m) => m.gpu).filter(Boolean))].sort(), [offers]);
  const measure = useAnswerOnce(() => ask("regions").then(() => { kept = undefined; found.again(); }));
  return (
    <>
      <div class="title"><h1>{t("Choose")}</h1>
        {offers && <p class="sums" role="status"><span><strong>{rows.length.toLocaleString("en-US")}</strong> {t("of {0} offers", offers.usd.length.toLocaleString("en-US"))}</span>{offers.gathered_at && <span>{t("prices of {0}", date(offers.gathered_at))}</span>}{offers.estimates.some(Boolean) && <span>{t("~ is an estimate")}</span>}</p>}
        <button type="button" onClick={measure.go} disabled={measure.busy}>{measure.busy ? t("Measuring…") : t("Measure latency")}</button>
      </div>
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      {found.busy && !offers && <p class="muted" role="status">{t("Looking…")}</p>}
      {offers?.notes.map((note) => <div class="notice warm" key={note}>{note}</div>)}
      {offers && reserved.length > 0 && (
        <section class="card" aria-label={t("Reserved")}>
          <header><div><h2>{t("Reserved")}</h2><p class="muted">{t("Paid already: a desk that fits is launched there first, for nothing more.")}</p></div></header>
          <ul class="plain">{reserved.map((one) => (
            <li class="bar-line" key={one.reservation}>
              <span class="grow"><strong>{one.instance_type}</strong>{one.gpu && ` · ${one.gpu}${(one.gpu_count ?? 1) > 1 ? ` ×${one.gpu_count}` : ""}`} · {one.zone} · {t("room for {0}", one.free ?? 0)}{one.reserved_until ? ` · ${t("until {0}", `${date(one.reserved_until)} ${clock(one.reserved_until)}`)}` : ""} <span class="muted">{one.source} {one.reservation}</span></span>
              <button type="button" class="quiet tiny" aria-label={t("{0}: {1}", t("Open a desk"), one.reservation)} onClick={() => setInside(one)}>{t("Open a desk")}</button>
            </li>
          ))}</ul>
        </section>
      )}
      {offers && (
        <>
          <div class="filters">
            <Field label={t("Search")} hint={t("type, zone, cloud")}><input type="search" value={values["q"] ?? ""} onInput={(event) => change({ q: event.currentTarget.value })} /></Field>
            <Field label="GPU"><select value={values["gpu"]} onChange={(event) => change({ gpu: event.currentTarget.value })}>
              <option value="">{t("any or none")}</option><option value="any">{t("any")}</option>{gpus.map((gpu) => <option key={gpu} value={gpu}>{gpu}</option>)}
            </select></Field>
            <Field label={t("GPU memory, GiB")}><input type="number" min="0" value={values["memory"]} onInput={(event) => change({ memory: event.currentTarget.value })} /></Field>
            <Field label={t("Market")}><select value={values["market"]} onChange={(event) => change({ market: event.currentTarget.value })}>
              <option value="">{t("both")}</option><option value="spot">{t("Spot")}</option><option value="on-demand">{t("On-demand")}</option>
            </select></Field>
            <Field label={t("At most, $/h")}><input type="number" min="0" step="any" value={values["usd"]} onInput={(event) => change({ usd: event.currentTarget.value })} /></Field>
          </div>
          {values["usd"] && <LeftOut what={unrated(offers, filter(offers, { ...values, usd: "" }))} />}
          <section class="card">
            <header><div><h2>{values["plot"] === "regions" ? t("Regions") : values["plot"] === "latency" ? t("Price against latency") : t("Price against speed")}</h2><p class="muted">{values["plot"] === "regions" ? t("Named: what no region beats in latency and price. A click shows its offers.") : t("The line joins what nothing beats in both.")}</p></div>
              <select class="small" aria-label={t("Plot")} value={values["plot"]} onChange={(event) => change({ plot: event.currentTarget.value })}>
                <option value="">{t("speed")}</option><option value="latency">{t("latency")}</option><option value="regions">{t("regions")}</option>
              </select>
            </header>
            {values["plot"] === "regions" ? (fitting.length > 0 && <Regions offers={offers} rows={fitting} onChoose={(region) => change({ q: region })} />) : <Scatter offers={offers} rows={fitting} latency={values["plot"] === "latency"} />}
          </section>
          <OfferTable offers={offers} rows={rows} sort={sort} falling={Boolean(values["down"])}
            onSort={(by) => change({ sort: by === "price" ? "" : by, down: by === sort && !values["down"] ? "1" : "" })}
            onLaunch={setLaunch} onSpot={(type) => change({ spot: type })} />
          <div class="line-wide"><Line words={command(values)} /></div>
          {values["spot"] && <Spot types={values["spot"]} onClose={() => change({ spot: "" })} />}
        </>
      )}
      {inside && <ActionDialog verb="up" onClose={() => setInside(undefined)} first={{ provider: inside.provider, instance_type: inside.instance_type, regions: [inside.region], zone: inside.zone }} />}
      {launch !== undefined && offers && <Launch offers={offers} row={launch} onClose={() => setLaunch(undefined)} />}
    </>
  );
}

const LeftOut = ({ what }: { what: string }): JSX.Element => <>{what && <p class="muted">{t("Left out: {0}: hotdesk.toml has no rate to dollars under [money].", what)}</p>}</>;

function useAnswerOnce(call: () => Promise<unknown>): { go: () => void; busy: boolean } {
  const [busy, set] = useState(false);
  return { busy, go: () => { set(true); void call().catch(() => undefined).then(() => set(false)); } };
}

function command(values: Record<string, string>): string[] {
  const { gpu, market, usd, memory, sort } = values;
  return ["hotdesk", "offers", ...(gpu && gpu !== "any" ? ["--gpu", gpu] : []), ...(memory ? ["--gpu-memory", `${memory}..`] : []), ...(market ? ["--market", market] : []), ...(usd ? ["--max-usd", usd] : []), ...(sort ? ["--sort", sort] : [])];
}

/** The rows that fit, by rising price. */
function filter(offers: Offers, values: Record<string, string>): Uint32Array {
  const words = (values["q"] ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const most = values["usd"] ? Number(values["usd"]) : Infinity;
  const memory = Number(values["memory"] || 0);
  const market = values["market"] === "spot" ? 1 : values["market"] === "on-demand" ? 0 : -1;
  const gpu = values["gpu"];
  const fits = offers.machines.map((machine) => (!gpu || (gpu === "any" ? machine.gpu !== "" : machine.gpu === gpu)) && machine.gpu_memory_gib >= memory);
  // A word stands in an offer's type or in its place: looked for once in each, not in every offer.
  const holding = words.map((word) => ({
    machine: offers.machines.map((machine) => machine.instance_type.toLowerCase().includes(word)),
    place: offers.places.map((place) => `${place.zone || place.region} ${place.provider}`.toLowerCase().includes(word)),
  }));
  const found = new Uint32Array(offers.usd.length);
  let n = 0;
  for (let i = 0; i < found.length; i++) {
    if ((most < Infinity && (!currencyOf(offers, i).rated || (offers.usd[i] as number) > most)) || !fits[offers.machine[i] as number] || (market >= 0 && offers.spot[i] !== market)) continue;
    if (!holding.every(({ machine, place }) => machine[offers.machine[i] as number] || place[offers.place[i] as number])) continue;
    found[n++] = i;
  }
  return found.slice(0, n);
}

const speedOf = (offers: Offers, row: number): number => offers.machines[offers.machine[row] as number]?.speed ?? 0;
const placeOf = (offers: Offers, row: number): Place => offers.places[offers.place[row] as number] as Place;

function order(offers: Offers, rows: Uint32Array, sort: string, falling: boolean): Uint32Array {
  const value: Record<string, (row: number) => number> = {
    price: (row) => row, // they come by rising price
    speed: (row) => -speedOf(offers, row),
    value: (row) => (speedOf(offers, row) ? (offers.usd[row] as number) / speedOf(offers, row) : Infinity),
    latency: (row) => placeOf(offers, row).latency_ms ?? Infinity,
  };
  if (sort === "price" && !falling) return rows;
  const by = Float64Array.from(rows, value[sort] ?? ((row) => row));
  const turned = falling ? -1 : 1;
  const found = Uint32Array.from(rows, (_, n) => n).sort((a, b) => ((by[a] as number) === (by[b] as number) ? a - b : turned * ((by[a] as number) < (by[b] as number) ? -1 : 1)));
  return found.map((n) => rows[n] as number);
}

function Scatter({ offers, rows, latency }: { offers: Offers; rows: Uint32Array; latency: boolean }): JSX.Element {
  return useMemo(() => drawScatter(offers, rows, latency), [offers, rows, latency]);
}

function drawScatter(offers: Offers, rows: Uint32Array, latency: boolean): JSX.Element {
  const heights = latency ? offers.places.map((place) => place.latency_ms ?? 0) : offers.machines.map((machine) => machine.speed);
  const of = latency ? offers.place : offers.machine;
  const y = (row: number) => heights[of[row] as number] as number;
  const all = rows.filter((row) => y(row) > 0);
  const first = all[0] as number;
  const rated = offers.currencies.map((currency) => currency.rated);
  const inDollars = all.some((row) => rated[offers.currency[row] as number]);
  const shown = all.filter((row) => (inDollars ? rated[offers.currency[row] as number] : offers.currency[row] === offers.currency[first]));
  if (!shown.length) return <p class="muted">{latency ? t("No latency is known yet: measure it.") : t("No GPU is among these, and speeds are of GPUs.")}</p>;
  const { name, per_usd } = inDollars ? { name: "$", per_usd: 1 } : currencyOf(offers, first);
  const usd = (row: number) => (offers.usd[row] as number) * per_usd;
  let best = latency ? Infinity : 0;
  const front = [...shown.filter((row) => { const better = latency ? y(row) < best : y(row) > best; if (better) best = y(row); return better; })];
  let lowest = Infinity;
  let highest = 0;
  for (const row of shown) { lowest = Math.min(lowest, y(row)); highest = Math.max(highest, y(row)); }
  const word = (v: number) => `${v}`;
  return (
    <>
      <Plot label={t("{0} offers by price and by {1}", shown.length, latency ? t("latency") : t("speed"))} x={t("{0}/h", name)} y={latency ? t("ms to the region and back") : t("speed (one T4 = 1)")} height={320}
        scales={(w, h) => [scale(usd(shown[0] as number) * 0.9, usd(shown.at(-1) as number) * 1.1, 0, w, { log: true, word }), scale(lowest * 0.9, highest * 1.1, h, 0, { log: true, word })]}>
        {(sx, sy, w, h) => {
          const dots = [new Dots(w, h), new Dots(w, h)] as const;
          for (const row of shown) dots[offers.spot[row] ? 1 : 0].add(sx(usd(row)), sy(y(row)));
          return (
            <>
              <path class="dots b" d={dots[0].path()} />
              <path class="dots a" d={dots[1].path()} />
              <path class="front" d={steps(front.map(y), (n) => sx(usd(front[n] as number)), sy)} />
              {front.map((row) => <circle key={row} cx={sx(usd(row))} cy={sy(y(row))} r="4" class="knot"><title>{`${offers.machines[offers.machine[row] as number]?.instance_type} ${placeOf(offers, row).zone || placeOf(offers, row).region}: ${priceOf(offers, row)}`}</title></circle>)}
            </>
          );
        }}
      </Plot>
      <Legend names={[t("Spot"), t("On-demand")]} dots />
      {inDollars && <LeftOut what={unrated(offers, all)} />}
    </>
  );
}

interface OfferTableProps { offers: Offers; rows: Uint32Array; sort: string; falling: boolean; onSort: (by: string) => void; onLaunch: (row: number) => void; onSpot: (type: string) => void }

function OfferTable({ offers, rows, sort, falling, onSort, onLaunch, onSpot }: OfferTableProps): JSX.Element {
  const machine = (row: number) => offers.machines[offers.machine[row] as number] as Machine;
  return (
    <Table<number> label={t("Offers")} rows={rows} sorted={sort} falling={falling} onSort={onSort} onChoose={onLaunch} columns={[
      { wide: 8, name: t("Type"), cell: (row) => machine(row).instance_type, narrow: true },
      { wide: 7, name: "GPU", cell: (row) => (machine(row).gpu ? `${machine(row).gpu}${machine(row).gpu_count !== 1 ? ` ×${machine(row).gpu_count}` : ""}` : ""), narrow: true },
      { name: t("GPU GiB"), cell: (row) => machine(row).gpu_memory_gib || "", right: true },
      { wide: 3.5, name: "vCPU", cell: (row) => machine(row).vcpus, right: true },
      { wide: 3.5, name: t("GiB"), cell: (row) => machine(row).memory_gib, right: true },
      { wide: 8, name: t("Price"), cell: (row) => priceOf(offers, row), right: true, sort: "price", narrow: true },
      { wide: 6, name: t("Market"), cell: (row) => (offers.spot[row] ? t("Spot") : t("On-demand")) },
      { name: t("Speed"), cell: (row) => (machine(row).speed ? Number(machine(row).speed.toPrecision(2)) : ""), right: true, sort: "speed" },
      { wide: 10, name: t("For the same work"), cell: (row) => (machine(row).speed ? sameWork(offers, row) : ""), right: true, sort: "value" },
      { wide: 9, name: t("Where"), cell: (row) => placeOf(offers, row).zone || placeOf(offers, row).region },
      { wide: 3.5, name: "ms", cell: (row) => { const ms = placeOf(offers, row).latency_ms; return ms === null ? "" : Math.round(ms); }, right: true, sort: "latency" },
      { wide: 8, name: t("Taken a month"), cell: (row) => { const band = offers.band[row]; return band === null || band === undefined ? "" : (offers.bands[band] ?? ""); }, right: true },
      { name: t("History"), cell: (row) => (offers.spot[row] ? <button type="button" class="quiet tiny" onClick={(event) => { event.stopPropagation(); onSpot(machine(row).instance_type); }}>{t("Prices")}</button> : "") },
    ]} />
  );
}

/** What an offer costs while one T4 would take an hour. */
function sameWork(offers: Offers, row: number): string {
  const { name, rated, per_usd } = currencyOf(offers, row);
  const usd = (offers.usd[row] as number) / speedOf(offers, row);
  return rated ? `$${figure(usd)}` : `${figure(usd * per_usd)} ${name}`;
}

function Launch({ offers, row, onClose }: { offers: Offers; row: number; onClose: () => void }): JSX.Element {
  const place = placeOf(offers, row);
  return (
    <ActionDialog verb="up" onClose={onClose} first={{
      provider: place.provider, instance_type: offers.machines[offers.machine[row] as number]?.instance_type ?? "", market: offers.spot[row] ? "spot" : "on-demand",
      ...(place.zone ? { zone: place.zone } : {}), regions: [place.region],
    }} />
  );
}

interface Zone { zone: string; instance_type: string; mean_usd_per_hour: number; p05: number; p50: number; p95: number; now: number; on_demand_usd_per_hour: number | null; share_under: number | null; changes_per_day: number }
interface Published { instance_type: string; region: string; on_demand_usd_per_hour: number | null; saving_percent: number; estimated_usd_per_hour: number | null; interruption_band: string }
interface SpotPrices { zones?: Zone[]; published?: Published[]; lines: { zone: string; instance_type: string; prices: (number | null)[] }[]; advice?: string; notes?: string[]; source: string; since?: number; until?: number; silent?: string }

function Spot({ types, onClose }: { types: string; onClose: () => void }): JSX.Element {
  const [days, setDays] = useState("14");
  const [under, setUnder] = useState("");
  const [asked, setAsked] = useState("");
  useEffect(() => { const timer = setTimeout(() => setAsked(under), 300); return () => clearTimeout(timer); }, [under]);
  const found = useAnswer(() => ask<SpotPrices>("spot", { types, days, ...(asked ? { under: asked } : {}) }), [types, days, asked]);
  const prices = found.value;
  const zones = prices?.zones ?? [];
  const all = prices?.lines.flatMap((line) => line.prices).filter((p): p is number => p !== null) ?? [];
  const usual = zones[0]?.on_demand_usd_per_hour ?? null;
  const most = Math.max(...all, usual ?? 0) * 1.06;
  const drag = (event: PointerEvent & { currentTarget: Element }, price: (at: number) => number) =>
    setUnder(Math.max(0, Math.min(most, price(event.clientY - event.currentTarget.getBoundingClientRect().top))).toFixed(4));
  const box = useRef<HTMLElement>(null);
  useEffect(() => box.current?.scrollIntoView({ block: "nearest" }), [types, Boolean(prices)]);
  return (
    <section class="card" aria-busy={found.busy} ref={box}>
      <header><div><h2>{t("Spot prices of {0}", types)}</h2>{prices && <p class="muted">{prices.source}</p>}</div><button type="button" class="quiet close" aria-label={t("Close")} onClick={onClose}>✕</button></header>
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      {found.busy && !prices && <p class="muted" role="status">{t("Looking…")}</p>}
      {prices?.silent && <div class="notice warm">{prices.silent}</div>}
      {prices?.notes?.map((note) => <p class="muted" key={note}>{note}</p>)}
      {prices?.advice && <p>{prices.advice}</p>}
      {prices && all.length > 0 && (
        <>
          <div class="fields">
            <Field label={t("Days")}><select value={days} onChange={(event) => setDays(event.currentTarget.value)}>{["1", "3", "7", "14", "30", "90"].map((n) => <option key={n}>{n}</option>)}</select></Field>
            <Field label={t("Share of time under {0}", under ? perHour(Number(under)) : t("on-demand"))}><input type="range" min="0" max={most} step={most / 200} value={under || usual || most} onInput={(event) => setUnder(event.currentTarget.value)} /></Field>
          </div>
          <Plot label={t("Spot prices of {0}", types)} x={t("days ago")} y={t("$/h")} height={300}
            scales={(w, h) => { const x = scale(0, 300, 0, w, { word: (n) => String(Number((((300 - n) / 300) * Number(days)).toPrecision(2))) }); return [x, scale(0, most, h, 0)]; }}>
            {(x, y, w, h) => (
              <>
                <rect width={w} height={h} class="grab" onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); drag(event, y.invert); }} onPointerMove={(event) => event.buttons & 1 && drag(event, y.invert)} />
                {usual !== null && <><line x2={w} y1={y(usual)} y2={y(usual)} class="limit" /><text x={w - 4} y={y(usual) - 5} text-anchor="end">{t("on-demand")}</text></>}
                {under && <line x2={w} y1={y(Number(under))} y2={y(Number(under))} class="limit own" />}
                {prices.lines.map((line, n) => <path key={line.zone + line.instance_type} d={steps(line.prices, x, y)} class={`series ${COLOURS[n % 5]} d${Math.floor(n / 5) % 3}`} />)}
              </>
            )}
          </Plot>
          <Legend names={prices.lines.map((line) => (types.includes(" ") ? `${line.instance_type} ${line.zone}` : line.zone))} />
          <Table label={t("Spot prices of {0}", types)} rows={zones} height={360} columns={[
            { wide: 8, name: t("Where"), cell: (zone) => zone.zone, narrow: true },
            { name: t("now"), cell: (zone) => perHour(zone.now), right: true, narrow: true },
            { name: t("mean"), cell: (zone) => perHour(zone.mean_usd_per_hour), right: true },
            { name: "5 %", cell: (zone) => perHour(zone.p05), right: true },
            { name: "50 %", cell: (zone) => perHour(zone.p50), right: true },
            { name: "95 %", cell: (zone) => perHour(zone.p95), right: true },
            { name: t("time under"), cell: (zone) => (zone.share_under === null ? "" : `${(100 * zone.share_under).toFixed(0)} %`), right: true, narrow: true },
            { name: t("changes a day"), cell: (zone) => zone.changes_per_day.toFixed(1), right: true },
          ]} />
        </>
      )}
      {prices?.published && prices.published.length > 0 && (
        <Table label={t("Spot prices of {0}", types)} rows={prices.published} height={360} columns={[
          { wide: 9, name: t("Where"), cell: (row) => row.region, narrow: true },
          { name: t("On-demand"), cell: (row) => (row.on_demand_usd_per_hour === null ? "" : perHour(row.on_demand_usd_per_hour)), right: true },
          { name: t("Spot, about"), cell: (row) => (row.estimated_usd_per_hour === null ? "" : perHour(row.estimated_usd_per_hour)), right: true, narrow: true },
          { name: t("Saving"), cell: (row) => `${row.saving_percent} %`, right: true },
          { name: t("Taken a month"), cell: (row) => row.interruption_band, right: true, narrow: true },
        ]} />
      )}
      <Line words={["hotdesk", "spot", ...types.split(" "), "--days", days, ...(under ? ["--under", Number(under).toFixed(4)] : [])]} />
    </section>
  );
}
