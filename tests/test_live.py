"""How long something that is waited for will still take, as the terminal says it."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.cli.ui import render
from hotdesk.cli.ui.live import Live, Pace


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(0, 0.0), (60, 0.25)], 180),
        ([(0, 0.5), (60, 0.75)], 60),  # a command that came in the middle
        ([(0, 0.0), (10, 0.2), (20, 0.4)], 30),
        ([(0, None), (60, 0.5), (120, 0.75)], 60),
        ([(0, 0.0), (4, 0.5)], None),  # too early
        ([(0, 0.1), (600, 0.1)], None),  # it stands still
        ([(0, 0.4), (600, 0.2)], None),  # or goes back
        ([(0, None), (60, None)], None),
    ],
)
def test_it_is_judged_by_how_far_it_has_come(
    looks: list[tuple[float, float | None]], seconds: float | None
) -> None:
    pace = Pace()
    assert [pace.left(progress, at) for at, progress in looks][-1] == pytest.approx(seconds)


@given(start=st.floats(0, 0.9), seconds=st.floats(10, 1e5), share=st.floats(0.1, 1))
def test_at_an_even_pace_what_has_passed_and_what_is_left_are_the_whole(
    start: float, seconds: float, share: float
) -> None:
    pace = Pace()
    assert pace.left(start, 0.0) is None
    left = pace.left(start + (1 - start) * share, seconds * share)
    if left is not None:
        assert seconds * share + left == pytest.approx(seconds, abs=1e-3)


def test_a_line_that_moves_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed next stands where it was, whoever prints it: a note, or the answer."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Live() as live:
        shown = live.progress("copying project to blue")
        assert shown
        shown("10 %, 3 MB/s")
        render.note("Job 1 on blue: python train.py")
        shown("99 %, 3 MB/s")
        render.echo("done")
        shown("100 %")
    assert screen.lines() == ["Job 1 on blue: python train.py", "done", ""]


class Screen(io.StringIO):
    """A terminal, as far as one line that is drawn over needs it."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        cleared = [line.rpartition("\r\x1b[2K")[2] for line in self.getvalue().split("\n")]
        return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in cleared]
