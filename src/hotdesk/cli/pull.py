"""hotdesk pull"""

from __future__ import annotations

import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli import options


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", "target", default=".", metavar="FOLDER", help="Where here; this folder otherwise.")
def command(name: str, sources: tuple[str, ...], target: str) -> None:
    """Copy files and folders from the desk. Again copies only what changed.

    Each SOURCE is at the desk, relative to its home; all of them arrive in this folder, or in the FOLDER here
    that --to names (made when it is not there). As with rsync, `results` arrives as a folder, `results/` as
    what is in it.

    \b
    hotdesk pull blue results
    hotdesk pull blue results log.txt --to ~/from-blue
    """
    from pathlib import Path

    from hotdesk.connect import ssh
    from hotdesk.core.errors import Missing

    home = f"{Path.home()}/"  # what our shell made of a ~/ that was meant for the desk
    there = [source.removeprefix(home).removeprefix("~/") for source in sources]
    with Hotdesk() as desks:
        access = desks.access(name)
    try:
        Path(target).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Missing(
            f"{target} cannot be a folder here.", error.strerror or str(error), "ls -ld ."
        ) from None
    argv = ssh.copy(access, there, f"{target.rstrip('/') or '/'}/", push=False, progress=sys.stderr.isatty())
    ssh.copied(ssh.run(argv), name)
