"""hotdesk up"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli import options, render
from hotdesk.cli.live import Live
from hotdesk.core.model import Goal


@click.command()
@options.name_or_only
@click.option("--provider", help="Where: local (this computer) unless hotdesk.toml says otherwise.")
@options.hardware
@options.leaving
@click.option("--over-budget", is_flag=True, help="Also past [defaults] usd_per_month.")
@options.fresh
@options.dry_run
def command(
    name: str | None,
    provider: str | None,
    limits: Any,
    fresh: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Open a desk: a machine you are logged into, with Jupyter answering.

    A new NAME makes a new desk; a parked one comes back from its image, a stopped one is started. "up" is
    said only after a login over ssh and an answer from Jupyter.
    """
    over_budget = given.pop("over_budget")
    with Live() as live, options.open_desks(live) as desks:
        name = name or desks.only("desk")
        old = desks.store.find(name)
        base = old.want if old else desks.configured(name, provider)
        want = options.wanted(base, given)
        if dry_run:
            options.show_plan(desks, desks.wanted(name, Goal.RUNNING, want, provider, fresh))
            return
        if not over_budget and (warning := desks.check_budget()):
            render.note(warning)
        view = desks.up(name, want=want, provider=provider, fresh=fresh, limits=limits)
    gpu = f", {view.gpu}" if view.gpu else ""
    place = render.at(view.instance_type, view.zone or view.region)
    price = render.per_hour(view.usd_per_hour)
    render.echo(f"{render.style('●', 'green')} {render.style(name, 'bold')} is up: {place}{gpu}, {price}.")
    width = max(len(f"hotdesk notebook {name}"), len(view.notebook))
    for call, what in (
        (
            view.notebook or f"hotdesk notebook {name}",
            f"Jupyter (hotdesk notebook {name} --password)",
        ),
        (f"hotdesk ssh {name}", "a terminal at the desk"),
        (f"hotdesk park {name}", "leave: everything is saved, nothing is paid"),
    ):
        render.echo(f"  {render.style(call.ljust(width), 'cyan')}  {what}")
