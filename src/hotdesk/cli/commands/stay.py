"""hotdesk stay"""

from __future__ import annotations

import shlex

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage


@click.command()
@click.argument("words", nargs=-1, type=options.DeskName())
@click.option("--off", is_flag=True, help="Restore the usual limits now.")
@options.dry_run
@options.as_json
def command(words: tuple[str, ...], *, off: bool, dry_run: bool, as_json: bool) -> None:
    """Keep a desk running for a while: `hotdesk stay [NAME] 2h`.

    Suspends its idle limit and its lease for that long. A hard limit (`up --until`) still applies.
    """
    names = list(words)
    time = "" if off else names.pop() if names else "2h"
    if len(names) > 1:
        raise Usage("One desk at a time.", f"These were given: {', '.join(names)}.", "hotdesk stay blue 2h")
    with options.open_desks() as desks:
        if not names and desks.services.store.find(time):
            raise Usage(f"How long shall {time} stay?", "The time is missing.", f"hotdesk stay {time} 2h")
        seconds = 0.0 if off else options.seconds_of(time, shlex.join(["hotdesk", "stay", *names, "2h"]))
        if not (off or seconds):
            fix = shlex.join(["hotdesk", "stay", *names, "--off"])
            raise Usage(f"{time} is no time to stay.", "--off restores the usual limits.", fix)
        name = desks.services.store.desk(names[0] if names else desks.services.goals.only()).name
        if not dry_run:
            desks.stay(name, seconds)
        if as_json:
            options.say_desk(desks, desks.show(name))
            return
    may = "would stay" if dry_run else "stays"
    if off:
        render.echo(f"{name} {'would end' if dry_run else 'ends'} itself as usual: hotdesk show {name}")
    else:
        render.echo(f"{name} {may} up for {time}, even if nothing works there.")
    if dry_run:
        render.echo(render.style("Nothing was done.", "dim"))
