"""hotdesk log"""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from hotdesk.cli.ui import options, render
from hotdesk.cli.ui.live import verb
from hotdesk.core.steps import Row
from hotdesk.services import forms
from hotdesk.state.store import Store


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
        if follow:
            for rows in followed(desks.services.store, name, lines):
                for row in rows:
                    _print(row, as_json)
                time.sleep(0.3)
        rows = desks.log(name, limit=lines)
        if as_json:
            render.json([forms.row(r) for r in rows])
            return
        if not rows:
            render.note("Nothing was done yet; the first step is written down by: hotdesk up")
        for row in rows:
            _print(row, as_json)


def followed(store: Store, name: str | None, lines: int) -> Iterator[list[Row]]:
    """The newest rows, then at each turn those begun or ended since, in the order in which that was written.

    None comes twice, wherever the clock is set: the loop dates anew what ended in the future.
    """
    change, rows = store.changed(0)
    ended = {row.id for row in rows if row.outcome}
    rows = sorted((r for r in rows if name in (None, r.desk)), key=lambda row: row.id)[-lines:]
    if name is not None and not rows:
        store.desk(name)
    while True:
        yield rows
        change, rows = store.changed(change)
        rows = [r for r in rows if name in (None, r.desk) and r.id not in ended]
        ended |= {row.id for row in rows if row.outcome}


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
    begin = f"{render.style(when, 'dim')}  {row.desk:10} {render.style(sign, colour)} "
    return render.hanging(begin, render.safe(f"{verb(row)} — {said}"))
