"""Evaluate a policy over recorded traces, against on-demand and the optimum, with confidence intervals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import floor
from typing import TYPE_CHECKING, Any

import msgspec

from hotdesk.core.errors import Usage
from hotdesk.core.model import Value
from hotdesk.core.spot.decision import Situation, Zone, decide
from hotdesk.core.spot.policy import Greedy, OnDemand, Policy, Terms, UniformProgress, check, market_usd
from hotdesk.core.spot.prices import region_of
from hotdesk.simulate.engine import play
from hotdesk.simulate.many_zones import Moment, Starts, play_panel
from hotdesk.simulate.optimum import optimum_panel_usd, optimum_usd
from hotdesk.simulate.panel import Panel, panel
from hotdesk.simulate.runs import Runs, Story
from hotdesk.simulate.solver import semi_markov
from hotdesk.simulate.traces import Trace, windows
from hotdesk.system import state_folder, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

POLICIES = ("semi-markov", "uniform-progress", "greedy", "on-demand", "optimum")
RESAMPLES = 1000


class PerTrace(Value, frozen=True):
    """The runs of a policy over one trace; costs as in `Study`."""

    trace: str
    runs: int
    availability: float
    mean_cost_ratio: float
    optimum_cost_ratio: float
    cost_over_optimum: float
    uniform_progress_cost_ratio: float
    interruptions: float  # of a run, on average
    on_demand_share: float  # of the hours paid
    late: int


class Study(Value, frozen=True):
    """Costs are shares of what the work alone costs on-demand; intervals (`_ci`) hold 95 %."""

    policy: str
    view: str  # told: a run knows where spot is in every zone; blind: only what it met itself
    runs: int
    mean_cost_ratio: float
    mean_cost_ratio_ci: tuple[float, float]
    cost_over_optimum: float
    cost_over_optimum_ci: tuple[float, float]
    versus_uniform_progress: float  # -0.05: five percent cheaper
    versus_uniform_progress_ci: tuple[float, float]
    gap_closed: float | None  # of the gap between Uniform Progress and the optimum; None where there is none
    late: int
    p75: float
    p99: float
    interruptions: float
    decision_us: float
    mean_usd: float
    on_demand_usd: float
    per_trace: tuple[PerTrace, ...]


class Pool(msgspec.Struct):
    """Zones that one run may use: one trace, or all of a kind."""

    name: str
    up: Any  # bool over zone and tick
    zones: tuple[str, ...]
    tick_seconds: float
    begins: Any
    panel: Panel | None = None  # the zones' own prices; None: one zone at the price of the terms
    starts: Starts | None = None  # how long changeovers really take; None: what the terms say


class Prices(Value, frozen=True):
    """What a run over several zones is paid by, beyond the traces' own prices."""

    #: By zone: (times, prices) of a price history, shifted to the traces' start.
    histories: dict[str, Any] = msgspec.field(default_factory=dict)
    checkpoint_gib: float = 0.0
    egress_usd_per_gib: float = 0.02
    blind: bool = False  # whether a run knows only what it met itself
    spread: float = 0.0  # standard deviation of changeovers, as a share of what the terms say
    refused: float = 0.0  # share of the time in which on-demand is sold out

    @property
    def own(self) -> bool:
        """Whether even a run in one zone needs a panel."""
        return self.blind or self.spread > 0 or self.refused > 0


#: How long on-demand is sold out at a time, on average. Nothing recorded is known: an hour is a guess.
SOLD_OUT_SECONDS = 3600.0


