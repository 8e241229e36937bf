"""The schema of each shape: `hotdesk schema NAME` prints it as a JSON Schema."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args, get_type_hints

import msgspec

from hotdesk.core.findings import Finding
from hotdesk.core.sweep.params import Scalar
from hotdesk.services import move_shapes, shapes, sweep_shapes
from hotdesk.services.growing import Grown
from hotdesk.services.notices import Sent
from hotdesk.services.settings import Setting
from hotdesk.services.template import Exported
from hotdesk.services.uninstall import Uninstalled
from hotdesk.services.view import View
from hotdesk.simulate.study import Study

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: name -> what it is, and the commands that print it
SHAPES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "desk": (shapes.Desk, ("show", "up", "resume", "start", "move", "stop", "park", "stay")),
    "desks": (list[View], ("ls", "watch --once")),
    "gone": (shapes.Gone, ("down",)),
    "plan": (shapes.Plan, ("up --dry-run", "park --dry-run", "move --dry-run", "down --dry-run")),
    "journal": (list[shapes.Entry], ("log",)),
    "watcher": (shapes.Watcher, ("watch --detach", "watch --stop", "watch --on")),
    "run": (shapes.JobRow, ("run",)),
    "run-plan": (shapes.RunPlan, ("run --dry-run",)),
    "jobs": (list[shapes.JobRow], ("jobs", "cancel")),
    "log": (shapes.Log, ("logs",)),
    "output": (shapes.Output, ("ssh NAME -- COMMAND",)),
    "login": (shapes.Login, ("ssh --print",)),
    "notebook": (shapes.Jupyter, ("notebook",)),
    "editor": (shapes.Editor, ("code",)),
    "copied": (shapes.Copied, ("push", "pull")),
    "bill": (shapes.Bill, ("costs",)),
    "orphans": (shapes.Orphans, ("gc",)),
    "images": (move_shapes.KeptImages, ("images",)),
    "findings": (list[Finding], ("doctor", "self-check")),
    "offers": (list[shapes.OfferRow], ("offers",)),
    "regions": (list[shapes.Region], ("regions",)),
    "spot": (shapes.Spot, ("spot",)),
    "job-plan": (shapes.JobPlan, ("plan",)),
    "predictions": (shapes.Predictions, ("predict",)),
    "bench": (shapes.Bench, ("bench",)),
    "study": (Study, ("simulate",)),
    "sweep": (
        sweep_shapes.SweepRow,
        ("sweep start", "sweep show", "sweep retry", "sweep cancel", "sweep resume"),
    ),
    "sweeps": (list[sweep_shapes.SweepRow], ("sweep ls",)),
    "sweep-plan": (sweep_shapes.SweepPlan, ("sweep start --dry-run", "cluster up --dry-run")),
    "sweep-log": (sweep_shapes.SweepLog, ("sweep logs", "cluster logs")),
    "cluster": (sweep_shapes.ClusterRow, ("cluster up", "cluster down", "cluster show")),
    "clusters": (list[sweep_shapes.ClusterRow], ("cluster ls",)),
    "cluster-run": (sweep_shapes.ClusterRunRow, ("cluster run", "cluster cancel")),
    "cluster-dashboard": (sweep_shapes.ClusterDashboard, ("cluster dashboard",)),
    "sweep-removed": (list[sweep_shapes.SweepRemoved], ("sweep rm",)),
    "sweep-results": (list[dict[str, Scalar | None]], ("sweep results",)),
    "top": (list[shapes.Busy], ("top",)),
    "ports": (list[shapes.Port], ("forward",)),
    "notices": (list[Sent], ("notify",)),
    "disk": (Grown, ("disk",)),
    "uninstalled": (Uninstalled, ("uninstall",)),
    "settings": (list[Setting], ("config",)),
    "template": (Exported, ("export",)),
    "settings-file": (shapes.SettingsFile, ("init",)),
    "error": (shapes.Failed, ("every command that fails",)),
}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a shape. A field's description is the comment beside it in the source."""
    kind, commands = SHAPES[name]
    found = msgspec.json.schema(kind)
    comments = {one.__name__: _comments(one) for one in _classes(kind)}
    for title, definition in found.get("$defs", {}).items():
        if "properties" in definition:
            definition["additionalProperties"] = False
        for field, about in definition.get("properties", {}).items():
            if words := comments.get(title, {}).get(field):
                about["description"] = words.replace("None:", "null:")
    about = {"$schema": _DIALECT, "title": name, "$comment": f"Printed by: {', '.join(commands)}"}
    return about | found


def _classes(kind: Any) -> Iterator[type]:
    """The records of ours that a type is made of."""
    for part in get_args(kind):
        yield from _classes(part)
    if isinstance(kind, type) and kind.__module__.startswith("hotdesk"):
        yield kind
        for hint in get_type_hints(kind).values() if not issubclass(kind, Enum) else ():
            yield from _classes(hint)


def _comments(kind: type) -> dict[str, str]:
    """The comment beside each field of a record, those of the records that it extends included."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        if one.__module__.startswith("hotdesk"):
            with contextlib.suppress(OSError):  # made without a class statement
                found |= dict(re.findall(r"^    (\w+): [^#\n]*?  # (.+)$", inspect.getsource(one), re.M))
    return found
