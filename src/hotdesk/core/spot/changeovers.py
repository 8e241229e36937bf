"""How long it takes until a job works again on another machine: learnt from launches, for each desk.

What it takes is mostly the desk's own: its disk, its environment, its checkpoint. Other desks of this
computer are only a first guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hotdesk.core.model import Value
from hotdesk.core.steps import Begin, Launch, Row

#: Before anything was seen: launch, boot, the image's blocks, the last checkpoint.
GUESS_SECONDS = 720.0
#: What takes longer was no changeover: somebody slept, or the job waited for something else.
LONGEST_SECONDS = 4 * 3600.0
#: Beliefs are rounded up to whole steps, so that a second more or less is the same plan.
STEP_SECONDS = 60.0


class Changeover(Value, frozen=True):
    """The expected time, and by how much the next one may well be longer."""

    seconds: float = GUESS_SECONDS
    margin_seconds: float = 0.0


def seen(rows: Iterable[Row]) -> dict[str, tuple[float, ...]]:
    """By desk: seconds from the request for a machine to the job's next attempt on it, oldest first.

    First attempts say nothing: before them a job may have waited for its turn.
    """
    asked: dict[str, float] = {}
    found: dict[str, tuple[float, ...]] = {}
    for row in rows:
        match row.step:
            case Launch() if row.done:
                asked[row.desk] = row.at
            case Begin(attempt=attempt) if row.done and (at := asked.pop(row.desk, None)) is not None:
                took = (row.ended_at or row.at) - at
                if attempt > 1 and took < LONGEST_SECONDS:
                    found[row.desk] = (*found.get(row.desk, ()), took)
    return found


def believed(times: Sequence[float], guess_seconds: float = GUESS_SECONDS) -> Changeover:
    """What to expect of the next one. The guess counts as one launch, known to half of itself.

    The margin is two standard deviations of what was seen: with nothing seen, as long as the guess itself.
    """
    total, squares = sum(times), sum(time * time for time in times)
    seconds, margin = of_sums(len(times), total, squares, guess_seconds)
    return Changeover(seconds=seconds, margin_seconds=margin)


def of_sums(count: Any, total: Any, squares: Any, guess_seconds: float) -> tuple[Any, Any]:
    """(expected seconds, margin) of launches that are known by their count, their sum and that of their
    squares: numbers, or arrays of many jobs."""
    mean = (guess_seconds + total) / (count + 1)
    apart = squares - 2 * mean * total + count * mean * mean
    spread = (((guess_seconds / 2) ** 2 + apart) / (count + 1)) ** 0.5
    return _up(mean), _up(2 * spread)


def _up(seconds: Any) -> Any:
    return -((1e-9 - seconds / STEP_SECONDS) // 1) * STEP_SECONDS