def pools(
    traces: Sequence[Trace], terms: Terms, *, together: bool, asked: str, prices: Prices = Prices()
) -> list[Pool]:
    """The traces as pools, with the windows at which runs begin in each."""
    import numpy as np

    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.kind if together else trace.name, []).append(trace)
    out = []
    for name, group in groups.items():
        gaps = sorted({t.tick_seconds for t in group})
        if len(gaps) > 1:
            raise Usage(
                f"Traces of {name or 'one folder'} differ in ticks: {', '.join(f'{g:g} s' for g in gaps)}.",
                "Zones can only be used together when they were looked at together.",
                "--zones apart",
            )
        mine = check(_with(terms, tick_seconds=gaps[0], zones=len(group)))
        length = min(len(t.up) for t in group)
        longest = floor(mine.deadline_seconds / gaps[0] + 1e-9)
        label = f"{len(group)} zones of {name}" if together and name else name or f"{len(group)} zones"
        out.append(
            Pool(
                name=label,
                up=np.stack([t.up[:length] for t in group]),
                zones=tuple(t.zone for t in group),
                tick_seconds=gaps[0],
                begins=np.array(windows(asked, length, longest, gaps[0], label)),
                panel=_panel(group, length, terms, prices),
                starts=starts(terms.changeover_seconds, prices.spread) if prices.spread else None,
            )
        )
    return out


def _panel(group: Sequence[Trace], length: int, terms: Terms, prices: Prices) -> Panel | None:
    import numpy as np

    own = any(t.usd is not None or t.zone in prices.histories for t in group)
    if len(group) == 1 and not (own or prices.own):
        return None
    ticks = np.arange(length) * group[0].tick_seconds
    usd, on_demand = [], {}
    for trace in group:
        if trace.usd is not None:
            usd.append(trace.usd[:length])
        elif trace.zone in prices.histories:
            times, known = prices.histories[trace.zone]
            usd.append(known[np.maximum(np.searchsorted(times, ticks, side="right") - 1, 0)])
        else:
            usd.append(np.full(length, terms.usd_spot))
        on_demand[region_of(trace.zone)] = trace.usd_on_demand or terms.usd_on_demand
    away = SOLD_OUT_SECONDS / group[0].tick_seconds
    return panel(
        zones=[t.zone for t in group],
        regions=[region_of(t.zone) for t in group],
        up=np.stack([t.up[:length] for t in group]),
        usd=np.stack(usd),
        usd_on_demand=on_demand,
        tick_seconds=group[0].tick_seconds,
        default_usd_per_gib=prices.egress_usd_per_gib,
        checkpoint_gib=prices.checkpoint_gib,
        on_demand_up=sold(len(on_demand), length, prices.refused, away) if prices.refused else None,
    )


def starts(changeover_seconds: float, spread: float) -> Starts:
    """Changeovers of that mean, log-normal: a few take much longer."""
    import numpy as np

    sigma = np.sqrt(np.log1p(spread**2))
    drawn = np.random.default_rng(2026).standard_normal(4096)
    return Starts(seconds=changeover_seconds * np.exp(sigma * drawn - sigma**2 / 2))


def sold(regions: int, ticks: int, refused: float, away_ticks: float) -> Array:
    """When on-demand is to be had, by region and tick: sold out for that share of the time, each time for so
    many ticks on average."""
    import numpy as np

    dice = np.random.default_rng(2026)
    back = min(1 / max(away_ticks, 1.0), (1 - refused) / refused)
    goes = back * refused / (1 - refused)
    there = np.empty((regions, ticks), dtype=bool)
    now = dice.random(regions) >= refused
    for tick in range(ticks):
        there[:, tick] = now
        now = dice.random(regions) < np.where(now, 1 - goes, back)
    return there


def _terms(terms: Terms, pool: Pool) -> Terms:
    """The terms as a run in this pool has them: its ticks, its zones, the price of its market."""
    mine = _with(terms, tick_seconds=pool.tick_seconds, zones=len(pool.zones))
    if pool.panel is None:
        return mine
    dear = float(pool.panel.usd_on_demand.min())
    mean = [float(zone) for zone in pool.panel.usd.mean(axis=1)]
    return _with(mine, usd_on_demand=dear, usd_spot=market_usd(mean, dear))


def _play(policy: Policy, terms: Terms, pool: Pool, *, blind: bool) -> Runs:
    if pool.panel is None:
        return play(policy, terms, pool.up, pool.begins)
    return play_panel(policy, terms, pool.panel, pool.begins, blind=blind, starts=pool.starts)


