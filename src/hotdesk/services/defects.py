"""Errors that nobody expected: told in three lines, like all others, and never as a traceback."""

from __future__ import annotations

import traceback

from hotdesk.core.errors import HotdeskError
from hotdesk.system import state_folder


def written_down(error: Exception) -> tuple[str, str, str]:
    """The message for an unexpected error; its details go into a private file."""
    what = f"hotdesk itself failed: {type(error).__name__}: {error}"
    try:
        path = state_folder() / "defect.log"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(0o600)
        with path.open("w") as file:
            traceback.print_exception(error, file=file)
    except (OSError, HotdeskError):
        return what, "This is a bug. Nothing was deleted.", "hotdesk doctor"
    return what, f"This is a bug; the details are in {path}. Nothing was deleted.", "hotdesk doctor"
