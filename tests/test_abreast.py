"""Work for several desks at once: what overlaps, what does not, and what is told when all goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hotdesk.parallel import abreast

Job = tuple[str, int]
SECONDS = 60.0  # after which what should have met has not


def lanes(names: str, jobs: int = 1) -> list[list[Job]]:
    return [[(name, number) for number in range(jobs)] for name in names]


class Heard:
    """What was told, and by which thread."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Job]] = []
        self.threads: set[threading.Thread] = set()

    def start(self, job: Job) -> None:
        self.lines.append(("start", job))
        self.threads.add(threading.current_thread())

    def end(self, job: Job, answer: Callable[[], Any]) -> None:
        answer()
        self.lines.append(("end", job))
        self.threads.add(threading.current_thread())


def test_lanes_go_side_by_side_and_a_lanes_jobs_one_after_another() -> None:
    heard, meeting = Heard(), threading.Barrier(4)
    inside: dict[str, int] = dict.fromkeys("abcd", 0)

    def take(job: Job) -> None:
        inside[job[0]] += 1
        assert inside[job[0]] == 1, "two jobs of one lane"
        meeting.wait(SECONDS)  # nobody goes on until all lanes are here
        inside[job[0]] -= 1

    abreast(lanes("abcd", 3), 4, start=heard.start, take=take, end=heard.end)
    assert heard.threads == {threading.current_thread()}
    for name in "abcd":
        mine = [(what, number) for what, (lane, number) in heard.lines if lane == name]
        assert mine == [(what, number) for number in range(3) for what in ("start", "end")]


def test_no_more_than_so_many_at_once() -> None:
    inside: list[int] = []
    most: list[int] = []
    meeting = threading.Barrier(3)

    def take(job: Job) -> None:
        inside.append(1)
        most.append(len(inside))
        meeting.wait(SECONDS)
        inside.pop()

    abreast(lanes("abcdefghi"), 3, take=take, end=lambda job, answer: answer())
    assert len(most) == 9
    assert max(most) == 3


@pytest.mark.parametrize(("names", "at_once"), [("a", 8), ("abc", 1)])
def test_one_lane_or_one_at_a_time_needs_no_thread(names: str, at_once: int) -> None:
    by: set[threading.Thread] = set()
    heard = Heard()
    abreast(
        lanes(names, 2), at_once, start=heard.start, end=heard.end,
        take=lambda job: by.add(threading.current_thread()),
    )  # fmt: skip
    assert by == {threading.current_thread()}
    assert [job for what, job in heard.lines if what == "end"] == [
        j for lane in lanes(names, 2) for j in lane
    ]


def test_a_key_that_is_pressed_loses_no_answer_and_begins_nothing_more() -> None:
    """1. Three are on their way. 2. a's answer comes, and Ctrl-C. 3. b and c are waited for, d not begun."""
    heard, pressed, meeting = Heard(), threading.Event(), threading.Barrier(3)

    def take(job: Job) -> None:
        meeting.wait(SECONDS)
        assert job[0] == "a" or pressed.wait(SECONDS)

    def end(job: Job, answer: Callable[[], None]) -> None:
        heard.end(job, answer)
        if job[0] == "a":
            pressed.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        abreast(lanes("abcd", 2), 3, start=heard.start, take=take, end=end)
    told = {what: {job for w, job in heard.lines if w == what} for what in ("start", "end")}
    assert told["start"] == told["end"] == {("a", 0), ("b", 0), ("c", 0)}


class Death(BaseException):
    """Of the process, in one of its threads."""


def test_what_ends_a_process_in_a_thread_ends_it_in_the_callers() -> None:
    """Nothing of it is told as an end; an answer that comes meanwhile is, and nothing more is begun."""
    heard, meeting, dead = Heard(), threading.Barrier(3), threading.Event()

    def take(job: Job) -> None:
        if job[0] == "d":  # b's end may be told before a's
            return
        meeting.wait(SECONDS)
        if job[0] == "a":
            dead.set()
            raise Death
        dead.wait(SECONDS)

    with pytest.raises(Death):
        abreast(lanes("abcd"), 3, start=heard.start, take=take, end=heard.end)
    assert ("start", ("d", 0)) not in heard.lines or ("end", ("d", 0)) in heard.lines
    ended = {job[0] for what, job in heard.lines if what == "end"}
    assert {"b", "c"} <= ended
    assert "a" not in ended


def test_what_a_job_raises_is_its_own_answer() -> None:
    answers: dict[str, str] = {}

    def take(job: Job) -> str:
        if job[0] == "b":
            raise ValueError("sold out")
        return "done"

    def end(job: Job, answer: Callable[[], str]) -> None:
        try:
            answers[job[0]] = answer()
        except ValueError as error:
            answers[job[0]] = str(error)

    abreast(lanes("abc"), 8, take=take, end=end)
    assert answers == {"a": "done", "b": "sold out", "c": "done"}
