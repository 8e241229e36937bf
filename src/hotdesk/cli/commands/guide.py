"""hotdesk guide"""

from __future__ import annotations

import click

from hotdesk.cli.ui import render


@click.command()
@click.option("--agent", is_flag=True, help="For a coding agent: verbs, JSON, exit codes, what costs money.")
def command(agent: bool) -> None:
    """Print a short guide; with --agent one for a coding agent, to put into its instructions.

    \b
    hotdesk guide --agent >> AGENTS.md
    """
    from hotdesk.cli.ui.guides import for_agents, for_people

    render.echo(for_agents() if agent else for_people())
