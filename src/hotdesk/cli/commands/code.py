"""hotdesk code"""

from __future__ import annotations

import shlex
import shutil
import subprocess

import click

from hotdesk.cli.ui import options, render
from hotdesk.services import reached


@click.command()
@options.name_or_only
@click.option("--print", "only_print", is_flag=True, help="Print the link without opening it.")
@click.option("--setup", is_flag=True, help="Add one line to ~/.ssh/config, so that editors find your desks.")
@options.as_json
def command(name: str | None, *, only_print: bool, setup: bool, as_json: bool) -> None:
    """Open the desk in VS Code, or in any editor that works over ssh.

    Editors read ~/.ssh/config. Run with `--setup` once: it includes hotdesk's own file there, in which every
    desk opened this way is a host named hotdesk-NAME.
    """
    with options.open_desks() as desks:
        found = reached.editor(desks.services, name or desks.services.goals.only(), setup=setup)
    name, link = found["desk"], found["link"]
    if as_json:
        render.json(found)
        return
    render.echo(link)
    if not found["included"]:
        render.note(f"Your ssh settings do not know this desk yet: hotdesk code {shlex.quote(name)} --setup")
    elif not only_print and (program := shutil.which("code")):
        subprocess.run([program, "--folder-uri", link.replace("vscode://vscode-remote/", "vscode-remote://")])
