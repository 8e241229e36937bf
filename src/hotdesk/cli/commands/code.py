"""hotdesk code"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render

if TYPE_CHECKING:
    from hotdesk.services.shapes import Editor


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
    from hotdesk.connect import editor

    with options.open_desks() as desks:
        name = name or desks.services.goals.only()
        access = desks.services.access(name)
        hosts = editor.write_host(access, desks.services.state)
    theirs = Path.home() / ".ssh" / "config"
    if setup and editor.include(theirs, hosts):
        render.note(f"{theirs} now includes {hosts}.")
    link = editor.link(access)
    if as_json:
        answer: Editor = {"desk": name, "link": link, "included": editor.includes(theirs, hosts)}
        render.json(answer)
        return
    render.echo(link)
    if not editor.includes(theirs, hosts):
        render.note(f"Your ssh settings do not know this desk yet: hotdesk code {shlex.quote(name)} --setup")
    elif not only_print and (program := shutil.which("code")):
        subprocess.run([program, "--folder-uri", link.replace("vscode://vscode-remote/", "vscode-remote://")])
