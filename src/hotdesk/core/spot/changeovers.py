"""How long it takes until a job works again on another machine: learnt from this computer's own launches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, sqrt

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


def seen(rows: Iterable[Row]) -> tuple[float, ...]:
    """Seconds from the request for a machine to the job's next attempt on it, oldest first.

    First attempts say nothing: before them a job may have waited for its turn.
    """
    asked: dict[str, float] = {}
    found = []
    for row in rows:
        match row.step:
            case Launch() if row.done:
                asked[row.desk] = row.at
            case Begin(attempt=attempt) if row.done and (at := asked.pop(row.desk, None)) is not None:
                took = (row.ended_at or row.at) - at
                if attempt > 1 and took < LONGEST_SECONDS:
                    found.append(took)
    return tuple(found)


def believed(times: Sequence[float], guess_seconds: float = GUESS_SECONDS) -> Changeover:
    """What to expect of the next one. The guess counts as one launch, known to half of itself.

    The margin is two standard deviations of what was seen: with nothing seen, as long as the guess itself.
    """
    count = len(times) + 1
    mean = (guess_seconds + sum(times)) / count
    spread = sqrt(((guess_seconds / 2) ** 2 + sum((time - mean) ** 2 for time in times)) / count)
    return Changeover(seconds=_up(mean), margin_seconds=_up(2 * spread))


def _up(seconds: float) -> float:
    return ceil(seconds / STEP_SECONDS - 1e-9) * STEP_SECONDS
