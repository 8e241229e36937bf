"""A sweep on a terminal: its bar, its machines, its tasks; drawn anew in place while it is followed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from hotdesk.cli.ui import render
from hotdesk.core.money import in_same
from hotdesk.core.sweep.model import Checkpoint, MachineState, State, Sweep, Task
from hotdesk.core.sweep.params import shown
from hotdesk.services.sweep_shapes import SweepPlan
from hotdesk.services.sweep_view import SweepView

_COLOURS = {"running": "green", "done": "blue", "failed": "red", "waiting": "yellow", "starting": "yellow"}
_BAR = (("done", "█", "blue"), ("failed", "█", "red"), ("running", "▓", "green"), ("waiting", "░", "dim"))
PAUSE_SECONDS = 0.5
QUIET_SECONDS = 10.0  # between two lines in a pipe


def coloured(state: str) -> str:
    return render.style(state, _COLOURS.get(state, "dim"))


def bar(view: SweepView, size: int) -> str:
    """Done, failed, running and waiting, in proportion."""
    counts = view.counts
    parts = {"done": counts.done, "failed": counts.failed + counts.cancelled, "running": counts.running}
    out, used = "", 0
    for name, sign, colour in _BAR[:-1]:
        cells = min(size - used, round(size * parts[name] / max(1, counts.total)))
        if parts[name] and not cells and used < size:
            cells = 1
        out, used = out + render.style(sign * cells, colour), used + cells
    return out + render.style("░" * (size - used), "dim")


def cost(sweep: Sweep, usd: float) -> str:
    """What its machines cost, in the currency in which their cloud tells prices."""
    return render.money(usd, in_same(usd, sweep.pools[0]) if sweep.pools else None)


def hourly(sweep: Sweep, usd: float) -> str:
    """The same, as a price an hour."""
    return render.per_hour(usd, in_same(usd, sweep.pools[0]) if sweep.pools and usd else None)


def summary(view: SweepView) -> str:
    """One line: how many, on what, for how much, how long still."""
    counts = view.counts
    ended = counts.done + counts.failed + counts.cancelled
    words = [f"{ended:,} of {counts.total:,}"]
    words += [
        f"{n:,} {name}"
        for name in ("running", "waiting", "failed", "cancelled")
        if (n := getattr(counts, name))
    ]
    machines = [m for m in view.machines if m.state is not MachineState.GONE]
    if machines:
        words.append(f"{view.up} of {len(machines)} machine{'s' * (len(machines) != 1)} up")
    if view.warm:
        words.append(f"{view.warm:,} kept for the next sweep")
    if view.usd or view.usd_per_hour:
        words.append(f"{hourly(view.sweep, view.usd_per_hour)}, {cost(view.sweep, view.usd)} so far")
    if view.left_seconds is not None and view.state == "running":
        band = " to ".join(render.duration(seconds, 1) for seconds in view.left_band or ())
        words.append(f"about {render.duration(view.left_seconds, 1)} to go" + (f" ({band})" if band else ""))
    if view.deadline_seconds is not None:
        words.append(f"deadline in {render.duration(max(0.0, view.deadline_seconds), 1)}")
    if view.late_seconds > 60:
        words.append(f"it would end {render.duration(view.late_seconds, 1)} after that")
    return " · ".join(words)


def head(view: SweepView) -> list[str]:
    sweep = view.sweep
    what = render.safe(sweep.title)
    name = render.style(f"sweep {sweep.number}", "bold")
    lines = [f"{name} on {sweep.desk}: {coloured(view.state)}  {what}"]
    size = max(10, min(50, render.columns() - 4))
    lines.append(f"{bar(view, size)}")
    lines.append(summary(view))
    if view.lingers_until:
        until = time.strftime("%H:%M", time.localtime(view.lingers_until))
        lines.append(f"kept until {until}, or: hotdesk sweep cancel {sweep.number}")
    if sweep.away:
        text = f"it goes on at {sweep.away}; here again with: hotdesk sweep resume {sweep.desk}"
        lines.append(render.style(text, "yellow"))
    if sweep.stopped:
        lines.append(render.style(f"stopped: {render.safe(sweep.stopped)}", "yellow"))
    return lines


def machines(view: SweepView) -> list[str]:
    """A line for each machine that has not gone."""
    rows = [
        [m.name, coloured(str(m.state)), m.address, str(m.slots or ""), render.safe(m.why)]
        for m in view.machines
        if m.state is not MachineState.GONE
    ]
    return render.table(["MACHINE", "STATE", "ADDRESS", "SLOTS", ""], rows).splitlines() if rows else []


def checkpoints(view: SweepView, saved: Mapping[int, Checkpoint], now: float) -> list[str]:
    """How much of what tasks have saved is on this computer, and why the rest is not."""
    if not view.sweep.checkpoint:
        return []
    here = [c for c in saved.values() if c.attempt]
    lines = []
    if here:
        size = render.size(sum(c.bytes for c in here) / 2**30)
        age = render.duration(now - min(c.fetched_at for c in here), 1)
        what = (
            "a checkpoint of 1 task is here"
            if len(here) == 1
            else f"checkpoints of {len(here):,} tasks are here"
        )
        lines.append(f"{what}, {size}, up to {age} old")
    lacks = [c for c in saved.values() if c.why]
    for one in lacks[:1]:
        more = f", and {len(lacks) - 1:,} more" if len(lacks) > 1 else ""
        text = f"the checkpoint of task {one.task} does not follow it{more}: {render.safe(one.why)}"
        lines.append(render.style(text, "yellow"))
    return lines


def tasks(found: Sequence[Task], now: float, saved: Mapping[int, Checkpoint] | None = None) -> list[str]:
    """A line for each task."""
    if not found:
        return []
    names = list(dict.fromkeys(name for task in found for name in task.params))
    ages = {t: render.duration(now - c.fetched_at, 1) for t, c in (saved or {}).items() if c.attempt}
    ages = {task.number: ages[task.number] for task in found if task.number in ages}
    heads = ["TASK", "STATE", *names, "TRIES", "EXIT", "RAN", *["SAVED"] * bool(ages), "MACHINE", "LAST LINE"]
    rows = []
    for task in found:
        ran = now - task.began_at if task.state is State.RUNNING else task.seconds
        state = "waiting" if task.state is State.ASKED else str(task.state)
        rows.append(
            [
                str(task.number),
                coloured(state),
                *(render.safe(shown(task.params[n])) if n in task.params else "" for n in names),
                str(task.attempt or ""),
                "" if task.exit_status is None else str(task.exit_status),
                render.duration(ran) if ran else "",
                *[f"{ages[task.number]} ago" if task.number in ages else ""] * bool(ages),
                task.machine,
                render.safe(task.why or task.last),
            ]
        )
    room = render.columns()
    heads, rows, _ = render.fitted(heads, rows, room, ["MACHINE", "LAST LINE", "TRIES"])
    return render.table(heads, rows, right=("TASK", "TRIES", "EXIT", "RAN", *names)).splitlines()


def offered(sweep: Sweep, plan: SweepPlan, image: str) -> list[str]:
    """The machines of a sweep or cluster in a cloud that would begin, and what they cost an hour."""
    if not sweep.pools:
        return []
    lines = []
    for market in ("on-demand", "spot"):
        pools = [o for o in sweep.pools if o.market == market]
        if not pools:
            continue
        least, most = (f(o.usd_per_hour for o in pools) for f in (min, max))
        price = hourly(sweep, least) + (f" to {hourly(sweep, most)}" if most > least else "")
        kinds = ", ".join(dict.fromkeys(o.instance_type for o in pools))
        zones = ", ".join(sorted({o.zone for o in pools}))
        lines.append(f"  {market}: {kinds} in {zones}, {price}")
    many = f"{sweep.machines:,} machine{'s' * (sweep.machines != 1)}"
    first = " (the first of them on demand)" if sweep.machines > 1 and sweep.market != "on-demand" else ""
    now, dear = plan["usd_per_hour"], plan["usd_per_hour_most"]
    price = f"{hourly(sweep, now)} now" + (f", at most {hourly(sweep, dear)}" if dear > now else "")
    return [f"{many}{first}, from {image}: {price}.", *lines]


def planned(sweep: Sweep, plan: SweepPlan, image: str) -> list[str]:
    """The same of a sweep, and when it would end."""
    if not (lines := offered(sweep, plan, image)):
        return []
    lines[0] = f"On {lines[0]}"
    if plan["seconds"] and plan["usd"]:
        (best, mid, worst), (low, usd, high) = plan["seconds"], plan["usd"]
        lines.append(
            f"It ends in about {render.duration(mid, 2)} ({render.duration(best, 2)} to"
            f" {render.duration(worst, 2)}) and costs about {cost(sweep, usd)} ({cost(sweep, low)} to"
            f" {cost(sweep, high)})."
        )
    else:
        lines.append("When it ends follows from how long a task takes: --each 10m")
    if sweep.linger_seconds:
        kept = cost(sweep, plan["usd_per_hour_most"] * sweep.linger_seconds / 3600)
        lines.append(
            f"Each machine is kept for {render.duration(sweep.linger_seconds, 2)} after its last task,"
            f" for {kept} at most together."
        )
    return lines


def follow(look: Callable[[], tuple[SweepView, list[Task]]], now: Callable[[], float]) -> SweepView:
    """Show a sweep until it is over: in place on a terminal, line by line in a pipe."""
    drawn, said, said_at = 0, "", 0.0
    moving = sys.stderr.isatty()
    while True:
        view, running = look()
        if moving:
            room = max(5, shutil.get_terminal_size().lines - 3)
            lines = [*head(view), *machines(view), *tasks(running, now())][:room]
            columns = render.columns(sys.stderr)
            text = "".join(f"\x1b[2K{render.cut(line, columns - 1)}\n" for line in lines)
            render.beside((f"\x1b[{drawn}A\x1b[J" if drawn else "") + text)
            drawn = len(lines)
        else:
            line = f"{view.state}: {summary(view)}"
            if line != said and (time.monotonic() - said_at > QUIET_SECONDS or view.ended):
                said, said_at = line, time.monotonic()
                render.note(line)
        if view.ended:
            return view
        time.sleep(PAUSE_SECONDS)