def _with(terms: Terms, **changes: Any) -> Terms:
    return msgspec.structs.replace(terms, **changes)


def policy_for(name: str, terms: Terms) -> Policy:
    """The policy of that name, ready to decide. (The optimum is not a policy: it knows the future.)"""
    rules: dict[str, Callable[[], Policy]] = {
        "semi-markov": lambda: semi_markov(terms),
        "uniform-progress": UniformProgress,
        "greedy": Greedy,
        "on-demand": OnDemand,
    }
    return rules[name]()


def study(name: str, terms: Terms, group: Sequence[Pool], *, blind: bool = False) -> Study:
    """`name` (one of POLICIES) over every window of every pool; `blind` as in `Prices`."""
    import numpy as np

    rows, costs, bests, lines, late, cut = [], [], [], [], 0, []
    for pool in group:
        mine = _terms(terms, pool)
        best = _optimum(mine, pool)
        line = _play(UniformProgress(), mine, pool, blind=blind).usd
        runs = None if name == "optimum" else _play(policy_for(name, mine), mine, pool, blind=blind)
        usd = best if runs is None else runs.usd
        costs.append(usd)
        bests.append(best)
        lines.append(line)
        late += int(runs.late.sum()) if runs else 0
        cut.append(runs.interruptions if runs else np.zeros(len(usd)))
        rows.append(_row(pool, mine, runs, usd=usd, best=best, line=line))
    whole = terms.work_seconds / 3600 * terms.usd_on_demand
    every, every_best, every_line = (np.concatenate(x) for x in (costs, bests, lines))
    gap = float(every_line.mean() - every_best.mean())
    spread = _bootstrap(terms, group, costs, bests, lines)
    return Study(
        policy=name,
        view="blind" if blind else "told",
        runs=len(every),
        mean_cost_ratio=float(every.mean() / whole),
        mean_cost_ratio_ci=spread(lambda c, b, u: c / whole),
        cost_over_optimum=float(every.mean() / every_best.mean()),
        cost_over_optimum_ci=spread(lambda c, b, u: c / b),
        versus_uniform_progress=float(every.mean() / every_line.mean() - 1),
        versus_uniform_progress_ci=spread(lambda c, b, u: c / u - 1),
        gap_closed=float((every_line.mean() - every.mean()) / gap) if gap > 1e-9 * whole else None,
        late=late,
        p75=float(np.quantile(every, 0.75) / whole),
        p99=float(np.quantile(every, 0.99) / whole),
        interruptions=float(np.concatenate(cut).mean()),
        decision_us=0.0 if name == "optimum" else decision_us(name, terms, group[0]),
        mean_usd=float(every.mean()),
        on_demand_usd=whole,
        per_trace=tuple(rows),
    )


def _row(pool: Pool, terms: Terms, runs: Runs | None, *, usd: Array, best: Array, line: Array) -> PerTrace:
    whole = terms.work_seconds / 3600 * terms.usd_on_demand
    hours = float((runs.spot_hours + runs.on_demand_hours).sum()) if runs else 0.0
    return PerTrace(
        trace=pool.name,
        runs=len(usd),
        availability=float(pool.up.any(axis=0).mean()),
        mean_cost_ratio=float(usd.mean() / whole),
        optimum_cost_ratio=float(best.mean() / whole),
        cost_over_optimum=float(usd.mean() / best.mean()),
        uniform_progress_cost_ratio=float(line.mean() / whole),
        interruptions=float(runs.interruptions.mean()) if runs else 0.0,
        on_demand_share=float(runs.on_demand_hours.sum()) / hours if runs and hours else 0.0,
        late=int(runs.late.sum()) if runs else 0,
    )


