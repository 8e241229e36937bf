"""Lengths of time have one form everywhere; old spellings say what they are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotdesk.config import parse
from hotdesk.core import lengths
from hotdesk.core.errors import Damaged
from tests.conftest import Command


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("45m", "", 2700.0),
        ("45 min", "", 2700.0),
        ("1.5h", "m", 5400.0),
        ("2d", "h", 172_800.0),
        ("30s", "h", 30.0),
        ("45", "m", 2700.0),
        ("12", "h", 43_200.0),
        (".5H", "", 1800.0),
        ("2 hours", "", 7200.0),
        ("90 sec", "m", 90.0),
    ],
)
def test_a_length_in_seconds(text: str, unit: str, seconds: float) -> None:
    assert lengths.seconds(text, unit) == seconds


@pytest.mark.parametrize("text", ["45", "", "h", "1h30m", "-2h", "soon", "1 week", "1e3h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="90m"):
        lengths.seconds(text)


def test_settings_take_the_same_form_and_the_old_names() -> None:
    path = Path("hotdesk.toml")
    desk = parse("[desks.blue]\nidle = '1.5h'\nlease = 12", path).desks["blue"]
    assert (desk.idle_minutes, desk.lease_in_hours) == (90.0, 12.0)
    old = parse("[desks.blue]\nidle_park_minutes = 45\nlease_hours = 4.0", path).desks["blue"]
    assert (old.idle_minutes, old.lease_in_hours) == (45.0, 4.0)
    assert parse("[desks.blue]\nidle = 'never'", path).desks["blue"].idle_minutes == 0.0
    assert parse("[desks.blue]", path).desks["blue"].idle_minutes is None
    wrong = parse("[desks.blue]\nidle = 'soon'\n[desks.red]", path)
    assert wrong.desks.keys() == {"red"}
    with pytest.raises(Damaged) as raised:
        wrong.need("desks.blue")
    assert "desks.blue.idle: 'soon' is not a duration" in raised.value.why


def test_an_old_option_works_and_says_what_it_is_now(hotdesk: Command) -> None:
    job = ["--machines", "1", "--usd-per-hour", "1"]
    new = hotdesk("plan", "--work", "10h", "--startup", "5m", *job)
    old = hotdesk("plan", "--work-hours", "10", "--startup-minutes=5", *job)
    assert new.returncode == 0, new.stderr
    assert old.stdout == new.stdout
    assert "--work-hours is now --work" in old.stderr
    assert "--startup-minutes is now --startup" in old.stderr
    assert "is now" not in new.stderr


def test_every_renamed_option_leads_to_one_that_exists() -> None:
    import click

    from hotdesk.cli.main import hotdesk
    from hotdesk.cli.ui.renamed import RENAMED

    group = click.Context(hotdesk, info_name="hotdesk")
    for name, renamed in RENAMED.items():
        command = hotdesk.get_command(group, name)
        assert command is not None
        known = {opt for param in command.params for opt in param.opts}
        assert set(renamed.values()) <= known
        assert not set(renamed) & known
