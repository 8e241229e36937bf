// The regions of what fits: dots on the lines of latitude and longitude, and the same as a table.
import type { JSX } from "preact";
import { priceOf, type Offers } from "./choose";
import { PLACES } from "./places";
import { useWidth } from "./plot";
import { Table } from "./table";
import { t } from "./words";

interface Region { key: string; provider: string; region: string; city: string; at?: [number, number]; latency: number | null; row: number; usd: number; best: boolean }
const WEST = -135;
const EAST = 180;
const NORTH = 66;
const SOUTH = -46;
const NEAR = [50, 120, 200]; // milliseconds, from one class to the next

/** By region, the cheapest of these rows, which come by rising price. */
function regions(offers: Offers, rows: Uint32Array): Region[] {
  const found = new Map<string, Region>();
  for (const row of rows) {
    const place = offers.places[offers.place[row] as number];
    if (!place) continue;
    const key = `${place.provider}/${place.region}`;
    const usd = offers.usd[row] as number;
    const known = found.get(key);
    if (known && known.usd <= usd) continue;
    const [city, ...at] = PLACES[key] ?? [""];
    found.set(key, { key, provider: place.provider, region: place.region, city: city as string, latency: place.latency_ms, row, usd, best: false, ...(at.length ? { at: at as unknown as [number, number] } : {}) });
  }
  const all = [...found.values()].sort((a, b) => a.usd - b.usd);
  let nearest = Infinity;
  for (const region of all) if (region.latency !== null && region.latency < nearest) { nearest = region.latency; region.best = true; }
  if (nearest === Infinity) for (const region of all.slice(0, 3)) region.best = true;
  return all;
}

const near = (latency: number | null): number => (latency === null ? NEAR.length + 1 : NEAR.filter((most) => latency >= most).length);

interface Label { key: string; text: string; left: number; at: number; anchor: "start" | "end" }

/** Names beside their dots, where there is room for them; the nearest come first. */
function labels(found: Region[], width: number, x: (longitude: number) => number, y: (latitude: number) => number, size: (usd: number) => number): Label[] {
  const placed: (Label & { from: number; to: number })[] = [];
  for (const region of [...found].sort((a, b) => (a.latency ?? 0) - (b.latency ?? 0))) {
    const text = region.latency === null ? region.city : `${region.city} ${Math.round(region.latency)} ms`;
    const long = 6.8 * text.length;
    const [across, away] = [x(region.at?.[1] ?? 0), size(region.usd) + 4];
    const tries = [4, 20, -12].flatMap((down) => (["start", "end"] as const).map((anchor) => ({ anchor, at: y(region.at?.[0] ?? 0) + down, from: anchor === "start" ? across + away : across - away - long })));
    const free = tries.find(({ at, from }) => from > 0 && from + long < width && at > 10 && placed.every((other) => Math.abs(other.at - at) > 13 || other.to < from || from + long < other.from));
    if (free) placed.push({ key: region.key, text, left: free.anchor === "start" ? free.from : free.from + long, at: free.at, anchor: free.anchor, from: free.from, to: free.from + long });
  }
  return placed;
}

export function Regions({ offers, rows, onChoose }: { offers: Offers; rows: Uint32Array; onChoose: (region: string) => void }): JSX.Element {
  const all = regions(offers, rows);
  const [box, width] = useWidth();
  const height = Math.max(190, Math.round((width * (NORTH - SOUTH)) / (EAST - WEST)));
  const x = (longitude: number) => ((longitude - WEST) / (EAST - WEST)) * width;
  const y = (latitude: number) => ((NORTH - latitude) / (NORTH - SOUTH)) * height;
  const dear = Math.max(...all.map((region) => region.usd));
  const cheap = Math.min(...all.map((region) => region.usd));
  const size = (usd: number) => (width < 500 ? 4 : 5) + (dear > cheap ? 6 * (1 - Math.log(usd / cheap) / Math.log(dear / cheap)) : 3);
  const parallels = [60, 30, 0, -30];
  const meridians = [-120, -90, -60, -30, 0, 30, 60, 90, 120, 150];
  const drawn = all.filter((region) => region.at).reverse();
  const label = t("{0} regions by latency and by the lowest price", all.length);
  return (
    <div class="regions">
      <figure class="plot" ref={box}>
        {width > 0 && (
          <svg width={width} height={height + 22} role="img" aria-label={label}>
            {parallels.map((p) => <g key={p}><line x2={width} y1={y(p)} y2={y(p)} class={p ? "grid" : "axis"} /><text x="2" y={Math.max(12, y(p) - 4)}>{p ? `${Math.abs(p)}° ${p > 0 ? "N" : "S"}` : "0°"}</text></g>)}
            {meridians.map((m) => <g key={m}><line x1={x(m)} x2={x(m)} y2={height} class="grid" />{(width > 600 || m % 60 === 0) && <text x={Math.max(22, x(m))} y={height + 16} text-anchor="middle">{m ? `${Math.abs(m)}° ${m > 0 ? "E" : "W"}` : "0°"}</text>}</g>)}
            {drawn.map((region) => <circle key={region.key} cx={x(region.at?.[1] ?? 0)} cy={y(region.at?.[0] ?? 0)} r={size(region.usd)} class={`region near${near(region.latency)}`} onClick={() => onChoose(region.region)}><title>{words(offers, region)}</title></circle>)}
            {labels(drawn.filter((region) => region.best), width, x, y, size).map(({ key, text, left, at, anchor }) => <text key={key} class="over head" x={left} y={at} text-anchor={anchor}>{text}</text>)}
          </svg>
        )}
        <ul class="legend">
          {[...NEAR.map((most) => t("under {0} ms", most)), t("{0} ms and more", NEAR.at(-1) ?? 0), t("not measured")].map((name, n) => <li key={name}><svg width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="6" class={`region near${n}`} /></svg>{name}</li>)}
          <li>{t("The larger, the cheaper.")}</li>
        </ul>
      </figure>
      <Table<Region> label={t("Regions")} rows={all} height={340} onChoose={(region) => onChoose(region.region)} columns={[
        { wide: 8, name: t("Region"), cell: (region) => region.region, narrow: true },
        { wide: 6, name: t("City"), cell: (region) => region.city },
        { wide: 3.5, name: "ms", cell: (region) => (region.latency === null ? "" : Math.round(region.latency)), right: true, narrow: true },
        { wide: 8, name: t("from"), cell: (region) => priceOf(offers, region.row), right: true, narrow: true },
        { wide: 7, name: t("Type"), cell: (region) => offers.machines[offers.machine[region.row] as number]?.instance_type ?? "" },
      ]} />
    </div>
  );
}

const words = (offers: Offers, region: Region): string =>
  [`${region.region}${region.city && ` (${region.city})`}`, region.latency === null ? "" : `${Math.round(region.latency)} ms`, priceOf(offers, region.row), offers.machines[offers.machine[region.row] as number]?.instance_type].filter(Boolean).join(", ");
