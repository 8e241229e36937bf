"""Every number that the predictions and plans promise, measured: python benchmarks/speed.py [part ...]"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

from benchmarks import gpubench  # noqa: E402
from hotdesk.core.model import Market, Offer  # noqa: E402
from hotdesk.core.sizing.frontier import choose  # noqa: E402
from hotdesk.core.sizing.makespan import PER_HOUR, PER_SECOND, Billing, Burst, Startup, Work, finish  # noqa: E402
from hotdesk.core.sizing.speed import Family, predict, predictor  # noqa: E402
from hotdesk.core.spot.interruptions import Spot, interrupted, lived  # noqa: E402
from hotdesk.core.spot.uptimes import at_random, of_trace  # noqa: E402
from hotdesk.market import gpus  # noqa: E402
from hotdesk.market.job_model import Around, Job, place, speeds, terms  # noqa: E402
from hotdesk.market.shipped import shipped  # noqa: E402
from hotdesk.services.bench_sent import LOADER, packed  # noqa: E402
from hotdesk.simulate.traces import read_traces  # noqa: E402

Row = Sequence[object]


def show(title: str, heads: Sequence[str], rows: Sequence[Row]) -> None:
    """A table with its title, columns aligned."""
    cells = [list(heads), *([f"{c:.3f}" if isinstance(c, float) else str(c) for c in row] for row in rows)]
    sizes = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    print(f"\n## {title}")
    for row in cells:
        print(
            "  ".join(
                c.ljust(s) if n == 0 else c.rjust(s) for n, (c, s) in enumerate(zip(row, sizes, strict=True))
            )
        )


def quantile(values: Sequence[float], q: float) -> float:
    ranked = sorted(values)
    place = q * (len(ranked) - 1)
    low = math.floor(place)
    return ranked[low] + (place - low) * (ranked[min(low + 1, len(ranked) - 1)] - ranked[low])


def prediction() -> None:
    """Leave one GPU out: its rate from all others of the table, from three, from one; bands."""
    for known in ("all others", "all of other architectures", 5, 3, 1):
        rows = []
        dice = random.Random(1)
        tables = gpubench.tables()
        for source, group in groupby(tables, lambda t: t.source):
            errors, held, widths = [], [], []
            by_family: dict[str, list[float]] = {}
            for table in group:
                for left, (gpu, actual) in enumerate(table.rates):
                    rest = [r for n, r in enumerate(table.rates) if n != left]
                    if known == "all of other architectures":
                        rest = [r for r in rest if r[0].architecture != gpu.architecture]
                    elif isinstance(known, int):
                        rest = dice.sample(rest, min(known, len(rest)))
                    got = predict(rest, gpu, table.family, table.precision, fallback=True)
                    errors.append(abs(got.rate / actual - 1))
                    by_family.setdefault(table.family, []).append(errors[-1])
                    held.append(got.low <= actual <= got.high)
                    widths.append(got.high / got.rate - 1)
            rows.append(
                [
                    source,
                    len(errors),
                    statistics.median(errors),
                    quantile(errors, 0.9),
                    *(
                        statistics.median(by_family[f]) if f in by_family else "-"
                        for f in ("cnn", "transformer")
                    ),
                    sum(held) / len(held),
                    statistics.median(widths),
                ]
            )
        heads = ["source", "cases", "median", "p90", "cnn", "transformer", "in band", "band +"]
        show(f"Error of the predicted rate, measured on {known}", heads, rows)


def ratio() -> None:
    """A job's rate by the ratio of another job of the same family: from one GPU, and from all others."""
    for title, alone in (("one GPU at a time, all ordered pairs", True), ("all other GPUs", False)):
        rows: list[Row] = []
        for source, its in groupby(gpubench.tables(), lambda t: t.source):
            tables = list(its)
            for family in (Family.CNN, Family.TRANSFORMER):
                mine = [t for t in tables if t.family is family]
                plain = [t for t in mine if "transformerxl" not in t.job]
                groups = [("", mine)]
                if (
                    len(plain) < len(mine) and "2022 " in source
                ):  # these two fit no other network of the family
                    groups.append((", without Transformer-XL", plain))
                for which, group in groups:
                    errors, held = _ratios(group, alone=alone)
                    if errors:
                        inside = sum(held) / len(held)
                        row = [statistics.median(errors), quantile(errors, 0.9), inside]
                        rows.append([f"{source}, {family}{which}", len(errors), *row])
        heads = ["source, family", "cases", "median", "p90", "in band"]
        show(f"Ratio method, job(B) = job(A) x bench(B)/bench(A), A: {title}", heads, rows)


