"""Spot under a deadline: `PYTHONPATH=src python benchmarks/spot.py FOLDER [sweep|pools|years|zones]...`.

FOLDER holds `skypilot-spot-traces` (github.com/skypilot-org/spot-traces) and, of the published simulator,
`cbl-windows/window_starts.json`. Hazards are of 2022 only; 2023 is where they are judged.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from hotdesk.core.spot.policy import Greedy, Policy, Terms, UniformProgress
from hotdesk.core.spot.table import SemiMarkov
from hotdesk.simulate.engine import play
from hotdesk.simulate.hazards import fit
from hotdesk.simulate.optimum import optimum_usd
from hotdesk.simulate.solver import semi_markov
from hotdesk.simulate.study import pools, study
from hotdesk.simulate.traces import Trace, read_traces, windows

HOUR = 3600.0
DEADLINES = (52, 56, 60, 64, 70, 80, 92)
TERMS = Terms(
    work_seconds=48 * HOUR,
    deadline_seconds=92 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.06,
    usd_spot=0.9731,
)
WHOLE = 48 * 3.06


class Pools:
    """The eight pools of 2022 end to end, with the published windows, and each one's table without itself."""

    def __init__(self, folder: Path) -> None:
        self.traces = read_traces(folder / "skypilot-spot-traces/availability/1-node/aws-10-26-2022")
        file = str(folder / "cbl-windows/window_starts.json")
        self.starts = np.array(windows(file, len(self.traces[0].up), 552, 600.0, "the pools"))
        self.up = np.concatenate([t.up for t in self.traces])[None]
        ends = np.cumsum([0] + [len(t.up) for t in self.traces[:-1]])
        self.begins = (ends[:, None] + self.starts[None]).ravel()
        self.models = np.repeat(np.arange(len(self.traces)), len(self.starts))

    def left_out(self, terms: Terms) -> SemiMarkov:
        """A policy with one model for each pool: the hazards of all the others."""
        others = [[t.up for t in self.traces if t is not trace] for trace in self.traces]
        return semi_markov(terms, hazards=tuple(fit(group, 600.0) for group in others))


def sweep(folder: Path) -> None:
    """8 pools x 300 windows x 6 deadlines x 3 policies, all at once; the tables are solved before."""
    data = Pools(folder)
    deadlines = np.repeat(np.array((52, 56, 60, 64, 70, 92)) * HOUR, len(data.begins))
    begins, models = np.tile(data.begins, 6), np.tile(data.models, 6)
    begun = time.perf_counter()
    ready = data.left_out(TERMS)
    print(
        f"solving 8 tables of 92 h: {time.perf_counter() - begun:.2f} s, {ready.actions.nbytes / 1e6:.0f} MB"
    )
    policies: tuple[Policy, ...] = (Greedy(), UniformProgress(), ready)
    best, used = [], []
    for _ in range(5):
        begun, spent = time.perf_counter(), time.process_time()
        for policy in policies:
            runs = play(policy, TERMS, data.up, begins, deadlines=deadlines, models=models)
            assert not runs.late.any()
        best.append(time.perf_counter() - begun)
        used.append(time.process_time() - spent)
    count = 3 * len(begins)
    each = 1e6 * min(best) / count
    print(
        f"{count} runs: {min(best):.2f} s best, {max(best):.2f} s worst of 5 ({each:.0f} us a run),"
        f" {min(used):.2f} s of processor time, none late"
    )


