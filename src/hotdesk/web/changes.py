"""What is sent with a body: its type, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hotdesk.api import Hotdesk
from hotdesk.web import at_desk, planning, settings, starting, sweep_start, sweeping, verbs

#: Answered at once.
CHANGES: dict[str, tuple[type[Any], Callable[[Hotdesk, Any], Any]]] = {
    "plan": (verbs.Asked, verbs.planned),
    "notebook": (at_desk.Opened, at_desk.notebook),
    "forward": (at_desk.Ported, at_desk.forward),
    "forward-stop": (at_desk.Ported, at_desk.forward_stop),
    "code": (at_desk.Named, at_desk.code),
    "go-on": (at_desk.Named, at_desk.go_on),
    "files-plan": (at_desk.Files, at_desk.files_plan),
    "gc": (verbs.Nothing, verbs.clean),
    "cancel": (verbs.Numbered, verbs.cancel),
    "mend": (verbs.Nothing, verbs.mend),
    "job-plan": (planning.Job, planning.plan),
    "run-plan": (starting.Run, starting.plan),
    "settings": (settings.Edited, settings.write),
    "sweep-plan": (sweep_start.NewSweep, sweep_start.plan),
    "sweep-retry": (sweeping.Chosen, sweeping.retry),
    "sweep-cancel": (sweeping.Chosen, sweeping.cancel),
}
#: Clicks that take long, and are told about on the board while they go on.
ACTS: dict[str, tuple[type[Any], Callable[[Hotdesk, Any], dict[str, Any]]]] = {
    "do": (verbs.Asked, verbs.perform),
    "files": (at_desk.Files, at_desk.copied),
    "run": (starting.Run, starting.run),
    "sweep-start": (sweep_start.NewSweep, sweep_start.begin),
}
#: Of the changes, those that change what the cards show, and are in no journal.
SHOWN = {"forward", "forward-stop", "notebook", "go-on"}
