"""Work for several desks at once: each desk's in its own order, different desks' side by side.

The threads only do the work; what begins and what has ended is told in the caller's thread, one at a time.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import TypeVar

Job = TypeVar("Job")
T = TypeVar("T")


def abreast(
    lanes: Iterable[Sequence[Job]],
    at_once: int,
    *,
    start: Callable[[Job], None] = lambda job: None,
    take: Callable[[Job], T],
    end: Callable[[Job, Callable[[], T]], None],
) -> None:
    """Take the jobs of every lane in order, and those of up to `at_once` lanes at the same time.

    `end` is handed a job's answer: called, it returns or raises what `take` did. A single lane, or one at a
    time, needs no thread. When something goes wrong in this thread (a key was pressed, a disk is full), or
    ends another, nothing more is begun; what is on its way is waited for, so that no answer is lost.
    """
    waiting = deque(deque(lane) for lane in lanes if lane)
    if at_once < 2 or len(waiting) < 2:
        for lane in waiting:
            for job in lane:
                start(job)
                end(job, _answer(take, job)[0])
        return
    heard: SimpleQueue[tuple[int, Callable[[], T], bool]] = SimpleQueue()

    def work(number: int, job: Job) -> None:
        heard.put((number, *_answer(take, job)))

    going: dict[int, tuple[Job, deque[Job]]] = {}
    number = 0
    try:
        while waiting or going:
            while waiting and len(going) < at_once:
                lane, number = waiting.popleft(), number + 1
                job = lane.popleft()
                start(job)
                # Daemons: a process that is told to end once more ends, as it does when it is killed.
                threading.Thread(target=work, args=(number, job), daemon=True).start()
                going[number] = job, lane
            done, answer, _ = heard.get()
            job, lane = going.pop(done)
            end(job, answer)
            if lane:
                waiting.append(lane)
    except BaseException:
        while going:
            done, answer, fatal = heard.get()
            left = going.pop(done, None)
            if left and not fatal:
                with contextlib.suppress(Exception):  # what went wrong first is what is told
                    end(left[0], answer)
        raise


def _answer(take: Callable[[Job], T], job: Job) -> tuple[Callable[[], T], bool]:
    """What came of a job, to be called: its value, or what it raised; and whether that ends a process."""
    try:
        value = take(job)
    except BaseException as error:
        raised = error

        def again() -> T:
            raise raised

        return again, not isinstance(error, Exception)
    return lambda: value, False
