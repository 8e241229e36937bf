"""What 1 x 1000 = 1000 x 1 really costs: a sweep on 1 to 10,000 machines, simulated.

    python -m benchmarks.sweep_simulation [--traces FOLDER] [--plot FOLDER]

A thousand machine-hours in 12,000 tasks of five minutes (lognormal, sigma 0.5). A machine costs from its
launch to its end. Machines are launched as fast as EC2 allows. A machine runs its first task `--startup`
seconds after its launch, and each task takes `--overhead` seconds longer than its command. Free machines get
tasks from one queue, at most `--rate` a second in all; a machine for which no task is left ends. These three
overheads are assumptions, not measurements.

On spot, a machine is interrupted when a recorded trace loses its capacity, and replaced when the trace has
capacity again. The interrupted task starts over, or goes on from its last checkpoint. The column 1+NS/W is
the formula of docs/plan.md.

One seed is one history: the figures are the same on every computer.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from dataclasses import dataclass
from pathlib import Path

from hotdesk.charts import Figure, Series, save

WORK_HOURS, TASKS, SIGMA = 1000.0, 12_000, 0.5
MACHINES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
#: EC2: an account's bucket holds 1,000 instances and gets 2 a second; RunInstances is called twice a second,
#: 100 at a time (docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html).
BUCKET, REFILL, CALLS, EACH = 1000, 2.0, 2.0, 100


@dataclass(frozen=True)
class Costs:
    startup: float  # seconds from a machine's launch to its first task
    overhead: float  # seconds of a task beside its command
    rate: float  # tasks a second that the driver hands out
    checkpoint: float  # seconds between two checkpoints; 0: none, so an interrupted task starts over


@dataclass(frozen=True)
class Found:
    hours: float
    multiplier: float
    interruptions: int


Lives = list[tuple[list[bool], float]]


def launches(count: int) -> list[float]:
    """When each of so many machines is launched, in seconds."""
    found, tokens, now = [], float(BUCKET), 0.0
    while len(found) < count:
        some = int(min(EACH, tokens, count - len(found)))
        found += [now] * some
        step = 1 / CALLS
        tokens, now = min(BUCKET, tokens - some + REFILL * step), now + step
    return found


def life(traces: Lives, dice: random.Random) -> tuple[float, float]:
    """Seconds that a machine lives, and until another can be had after it; infinite without traces."""
    if not traces:
        return math.inf, 0.0
    up, tick = traces[dice.randrange(len(traces))]
    place = dice.randrange(len(up))
    for n in range(len(up)):  # a launch succeeds where there is capacity
        if up[(place + n) % len(up)]:
            place += n
            break
    lived = 0
    while lived < len(up) and up[(place + lived) % len(up)]:
        lived += 1
    absent = 0
    while absent < len(up) and not up[(place + lived + absent) % len(up)]:
        absent += 1
    return (lived - dice.random()) * tick, absent * tick


def swept(machines: int, costs: Costs, traces: Lives, seed: int = 1) -> Found:
    dice = random.Random(seed)
    mean = WORK_HOURS * 3600 / TASKS
    scale = math.log(mean) - SIGMA**2 / 2
    waiting = [dice.lognormvariate(scale, SIGMA) for _ in range(TASKS)]
    whole = WORK_HOURS * 3600 / sum(waiting)
    waiting = [seconds * whole for seconds in waiting]
    paid = end = asked = 0.0
    interruptions, left = 0, TASKS
    #: When something happens to a machine: it is free, or (with seconds of a task) it goes and leaves them.
    events: list[tuple[float, int, float]] = []
    born: dict[int, float] = {}
    dies: dict[int, float] = {}
    again: dict[int, float] = {}

    def launch(machine: int, at: float) -> None:
        lives, absent = life(traces, dice)
        born[machine], dies[machine], again[machine] = at, at + lives, absent
        ready = at + costs.startup
        heapq.heappush(events, (ready, machine, 0.0) if ready < at + lives else (at + lives, machine, -1.0))

    for machine, at in enumerate(launches(min(machines, TASKS))):
        launch(machine, at)
    while left:
        now, machine, lost = heapq.heappop(events)
        if lost:
            interruptions += 1
            paid += now - born[machine]
            if lost > 0:
                waiting.append(lost)
            if waiting:
                launch(machine, now + again[machine])
        elif not waiting:
            paid += now - born[machine]  # nothing is left to begin: it ends
        else:
            asked = max(now, asked + 1 / costs.rate)
            seconds = waiting.pop()
            done = asked + costs.overhead + seconds
            if done <= dies[machine]:
                left -= 1
                end = max(end, done)
                heapq.heappush(events, (done, machine, 0.0))
                continue
            ran = max(0.0, dies[machine] - asked - costs.overhead)
            kept = ran // costs.checkpoint * costs.checkpoint if costs.checkpoint else 0.0
            heapq.heappush(events, (max(now, dies[machine]), machine, seconds - kept))
    for now, machine, _ in events:  # those that have done their last task, or start up in vain
        paid += max(0.0, min(now, end, dies[machine]) - born[machine])
    return Found(hours=end / 3600, multiplier=paid / 3600 / WORK_HOURS, interruptions=interruptions)


def read(folder: Path | None) -> Lives:
    if folder is None:
        return []
    from hotdesk.simulate.traces import read_traces

    return [([bool(u) for u in t.up], t.tick_seconds) for t in read_traces(folder) if any(t.up)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--startup", type=float, default=150.0, help="boot, image and Ray")
    parser.add_argument("--overhead", type=float, default=0.01)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--checkpoint", type=float, default=0.0)
    parser.add_argument("--traces", type=Path, help="recorded availability: ZONE_GPU_COUNT.json")
    parser.add_argument("--plot", type=Path, help="draw multiplier.svg and hours.svg into this folder")
    given = parser.parse_args()
    costs = Costs(given.startup, given.overhead, given.rate, given.checkpoint)
    traces = read(given.traces)
    kinds = [("on-demand", [])] + ([("spot", traces)] if traces else [])
    heads = "".join(f"{name + ': time':>18}{'x work':>8}{'lost':>7}" for name, _ in kinds)
    print(f"{WORK_HOURS:,.0f} hours of work, {TASKS:,} tasks; {len(traces)} traces")
    print(f"{'machines':>10}{'1+NS/W':>9}{heads}")
    found: dict[str, list[Found]] = {name: [] for name, _ in kinds}
    formula = [1 + n * given.startup / 3600 / WORK_HOURS for n in MACHINES]
    for n, plain in zip(MACHINES, formula, strict=True):
        row = f"{n:>10,}{plain:>9.3f}"
        for name, lives in kinds:
            one = swept(n, costs, lives)
            found[name].append(one)
            time = f"{one.hours / 24:.1f} d" if one.hours > 48 else f"{one.hours:.2f} h"
            row += f"{time:>18}{one.multiplier:>8.3f}{one.interruptions:>7,}"
        print(row)
    if given.plot:
        x = tuple(map(float, MACHINES))
        lines = [Series(label="1 + N·S/W", x=x, y=tuple(formula))]
        lines += [Series(label=k, x=x, y=tuple(f.multiplier for f in v)) for k, v in found.items()]
        title = f"{WORK_HOURS:,.0f} machine-hours on N machines"
        save(
            Figure(
                title=f"{title}: what they cost", x_label="machines", y_label="times the work alone",
                series=tuple(lines), x_log=True,
            ),
            given.plot / "multiplier.svg",
        )  # fmt: skip
        lines = [
            Series(label="W/N + S", x=x, y=tuple(WORK_HOURS / n + given.startup / 3600 for n in MACHINES))
        ]
        lines += [Series(label=k, x=x, y=tuple(f.hours for f in v)) for k, v in found.items()]
        save(
            Figure(
                title=f"{title}: how long they take", x_label="machines", y_label="hours",
                series=tuple(lines), x_log=True, y_log=True,
            ),
            given.plot / "hours.svg",
        )  # fmt: skip


if __name__ == "__main__":
    main()
