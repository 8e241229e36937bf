"""hotdesk pull"""

from __future__ import annotations

from pathlib import Path

import click

from hotdesk.cli.ui import folder_shown, options, render
from hotdesk.cli.ui.live import Live
from hotdesk.services import files


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to", "target", default=".", show_default=True, metavar="FOLDER", help="Destination folder here."
)
def command(name: str, sources: tuple[str, ...], target: str) -> None:
    """Copy files and folders from the desk. Repeated, it copies only changes.

    Each SOURCE is a path on the desk, relative to its home, and is copied into this folder, or into --to,
    which is created if needed. As with rsync, `results` copies the folder, `results/` its contents. A local
    file that is newer is kept, and the desk's copy is saved beside it as NAME.from-DESK.

    \b
    hotdesk pull blue results
    hotdesk pull blue results log.txt --to ~/from-blue
    """
    from hotdesk.connect import copying

    if said := copying.check():
        render.note(said)
    with options.open_desks() as desks:
        access = desks.services.access(name)
    with Live() as live:
        shown = live.progress(f"copying from {name}")
        arrived = files.pull(access, sources, Path(target), on_progress=shown)
    placed = arrived.placed
    if placed.came:
        size = render.size(placed.bytes / 2**30)
        render.note(f"{folder_shown.count(len(placed.came), 'file')} ({size}) in {render.safe(target)}")
    for here, beside in placed.beside.items():
        render.note(
            f"{render.safe(here)} here is newer, or of another kind, and stays; "
            f"{name}'s is {render.safe(beside)}"
        )
    files.complete(name, arrived)
