"""docs/cli.md, from the program itself: `python -m tests.cli_reference > docs/cli.md`.

`tests/test_cli_reference.py` holds the file to what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from hotdesk.cli.main import COMMANDS, hotdesk
from hotdesk.core.errors import EXIT_CODES

TOP = """\
# The command line

Every command, as `--help` describes it. Generated: `python -m tests.cli_reference > docs/cli.md`.

`--json` prints one JSON document on standard output, `{"error": …}` where the command failed, and asks
nothing; `hotdesk schema NAME` prints its JSON Schema. `--dry-run` prints the plan with its reasons and
changes nothing, and `--yes` skips confirmation. TIME is a duration: `30s`, `45m`, `1.5h` or `2d`.
CONTRIBUTING.md lists the form of every option.
"""


def reference() -> str:
    return "\n".join([TOP, *_commands(), *_exit_codes()])


def _commands() -> Iterator[str]:
    group = click.Context(hotdesk, info_name="hotdesk", color=False, **hotdesk.context_settings)
    for section, names in COMMANDS.items():
        yield f"## {section}\n"
        for name in names:
            for words, command in every(group, name):
                own = click.Context(
                    command, info_name=words, parent=group, color=False, max_content_width=100
                )
                yield f"### hotdesk {words}\n\n```\n{command.get_help(own).rstrip()}\n```\n"


def every(group: click.Context, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command, and those below it, by their words."""
    command = hotdesk.get_command(group, name)
    assert command is not None
    yield name, command
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        if not below.hidden:
            yield f"{name} {below.name}", below


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning |\n|---|---|"
    for code, meaning in EXIT_CODES.items():
        yield f"| {code} | {meaning} |"
    yield "\n`hotdesk ssh NAME -- CMD` exits with the status of CMD, or with 128 + n if signal n ended it.\n"


def options_table() -> str:
    """The table of CONTRIBUTING.md: every option by the form of its value."""
    group = click.Context(hotdesk, info_name="hotdesk")
    rows: dict[tuple[str, str], set[str]] = {}
    for name in hotdesk.list_commands(group):
        for param in (param for _, command in every(group, name) for param in command.params):
            if isinstance(param, click.Option) and not param.hidden:
                names = [*param.opts, *param.secondary_opts]
                rows.setdefault(_form(param, group), set()).add(next(n for n in names if n[:2] == "--"))
    lines = ["| form | a plain number is in | options |", "|---|---|---|"]
    for (form, unit), names in sorted(rows.items()):
        lines.append(f"| {form} | {unit} | {' '.join(f'`{n}`' for n in sorted(names))} |")
    return "\n".join(lines) + "\n"


def _form(option: click.Option, context: click.Context) -> tuple[str, str]:
    if option.is_flag:
        return "none: a flag", ""
    if isinstance(option.type, click.Choice) and not option.metavar:
        return "one of the choices in `--help`", ""
    unit = {"s": "seconds", "m": "minutes", "h": "hours"}.get(getattr(option.type, "unit", ""), "")
    return f"`{option.make_metavar(context)}`".replace("|", "\\|"), unit


if __name__ == "__main__":
    print(options_table() if "--options" in sys.argv else reference(), end="")
