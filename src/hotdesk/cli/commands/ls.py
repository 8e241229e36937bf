"""hotdesk ls"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.model import EndedBy
from hotdesk.core.money import in_same
from hotdesk.services.view import View

if TYPE_CHECKING:
    from hotdesk.services.sweep_view import SweepView

OLD_SECONDS = 120.0  # after which an idle time is told with its time alone: the watch looks twice a minute
_MARKS = {
    "ready": ("●", "green"),
    "pending": ("◐", "yellow"),
    "stopping": ("◑", "yellow"),
    "stopped": ("○", "yellow"),
    "parked": ("◍", "blue"),
    "saving": ("◐", "blue"),
    "unknown": ("?", "yellow"),
}


def _machines(view: SweepView) -> str:
    what = f"has {view.up} machines" if view.up or not view.warm else ""
    kept = f"keeps {view.warm} machines for the next sweep" if view.warm else ""
    return " and ".join(filter(None, (what, kept)))


@click.command()
@options.as_json
def command(as_json: bool) -> None:
    """List your desks: state, price per hour and cost so far."""
    with options.open_desks() as desks:
        views, others = desks.ls(), desks.services.clouds.others()
        sweeps = desks.services.rented_sweeps()
        options.say_frozen(desks)
        now = desks.services.clock.now()
        watcher = desks.services.store.holder("@watch").partition(" ")[0]
        post = ""
        if (desks.services.state / "watcher-on").exists():
            from hotdesk.loop.remote_watcher import away

            post = sent.desk if (sent := away(desks.services.store)) else ""
    for view in views:
        if view.left:
            render.note(left_words(view))
        if view.phase == "unknown":
            render.note(f"{view.name} cannot be seen, and may cost money: {render.safe(view.why)}")
        for words in kept_words(view):
            render.note(words)
    if as_json:
        render.json(views)
        return
    for sweep in sweeps:
        name, show = f"Sweep {sweep.sweep.number}", f"sweep show {sweep.sweep.number}"
        if sweep.sweep.cluster:
            name, show = f"The {sweep.sweep.title}", f"cluster show {sweep.sweep.desk}"
        told = in_same(sweep.usd_per_hour, sweep.sweep.pools[0]) if sweep.sweep.pools else None
        price = render.per_hour(sweep.usd_per_hour, told)
        render.note(f"{name} {_machines(sweep)}, {price}: hotdesk {show}")
    if not views:
        render.echo("There is no desk yet. Open one:")
        render.echo("  " + render.style("hotdesk up", "cyan"))
        render.others(others)
        return
    heads = ["", "NAME", "PHASE", "WHERE", "TYPE", "$/H", "COST", "SINCE", "IDLE", "NEXT"]
    rows = []
    for view in views:
        sign, colour = _MARKS.get(view.phase, ("·", "dim"))
        rows.append(
            [
                render.style(sign, colour),
                view.name,
                view.phase if view.goal != _goal_of(view) else word(view),
                place(view),
                view.instance_type + (f" ({view.market})" if view.market == "spot" else ""),
                (str(view.told_per_hour) if view.told_per_hour else f"{view.usd_per_hour:.4g}")
                + ("*" if view.price_time else ""),
                str(view.cost_told or f"{view.cost_usd:.2f}"),
                "" if view.elsewhere else render.duration(now - view.since, 1),
                "?" if view.elsewhere else idle_words(view, now),
                render.style(_next(view), "cyan"),
            ]
        )
    heads, rows, _ = render.fitted(heads, rows, render.columns(), ("WHERE", "SINCE", "IDLE", "TYPE"))
    render.echo(render.table(heads, rows, right=("$/H", "COST", "SINCE")))
    render.others(others)
    for view in (v for v in views if v.open_to):
        render.echo(render.style(open_words(view), "yellow"))
    for view in (v for v in views if v.ends_at and v.phase in {"ready", "stopped"}):
        render.echo(render.style(ends_words(view, now), "yellow"))
    for view in (v for v in views if v.charged_while_off):
        render.echo(render.style(charged_words(view), "yellow"))
    if post:
        render.echo(render.style(f"{post} watches over them (hotdesk watch --stop --on {post})", "dim"))
    if watcher:
        render.echo(render.style(f"process {watcher} watches over them (hotdesk watch --stop)", "dim"))
    if any(view.usd_per_hour for view in views):
        render.echo(render.style(f"together {together(views)} now", "dim"))
    if old := [view.price_time for view in views if view.price_time]:
        render.echo(render.style(f"* {render.as_of(min(old))}", "dim"))


def together(views: Sequence[View]) -> str:
    """What desks cost an hour; amounts that cannot be compared with dollars stand beside them."""
    from hotdesk.core.money import sums

    usd, others = sums((v.usd_per_hour, v.told_per_hour) for v in views)
    words = [render.per_hour(0.0, told) for told in others]
    return " and ".join([render.per_hour(usd), *words] if usd or not words else words)


def idle_words(view: View, now: float) -> str:
    """For how long nothing has worked at a desk, where that is known now, and its limits."""
    if view.idle_seconds is None or now - (view.idle_at or 0.0) > OLD_SECONDS:
        return view.idle
    told = render.duration(view.idle_seconds, 1) if view.idle_seconds else "no"
    return f"{told} ({view.idle})"


def place(view: View) -> str:
    """Where a desk is, in few words."""
    return "/".join(dict.fromkeys(part for part in (view.provider, view.zone or view.region) if part))


def kept_words(view: View) -> list[str]:
    """What holds work of another beginning under a desk's name, or cannot be had just now."""
    words = [f"{view.name}: another beginning's {what} is kept: hotdesk gc" for what in view.kept]
    if view.in_use:
        words.append(f"{view.name}: {view.why}: hotdesk up {view.name}")
    return [render.safe(text) for text in words]


