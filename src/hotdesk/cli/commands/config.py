"""hotdesk config"""

from __future__ import annotations

import click
import msgspec

from hotdesk.cli.ui import options, render
from hotdesk.services.settings import Setting, toml


@click.command()
@click.argument("name", type=options.DeskName(), required=False)
@click.option("--all", "everything", is_flag=True, help="List also what nobody has set.")
@options.as_json
def command(name: str | None, everything: bool, as_json: bool) -> None:
    """Show which value of each setting counts, and where it comes from.

    An option counts more than the environment, and that more than hotdesk.toml: the one in the current
    folder, else ~/.config/hotdesk/hotdesk.toml. A desk keeps what it was made or moved with.
    """
    with options.open_desks() as desks:
        found = desks.config(name)
    if as_json:
        render.json([msgspec.to_builtins(setting) for setting in found])
        return
    shown = [s for s in found if everything or name or _is_set(s)]
    rows = [[s.section, s.name, _source(s), _value(s)] for s in shown]
    for n in range(len(rows) - 1, 0, -1):  # a section is named once
        if rows[n][0] == rows[n - 1][0]:
            rows[n][0] = ""
    render.echo(render.table(["SECTION", "SETTING", "FROM", "VALUE"], rows, broken=True))
    if left := len(found) - len(shown):
        render.note(f"{left} more have their defaults: hotdesk config --all")


def _is_set(setting: Setting) -> bool:
    """Whether somebody has chosen it, or it is of those that everybody should know."""
    if setting.source == "option":
        return setting.value not in (None, "", 0, (), [])
    return setting.source != "default" or setting.section in {"", "defaults"}


def _value(setting: Setting) -> str:
    if setting.value in (None, "", (), []):
        return "not set"
    return render.safe(str(setting.value) if not setting.section else toml(setting.value))


def _source(setting: Setting) -> str:
    """Where a value comes from, in few columns: the file's path is the value of "settings file"."""
    if setting.source == "environment":
        return f"${setting.where}"
    if setting.source == "option":
        return setting.where.replace("hotdesk ", "")
    return render.safe(setting.where.rpartition("/")[2] or setting.source)
