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
  const lowest = new Map<number, number>(); // by place: its first row
  for (const row of rows) { const place = offers.place[row] as number; if (!lowest.has(place)) lowest.set(place, row); }
  for (const [number, row] of lowest) {
    const place = offers.places[number];
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

interface Box { left: number; right: number; top: number; bottom: number }
interface Dot { x: number; y: number; r: number }
interface Label { key: string; text: string; x: number; y: number; anchor: "start" | "middle" | "end"; lead: [number, number, number, number] | undefined }

/** As wide as a name may be in the plot's letters, which cannot be measured before they are drawn. */
const wideOf = (text: string): number => [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 12.5 : 7.8), 0);
const meets = (a: Box, b: Box): boolean => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const covers = (a: Box, { x, y, r }: Dot): boolean => Math.hypot(x - Math.min(Math.max(x, a.left), a.right), y - Math.min(Math.max(y, a.top), a.bottom)) < r;

/** Names beside their dots, over no dot, no other name and none of `taken`; the nearest come first, and one without room is left to the table. */
function labels(named: Region[], dots: Dot[], dot: (region: Region) => Dot, width: number, height: number, taken: Box[]): Label[] {
  const boxes = [...taken];
  const placed: Label[] = [];
  for (const region of [...named].sort((a, b) => (a.latency ?? 0) - (b.latency ?? 0))) {
    const text = region.latency === null ? region.city : `${region.city} ${Math.round(region.latency)} ms`;
    const long = wideOf(text);
    const { x, y, r } = dot(region);
    place: for (const out of [0, 14, 30, 50, 75]) { // further out, a line leads to the dot
      const away = r + 4 + out;
      const aside = away * 0.8; // at a corner
      const tries: [number, number, Label["anchor"]][] = [
        [x + away, y + 4, "start"], [x - away, y + 4, "end"], [x, y - away - 3, "middle"], [x, y + away + 10, "middle"],
        [x + aside, y - aside - 1, "start"], [x + aside, y + aside + 9, "start"], [x - aside, y - aside - 1, "end"], [x - aside, y + aside + 9, "end"],
      ];
      for (const [at, base, anchor] of tries) {
        const left = anchor === "start" ? at : anchor === "end" ? at - long : at - long / 2;
        const box = { left: left - 2, right: left + long + 2, top: base - 11, bottom: base + 4 }; // with the rim that sets it off
        if (box.left < 0 || box.right > width || box.top < 0 || box.bottom > height || dots.some((one) => covers(box, one)) || boxes.some((one) => meets(box, one))) continue;
        boxes.push(box);
        const lead: Label["lead"] = out ? [x, y, Math.min(Math.max(x, box.left), box.right), y < base ? box.top : box.bottom] : undefined;
        placed.push({ key: region.key, text, x: at, y: base, anchor, lead });
        break place;
      }
    }
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
  const dot = (region: Region): Dot => ({ x: x(region.at?.[1] ?? 0), y: y(region.at?.[0] ?? 0), r: size(region.usd) });
  const names = labels(drawn.filter((region) => region.best), drawn.map(dot), dot, width, height, parallels.map((p) => ({ left: 0, right: 40, top: Math.max(12, y(p) - 4) - 11, bottom: Math.max(12, y(p) - 4) + 3 })));
  const label = t("{0} regions by latency and by the lowest price", all.length);
  return (
    <div class="regions">
      <figure class="plot" ref={box}>
        {width > 0 && (
          <svg width={width} height={height + 22} role="img" aria-label={label}>
            {parallels.map((p) => <g key={p}><line x2={width} y1={y(p)} y2={y(p)} class={p ? "grid" : "axis"} /><text x="2" y={Math.max(12, y(p) - 4)}>{p ? `${Math.abs(p)}° ${p > 0 ? "N" : "S"}` : "0°"}</text></g>)}
            {meridians.map((m) => <g key={m}><line x1={x(m)} x2={x(m)} y2={height} class="grid" />{(width > 600 || m % 60 === 0) && <text x={Math.max(22, x(m))} y={height + 16} text-anchor="middle">{m ? `${Math.abs(m)}° ${m > 0 ? "E" : "W"}` : "0°"}</text>}</g>)}
            {names.map(({ key, lead }) => lead && <line key={key} class="axis" x1={lead[0]} y1={lead[1]} x2={lead[2]} y2={lead[3]} />)}
            {drawn.map((region) => <circle key={region.key} cx={dot(region).x} cy={dot(region).y} r={dot(region).r} class={`region near${near(region.latency)}`} onClick={() => onChoose(region.region)}><title>{words(offers, region)}</title></circle>)}
            {names.map(({ key, text, x: left, y: base, anchor }) => <text key={key} class="over head" x={left} y={base} text-anchor={anchor}>{text}</text>)}
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