def _ratios(tables: Sequence[gpubench.Table], *, alone: bool) -> tuple[list[float], list[bool]]:
    errors, held = [], []
    for job, bench in itertools.permutations(tables, 2):
        benched = {gpu.name for gpu, _ in bench.rates}
        known = [(gpu, rate) for gpu, rate in job.rates if gpu.name in benched]
        for to, actual in known:
            others = [one for one in known if one[0] is not to]
            for anchors in [[one] for one in others] if alone else [others]:
                got = predict(anchors, to, job.family, job.precision, bench=bench.rates, fallback=True)
                errors.append(abs(got.rate / actual - 1))
                held.append(got.low <= actual <= got.high)
    return errors, held


def regret() -> None:
    """How much dearer than the best the plan's choice is, on synthetic prices (near-efficient, sd 35 %)."""
    rows = [[source, *row.values()] for source, row in regrets().items()]
    heads = ["source", "choices", "all others measured", "one measured", "TFLOPS per $", "lowest $/h"]
    show("Regret: the chosen GPU costs so much more than the best", heads, rows)


def regrets() -> dict[str, dict[str, float]]:
    """By source: the number of choices, and the mean regret of each way to choose."""
    dice = random.Random(7)
    found = {}
    for source, group in groupby(gpubench.tables(), lambda t: t.source):
        tables = [t for t in group if len(t.rates) >= 8]
        by_plan, by_price, by_peak, by_one = [], [], [], []
        typical = _typical(tables)
        for table in tables:
            predicted = {}
            for left, (gpu, _) in enumerate(table.rates):
                rest = [r for n, r in enumerate(table.rates) if n != left]
                predicted[gpu.name] = predict(rest, gpu, table.family, table.precision, fallback=True).rate
            for _ in range(40):
                price = {
                    gpu.name: typical[gpu.name] * math.exp(dice.gauss(0, 0.35)) for gpu, _ in table.rates
                }
                cost = {gpu.name: price[gpu.name] / rate for gpu, rate in table.rates}
                best = min(cost.values())
                one = dice.choice(table.rates)
                from_one = predictor([one], table.family, table.precision, fallback=True)
                estimate = {gpu.name: price[gpu.name] / from_one(gpu).rate for gpu, _ in table.rates}
                tflops = {
                    gpu.name: price[gpu.name]
                    / (gpu.tflops(table.precision) if gpu.runs(table.precision) else gpu.fp32)
                    for gpu, _ in table.rates
                }
                by_plan.append(cost[min(predicted, key=lambda g: price[g] / predicted[g])] / best - 1)
                by_one.append(cost[min(estimate, key=estimate.__getitem__)] / best - 1)
                by_price.append(cost[min(price, key=price.__getitem__)] / best - 1)
                by_peak.append(cost[min(tflops, key=tflops.__getitem__)] / best - 1)
        ways = {
            "hotdesk, all others measured": by_plan,
            "hotdesk, one measured": by_one,
            "most TFLOPS per dollar": by_peak,
            "lowest price": by_price,
        }
        found[source] = {
            "choices": float(len(by_plan)),
            **{way: statistics.fmean(r) for way, r in ways.items()},
        }
    return found


def _typical(tables: Sequence[gpubench.Table]) -> dict[str, float]:
    """A price for each GPU at which all are about equally good, over the jobs of a source."""
    logs: dict[str, list[float]] = {}
    for table in tables:
        middle = statistics.fmean(math.log(rate) for _, rate in table.rates)
        for gpu, rate in table.rates:
            logs.setdefault(gpu.name, []).append(math.log(rate) - middle)
    return {name: math.exp(statistics.fmean(values)) for name, values in logs.items()}


def formula() -> None:
    """The spot formula against the simulation that `hotdesk plan` shows beside it, and in recorded spells."""
    dice = random.Random(3)
    rows, worst = [], 0.0
    for mean_hours in (2.0, 6.0, 24.0):
        for saving in (30.0, 120.0):
            for restart in (5.0, 10.0):
                for work in (1.0, 10.0, 50.0):
                    spot = Spot(
                        interruptions_per_hour=1 / mean_hours,
                        wait_hours=0.5,
                        restart_hours=restart / 60,
                        checkpoint_seconds=saving,
                    )
                    told = interrupted(work, restart / 60, 1 / mean_hours, spot)
                    assert told is not None
                    draws = at_random(1 / mean_hours, 0.5, dice.expovariate)
                    runs = max(400, int(40_000 / work))
                    seen = [lived(work, restart / 60, 1 / mean_hours, spot, draws) for _ in range(runs)]
                    wall, billed = (statistics.fmean(part) for part in zip(*seen, strict=True))
                    off = max(abs(told[0] / wall - 1), abs(told[1] / billed - 1))
                    worst = max(worst, off)
                    mine = [f"{mean_hours:g} h", f"{saving:g} s", f"{restart:g} min", f"{work:g} h"]
                    rows.append([*mine, told[0], wall, off])
    shown = sorted(rows, key=lambda row: -float(str(row[-1])))[:6]
    heads = ["M", "checkpoint", "restart", "work", "wall (formula)", "wall (simulated)", "off"]
    show(
        f"Spot formula against simulation: worst of {len(rows)} cases {worst:.1%} (at most 2 %)", heads, shown
    )
    _recorded(dice)


