"""Where a process may die: before and after every call to a cloud; and which of these places can differ."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

READS = ("Describe", "Get", "survey")


class Crash(BaseException):
    """The process dies here: nothing below may catch it."""


class Enough(Exception):
    """The command in which the crash happened has come to its end, and all is as it should be."""


class Boundaries:
    """Counts what a process does to the cloud, and kills it at the chosen boundary.

    Every call counts twice (before it is sent, after its answer), except that the questions of one survey,
    which change nothing and have no order among each other, count as one call.
    """

    def __init__(self, *at: int) -> None:
        self.at = set(at)
        self.count = 0
        self.labels: list[str] = []
        self.moved = 0  # how often the journal has moved on, or time
        self.at_labels: list[int] = []  # `moved`, at each of them
        self.begin = 0  # what came before is another history's business
        self.surveying = False
        self.dead = False
        self._lock = threading.Lock()

    def pass_by(self, label: str) -> None:
        with self._lock:
            if self.dead:  # other threads of a process that has died do not go on either
                raise Crash(label)
            self.count += 1
            assert self.count < 2000, "it never comes to an end"
            self.labels.append(label)
            self.at_labels.append(self.moved)
            if self.count in self.at:
                self.dead = True
                raise Crash(f"{label}, boundary {self.count}")

    def before(self, name: str) -> None:
        """A call is about to be sent."""
        if self.dead:
            raise Crash(name)
        if not self.surveying:
            self.pass_by(f"before {name}")

    def after(self, name: str) -> None:
        if not self.surveying:
            self.pass_by(f"after {name}")

    @contextmanager
    def one_survey(self) -> Iterator[None]:
        """A survey, which is one boundary however many regions it asks."""
        self.pass_by("before survey")
        self.surveying = True
        try:
            yield
        finally:
            self.surveying = False
        self.pass_by("after survey")


class Dying(Boundaries):
    """Kills the process at boundaries that chance chooses: the same ones for the same seed."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__()
        self.seed, self.share = seed, share

    def pass_by(self, label: str) -> None:
        with self._lock:
            if self.dead:
                raise Crash(label)
            self.count += 1
            if random.Random(f"{self.seed} {self.count}").random() < self.share:
                self.dead = True
                raise Crash(f"{label}, boundary {self.count}")


def worth_a_crash(passed: Boundaries, *, lagging: bool) -> list[int]:
    """The boundaries that can differ: before each call, and after each that changes something.

    A question changes nothing in the cloud, so that dying after it is dying before the next call. Any two
    boundaries are one where between them nothing was sent that changes something, nothing was written and no
    time has passed. With a lag, only what changes something is repeated. Of a row of surveys the first stands
    for all.
    """
    chosen, labels, changes = [], passed.labels, 0
    known: set[tuple[int, int]] = set()
    for number, label in enumerate(labels, start=1):
        when, call = label.split()
        is_read = call.startswith(READS)
        again = call == "survey" and number > 2 and labels[number - 2].endswith("survey")
        state = passed.at_labels[number - 1], changes
        if number > passed.begin and not (is_read and (when == "after" or lagging)) and not again:
            if state not in known:
                chosen.append(number)
            known.add(state)
        changes += when == "before" and not is_read  # what was sent; its answer alone changes nothing
    return chosen


def first_of_each(points: list[int], labels: list[str]) -> list[int]:
    """Those at which a call is made, or its answer comes, for the first time in the history."""
    return list({labels[at - 1]: at for at in reversed(points)}.values())
