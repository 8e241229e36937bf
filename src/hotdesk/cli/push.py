"""hotdesk push"""

from __future__ import annotations

import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli import options
from hotdesk.core.errors import Unknown


@click.command()
@options.name
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", "target", default="", metavar="FOLDER", help="Where at the desk; its home otherwise.")
def command(name: str, sources: tuple[str, ...], target: str) -> None:
    """Copy files and folders to the desk. Again copies only what changed.

    Each SOURCE is here; all of them arrive in the desk's home, or in the FOLDER there that --to names (made
    when it is not there). As with rsync, `data` arrives as a folder, `data/` as what is in it.

    \b
    hotdesk push blue train.py data
    hotdesk push blue data --to projects/one
    """
    from pathlib import Path

    from hotdesk.connect import ssh

    for source in sources:
        if not source or not (Path(source).exists() or Path(source).is_symlink()):
            raise Unknown(
                f"There is no {source or 'file without a name'} here.",
                "What is pushed is on this computer; where it goes at the desk is said with --to.",
                f"hotdesk push {name} SOURCE... --to FOLDER",
            )
    here = f"{Path.home()}/"  # what our shell made of a ~/ that was meant for the desk
    target = target.removeprefix(here).removeprefix("~/")
    with Hotdesk() as desks:
        access = desks.access(name)
    if target:
        ssh.make_folder(access, target)
        target = f"{target.rstrip('/')}/"
    argv = ssh.copy(access, sources, target, push=True, progress=sys.stderr.isatty())
    ssh.copied(ssh.run(argv), name)
