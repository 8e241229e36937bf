// What was paid, what is paid, what leaving it on would have cost, and what is left over.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, post, problem, type Amount, type Problem } from "./api";
import { Dialog, Line, Trouble, date, length, size, together, usd, useAnswer } from "./parts";
import { COLOURS, Plot, scale } from "./plot";
import { Table } from "./table";
import { list, said, t, type Word } from "./words";

const KINDS = ["compute", "disk", "image", "address", "transfer"] as const;
type Kind = (typeof KINDS)[number];
type BillLine = Partial<Record<Kind, number>> & { desk: string; period: string; left_on?: number; at_most?: boolean; usd: number };
interface Bill { lines: BillLine[]; usd: number; this_month_usd: number; budget_usd: number | null; stored_usd_per_month: number; stored_besides: string[]; not_counted: string[]; at_launch_prices: string[]; besides: string[] }
interface Orphan { id: string; kind: string; desk: string; provider: string; region: string; why: string; safe: boolean; usd_per_month: number; told_per_month: Amount | null; age_seconds: number | null; fix: string }
interface Left { things: Orphan[]; usd_per_month: number; unread: string[] }

export function Money(): JSX.Element {
  const [by, setBy] = useState<"kind" | "desk">("desk");
  const days = useAnswer(() => ask<Bill>("costs", { by: "day" }), []);
  const months = useAnswer(() => ask<Bill>("costs", { by: "month" }), []);
  const bill = months.value;
  const saved = bill ? bill.lines.reduce((sum, line) => sum + Math.max(0, (line.left_on ?? 0) - (line.compute ?? 0)), 0) : 0;
  return (
    <>
      <div class="title"><h1>{t("Money")}</h1></div>
      {months.error !== undefined && <Trouble problem={problem(months.error)} />}
      {months.busy && !bill && <p class="muted" role="status">{t("Looking…")}</p>}
      {bill && (
        <div class="figures">
          <Figure name={t("This month")} value={usd(bill.this_month_usd)}>
            {bill.budget_usd && <><meter min={0} max={bill.budget_usd} high={bill.budget_usd * 0.8} value={bill.this_month_usd} aria-label={t("Budget")} /><small>{t("of {0}", usd(bill.budget_usd))}</small></>}
          </Figure>
          <Figure name={t("All of it")} value={usd(bill.usd)}>{bill.besides.map((amount) => <small key={amount}>{t("and {0}", amount)}</small>)}</Figure>
          <Figure name={t("Images and disks")} value={together({ usd: bill.stored_usd_per_month, besides: bill.stored_besides }, usd)}><small>{t("a month")}</small></Figure>
          <Figure name={t("Saved by leaving")} value={usd(saved)}><small>{t("had the last machine stayed on")}</small></Figure>
        </div>
      )}
      {bill && !bill.lines.length && !bill.besides.length && <div class="empty"><p>{t("Nothing has been paid for.")}</p><Line words={["hotdesk", "costs"]} /></div>}
      {bill && bill.besides.length > 0 && <p class="muted">{t("What has no price in dollars stands beside them: hotdesk.toml has no rate under [money].")}</p>}
      {days.value && days.value.lines.length > 0 && (
        <section class="card">
          <header><div><h2>{t("By day")}</h2></div>
            <select aria-label={t("Stacked by")} class="small" value={by} onChange={(event) => setBy(event.currentTarget.value as "kind")}>
              <option value="desk">{t("by desk")}</option><option value="kind">{t("by kind")}</option>
            </select>
          </header>
          <Days lines={days.value.lines} by={by} />
        </section>
      )}
      {bill && bill.lines.length > 0 && (
        <section class="card">
          <h2>{t("By month and desk")}</h2>
          <Table label={t("By month and desk")} rows={[...bill.lines].reverse()} columns={[
            { name: t("Month"), cell: (line) => line.period, narrow: true },
            { wide: 8, name: t("Desk"), cell: (line) => line.desk, narrow: true },
            ...KINDS.map((kind) => ({ name: t(kind), cell: (line: BillLine) => usd(line[kind] ?? 0), right: true })),
            { wide: 7, name: t("Total"), cell: (line) => <strong>{line.at_most ? "≤ " : ""}{usd(line.usd)}</strong>, right: true, narrow: true },
            { wide: 7, name: t("Left on"), cell: (line) => usd((line.left_on ?? 0) + line.usd - (line.compute ?? 0)), right: true },
          ]} />
          <p class="muted">{t("US dollars; not counted: {0}", list(bill.not_counted.map((what) => (said(what) ? t(what) : what))))}</p>
        </section>
      )}
      <Images />
      <Leftovers />
    </>
  );
}

