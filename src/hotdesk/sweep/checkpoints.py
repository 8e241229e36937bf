"""Bring what tasks save off their machines, and to those where they go on; in threads of its own.

A machine's runner keeps a copy of each checkpoint (guest/sweep_checkpoints.py), and says when. It is fetched
under the name of its attempt, so an earlier attempt, of a machine that was given up, replaces nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

from msgspec.structs import replace

from hotdesk.core.errors import HotdeskError, Unreachable
from hotdesk.core.ports import Clock
from hotdesk.core.sweep.model import Checkpoint, Ended, State, Sweep
from hotdesk.parallel import aside
from hotdesk.sweep.machine import Known, Saved
from hotdesk.sweep.site import Site
from hotdesk.sweep.store import SweepStore

FETCH_SECONDS = 30.0  # between two copies from one machine
SHARE = 10.0  # … and so many times as long as the last one took: at most a tenth of the time is copying
AT_ONCE = 8  # machines
GIVEN_UP_SECONDS = 600.0  # how long a task that failed waits for what it saved last


class _Came(NamedTuple):
    name: str
    of: tuple[Saved, ...]
    missing: Collection[int]  # tasks
    seconds: float
    why: str  # why nothing came


class _Given(NamedTuple):
    name: str
    task: int
    attempt: int
    why: str  # why it was not


class _Awaited(NamedTuple):
    name: str
    attempt: int
    at: float
    since: float


class Checkpoints:
    """The checkpoints of one sweep, by task. All but the copying happens in the loop's thread."""

    def __init__(self, number: int, site: Site, store: SweepStore, clock: Clock) -> None:
        self.number, self.site, self.store, self.clock = number, site, store, clock
        self.here: dict[int, Checkpoint] = {c.task: c for c in store.checkpoints(number)}
        self._fetching: set[str] = set()  # machines
        self._giving: set[tuple[str, int, int]] = set()
        self._give_at: dict[tuple[str, int, int], float] = {}  # again, where it failed
        self._next: dict[str, float] = {}  # when a machine is due
        self._awaited: dict[int, _Awaited] = {}
        self.aside = aside  # how work is done beside the loop
        self._came: SimpleQueue[_Came | _Given] = SimpleQueue()

    def saved(self, task: int) -> int:
        """The attempt from whose checkpoint a task goes on; 0 where it begins anew."""
        found = self.here.get(task)
        return found.attempt if found else 0

    def ended(self, name: str, told: Ended) -> None:
        """An attempt has failed: the next one is not to begin without what this one saved last."""
        if told.exit_status != 0 and told.saved_at:
            self._awaited[told.task] = _Awaited(name, told.attempt, told.saved_at, self.clock.now())

    def awaited(self, task: int, there: Collection[str]) -> bool:
        """Whether a task's last checkpoint is still to come; `there`: the machines that answer."""
        found = self._awaited.get(task)
        if found is None:
            return False
        has = self.here.get(task)
        # Not a later time: the machine's clock may have been set back since the copy before.
        came = has is not None and (
            has.attempt > found.attempt or (has.attempt, has.at) == (found.attempt, found.at)
        )
        late = self.clock.now() - found.since > GIVEN_UP_SECONDS
        if came or late or found.name not in there:
            del self._awaited[task]
            return False
        return True

    def hear(self, sweep: Sweep, name: str, known: Known) -> None:
        """What a machine says of the checkpoints that it has, or that are wanted there."""
        for wanted in known.wanted:
            key = (name, wanted.task, wanted.attempt)
            due = self.clock.now() >= self._give_at.get(key, 0.0)
            if due and key not in self._giving and len(self._giving) < AT_ONCE:
                self._giving.add(key)
                self.aside(partial(self._give, sweep, *key))
        for unsaved in known.unsaved:
            self._lack(unsaved.task, unsaved.why)
        new = tuple(saved for saved in known.saved if self._is_new(saved))
        if not new or name in self._fetching or len(self._fetching) >= AT_ONCE:
            return
        urgent = known.going or any(s.task in self._awaited for s in new)
        if urgent or self.clock.now() >= self._next.get(name, 0.0):
            self._fetching.add(name)
            self.aside(partial(self._fetch, sweep, name, new))

    def settle(self) -> None:
        """Write down what has come, and delete what no task needs any more."""
        with contextlib.suppress(Empty):
            while True:
                came = self._came.get_nowait()
                if isinstance(came, _Given):
                    self._giving.discard(came[:3])
                    self._give_at[came[:3]] = self.clock.now() + (FETCH_SECONDS if came.why else 0.0)
                    if came.why:
                        self._lack(came.task, f"{came.name} waits for it, and it cannot be sent: {came.why}")
                    continue
                self._fetching.discard(came.name)
                now = self.clock.now()
                self._next[came.name] = now + max(FETCH_SECONDS, SHARE * came.seconds)
                for saved in came.of:
                    if came.why:
                        self._lack(saved.task, came.why)
                    if came.why or saved.task in came.missing:
                        continue
                    old = self.here.get(saved.task)
                    if old and old.attempt > saved.attempt:
                        self.site.forget_checkpoints([(saved.task, saved.attempt)])
                        continue
                    self._write(
                        Checkpoint(
                            task=saved.task, attempt=saved.attempt, at=saved.at, bytes=saved.bytes,
                            fetched_at=now,
                        )
                    )  # fmt: skip
                    if old and 0 < old.attempt < saved.attempt:
                        self.site.forget_checkpoints([(old.task, old.attempt)])
                self.forget()

    def forget(self) -> None:
        """Delete those of tasks that are done."""
        for done in self.store.checkpoints(self.number, done=True):
            self.here.pop(done.task, None)
            self.site.forget_checkpoints([(done.task, done.attempt)])
            self.store.forget_checkpoint(self.number, done.task)

    def last(self, sweep: Sweep, name: str) -> None:
        """Bring what a machine has that leaves, before it goes. Raises `HotdeskError` where that fails."""
        if not sweep.checkpoint:
            return
        new: tuple[Saved, ...] = ()
        with contextlib.suppress(Unreachable):  # its runner has ended
            known = self.site.look(sweep, name)
            new = tuple(saved for saved in known.saved if self._is_new(saved))
        if new:
            self._came.put(_Came(name, new, self.site.fetch_checkpoints(sweep, name, new), 0.0, ""))
            self.settle()

    def _is_new(self, saved: Saved) -> bool:
        """Whether it is newer than what is here, and of a task's newest attempt, which is not done."""
        has = self.here.get(saved.task)
        if has and (saved.attempt < has.attempt or (saved.attempt == has.attempt and saved.at == has.at)):
            return False
        if not self._is_task(saved.task):
            return False
        task = self.store.task(self.number, saved.task)
        return task.attempt == saved.attempt and task.state is not State.DONE

    def _is_task(self, number: int) -> bool:
        """Whether there is such a task: what is on a machine, its tasks can write."""
        return 1 <= number <= self.store.counts(self.number).total

    def _lack(self, task: int, why: str) -> None:
        if not self._is_task(task):
            return
        has = self.here.get(task) or Checkpoint(task=task, attempt=0, at=0.0, bytes=0, fetched_at=0.0)
        if has.why != why:
            self._write(replace(has, why=why))

    def _write(self, checkpoint: Checkpoint) -> None:
        self.here[checkpoint.task] = checkpoint
        self.store.put_checkpoint(self.number, checkpoint)

    # ---- in threads ----------------------------------------------------------------------------------

    def _fetch(self, sweep: Sweep, name: str, new: tuple[Saved, ...]) -> None:
        began, missing, why = self.clock.now(), list[int](), ""
        try:
            missing = self.site.fetch_checkpoints(sweep, name, new)
        except Exception as error:
            why = _why(error)
        self._came.put(_Came(name, new, missing, self.clock.now() - began, why))

    def _give(self, sweep: Sweep, name: str, task: int, attempt: int) -> None:
        why = ""
        try:
            self.site.give_checkpoint(sweep, name, task, attempt)
        except Exception as error:  # it is wanted still, and given at a later look
            why = _why(error)
        self._came.put(_Given(name, task, attempt, why))


def _why(error: Exception) -> str:
    """In any case something: without a word, a thread's end would be waited for."""
    if isinstance(error, HotdeskError):
        return f"{error.what} {error.why}".strip()
    return str(error) or type(error).__name__
