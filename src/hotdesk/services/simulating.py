"""A spot policy simulated over recorded traces: the study, and one of its runs drawn."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hotdesk.charts import Figure, Series
from hotdesk.core.errors import Usage
from hotdesk.core.model import Value
from hotdesk.core.spot.policy import ON_DEMAND, SPOT, Terms
from hotdesk.simulate.many_zones import Moment
from hotdesk.simulate.study import Pool, Prices, Study, pools, story, study
from hotdesk.simulate.traces import Trace, check_numpy, read_traces

#: The dearest transfer between regions, US dollars for a GB: out of Cape Town (list of 2025, not verified).
DEAREST_EGRESS = 0.147


class Simulated(Value, frozen=True):
    """A study, and what it was made of."""

    study: Study
    terms: Terms
    pools: tuple[Pool, ...]
    expected_usd: float | None = None  # with a budget: of a run by the deadline that it pays for
    blind: bool = False  # whether runs know only what they met themselves
    notes: tuple[str, ...] = ()  # what was assumed about the traces


def simulate(
    traces: Path,
    terms: Terms,
    *,
    policy: str = "semi-markov",
    together: bool = False,
    windows: str = "100",
    budget_usd: float | None = None,
    history: Path | None = None,
    nodes: int = 1,
    checkpoint_gib: float = 0.0,
    egress_usd_per_gib: float = 0.02,
    blind: bool = False,
    changeover_spread: float = 0.0,
    on_demand_refused: float = 0.0,
) -> Simulated:
    """See `Hotdesk.simulate`."""
    check_numpy()
    recorded, expected = read_traces(traces, nodes), None
    notes = [note for trace in recorded for note in trace.notes]
    known, said = _histories(history, recorded) if history else ({}, [])
    notes += said
    prices = Prices(
        histories=known,
        checkpoint_gib=checkpoint_gib,
        egress_usd_per_gib=egress_usd_per_gib,
        blind=blind,
        spread=changeover_spread,
        refused=on_demand_refused,
    )
    if changeover_spread or on_demand_refused:
        notes.append(
            "The optimum, and the cost on-demand, are of starts that all take --changeover, and of on-demand "
            "that is always to be had."
        )
    if budget_usd is not None:
        terms, expected = _afford(terms, recorded, budget_usd, together=together)
    group = pools(recorded, terms, together=together, asked=windows, prices=prices)
    regions = {region for pool in group if pool.panel for region in pool.panel.regions}
    if checkpoint_gib and len(regions) > 1:
        most, dearest = checkpoint_gib * egress_usd_per_gib, checkpoint_gib * DEAREST_EGRESS
        notes.append(
            f"Each move between two of {len(regions)} regions costs {checkpoint_gib:g} GiB at "
            f"${egress_usd_per_gib:g}, ${most:.2f}, whichever pair it is; --egress says another price. At "
            f"the dearest pair, ${DEAREST_EGRESS:g}, it is ${dearest:.2f}, and fewer moves pay."
        )
    return Simulated(
        study=study(policy, terms, group, blind=blind),
        terms=terms,
        pools=tuple(group),
        expected_usd=expected,
        blind=blind,
        notes=tuple(notes),
    )


def _histories(path: Path, traces: list[Trace]) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """By zone of the traces: times from the history's start and prices; and which zones have none.

    Of a file of several instance types the first of each zone counts, and is named.
    """
    from hotdesk.market.history_files import read

    found = read(path)
    wanted = {trace.zone for trace in traces}
    mine = [pool for pool in found.pools if pool.zone in wanted]
    types = sorted({pool.instance_type for pool in mine})
    mine = [pool for pool in mine if pool.instance_type == types[0]] if types else []
    if not mine:
        raise Usage(
            f"{path} has no price of {', '.join(sorted(wanted)[:4])}.",
            f"It is about {', '.join(sorted({pool.zone for pool in found.pools})[:6])}.",
            "hotdesk simulate without --history   # every zone then costs --spot",
        )
    last = max(mine, key=lambda pool: float(pool.times[0]))
    start = float(last.times[0])
    known = {pool.zone: (pool.times - start, pool.prices) for pool in mine}
    notes = [*found.notes, *(f"{count} rows of {path.name}: {why}." for why, count in found.dropped.items())]
    if len(types) > 1:
        notes.append(f"{path.name} has several types; prices are those of {types[0]}.")
    if rest := sorted(wanted - known.keys()):
        notes.append(f"No price of {', '.join(rest)} in {path.name}: --spot counts there.")
    if start - min(float(pool.times[0]) for pool in mine) >= 3600:
        when = f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC"
        notes.append(
            f"{path.name} has prices of {last.zone} only from {when} on: "
            "the prices of all zones are those since then."
        )
    if over := sorted(pool.zone for pool in mine if float(pool.times[-1]) < start):
        notes.append(f"Its prices of {', '.join(over)} end before that: the last one counts throughout.")
    ends = min((float(pool.times[-1]) for pool in mine if pool.zone not in over), default=start) - start
    longest = max(len(trace.up) * trace.tick_seconds for trace in traces)
    if ends < longest:
        notes.append(
            f"{path.name} ends after {ends / 3600:.0f} h of {longest / 3600:.0f} h: its last prices count on."
        )
    return known, notes


def _afford(terms: Terms, recorded: list[Trace], budget: float, *, together: bool) -> tuple[Terms, float]:
    """The terms with the deadline that the budget should pay for, and the expected cost."""
    from hotdesk.simulate.budget import within_budget

    first = recorded[0]
    count = sum(trace.kind == first.kind for trace in recorded) if together else 1
    return within_budget(replace(terms, tick_seconds=first.tick_seconds, zones=count), budget)


def draw(found: Simulated, window: int, *, solid: bool) -> Figure:
    """One run: what was up, what was used, and the work done against the straight line to the deadline.

    Bars are `solid` where there is room for it: in a file. Raises `Usage` for a window that there is not.
    """
    policy, terms, group = found.study.policy, found.terms, found.pools
    pool = next((p for p in group if window < len(p.begins)), None)
    if pool is None:
        most = max(len(p.begins) for p in group)
        raise Usage(f"There is no window {window}.", f"There are {most}, from 0.", f"--window {most - 1}")
    told, runs = story(policy, terms, pool, window, blind=found.blind)
    hour, begin = pool.tick_seconds / 3600, int(pool.begins[window])
    whole, due = terms.work_seconds / 3600, terms.deadline_seconds / 3600
    finish = float(runs.finish_hours[0])
    end = told.hours[-1] + hour
    hours = [*told.hours, end]
    up = pool.up[:, begin : begin + len(told.hours)].any(axis=0)

    step = whole / 14

    def strip(flags: Any, height: float, label: str) -> Series:
        """A bar below the curve wherever something was so: its ends, and a hole after each."""
        x: list[float] = []
        for begins, flag in zip(told.hours, flags, strict=True):
            if flag and x and abs(x[-2] - begins) < hour / 2:
                x[-2] = x[-1] = begins + hour
            elif flag:
                x += [begins, begins + hour, begins + hour]
        y = tuple(height if n % 3 < 2 else float("nan") for n in range(len(x)))
        if not solid:
            return Series(label=label, x=tuple(x), y=y)
        low, high = tuple(v - step / 5 for v in y), tuple(v + step / 5 for v in y)
        return Series(label=label, x=tuple(x), y=y, kind="band", low=low, high=high)

    hours_used = f"{runs.spot_hours[0]:.1f} h on spot, {runs.on_demand_hours[0]:.1f} h on-demand"
    counted = f"{int(runs.interruptions[0])} interruptions, {int(runs.starts[0])} starts"
    whole_usd = f"${whole * terms.usd_on_demand:,.2f}"
    modes = told.mode
    return Figure(
        title=f"{policy} on {pool.name}, window {window}: ${runs.usd[0]:.2f}, done after {finish:.1f} h",
        x_label="hours since the start",
        y_label="hours of work done",
        series=(
            Series(
                label="work done", x=tuple(hours), y=(*told.done_hours, min(whole, _last(told, terms, pool)))
            ),
            Series(label="straight line to the deadline", x=(0.0, due), y=(0.0, whole)),
            strip(up, -step, "spot is there"),
            strip([m == SPOT for m in modes], -2 * step, "on spot"),
            strip([m == ON_DEMAND for m in modes], -3 * step, "on-demand"),
        ),
        notes=(f"{hours_used}, {counted}. All on-demand: {whole_usd}.",),
    )


def explain(found: Simulated, window: int) -> list[Moment]:
    """One run over several zones: a moment for each change, with its why."""
    pool = next((p for p in found.pools if p.panel is not None and window < len(p.begins)), None)
    if pool is None:
        raise Usage(
            "There are no choices among zones to explain.",
            "Each trace is a run by itself, at one price.",
            "hotdesk simulate --zones together --explain",
        )
    every: list[Moment] = []
    story(found.study.policy, found.terms, pool, window, blind=found.blind, moments=every)
    kept = every[:1]
    for before, after in pairwise(every):
        if (before.mode, before.place) != (after.mode, after.place) or after.refused:
            kept.append(after)
    return kept


def _last(told: Any, terms: Terms, pool: Pool) -> float:
    """Work done when the run ended: all of it, unless it was late."""
    rest = terms.work_seconds / 3600 - told.done_hours[-1]
    return float(told.done_hours[-1] + min(rest, pool.tick_seconds / 3600))
