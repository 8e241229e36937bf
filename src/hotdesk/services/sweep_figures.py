"""The results of a sweep as drawings: a metric over a parameter, and all of them side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from hotdesk.charts import Figure, Parallel, Scale, Series
from hotdesk.charts.parallel import spans
from hotdesk.core.errors import Usage
from hotdesk.core.sweep.model import Sweep, Task
from hotdesk.core.sweep.params import Scalar, shown

LINES_MOST = 12  # curves that can still be told apart


def lines(sweep: Sweep, tasks: Sequence[Task], *, x: str = "", y: str = "", line: str = "") -> Figure:
    """A metric over a parameter `x`, a line for each value of another; the mean where tasks share a point.

    Unless they are named: the first metric, the first parameter of numbers, the first other one. Raises
    `Usage` where there is nothing to draw, or no such name.
    """
    y = _metric(tasks, y)
    names = list(dict.fromkeys(name for task in tasks for name in task.params))
    numeric = [n for n in names if len({v for t in tasks if _is_number(v := t.params.get(n))}) > 1]
    _known(x, names, "parameter")
    _known(line, names, "parameter")
    if x and x not in numeric:
        raise Usage(f"{x} has no several numbers to draw along.", "", "hotdesk sweep plot --parallel")
    if not numeric:
        raise Usage(
            "No parameter has several numbers.",
            "A line needs some to go along.",
            "hotdesk sweep plot --parallel",
        )
    x = x or next((n for n in numeric if n != line), numeric[0])
    varied = [n for n in names if n != x and len({_text(t.params.get(n)) for t in tasks}) > 1]
    line = line or next(iter(varied), "")
    groups: dict[str, dict[float, list[float]]] = {}
    for task in tasks:
        place, value = task.params.get(x), task.metrics.get(y)
        if _is_number(place) and _is_number(value) and math.isfinite(value):
            label = f"{line} {_text(task.params.get(line))}" if line else y
            groups.setdefault(label, {}).setdefault(float(place), []).append(float(value))
    series = tuple(
        Series(label=label, x=tuple(sorted(points)), y=tuple(_mean(points[p]) for p in sorted(points)))
        for label, points in list(groups.items())[:LINES_MOST]
    )
    notes = []
    if len(groups) > LINES_MOST:
        notes.append(f"{len(groups) - LINES_MOST} more values of {line} are not drawn")
    if any(len(values) > 1 for points in groups.values() for values in points.values()):
        over = [n for n in varied if n != line]
        notes.append(f"each point is the mean over {' and '.join(over) if over else 'equal tasks'}")
    xs = [v for s in series for v in s.x]
    ys = [v for s in series for v in s.y]
    return Figure(
        title=f"sweep {sweep.number}: {sweep.title}",
        x_label=x,
        y_label=y,
        series=series,
        x_log=spans(xs, 10),
        y_log=spans(ys, 50),
        notes=tuple(notes),
    )


def parallel(sweep: Sweep, tasks: Sequence[Task], *, y: str = "") -> Parallel:
    """An axis for each parameter that varies and, at the right, one for a metric. Raises `Usage`."""
    y = _metric(tasks, y)
    ended = [t for t in tasks if _is_number(v := t.metrics.get(y)) and math.isfinite(v)]
    names = list(dict.fromkeys(name for task in ended for name in task.params))
    varied = [n for n in names if len({_text(t.params.get(n)) for t in ended}) > 1] or names[:1]
    scales = [Scale.of(name, [t.params.get(name) for t in ended]) for name in varied]
    scales.append(Scale.of(y, [t.metrics[y] for t in ended]))
    rows = tuple((*(t.params.get(name) for name in varied), t.metrics[y]) for t in ended)
    return Parallel(title=f"sweep {sweep.number}: {sweep.title}", scales=tuple(scales), lines=rows)


def _metric(tasks: Sequence[Task], name: str) -> str:
    found = list(dict.fromkeys(k for t in tasks for k, v in t.metrics.items() if _is_number(v)))
    _known(name, found, "metric")
    if not found:
        raise Usage(
            "There is nothing to draw: no task has a metric yet.",
            "A metric is a number in a line of JSON that a task prints.",
            'print(json.dumps({"loss": loss}))',
        )
    return name or found[0]


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name and name not in names:
        raise Usage(f"There is no {what} {name}.", f"There are: {', '.join(names) or 'none'}.", "")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Scalar | None) -> str:
    return "" if value is None else shown(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
