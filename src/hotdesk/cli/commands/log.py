"""hotdesk log"""

from __future__ import annotations

import time

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import verb
from hotdesk.core.steps import Row
from hotdesk.services import forms


@click.command()
@options.name_or_only
@click.option("-f", "--follow", is_flag=True, help="Keep printing new steps as they are taken.")
@click.option(
    "-n",
    "--lines",
    default=50,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Number of steps to show.",
)
@options.as_json
def command(name: str | None, follow: bool, lines: int, as_json: bool) -> None:
    """Show the journal: every step, its reason and its result. Without NAME: of all desks."""
    with options.open_desks() as desks:
        options.say_frozen(desks)
        change, _ = desks.services.store.changed(0) if follow else (0, [])
        rows = desks.log(name, limit=lines)
        if as_json and not follow:
            render.json([forms.row(r) for r in rows])
            return
        if not rows and not follow:
            if name:
                desks.services.store.desk(name)
            render.note("Nothing was done yet; the first step is written down by: hotdesk up")
            return
        while True:
            for row in rows:
                _print(row, as_json)
            if not follow:
                return
            time.sleep(0.3)
            change, rows = desks.services.store.changed(change)
            rows = [r for r in rows if name in (None, r.desk)]


def _print(row: Row, as_json: bool) -> None:
    if as_json:
        render.json_line(forms.row(row))
    else:
        render.echo(line(row))


def line(row: Row) -> str:
    """A row as a person reads it."""
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(row.at))
    status = row.outcome.status if row.outcome else "begun"
    sign, colour = {"done": ("✓", "green"), "refused": ("✗", "yellow"), "unknown": ("?", "yellow")}.get(
        status, ("…", "dim")
    )
    said = row.said or row.step.why
    text = f"{render.style(when, 'dim')}  {row.desk:10} {render.style(sign, colour)} {verb(row)} — {said}"
    return render.cut(render.safe(text) if "\x1b" not in text else text, render.columns())
