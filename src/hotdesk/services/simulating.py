"""A spot policy simulated over recorded traces: the study, and one of its runs drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hotdesk.charts import Figure, Series
from hotdesk.core.errors import Usage
from hotdesk.core.model import Value
from hotdesk.core.spot.policy import ON_DEMAND, SPOT, Terms
from hotdesk.simulate.study import Pool, Study, pools, story, study
from hotdesk.simulate.traces import Trace, check_numpy, read_traces


class Simulated(Value, frozen=True):
    """A study, and what it was made of."""

    study: Study
    terms: Terms
    pools: tuple[Pool, ...]
    expected_usd: float | None = None  # with a budget: of a run by the deadline that it pays for


def simulate(
    traces: Path,
    terms: Terms,
    *,
    policy: str = "semi-markov",
    together: bool = False,
    windows: str = "100",
    budget_usd: float | None = None,
) -> Simulated:
    """See `Hotdesk.simulate`."""
    check_numpy()
    recorded, expected = read_traces(traces), None
    if budget_usd is not None:
        terms, expected = _afford(terms, recorded, budget_usd, together=together)
    group = pools(recorded, terms, together=together, asked=windows)
    return Simulated(
        study=study(policy, terms, group), terms=terms, pools=tuple(group), expected_usd=expected
    )


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
    told, runs = story(policy, terms, pool, window)
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


def _last(told: Any, terms: Terms, pool: Pool) -> float:
    """Work done when the run ended: all of it, unless it was late."""
    rest = terms.work_seconds / 3600 - told.done_hours[-1]
    return float(told.done_hours[-1] + min(rest, pool.tick_seconds / 3600))
