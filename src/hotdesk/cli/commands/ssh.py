"""hotdesk ssh"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from hotdesk.cli.ui import options, render
from hotdesk.core.errors import Usage

if TYPE_CHECKING:
    from hotdesk.services.shapes import Login, Output


@click.command(context_settings={"ignore_unknown_options": True})
@options.name
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.option("--print", "only_print", is_flag=True, help="Print the ssh command line and exit.")
@click.option("--no-tmux", is_flag=True, help="Open a login shell without tmux.")
@click.option("--rescue", is_flag=True, help="Open a shell that reads none of your own start files.")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    words: tuple[str, ...],
    *,
    only_print: bool,
    no_tmux: bool,
    rescue: bool,
    as_json: bool,
) -> None:
    """Open a terminal on the desk, or run one command there: hotdesk ssh NAME -- nvidia-smi

    Terminals use tmux where the desk has it: a dropped connection loses nothing, and the same command
    reattaches. A single word is a shell line ('ls | wc -l'); several words are passed on unchanged. Exits
    with the command's status: 128 + n if signal n ended it, 255 only if the connection was lost.
    """
    from hotdesk.connect import ssh
    from hotdesk.core import shell
    from hotdesk.services import files

    with options.open_desks() as desks:
        desk = desks.services.store.desk(name)
        access = desks.services.views.access(desk)
        keeping = desks.services.staying.keeping(desk, access)
    if only_print:
        line = shlex.join(ssh.printed(access))
        login: Login = {"desk": name, "ssh": line}
        render.json(login) if as_json else render.echo(line)
        return
    if as_json:
        if not words:
            raise Usage(
                "--json takes a command.", "A terminal has no JSON.", f"hotdesk ssh {name} --json -- ls"
            )
        with keeping:
            done = files.call(access, words[0] if len(words) == 1 else words)
        output: Output = {"desk": name, "status": done.status, "output": done.output, "errors": done.errors}
        render.json(output)
        ctx.exit(done.status)
    tty = ssh.is_terminal()
    line = words[0] if len(words) == 1 else shlex.join(words)
    if rescue:
        argv = ssh.command(access, [shell.rescued(line)], tty=tty)
    elif words:
        argv = ssh.command(access, [shell.told(line)], tty=tty)
    else:
        argv = ssh.shell(access) if no_tmux or not sys.stdin.isatty() else ssh.terminal(access)
    with keeping:  # its lease is renewed for as long as this terminal is open
        status = ssh.run(argv)
    ctx.exit(status)
