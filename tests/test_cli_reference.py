"""What documents list of commands, options and settings is what the program has."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hotdesk.config import Defaults, DeskSettings, JobSettings
from hotdesk.core import clouds
from hotdesk.core.data import Data
from hotdesk.core.money import Money
from hotdesk.core.notices import Notify
from hotdesk.providers import registry  # which enters the clouds
from hotdesk.providers.ssh.settings import Machine
from tests.cli_reference import every, options_table

ROOT = Path(__file__).parents[1]
#: What click itself says, and how it is asked, are those of the click that requirements/ pins.
clicks_words = pytest.mark.skipif(
    tuple(map(int, version("click").split(".")[:2])) < (8, 2),
    reason="an older click words its help otherwise",
)


@clicks_words
def test_the_reference_of_commands_is_what_the_program_says() -> None:
    """`python -m tests.cli_reference > docs/cli.md` mends it.

    In a process of its own: a command of click's keeps the help option of its first context, whoever made it.
    """
    argv = [sys.executable, "-m", "tests.cli_reference"]
    said = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text() == said


@clicks_words
def test_every_option_is_listed_by_its_form() -> None:
    """`python -m tests.cli_reference --options` prints the table."""
    assert options_table() in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_setting_is_listed() -> None:
    import hotdesk.providers.registry  # noqa: F401 - it enters the clouds

    table = (
        (ROOT / "CONTRIBUTING.md")
        .read_text()
        .partition("| section | setting | form |")[2]
        .partition("## ")[0]
    )
    listed: dict[str, set[str]] = {}
    section = ""
    for first, names, _ in re.findall(r"^\| (.*?) ?\| (.*?) \| (.*) \|$", table, re.M):
        section = first.strip("`[]") or section
        listed.setdefault(section, set()).update(re.findall(r"`(\w+)`", names))
    assert registry
    own = {name: cloud.settings for name, cloud in clouds.KNOWN.items() if cloud.settings}
    structs = {"defaults": Defaults, "money": Money, "desks.NAME": DeskSettings, "jobs.NAME": JobSettings}
    structs |= own | {"notify": Notify, "ssh.machines.NAME": Machine, "desks.NAME.data": Data}
    assert listed == {name: set(struct.__struct_encode_fields__) for name, struct in structs.items()}


@clicks_words
def test_help_texts_stand_alone() -> None:
    """Every option has a help text of whole sentences, and names the form of its value."""
    import click

    from hotdesk.cli.main import hotdesk

    group = click.Context(hotdesk, info_name="hotdesk")
    for name in hotdesk.list_commands(group):
        for words, param in ((w, param) for w, command in every(group, name) for param in command.params):
            if isinstance(param, click.Option) and not param.hidden:
                told = f"hotdesk {words} {param.opts[0]}: {param.help!r}"
                assert re.match(r"[A-Z].*[.\]]$", param.help or ""), told
                assert param.is_flag or param.make_metavar(group) not in {"TEXT", "FLOAT", "INTEGER"}, told
