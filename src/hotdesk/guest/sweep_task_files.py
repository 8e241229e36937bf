"""What a task's log and folders hold: the metrics that it told, the project's files, its results.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from typing import Any

TAIL_BYTES = 65536  # of a log, in which metrics are looked for


def told(log: str) -> tuple[dict[str, Any], str]:
    """The metrics that a log's JSON lines tell, later ones over earlier ones; and its last line."""
    metrics: dict[str, Any] = {}
    last = ""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        for line in file.read().splitlines():
            text = line.strip()
            if text[:1] == b"{":
                with contextlib.suppress(ValueError, RecursionError):
                    value = json.loads(text.decode("utf-8", "replace"))
                    if isinstance(value, dict):
                        kept = ((k, v) for k, v in value.items() if isinstance(v, (int, float, str, bool)))
                        metrics.update({_sound(k): _sound(v) for k, v in kept})
            if text:
                last = text.decode("utf-8", "replace")[-200:]
    return metrics, last


def _sound(value: Any) -> Any:
    """A value that every reader of JSON takes: NaN and infinities as text, text as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int) or math.isfinite(value) else str(value)


def files(project: str) -> list[tuple[str, int]]:
    """What is in a project: names and sizes, folders before what is in them, as -1."""
    found: list[tuple[str, int]] = []
    for folder, names, files in os.walk(project):
        inside = os.path.relpath(folder, project)
        if inside != ".":
            found.append((inside, -1))
        links = [n for n in names if os.path.islink(os.path.join(folder, n))]
        for name in files + links:
            path = os.path.join(folder, name)
            found.append((os.path.normpath(os.path.join(inside, name)), os.lstat(path).st_size))
    return found


def linked(source: str, target: str) -> None:
    """A copy that takes no space where the file system has hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
