"""Spot in dollars over several zones: `PYTHONPATH=src python benchmarks/spot_panels.py FOLDER [RUNS]`.

FOLDER holds `skypilot-spot-traces` and `p2-p3-price-history-2020` (see benchmarks/spot.py). The join:
availability of p3.2xlarge in 2023, each zone with the p3.2xlarge price history of 2020 of the same zone;
us-east-1a, which has none, with that of the first zone of its region that has one (us-east-1b). The moment
at which the last of the histories begins is the traces' first tick. On-demand costs $3.06 everywhere; 50
GiB move with the job, at $0.02 a GiB, between Ohio and Northern Virginia at $0.01 (EC2 price list, 2026).
48 h of work, a changeover of 0.2 h. Nothing in the policy was fitted to these zones: its hazards are those
of 2022.

`before` is the rule up to now: the zone that has been up for longest, never left while it works, and the
table for one price. Ratios are to the exact optimum in dollars; intervals of 95 % are by bootstrap over
blocks of windows, each as long as the deadline.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hotdesk.core.spot.policy import Now, Policy, Terms, market_usd
from hotdesk.core.spot.table import SemiMarkov
from hotdesk.market.history_files import read
from hotdesk.simulate.many_zones import play_panel
from hotdesk.simulate.optimum import optimum_panel_usd
from hotdesk.simulate.panel import Panel, panel
from hotdesk.simulate.solver import semi_markov
from hotdesk.simulate.traces import read_traces

HOUR = 3600.0
STANDS_IN = {"us-east-1a": "us-east-1b"}
GIB = 50.0
NEAR = {("us-east-1", "us-east-2"): 0.01, ("us-east-2", "us-east-1"): 0.01}


class Before:
    """The table's answer for the longest-standing zone, whatever each zone costs."""

    name = "before"

    def __init__(self, table: SemiMarkov) -> None:
        self.table = table

    def choose(self, now: Now) -> Any:
        return self.table.choose(now)


def joined(folder: Path, place: str) -> Panel:
    """The zones of 2023 that begin so, at the prices of 2020."""
    traces = read_traces(folder / "skypilot-spot-traces/availability/1-node/aws-02-15-2023")
    traces = [trace for trace in traces if trace.zone.startswith(place)]
    found = read(folder / "p2-p3-price-history-2020")
    history = {pool.zone: pool for pool in found.pools if pool.instance_type == "p3.2xlarge"}
    mine = [history[STANDS_IN.get(trace.zone, trace.zone)] for trace in traces]
    length = min(len(trace.up) for trace in traces)
    ticks = max(float(pool.times[0]) for pool in mine) + np.arange(length) * traces[0].tick_seconds
    usd = [pool.prices[np.searchsorted(pool.times, ticks, side="right") - 1] for pool in mine]
    regions = [trace.zone[:-1] for trace in traces]
    return panel(
        zones=[trace.zone for trace in traces],
        regions=regions,
        up=np.stack([trace.up[:length] for trace in traces]),
        usd=np.stack(usd),
        usd_on_demand=dict.fromkeys(regions, 3.06),
        tick_seconds=traces[0].tick_seconds,
        usd_per_gib=NEAR,
        default_usd_per_gib=0.02,
        checkpoint_gib=GIB,
    )


def terms_of(zones: Panel, deadline_hours: float) -> Terms:
    dear = float(zones.usd_on_demand.min())
    return Terms(
        work_seconds=48 * HOUR,
        deadline_seconds=deadline_hours * HOUR,
        changeover_seconds=720.0,
        usd_on_demand=dear,
        usd_spot=market_usd([float(usd) for usd in zones.usd.mean(axis=1)], dear),
        tick_seconds=zones.tick_seconds,
        zones=len(zones.zones),
    )


def interval(begins: Any, block_ticks: float, usd: Any, best: Any) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval by the block bootstrap."""
    block = (begins // block_ticks).astype(int)
    sums = np.zeros((block.max() + 1, 2))
    np.add.at(sums, block, np.stack([usd, best], axis=1))
    rng = np.random.default_rng(2026)
    drawn = sums[rng.integers(len(sums), size=(2000, len(sums)))].sum(axis=1)
    low, middle, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.5, 0.975))
    return float(low), float(middle), float(high)


def show(name: str, zones: Panel, deadline_hours: float, runs: int) -> None:
    terms = terms_of(zones, deadline_hours)
    last = zones.up.shape[1] - int(terms.deadline_seconds / zones.tick_seconds) - 1
    begins = np.linspace(0, last, runs).astype(int)
    best = optimum_panel_usd(terms, zones, begins)
    table = semi_markov(terms)
    rows: tuple[tuple[str, Policy], ...] = (("before", Before(table)), ("hotdesk", table))
    print(f"{name}, {len(zones.zones)} zones, {deadline_hours:g} h, {runs} runs: optimum ${best.mean():.2f}")
    for label, policy in rows:
        for blind in (False, True):
            got = play_panel(policy, terms, zones, begins, blind=blind)
            low, middle, high = interval(begins, terms.deadline_seconds / zones.tick_seconds, got.usd, best)
            print(
                f"  {label:8} {'blind' if blind else 'told '}  ${got.usd.mean():7.2f}"
                f"  x{got.usd.mean() / best.mean():.3f} (median {middle:.3f}, 95 %: {low:.3f} to {high:.3f})"
                f"  on-demand {got.on_demand_hours.mean():5.2f} h  egress ${got.egress_usd.mean():5.2f}"
                f"  starts {got.starts.mean():5.1f}  late {int(got.late.sum())}",
                flush=True,
            )


if __name__ == "__main__":
    for where in ("us", "us-east-1", "us-west-2", "us-east-2"):
        show(where, joined(Path(sys.argv[1]), where), 56.0, int(sys.argv[2]) if len(sys.argv) > 2 else 40)
