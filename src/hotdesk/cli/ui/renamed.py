"""Old spellings of options: they work for one more release and print the new one."""

from __future__ import annotations

from hotdesk.cli.ui import render

#: command -> old name -> new name
RENAMED = {
    "bench": {"--seconds-max": "--time-limit", "--usd-max": "--budget"},
    "regions": {"--limit": "--timeout"},
    "spot": {"--hours": "--work"},
    "plan": {
        "--minimum-seconds": "--billing-minimum",
        "--checkpoint-seconds": "--checkpoint-time",
        "--notice-seconds": "--notice",
        "--work-hours": "--work",
        "--startup-minutes": "--startup",
        "--deadline-hours": "--deadline",
        "--budget-usd": "--budget",
        "--wait-minutes": "--wait",
    },
}


def current(command: str, words: list[str]) -> list[str]:
    """The words of a command with renamed options replaced; prints a note for each."""
    renamed, found = RENAMED.get(command, {}), []
    for word in words:
        name, given, value = word.partition("=")
        if name in renamed:
            render.note(f"{name} is now {renamed[name]}.")
        found.append(renamed.get(name, name) + given + value)
    return found
