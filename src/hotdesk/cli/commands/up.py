"""hotdesk up"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import Live
from hotdesk.core.model import Goal
from hotdesk.services import template
from hotdesk.services.wanting import wanted


@click.command()
@options.name_or_only
@options.provider("Provider: {names}; or any, the best of them.  [default: hotdesk.toml's]")
@options.machine
@options.hardware
@options.leaving
@options.over_budget
@options.public
@options.fresh
@click.option(
    "--from",
    "origin",
    default="",
    metavar="ID|FILE",
    help="Continue from this image or volume when several hold work under this name; or make a new desk of"
    " this file of `hotdesk export`.",
)
@options.rescue
@click.option(
    "--wait-for-capacity",
    "wait",
    type=options.Length("h", positive=True),
    is_flag=False,
    flag_value="2h",
    default=None,
    metavar="[TIME]",
    help="Keep trying what is sold out or over a quota.  [default: 2h]",
)
@options.notify
@options.dry_run
@options.as_json
def command(
    name: str | None,
    *,
    provider: str | None,
    address: Any,
    limits: Any,
    fresh: bool,
    origin: str,
    rescue: bool,
    wait: float | None,
    notify: bool,
    dry_run: bool,
    as_json: bool,
    public: str = "",
    **given: Any,
) -> None:
    """Open a desk: launch its instance, log in, start Jupyter.

    A new NAME creates a desk; a parked desk is restored from its image, a stopped one is started. Reports
    "up" only after an ssh login has worked and Jupyter has answered.
    """
    with Live() as live, options.open_desks(live, given.pop("over_budget", False)) as desks:
        name = name or desks.services.goals.only("desk")
        provider = options.placed(desks, provider, address, given)
        old, goals = desks.services.store.find(name), desks.services.goals
        made_of = template.read(Path(origin)) if origin.endswith(".toml") else None
        file, origin = (Path(origin), "") if made_of else (None, origin)
        base = made_of.want if made_of else old.want if old else goals.configured(name, provider)
        want = wanted(base, given) or (base if made_of else None)
        provider = provider or (made_of.provider if made_of else None) or None
        want, provider = desks.services.placed(name, want, provider)
        if dry_run:
            options.show_plan(desks, goals.wanted(name, Goal.RUNNING, want, provider, fresh, origin=origin))
            return
        view = desks.up(
            name,
            want=want,
            provider=provider,
            fresh=fresh,
            origin=origin,
            limits=limits,
            rescue=rescue,
            public=public,
            wait_seconds=(wait or 0.0) * 3600,
            notify=notify,
            template=file,
        )
        if as_json:
            options.say_desk(desks, view)
            return
    gpu = f", {view.gpu}" if view.gpu else ""
    place = render.at(view.instance_type, view.zone or view.region)
    price = render.per_hour(view.usd_per_hour, view.told_per_hour)
    dot = render.style("●", "green")
    render.paragraph(f"{dot} {render.style(name, 'bold')} is up: {place}{gpu}, {price}.", indent=2)
    notebook = view.public.url if view.public else view.notebook or f"hotdesk notebook {name}"
    width = max(len(f"hotdesk notebook {name}"), len(notebook))
    for call, what in (
        (notebook, f"Jupyter (hotdesk notebook {name} --password)"),
        (f"hotdesk ssh {name}", "a terminal at the desk"),
        (f"hotdesk park {name}", "leave: everything is saved, nothing is paid"),
    ):
        render.echo(f"  {render.style(call.ljust(width), 'cyan')}  {what}")
    if view.public:
        options.say_public(view.public)
    options.say_remarks(view.remarks)
