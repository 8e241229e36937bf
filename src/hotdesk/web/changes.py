"""What is sent with a body: its type, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hotdesk.api import Hotdesk
from hotdesk.web import planning, settings, starting, sweep_start, sweeping, verbs

#: Answered at once.
CHANGES: dict[str, tuple[type[Any], Callable[[Hotdesk, Any], Any]]] = {
    "plan": (verbs.Asked, verbs.planned),
    "notebook": (verbs.Named, verbs.notebook),
    "forward": (verbs.Ported, verbs.forward),
    "forward-stop": (verbs.Ported, verbs.forward_stop),
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
    "run": (starting.Run, starting.run),
    "sweep-start": (sweep_start.NewSweep, sweep_start.begin),
}
#: Of the changes, those that change what the cards show, and are in no journal.
SHOWN = {"forward", "forward-stop"}
