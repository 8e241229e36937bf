"""Words that stand in many tables: lengths of time, articles, and what a command without options says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.cli.commands.cancel import left
from hotdesk.cli.commands.log import line
from hotdesk.cli.ui import render
from hotdesk.core.model import Goal
from hotdesk.core.sizing.gpu import a_gpu
from hotdesk.core.steps import Done, Row, Stop
from tests.conftest import Command


@pytest.mark.parametrize(
    ("seconds", "exact", "ago"),
    [
        *((0, "0 s", "0 s"), (-3, "0 s", "0 s"), (59.4, "59.4 s", "59 s"), (59.97, "1 min", "1 min")),
        *((140, "2.33 min", "2 min"), (3600, "60 min", "60 min"), (5 * 3600, "5 h", "5 h")),
        *(
            (47.9 * 3600, "47.9 h", "2 d"),
            (1000 * 3600, "41.7 d", "42 d"),
            (12000 * 86400, "12000 d", "12000 d"),
        ),
    ],
)
def test_a_length_of_time_is_said_in_the_unit_that_reads_best(seconds: float, exact: str, ago: str) -> None:
    assert (render.duration(seconds), render.duration(seconds, 1)) == (exact, ago)


@given(st.floats(0, 1e9))
def test_a_length_of_time_is_near_what_it_says(seconds: float) -> None:
    amount, unit = render.duration(seconds).split()
    size = {"s": 1, "min": 60, "h": 3600, "d": 86400}[unit]
    assert float(amount) * size == pytest.approx(seconds, rel=0.006, abs=0.006)


@pytest.mark.parametrize(
    ("size", "said"), [(2**41, "2048.0 GiB"), (2**20, "1.0 MiB"), (4096, "4 KiB"), (256, "256 bytes")]
)
def test_a_size_is_said_in_the_unit_that_reads_best(size: int, said: str) -> None:
    assert render.size(size / 2**30) == said


@pytest.mark.parametrize("name", ["A10G", "A100", "H100", "L4", "RTX 3090", "M60", "MI300X", "NVIDIA L4"])
def test_a_name_spelt_from_a_vowel_has_an_an(name: str) -> None:
    assert a_gpu(name) == f"an {name}"


@pytest.mark.parametrize("name", ["T4", "V100", "K80", "B200", "GTX 1080", "Radeon Pro V520", "Titan X"])
def test_others_have_an_a(name: str) -> None:
    assert a_gpu(name) == f"a {name}"


@pytest.mark.parametrize(
    ("command", "needed"),
    [("predict", ("--from", "--to", "--family")), ("simulate", ("--traces", "spot-traces"))],
)
def test_a_command_without_what_it_needs_says_all_of_it(
    hotdesk: Command, command: str, needed: tuple[str, ...]
) -> None:
    done = hotdesk(command)
    assert done.returncode == 2
    what, why, fix = done.stderr.splitlines()
    assert what.startswith("✗ ")
    assert why.startswith("  why: ")
    assert fix.startswith("  fix: ")
    assert all(word in done.stderr for word in needed)
    assert f"hotdesk {command} --" in fix


def test_a_plan_says_which_price_it_took(hotdesk: Command) -> None:
    bare = hotdesk("plan", "--work", "40", "--machines", "1,10,100").stdout
    assert "Price: $1/h per machine, on-demand" in bare
    spot = hotdesk("plan", "--work", "4", "--usd-per-hour", "0.3", "--spot", "--machines", "1").stdout
    assert "Price: $0.3/h per machine, on spot" in spot
    named = hotdesk("plan", "--work", "4", "--on", "V100", "--offer", "p3.2xlarge:V100:3.06").stdout
    assert "p3.2xlarge on-demand, $3.06/h each" in " ".join(named.split())


def test_a_sentence_is_broken_between_words_and_a_table_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "columns", lambda stream=None: 44)
    shown = render.table(["a", "why"], [["x" * 10, "one two three four five six seven"]], broken=True)
    lines = shown.splitlines()
    assert all(len(line) <= 44 for line in lines)
    assert "…" not in shown
    assert lines[2].startswith(" " * 12)
    assert render.wrapped("one two\nthree", 7) == ["one two", "three"]
    assert "…" in render.table(["a", "why"], [["x" * 30, "one two three four"]], broken=True)


def test_an_answer_goes_on_below_its_own_beginning_and_loses_no_word() -> None:
    why = "reason after reason " * 8
    for text, size, indent in ((f"  1. launch g4dn.xlarge — {why}", 60, 3), (f"● blue is up: {why}", 40, 2)):
        first, *more = render.folded(text, size, indent).split("\n")
        begin = len(text) - len(text.lstrip())
        assert more
        assert all(render.width(line) <= size for line in (first, *more))
        assert {len(line) - len(line.lstrip()) for line in more} == {begin + indent}
        assert " ".join([first, *more]).split() == text.split()
        assert render.folded(text, 1000, indent) == text, "in a pipe nothing is broken"


def test_a_cancelled_job_says_what_became_of_its_desk() -> None:
    """The default is to park, and nobody typed that."""
    assert left("blue", Goal.PARKED, Goal.PARKED) == "blue is parked, as --then of the job says."
    assert left("blue", Goal.PARKED, Goal.RUNNING) == "blue stays up; to leave it: hotdesk park blue"
    assert left("blue", None, Goal.STOPPED) == "blue is stopped."


def test_the_journal_says_the_whole_reason_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "the disk must not change while the image is taken, " * 3
    row = Row(id=1, desk="blue", at=1e9, step=Stop(id="a", started_at=0.0, why=why), outcome=Done())
    monkeypatch.setattr(render, "columns", lambda stream=None: 80)
    first, *more = line(row).split("\n")
    assert more
    assert all(len(part) <= 80 for part in (first, *more))
    assert " ".join([first, *more]).split()[-30:] == why.split()
    assert {part[:29].strip() for part in more} == {""}