def policies(folder: Path, changeover_hours: float = 0.2) -> dict[str, dict[str, float]]:
    """By hours to the deadline: mean cost / all on-demand over 2,400 windows, the tested pool left out."""
    data = Pools(folder)
    terms = replace(TERMS, changeover_seconds=round(changeover_hours * HOUR, 3))
    policy = data.left_out(terms)
    due = tuple(d * HOUR for d in DEADLINES)
    best = np.mean([optimum_usd(terms, t.up[None], data.starts, due).mean(axis=0) for t in data.traces], 0)
    found = {}
    for n, deadline in enumerate(due):
        mine = replace(terms, deadline_seconds=deadline)
        greedy, line, ours = (
            play(p, mine, data.up, data.begins, models=data.models)
            for p in (Greedy(), UniformProgress(), policy)
        )
        found[f"{DEADLINES[n]}"] = {
            "hotdesk": float(ours.usd.mean() / WHOLE),
            "Uniform Progress": float(line.usd.mean() / WHOLE),
            "greedy": float(greedy.usd.mean() / WHOLE),
            "optimum": float(best[n] / WHOLE),
            "late": float(ours.late.sum()),
        }
    return found


def pool_table(folder: Path) -> None:
    """Mean cost / all on-demand over 2,400 windows, the tested pool left out."""
    print("changeover  deadline   greedy  uniform  optimum  semi-markov  vs uniform  /optimum  closed  late")
    for change in (0.02, 0.2, 0.4):
        for deadline, row in policies(folder, change).items():
            g, u, c, o = (row[name] for name in ("greedy", "Uniform Progress", "hotdesk", "optimum"))
            print(
                f"{change:10} {deadline:>9} {g:8.4f} {u:8.4f} {o:8.4f} {c:12.4f}"
                f" {100 * (c / u - 1):+10.1f}%"
                f" {c / o:9.3f} {(u - c) / (u - o):7.2f} {int(row['late']):5}"
            )


def year_table(folder: Path) -> None:
    """The nine zones of 2023, each for itself, 100 windows, at the traces' own ticks of 195 s."""
    traces = read_traces(folder / "skypilot-spot-traces/availability/1-node/aws-02-15-2023")
    for deadline in (56, 64):
        for free in (False, True):
            _study(traces, deadline, together=False, asked="100", free=free, rows=not free)


def zone_table(folder: Path) -> None:
    """Zones of 2023 together."""
    traces = read_traces(folder / "skypilot-spot-traces/availability/1-node/aws-02-15-2023")
    for place in ("us-west-2", "us-east-1", "us-east-2", "us"):
        group = [t for t in traces if t.zone.startswith(place)]
        _study(group, 56, together=True, asked="40", free=False, rows=True)


def _study(traces: list[Trace], deadline: int, *, together: bool, asked: str, free: bool, rows: bool) -> None:
    terms = replace(TERMS, deadline_seconds=deadline * HOUR, usd_spot=0.918, first_hour_free=free)
    found = study("semi-markov", terms, pools(traces, terms, together=together, asked=asked))
    for row in found.per_trace if rows else ():
        print(
            f"  {row.trace:24} {row.mean_cost_ratio:.4f}  uniform {row.uniform_progress_cost_ratio:.4f}"
            f"  optimum {row.optimum_cost_ratio:.4f}  x{row.cost_over_optimum:.3f}  late {row.late}"
        )
    (low, high), (less, more) = found.cost_over_optimum_ci, found.versus_uniform_progress_ci
    kind = f"{deadline} h, first hour free" if free else f"{deadline} h"
    where = f"{len(traces)} zones {'together' if together else 'apart'}"
    print(
        f"{where}, {kind}: {found.mean_cost_ratio:.4f},"
        f" x{found.cost_over_optimum:.3f} of the optimum (95 %: {low:.3f} to {high:.3f}),"
        f" {100 * found.versus_uniform_progress:+.1f} % against uniform"
        f" ({100 * less:+.1f} to {100 * more:+.1f}),"
        f" late {found.late} of {found.runs}, {found.decision_us:.0f} us a decision"
    )


SECTIONS = {"sweep": sweep, "pools": pool_table, "years": year_table, "zones": zone_table}


if __name__ == "__main__":
    for name in sys.argv[2:] or SECTIONS:
        print(f"== {name}: {SECTIONS[name].__doc__}")
        SECTIONS[name](Path(sys.argv[1]))
