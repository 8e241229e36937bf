"""hotdesk push"""

from __future__ import annotations

import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli import options
from hotdesk.core.errors import Unknown


@click.command()
@options.name
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... [TARGET]")
@click.pass_context
def command(ctx: click.Context, name: str, paths: tuple[str, ...]) -> None:
    """Copy files and folders to the desk. Again copies only what changed.

    TARGET is at the desk, relative to its home, and its home when there is one path only. As with rsync,
    `folder` arrives as a folder, `folder/` as what is in it.
    """
    from pathlib import Path

    from hotdesk.connect import ssh

    *sources, target = paths if len(paths) > 1 else (*paths, "")
    for source in sources:
        if not Path(source).exists() and not Path(source).is_symlink():
            raise Unknown(f"There is no {source}.", f"Looked from {Path.cwd()}.", f"ls {Path(source).parent}")
    here = f"{Path.home()}/"  # what our shell made of a ~/ that was meant for the desk
    target = target.removeprefix(here).removeprefix("~/")
    with Hotdesk() as desks:
        access = desks.access(name)
    argv = ssh.copy(access, sources, target, push=True, progress=sys.stderr.isatty())
    ctx.exit(ssh.run(argv))
