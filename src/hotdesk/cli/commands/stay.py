"""hotdesk stay"""

from __future__ import annotations

import shlex

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage


@click.command()
@click.argument("words", nargs=-1, type=options.DeskName())
@click.option("--off", is_flag=True, help="Restore the usual limits now.")
def command(words: tuple[str, ...], off: bool) -> None:
    """Keep a desk running for a while: `hotdesk stay [NAME] 2h`.

    Suspends its idle limit and its lease for that long. A hard limit (`up --until`) still applies.
    """
    names = list(words)
    time = "0m" if off else names.pop() if names else "2h"
    if len(names) > 1:
        raise Usage("One desk at a time.", f"These were given: {', '.join(names)}.", "hotdesk stay blue 2h")
    with options.open_desks() as desks:
        if not names and desks.services.store.find(time):
            raise Usage(f"How long shall {time} stay?", "The time is missing.", f"hotdesk stay {time} 2h")
        seconds = options.seconds_of(time, shlex.join(["hotdesk", "stay", *names, "2h"]))
        name = names[0] if names else desks.services.goals.only()
        desks.stay(desks.services.store.desk(name).name, seconds)
    if seconds:
        render.echo(f"{name} stays for {time}, whether anything works there or not.")
    else:
        render.echo(f"{name} ends itself as usual: hotdesk ls shows when.")
