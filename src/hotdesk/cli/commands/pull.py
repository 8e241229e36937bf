"""hotdesk pull"""

from __future__ import annotations

from pathlib import Path

import click

from hotdesk.cli.ui import folder_shown, options, render
from hotdesk.cli.ui.live import Live
from hotdesk.services import files, forms

SHOWN = 20  # names of a dry run


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--to", "target", default=".", show_default=True, metavar="FOLDER", help="Destination folder here."
)
@options.dry_run
@options.as_json
def command(name: str, sources: tuple[str, ...], target: str, *, dry_run: bool, as_json: bool) -> None:
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
    if dry_run:
        found = files.listed(access, sources)
        if as_json:
            render.json(forms.copied(name, target, found.names, size=found.bytes, dry_run=True))
            return
        render.echo(f"{_some(len(found.names), found.bytes)} would be compared with {render.safe(target)}:")
        for path in found.names[:SHOWN]:
            render.echo(f"  {render.safe(path)}")
        if (left := len(found.names) - SHOWN) > 0:
            render.echo(f"  … and {left:,} more: --json")
        render.echo(render.style("Nothing was copied.", "dim"))
        return
    with Live() as live:
        shown = live.progress(f"copying from {name}")
        arrived = files.pull(access, sources, Path(target), on_progress=shown)
    placed = arrived.placed
    if placed.came:
        render.note(f"{_some(len(placed.came), placed.bytes)} in {render.safe(target)}")
    for here, beside in placed.beside.items():
        render.note(
            f"{render.safe(here)} here is newer, or of another kind, and stays; "
            f"{name}'s is {render.safe(beside)}"
        )
    got = files.complete(name, arrived)
    if as_json:
        render.json(forms.copied(name, target, got.came, size=got.bytes, beside=got.beside))


def _some(number: int, size: int) -> str:
    return f"{folder_shown.count(number, 'file')} ({render.size(size / 2**30)})"