export function Figure({ name, value, children }: { name: string; value: string; children?: preact.ComponentChildren }): JSX.Element {
  return <div class="figure"><span class="muted">{name}</span><strong>{value}</strong>{children}</div>;
}

function Days({ lines, by }: { lines: BillLine[]; by: "kind" | "desk" }): JSX.Element {
  const periods = [...new Set(lines.map((line) => line.period))].sort().slice(-60);
  const names = by === "desk" ? [...new Set(lines.map((line) => line.desk))] : KINDS.filter((kind) => lines.some((line) => line[kind]));
  const value = (period: string, name: string) => lines.filter((line) => line.period === period).reduce((sum, line) => sum + (by === "desk" ? (line.desk === name ? line.usd : 0) : (line[name as Kind] ?? 0)), 0);
  const most = Math.max(...periods.map((period) => names.reduce((sum, name) => sum + value(period, name), 0)), 0.01);
  return (
    <>
      <Plot label={t("Dollars by day")} x={t("day (UTC)")} y="$" height={260} left={72}
        scales={(w, h) => {
          const x = scale(0, periods.length, 0, w, { word: (n) => (periods[n] ?? "").slice(5) });
          const every = Math.max(1, Math.ceil(periods.length / Math.max(1, w / 70)));
          x.ticks = periods.map((_, n) => n).filter((n) => n % every === 0);
          return [x, scale(0, most, h, 0, { word: (v) => v.toLocaleString("en-US") })];
        }}>
        {(x, y, w) => {
          const wide = Math.min(34, (w / periods.length) * 0.72);
          return periods.map((period, n) => {
            let below = 0;
            return names.map((name, k) => {
              const v = value(period, name);
              const bar = v > 0 && <rect key={period + name} x={x(n) + 2} width={wide} y={y(below + v)} height={Math.max(0.5, y(below) - y(below + v))} class={`bar ${COLOURS[k % 5]}`}><title>{`${period} ${name}: ${usd(v)}`}</title></rect>;
              below += v;
              return bar;
            });
          });
        }}
      </Plot>
      <ul class="legend">{names.map((name, k) => <li key={name}><svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" rx="3" class={`bar ${COLOURS[k % 5]}`} /></svg>{by === "kind" ? t(name as Word) : name}</li>)}</ul>
    </>
  );
}

interface KeptImage { id: string; desk: string; provider: string; region: string; bytes: number; shared_bytes: number | null; usd_per_month: number; told_per_month: Amount | null; age_seconds: number | null; verified: boolean; until: number | null; why: string }

function Images(): JSX.Element | null {
  const { value, error } = useAnswer(() => ask<{ images: KeptImage[]; unread: string[] }>("images"), []);
  if (error !== undefined) return <Trouble problem={problem(error)} />;
  if (!value?.images.length && !value?.unread.length) return null;
  return (
    <section class="card">
      <header><div><h2>{t("Images")}</h2><p class="muted">{t("What desks come back from, in every place in use.")}</p></div></header>
      {value.images.length > 0 && (
        <Table label={t("Images")} rows={value.images} height={360} columns={[
          { name: t("Desk"), cell: (image) => image.desk, narrow: true },
          { wide: 14, name: t("Id"), cell: (image) => <code>{image.id}</code> },
          { wide: 9, name: t("Where"), cell: (image) => (image.provider === image.region ? image.provider : `${image.provider}/${image.region}`) },
          { name: t("Age"), cell: (image) => (image.age_seconds === null ? "" : length(image.age_seconds)), right: true, narrow: true },
          { name: t("Size"), cell: (image) => size(image.bytes), right: true },
          { name: t("Shared"), cell: (image) => (image.shared_bytes === null ? "" : size(image.shared_bytes)), right: true },
          { wide: 6, name: t("a month"), cell: (image) => image.told_per_month?.text ?? usd(image.usd_per_month), right: true, narrow: true },
          { wide: 6, name: t("Until"), cell: (image) => (image.until === null ? "" : date(image.until)) },
          { wide: 22, name: t("Why"), cell: (image) => image.why },
        ]} />
      )}
      {value.unread.length > 0 && <div class="notice warm">{t("Not looked at: {0}", list(value.unread))}</div>}
      <Line words={["hotdesk", "images"]} />
    </section>
  );
}

function Leftovers(): JSX.Element {
  const found = useAnswer(() => ask<Left>("gc"), []);
  const [asking, setAsking] = useState(false);
  const [trouble, setTrouble] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const left = found.value;
  const safe = left?.things.filter((thing) => thing.safe) ?? [];
  const clean = async () => {
    setBusy(true);
    try {
      await post("gc", {});
      setAsking(false);
      found.again();
    } catch (error) {
      setTrouble(problem(error));
    }
    setBusy(false);
  };
  return (
    <section class="card">
      <header>
        <div><h2>{t("Left over")}</h2><p class="muted">{t("What no desk needs, in every cloud and region.")}</p></div>
        {safe.length > 0 && <button type="button" onClick={() => setAsking(true)}>{t("Clean up")}</button>}
      </header>
      {found.error !== undefined && <Trouble problem={problem(found.error)} />}
      {found.busy && !left && <p class="muted" role="status">{t("Looking…")}</p>}
      {left && !left.things.length && <p>{left.unread.length ? t("Nothing is left over where we could look.") : t("Nothing is left over.")}</p>}
      {left && left.things.length > 0 && (
        <Table label={t("Left over")} rows={left.things} columns={[
          { name: t("What"), cell: (thing) => thing.kind, narrow: true },
          { wide: 14, name: t("Id"), cell: (thing) => <code>{thing.id}</code> },
          { name: t("Desk"), cell: (thing) => thing.desk, narrow: true },
          { wide: 9, name: t("Where"), cell: (thing) => `${thing.provider}/${thing.region}` },
          { name: t("Age"), cell: (thing) => (thing.age_seconds === null ? "" : length(thing.age_seconds)), right: true },
          { wide: 6, name: t("a month"), cell: (thing) => thing.told_per_month?.text ?? usd(thing.usd_per_month), right: true, narrow: true },
          { name: t("Can go"), cell: (thing) => (thing.safe ? t("yes") : t("ask")), narrow: true },
          { wide: 22, name: t("Why"), cell: (thing) => thing.why },
        ]} />
      )}
      {left?.things.filter((thing) => !thing.safe && thing.fix).map((thing) => <Line key={thing.id} words={thing.fix} label={thing.id} />)}
      {left && left.unread.length > 0 && <div class="notice warm">{t("Not looked at: {0}", list(left.unread))}</div>}
      {asking && (
        <Dialog title={t("Clean up")} onClose={() => setAsking(false)}>
          <p>{t("These hold nothing that is not held elsewhere. They are deleted for good.")}</p>
          <ul class="plain">{safe.map((thing) => <li key={thing.id}>{thing.kind} <code>{thing.id}</code> · {thing.told_per_month?.text ?? usd(thing.usd_per_month)} · <span class="muted">{thing.why}</span></li>)}</ul>
          {trouble && <Trouble problem={trouble} />}
          <Line words={["hotdesk", "gc", "--yes"]} />
          <div class="buttons end">
            <button type="button" onClick={() => setAsking(false)}>{t("Cancel")}</button>
            <button type="button" class="primary danger" disabled={busy} onClick={() => void clean()}>{t("Delete {0}", safe.length)}</button>
          </div>
        </Dialog>
      )}
    </section>
  );
}
