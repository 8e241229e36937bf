"""hotdesk uninstall"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from hotdesk.cli.ui import options, render
from hotdesk.services.uninstall import Uninstalled
from hotdesk.system import installed_from


@click.command()
@options.yes
@options.dry_run
@options.as_json
def command(*, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what hotdesk made on this computer. Lists it, and asks first.

    That is its state folder, with the journal and the keys of its desks, and its line in ~/.ssh/config. Desks
    here have to be deleted before. What it rents in a cloud stays, and is asked about.
    """
    with options.open_desks() as desks:
        found = desks.uninstall(anyway=True, dry_run=True)
        if not as_json:
            _list(found, desks.services.state)
        if not dry_run and found.made and not found.held:
            question = "Remove that from this computer?"
            if names := ", ".join(found.rented):
                question = f"{names} would stay in the cloud, paid for and without a key here. {question}"
            options.agreed(question, yes, "hotdesk uninstall --yes")
        if not dry_run:
            found = desks.uninstall(anyway=True)
    if as_json:
        render.json(found)
        return
    if dry_run:
        render.echo(render.style("Nothing was removed.", "dim"))
        return
    for one in (one for one in found.made if not one.removed):
        render.error(f"{one.path} could not be removed.", "", f"ls -ld {shlex.quote(one.path)}")
    for path in found.stays:
        render.echo(f"Yours, and still there: {render.safe(path)}")
    render.echo(f"The program itself: {program()}")


def _list(found: Uninstalled, folder: Path) -> None:
    inside = [one for one in found.made if Path(one.path).is_relative_to(folder)]
    if inside:
        size = render.size(sum(one.bytes for one in inside) / 2**30)
        names = ", ".join(render.safe(Path(one.path).name) for one in inside)
        render.paragraph(f"  {render.safe(str(folder))} ({size}): {names}", indent=2)
    for one in found.made:
        if one not in inside:
            render.echo(f"  {one.what} in {render.safe(one.path)}")
    if not found.made:
        render.echo("hotdesk has made nothing on this computer.")


def program() -> str:
    """The line that removes this installation of hotdesk."""
    source, in_place = installed_from()
    if (Path(sys.prefix) / "pipx_metadata.json").exists():
        return "pipx uninstall hotdesk"
    if (Path(sys.prefix) / "uv-receipt.toml").exists():
        return "uv tool uninstall hotdesk"
    if in_place and Path(sys.prefix).is_relative_to(source):
        return f"rm -r {shlex.quote(sys.prefix)}"
    return shlex.join([sys.executable, "-m", "pip", "uninstall", "hotdesk"])
