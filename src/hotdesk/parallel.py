"""Threads: lanes of jobs side by side, each in order; many calls at once; periodic work."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

Job = TypeVar("Job")
T = TypeVar("T")

CORES = min(8, max(2, os.cpu_count() or 2))  # threads for work that a processor does


def abreast(
    lanes: Iterable[Sequence[Job]],
    at_once: int,
    *,
    start: Callable[[Job], None] = lambda job: None,
    take: Callable[[Job], T],
    end: Callable[[Job, Callable[[], T]], None],
) -> None:
    """Run the jobs of each lane in order, and up to `at_once` lanes concurrently.

    Only `take` runs in threads; `start` and `end` are called in the caller's thread, one at a time. `end`
    gets a function that returns or raises what `take` did. A single lane, or `at_once` of 1, uses no thread.
    When this thread fails (Ctrl-C, a full disk), or another raises an exception that ends the process, no
    further job is started, and running jobs are waited for, so that no result is lost.
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
                aside(partial(work, number, job))
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
                with contextlib.suppress(Exception):  # the first error is the one reported
                    end(left[0], answer)
        raise


def _answer(take: Callable[[Job], T], job: Job) -> tuple[Callable[[], T], bool]:
    """A function that returns or raises what the job did, and whether its exception ends the process."""
    try:
        value = take(job)
    except BaseException as error:
        raised = error

        def again() -> T:
            raise raised

        return again, not isinstance(error, Exception)
    return lambda: value, False


def side_by_side(
    calls: Sequence[Callable[[], T]], at_once: int = 64, seconds: float | None = None
) -> list[T | Exception]:
    """Run calls in up to `at_once` threads; return the result or the exception of each, in order.

    A call that takes longer than `seconds` is abandoned; its result is a TimeoutError.
    """
    late = TimeoutError(f"it did not answer within {seconds or 0:g} s")
    found: list[T | Exception] = [late] * len(calls)
    if len(calls) == 1 and seconds is None:
        at_once = 0
    left, done = deque(enumerate(calls)), threading.Semaphore(0)
    fatal: list[BaseException] = []

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                number, call = left.popleft()
                try:
                    found[number] = call()
                except Exception as error:
                    found[number] = error
                except BaseException as error:
                    fatal.append(error)
                done.release()

    for _ in range(min(at_once, len(calls))):
        aside(work)
    if not at_once:
        work()
    until = None if seconds is None else perf_counter() + seconds
    for _ in calls:
        if not done.acquire(timeout=None if until is None else max(0.0, until - perf_counter())):
            break
    if fatal:  # an exception that ends the process
        raise fatal[0]
    return list(found)


def all_of(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls in threads; return their results. Raises the first exception among them."""
    found = side_by_side(calls)
    for answer in found:
        if isinstance(answer, Exception):
            raise answer
    return found


@contextlib.contextmanager
def each(
    jobs: Sequence[Job], work: Callable[[Job], T], threads: int = CORES
) -> Iterator[Iterator[tuple[Job, T]]]:
    """Yield (job, result) in order, computed by so many threads, which end with the block."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads)
    try:
        futures = [(job, pool.submit(work, job)) for job in jobs]
        yield ((job, future.result()) for job, future in futures)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def every(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    """Call `work` in a thread every `seconds` while the block runs; the first time after `seconds`."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            work()

    aside(repeat)
    try:
        yield
    finally:
        over.set()


def aside(work: Callable[[], None]) -> None:
    """Do it in a daemon thread, so that a second Ctrl-C ends the process."""
    threading.Thread(target=work, daemon=True).start()
