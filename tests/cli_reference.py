"""docs/cli.md, from the program itself: `python -m tests.cli_reference > docs/cli.md`.

`tests/test_cli_reference.py` holds the file to what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from hotdesk.cli.main import COMMANDS, hotdesk
from hotdesk.core.errors import EXIT_CODES

TOP = """\
# The command line

Every command, as `--help` describes it. Generated: `python -m tests.cli_reference > docs/cli.md`.

`--json` prints a command's result as JSON, `--dry-run` prints the plan with its reasons and changes nothing, and
`--yes` skips confirmation. TIME is a duration such as `45m`, `1.5h` or `2d`; CONTRIBUTING.md lists the unit of a
plain number for each option.
"""


def reference() -> str:
    return "\n".join([TOP, *_commands(), *_exit_codes()])


def _commands() -> Iterator[str]:
    group = click.Context(hotdesk, info_name="hotdesk", color=False)
    for section, names in COMMANDS.items():
        yield f"## {section}\n"
        for name in names:
            command = hotdesk.get_command(group, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=group, color=False, max_content_width=100)
            yield f"### hotdesk {name}\n\n```\n{command.get_help(context).rstrip()}\n```\n"


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning |\n|---|---|"
    for code, meaning in EXIT_CODES.items():
        yield f"| {code} | {meaning} |"
    yield "\n`hotdesk ssh NAME -- CMD` exits with what CMD exits with; 128 + n where signal n ended it.\n"


if __name__ == "__main__":
    print(reference(), end="")
