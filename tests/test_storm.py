"""A few kills with a second computer at work; `python -m tests.storm` is as many as there is time for."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.storm import DESKS, TYPE, Storm, Violation, storm

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")

AWS = Path(sys.executable).with_name("aws")


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh client")
@pytest.mark.skipif(not AWS.exists(), reason="the aws command line is not installed beside this Python")
def test_a_few_kills_at_two_computers(tmp_path: Path) -> None:
    said: list[str] = []
    assert storm(kills=3, seed=5, folder=tmp_path, every=3, tell=said.append) >= 3, said


# ---- which answers it allows -----------------------------------------------------------------------------


class Scripted:
    """A computer whose hotdesk answers as it is told, and the commands that it was given."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.name = "anna"
        self.answers, self.asked = list(answers), list[str]()

    def run(self, *words: str) -> tuple[int, str]:
        self.asked.append(" ".join(words))
        return self.answers.pop(0)


class Ended:
    """A command that nobody killed."""

    def __init__(self, code: int, said: str) -> None:
        self.returncode, self.said = code, said

    def communicate(self, timeout: float) -> tuple[str, str]:
        return self.said, ""


def a_storm(*computers: Scripted) -> Any:
    it: Any = Storm.__new__(Storm)
    it.computers, it.random = list(computers), random.Random(1)
    it.work = {desk: [] for desk in DESKS}
    return it


KIND = "blue has a machine already, and it is not a t3.medium."
LOST = "The latest work on blue is missing: i-1 is gone."


@pytest.mark.parametrize(
    ("verb", "code", "said", "fair"),
    [
        *(("park", code, "it was overtaken", True) for code in (0, 3, 4, 5, 6)),
        *(("up", code, "what is this", False) for code in (1, 2, 70, 130)),
        ("up", 2, KIND, True),
        ("move", 2, KIND, True),
        ("park", 2, KIND, False),
        ("up", 5, "Traceback (most recent call last)", False),
        ("up", 5, LOST, True),  # nothing is counted on
    ],
)
def test_a_command_may_be_overtaken_and_must_not_fall_over(
    verb: str, code: int, said: str, fair: bool
) -> None:
    it = a_storm()
    ended: Any = Ended(code, said)
    if fair:
        it.ended(Scripted(), [verb, "blue"], ended)
    else:
        with pytest.raises(Violation):
            it.ended(Scripted(), [verb, "blue"], ended)


def test_work_that_is_counted_on_and_said_to_be_missing_is_a_violation() -> None:
    it = a_storm()
    it.work["blue"] = ["line 1 of anna"]
    with pytest.raises(Violation, match="said to be lost"):
        it.ended(Scripted(), ["up", "blue"], Ended(5, LOST))
    with pytest.raises(Violation, match="said to be lost"):
        it.settled(Scripted((5, LOST)), ["up", "blue"])


@pytest.mark.parametrize(
    ("words", "answers", "then"),
    [
        (["park", "blue"], [(4, "There is no desk blue."), (0, "up")], f"up blue {' '.join(TYPE)}"),
        (["up", "blue"], [(5, LOST), (0, "up")], "up blue --fresh"),
        (["up", "blue", *TYPE], [(2, KIND), (0, "up")], "up blue"),
        (["up", "blue"], [(3, "Only ben can log in there.")], None),
    ],
)
def test_a_question_with_an_answer_is_answered(
    words: list[str], answers: list[tuple[int, str]], then: str | None
) -> None:
    computer = Scripted(*answers)
    code, _ = a_storm().settled(computer, words)
    assert code in {0, 3}
    assert computer.asked == [" ".join(words), *([then] if then else [])]


def test_two_machines_that_claim_one_desk_are_settled_by_both_computers() -> None:
    anna = Scripted((5, "Two machines claim blue."), (0, ""), (0, "parked"))
    ben = Scripted((0, ""))
    assert a_storm(anna, ben).settled(anna, ["park", "blue"])[0] == 0
    assert (anna.asked, ben.asked) == (["park blue", "up blue", "park blue"], ["up blue"])


@pytest.mark.parametrize(
    ("code", "said"), [(1, ""), (2, "what is this"), (3, "No machine is available."), (4, ""), (6, "")]
)
def test_any_other_answer_is_a_violation(code: int, said: str) -> None:
    with pytest.raises(Violation):
        a_storm().settled(Scripted((code, said)), ["up", "blue"])
