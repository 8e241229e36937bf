"""docs/cli.md is what the program says: `python -m tests.cli_reference > docs/cli.md` mends it."""

from __future__ import annotations

from pathlib import Path

from tests.cli_reference import reference


def test_the_reference_of_commands_is_what_the_program_says() -> None:
    assert (Path(__file__).parents[1] / "docs" / "cli.md").read_text() == reference()
