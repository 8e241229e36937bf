"""hotdesk completion"""

from __future__ import annotations

import click

from hotdesk.cli.ui import render


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell completion script; it completes desk names too.

    \b
    bash:  eval "$(hotdesk completion bash)"      in ~/.bashrc
    zsh:   eval "$(hotdesk completion zsh)"       in ~/.zshrc, after compinit
    fish:  hotdesk completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from hotdesk.cli.main import hotdesk

    kind = get_completion_class(shell)
    assert kind is not None
    render.echo(kind(hotdesk, {}, "hotdesk", "_HOTDESK_COMPLETE").source())
