"""hotdesk resume"""

from __future__ import annotations

from typing import Any

import click

from hotdesk.cli.commands.up import command as up
from hotdesk.cli.ui import options
from hotdesk.state.store import Store
from hotdesk.system import state_folder


@click.command()
@options.name_or_only
@options.hardware
@options.over_budget
@options.fresh
@options.origin
@options.rescue
@options.dry_run
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, name: str | None, **given: Any) -> None:
    """Bring a parked desk back from its image, on the offer that is best now.

    Same as `up`, but the desk must exist.
    """
    if name:
        with Store(state_folder()) as store:
            store.desk(name)
    ctx.invoke(up, name=name, provider=None, **given)