def _recorded(dice: random.Random) -> None:
    """What memory does: the formula at a zone's own losses and waits, beside lives in its recorded spells."""
    folder = gpubench.FOLDER.parent / "traces/skypilot-spot-traces/availability/1-node/aws-02-15-2023"
    if not folder.is_dir():
        print("(recorded zones: skipped, the public traces are not beside this checkout)")
        return
    rows = []
    for trace in read_traces(folder):
        up, tick = trace.up.tolist(), trace.tick_seconds / 3600
        falls = sum(was and not now for was, now in itertools.pairwise(up))
        spot = Spot(
            interruptions_per_hour=falls / (sum(up) * tick),
            wait_hours=(len(up) - sum(up)) * tick / falls,
            restart_hours=5 / 60,
        )
        told = interrupted(10.0, 5 / 60, spot.interruptions_per_hour, spot)
        begins = [n for n, there in enumerate(up) if there]
        lives = [
            lived(10.0, 5 / 60, spot.interruptions_per_hour, spot, of_trace(up, tick, dice.choice(begins)))
            for _ in range(2000)
        ]
        wall = sorted(wall for wall, _ in lives)
        assert told is not None
        rows.append(
            [
                trace.zone,
                f"{sum(up) / len(up):.0%}",
                f"{1 / spot.interruptions_per_hour:.1f} h",
                f"{spot.wait_hours:.1f} h",
                f"{told.wall:.1f} h",
                f"{statistics.fmean(wall):.1f} h",
                f"{wall[100]:.1f} to {wall[-101]:.1f} h",
            ]
        )
    heads = ["zone", "spot is there", "M", "wait", "10 h of work: formula", "in its spells", "9 of 10"]
    show("The same in recorded zones (2023), where spells have a memory", heads, rows)


def story() -> None:
    """VGG16 on dogs and cats, 25,000 images: over an hour on a CPU at $0.188/h, 600 s on a K80 at $0.90/h."""
    items = 25_000
    flop = 30.9e9 * items  # of the forward passes, counted layer by layer
    cpu_hours = flop / 190e9 / 3600  # two Broadwell cores at their peak: a floor
    burst = Burst(vcpus=4, credits_per_hour=54, launch_credits=120)
    gpu_hours = 600 / 3600
    startup = 3.5 / 60
    rows: list[Row] = []

    def row(what: str, hours: float, price: float, billing: Billing, start: float = 0.0) -> None:
        got = finish(Work(hours=hours), 1, price, start, billing=billing)
        assert got is not None
        rows.append([what, f"{got.hours * 60:.0f} min", f"${got.usd:.3f}"])

    row("t2.xlarge at full speed (a floor), billed by the hour", cpu_hours, 0.188, PER_HOUR)
    row("t2.xlarge out of credits after 39 min, by the hour", burst.hours(cpu_hours), 0.188, PER_HOUR)
    row("p2.xlarge (K80), April 2017: by the hour", gpu_hours, 0.90, PER_HOUR)
    row("p2.xlarge on spot at $0.30, by the hour", gpu_hours, 0.30, PER_HOUR)
    row("t2.xlarge, billed by the second", cpu_hours, 0.188, PER_SECOND)
    row("p2.xlarge, billed by the second", gpu_hours, 0.90, PER_SECOND)
    row("p2.xlarge on spot, by the second", gpu_hours, 0.30, PER_SECOND)
    row("t2.xlarge by the second, with 3.5 min start-up", cpu_hours, 0.188, PER_SECOND, startup)
    row("t2.xlarge out of credits, with start-up", burst.hours(cpu_hours), 0.188, PER_SECOND, startup)
    row("p2.xlarge by the second, with 3.5 min start-up", gpu_hours, 0.90, PER_SECOND, startup)
    for machines in (10, 1000):
        many = finish(Work(hours=gpu_hours), machines, 0.90, 5 / 60)
        assert many is not None
        rows.append(
            [
                f"... on {machines} of them, 5 min start-up",
                f"{many.hours * 60:.1f} min",
                f"${many.usd:.2f} (x{many.multiplier:.3g})",
            ]
        )
    show(
        "VGG16, dogs and cats: the story with its three traps",
        ["machine, market, billing", "time", "cost"],
        rows,
    )
    _today(items, startup)


