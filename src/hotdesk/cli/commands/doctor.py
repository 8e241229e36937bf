"""hotdesk doctor"""

from __future__ import annotations

import click

from hotdesk import doctor
from hotdesk.cli.ui import options, render


@click.command()
@options.name_or_only
@click.option("--fix", is_flag=True, help="Apply the fixes that are safe.")
@click.option("--adopt", is_flag=True, help="Take over desks that exist but are unknown on this computer.")
@options.as_json
@click.pass_context
def command(ctx: click.Context, name: str | None, fix: bool, adopt: bool, as_json: bool) -> None:
    """Diagnose problems: what is wrong, why, and how to fix it.

    Exits with 0 if nothing needs fixing, 5 otherwise.
    """
    adopted = doctor.adopt() if adopt else []
    for desk in adopted:
        render.note(f"{desk.name} is known here again; it is taken to be wanted {desk.goal}.")
    found = list(doctor.findings(name))
    if fix:
        found = [f for f in found if not doctor.mend(f)]
    if as_json:
        render.json(found)
    else:
        for finding in found:
            render.finding(finding)
        if all(f.level == "ok" for f in found):
            render.echo("Nothing to mend.")
    ctx.exit(5 if any(f.level == "bad" for f in found) else 0)
