"""Old spellings of options: they keep working for one release, and say what they are now."""

from __future__ import annotations

from hotdesk.cli.ui import render

#: command -> old name -> new name
RENAMED = {
    "plan": {
        "--work-hours": "--work",
        "--startup-minutes": "--startup",
        "--deadline-hours": "--deadline",
        "--budget-usd": "--budget",
        "--wait-minutes": "--wait",
    },
}


def current(command: str, words: list[str]) -> list[str]:
    """A command's words with the names that its options have now; says which were old."""
    renamed, found = RENAMED.get(command, {}), []
    for word in words:
        name, given, value = word.partition("=")
        if name in renamed:
            render.note(f"{name} is now {renamed[name]}, which takes 90m, 4h or 2d as well.")
        found.append(renamed.get(name, name) + given + value)
    return found