def _today(items: int, startup: float) -> None:
    """The same job on today's offers, at the forward speed predicted from cnn-benchmarks (fp32)."""
    if not gpubench.FOLDER.is_dir():
        print("(today's offers: skipped, the public tables are not beside this checkout)")
        return
    forward = next(t for t in gpubench.cnn_tables("forward_ms") if t.job == "VGG-16")
    job = Job(
        items=items,
        rates={gpu.name: rate for gpu, rate in forward.rates},
        family=Family.CNN,
        precision=forward.precision,
    )
    around = Around(startup=Startup(boot=startup * 3600, image=0.0))
    offers = list(shipped().offers())
    answer = choose(offers, [1], speeds(job), terms(around), place=place(around))
    rows = []
    for plan in sorted(answer.plans, key=lambda c: c.finish.usd)[:8]:
        done, offer = plan.finish, plan.offer
        rows.append(
            [
                f"{offer.instance_type} {offer.gpu} x{offer.gpu_count:g} {offer.market}",
                f"{offer.usd_per_hour:.3f}",
                f"{done.hours * 60:.1f} min",
                f"${done.usd:.3f}",
                f"${done.usd_low:.3f} to ${done.usd_high:.3f}",
            ]
        )
    heads = ["offer", "$/h", "time", "cost", "9 of 10"]
    show(
        f"The same on the cheapest of {len(offers)} offers of {shipped().as_of}, start-up included",
        heads,
        rows,
    )


def scale() -> None:
    """60,000 offers by 20 numbers of machines."""
    dice = random.Random(1)
    known = gpus.table()
    types = [
        (f"t{n}.x", dice.choice(known) if n % 3 else None, dice.choice((1, 2, 4, 8))) for n in range(1000)
    ]
    offers = []
    for n in range(60_000):
        kind, gpu, count = types[n % 1000]
        offers.append(
            Offer(
                provider="aws" if n % 2 else "aliyun",
                region=f"r{dice.randrange(30)}",
                zone=f"z{dice.randrange(90)}",
                instance_type=kind,
                market=Market.SPOT if dice.random() < 0.5 else Market.ON_DEMAND,
                usd_per_hour=dice.uniform(0.1, 30),
                gpu=gpu.name if gpu else "",
                gpu_count=count if gpu else 0,
                gpu_memory_gib=gpu.memory_gib if gpu else 0.0,
            )
        )
    job = Job(items=1e8, rates={"V100": 833, "A100": 1396}, family=Family.CNN)
    around = Around(data_region="r3", data_gib=20)
    took, used = [], []
    for _ in range(5):
        mark, cpu = time.perf_counter(), time.process_time()
        answer = choose(offers, range(1, 21), speeds(job), terms(around), place=place(around), budget_usd=500)
        took.append(time.perf_counter() - mark)
        used.append(time.process_time() - cpu)
    rows = [
        [
            f"{answer.considered:,}",
            len(answer.front),
            len(answer.lost),
            f"{min(took):.3f} s",
            f"{max(took):.3f} s",
            f"{min(used):.3f} s",
        ]
    ]
    show(
        "A plan over 60,000 offers x 20 numbers of machines",
        ["plans", "front", "lost", "best of 5", "worst", "processor"],
        rows,
    )


def steady() -> None:
    """The same bench three times here: how far apart (needs torch; skipped without)."""
    if importlib.util.find_spec("torch") is None:
        print("\n## The bench, repeated: skipped, torch is not installed")
        return
    program = [sys.executable, "-c", LOADER, "--json", "--seconds-max", "25", "--workload"]
    rows = []
    for name in ("matmul", "copy"):
        runs = []
        for _ in range(3):
            done = subprocess.run([*program, name], input=packed(), capture_output=True, check=True)
            runs.append(json.loads(done.stdout)["results"][0])
        wall = [run["result"]["items_per_s"] for run in runs]
        alone = [run["result"]["items_per_s_if_alone"] for run in runs]
        foreign = max(run["conditions"]["foreign_cpu_share"] for run in runs)
        cv = [statistics.stdev(v) / statistics.fmean(v) for v in (wall, alone)]
        rows.append([name, *cv, foreign, "yes" if all(run["conditions"]["valid"] for run in runs) else "no"])
    heads = ["workload", "CV wall", "CV processor time", "others' share", "quiet enough"]
    show("The bench, three times", heads, rows)


PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part for part in (prediction, ratio, regret, story, formula, scale, steady)
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
