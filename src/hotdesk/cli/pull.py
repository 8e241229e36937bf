"""hotdesk pull"""

from __future__ import annotations

import sys

import click

from hotdesk.api import Hotdesk
from hotdesk.cli import options


@click.command()
@options.name
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... [TARGET]")
@click.pass_context
def command(ctx: click.Context, name: str, paths: tuple[str, ...]) -> None:
    """Copy files and folders from the desk. Again copies only what changed.

    Sources are relative to the desk's home. TARGET is here, and this folder when there is one path only.
    """
    from pathlib import Path

    from hotdesk.connect import ssh

    *sources, target = paths if len(paths) > 1 else (*paths, ".")
    here = f"{Path.home()}/"  # what our shell made of a ~/ that was meant for the desk
    sources = [source.removeprefix(here).removeprefix("~/") for source in sources]
    with Hotdesk() as desks:
        access = desks.access(name)
    argv = ssh.copy(access, sources, target, push=False, progress=sys.stderr.isatty())
    ctx.exit(ssh.run(argv))