def left_words(view: View) -> str:
    """A note on a desk whose machine was turned off elsewhere and cannot be used."""
    if view.ended_by is EndedBy.GUEST:
        how = f"has ended itself ({view.why})"
    else:
        how = "was turned off, by itself or in the console"
    if view.phase in {"saving", "stopped", "parked"}:
        return f"{view.name} {how}; it is being parked: hotdesk log -f {view.name}"
    return f"{view.name} {how}, and its disk is gone: hotdesk up {view.name}"


def charged_words(view: View) -> str:
    """That a machine which is off goes on costing, and how that ends."""
    return (
        f"{view.name} is off and still costs {render.per_hour(view.usd_per_hour, view.told_per_hour)}: "
        f"hotdesk park {view.name}"
    )


def ends_words(view: View, now: float) -> str:
    """When a desk's cloud ends its machine, and what becomes of it."""
    when = f"at {render.moment(view.ends_at)}, in {render.duration(view.ends_at - now, 2)}"
    return f"{view.name}'s machine is ended by its cloud {when}; it is parked before, or its job is moved"


def open_words(view: View) -> str:
    """Who can reach a desk's Jupyter without a tunnel, and how that ends."""
    return (
        f"{view.name}'s Jupyter is open to {', '.join(view.open_to)} (hotdesk notebook {view.name} --private)"
    )


def _goal_of(view: View) -> str:
    if view.phase == "parked" and view.goal == "stopped":  # it runs no more than was asked for
        return "stopped"
    return {"ready": "running", "stopped": "stopped", "parked": "parked"}.get(view.phase, "")


def word(view: View) -> str:
    """A desk's phase as people read it; `--json` gives the phase's own name."""
    return {"ready": "running"}.get(view.phase, view.phase)


def _next(view: View) -> str:
    if view.elsewhere:
        return "hotdesk doctor --adopt"
    if view.goal != _goal_of(view):
        return f"hotdesk watch {view.name}" if not view.holder else f"(process {view.holder.split()[0]})"
    verb = {"running": "notebook", "stopped": "start", "parked": "resume"}[view.goal]
    return f"hotdesk {verb} {view.name}"