def _bootstrap(
    terms: Terms, group: Sequence[Pool], costs: list[Array], bests: list[Array], lines: list[Array]
) -> Callable[[Callable[[Any, Any, Any], Any]], tuple[float, float]]:
    """Intervals from drawing pools, and in each blocks of windows, with replacement.

    A block is as long as the deadline: windows that overlap are not told apart as if they were independent.
    """
    import numpy as np

    rng = np.random.default_rng(2022)
    sums = []  # of each pool, over its blocks: windows, cost, optimum, Uniform Progress
    for pool, cost, best, line in zip(group, costs, bests, lines, strict=True):
        block = (pool.begins * pool.tick_seconds // terms.deadline_seconds).astype(int)
        table = np.zeros((block.max() + 1, 4))
        np.add.at(table, block, np.stack([np.ones_like(cost), cost, best, line], axis=1))
        sums.append(table[table[:, 0] > 0])
    draws = np.zeros((RESAMPLES, 4))
    for n in range(RESAMPLES):
        for pick in rng.integers(len(sums), size=len(sums)):
            table = sums[pick]
            total = table[rng.integers(len(table), size=len(table))].sum(axis=0)
            draws[n] += total / total[0]  # every pool weighs the same
    means = draws[:, 1:] / draws[:, :1]

    def interval(figure: Callable[[Any, Any, Any], Any]) -> tuple[float, float]:
        low, high = np.quantile(figure(means[:, 0], means[:, 1], means[:, 2]), (0.025, 0.975))
        return float(low), float(high)

    return interval


def _optimum(terms: Terms, pool: Pool) -> Array:
    """The optimum of each window, kept on disk: it depends on nothing but the trace and the terms."""
    import numpy as np

    content = msgspec.json.encode((3, terms, pool.up.shape))
    digest = hashlib.sha256(content + np.packbits(pool.up).tobytes() + pool.begins.astype("<i8").tobytes())
    if pool.panel is not None:
        for part in (pool.panel.usd, pool.panel.usd_on_demand, pool.panel.move_usd, pool.panel.home):
            digest.update(np.ascontiguousarray(part).tobytes())
    path = state_folder() / "optima" / f"{digest.hexdigest()[:24]}.f64"
    if path.is_file() and path.stat().st_size == 8 * len(pool.begins):
        known = np.fromfile(path, dtype="<f8")
        if np.isfinite(known).all():
            return known
    if pool.panel is None or terms.first_hour_free:
        best = optimum_usd(terms, pool.up, pool.begins)[:, 0]
    else:
        best = optimum_panel_usd(terms, pool.panel, pool.begins)
    with suppress(OSError):  # a full disk, or a folder that cannot be written: it is computed again next time
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, best.astype("<f8").tobytes())
    return best


def decision_us(name: str, terms: Terms, pool: Pool, tries: int = 2000) -> float:
    """How long one live decision takes, in microseconds: the least of five rounds over moments of a trace."""
    from hotdesk.system import SystemClock

    mine = _terms(terms, pool)
    policy, clock = policy_for(name, mine), SystemClock()
    moments = [
        Situation(
            elapsed_seconds=mine.deadline_seconds * n / 100,
            work_seconds=mine.work_seconds * (1 - n / 100),
            zones=tuple(
                Zone(name=zone, up=bool(pool.up[z, n]), seconds=600.0 * n, usd_per_hour=mine.usd_spot)
                for z, zone in enumerate(pool.zones)
            ),
        )
        for n in range(min(50, pool.up.shape[1]))
    ]
    rounds = []
    for _ in range(5):
        begun = clock.now()
        for n in range(tries // 5):
            decide(policy, mine, moments[n % len(moments)])
        rounds.append((clock.now() - begun) / (tries // 5) * 1e6)
    return min(rounds)


def story(
    name: str,
    terms: Terms,
    pool: Pool,
    window: int = 0,
    *,
    blind: bool = False,
    moments: list[Moment] | None = None,
) -> tuple[Story, Runs]:
    """One run in full: what ran when, and how far it was."""
    mine = _terms(terms, pool)
    told = Story(hours=[], mode=[], zone=[], done_hours=[])
    begin, policy = pool.begins[window : window + 1], policy_for(name, mine)
    if pool.panel is None:
        return told, play(policy, mine, pool.up, begin, record=told)
    runs = play_panel(
        policy, mine, pool.panel, begin, blind=blind, record=told, story=moments, starts=pool.starts
    )
    return told, runs
