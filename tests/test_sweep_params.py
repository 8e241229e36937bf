"""The parameters of a sweep: how they are written, the tasks that they make, and what is refused."""

from __future__ import annotations

import math
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.core.errors import Usage
from hotdesk.core.sweep.params import Parameter, Space, check, fill, read_parameter, read_table, scalar, shown
from hotdesk.services.sweep_file import read_settings


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr=1e-4,3e-4,1e-3", (1e-4, 3e-4, 1e-3)),
        ("seed=0..4", (0, 1, 2, 3, 4)),
        ("depth=2..10..4", (2, 6, 10)),
        ("x=0..1..0.25", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("x=-2..0", (-2, -1, 0)),
        ("x=0.1..0.3..0.1", (0.1, 0.2, 0.3)),
        ("n=3..3", (3,)),
        ("name=adam, sgd", ("adam", "sgd")),
        ("id=007,1_000,+1", ("007", "1_000", "+1")),
        ("mixed=1,2.5,big", (1, 2.5, "big")),
        ("path=../data", ("../data",)),
        ("flag=nan,inf", ("nan", "inf")),
        ("url=a=b", ("a=b",)),
    ],
)
def test_values(text: str, values: tuple[object, ...]) -> None:
    found = read_parameter(text)
    assert found.values == values
    assert [type(v) for v in found.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("lr", "gives no values"), ("lr=", "gives no values"), ("lr=1,,2", "empty value"),
        ("seed=4..0", "is empty"), ("x=0..0.5", "needs a step"), ("x=0..9..-1", "is empty"),
        ("x=0..9..0", "is empty"), ("l r=1", "name"), ("1x=1", "name"), ("task=1", "cannot be called task"),
        ("x=1,1", "twice"), ("x=log:0..1", "no distribution"), ("x=log:1", "no distribution"),
        ("x=int:0.5..2", "no distribution"), ("x=uniform:2..1", "no distribution"),
        ("x=0..1e9", "needs a step"),
        ("x=0..100000000", "100,000,001 values"), ("x=1..e..2", "no range"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_helps(text: str, what: str) -> None:
    with pytest.raises(Usage, match=what) as found:
        read_parameter(text)
    assert found.value.fix


def test_a_grid_in_order() -> None:
    space = Space(parameters=(read_parameter("lr=1,2"), read_parameter("seed=0..1")))
    assert space.size == 4
    assert list(space.tasks()) == [
        {"lr": 1, "seed": 0}, {"lr": 1, "seed": 1}, {"lr": 2, "seed": 0}, {"lr": 2, "seed": 1},
    ]  # fmt: skip


def test_random_parameters_are_the_same_for_the_same_seed() -> None:
    drawn = (
        read_parameter("lr=log:1e-5..1e-1"),
        read_parameter("n=int:3..5"),
        read_parameter("p=uniform:0..1"),
    )

    def tasks(seed: int) -> list[dict[str, object]]:
        return [dict(t) for t in Space(parameters=drawn, samples=200, seed=seed).tasks()]

    assert tasks(1) == tasks(1) != tasks(2)
    found = tasks(1)
    assert {t["n"] for t in found} == {3, 4, 5}
    logs = [math.log10(float(str(t["lr"]))) for t in found]
    assert -5 <= min(logs) < -4.8
    assert -1.2 < max(logs) <= -1
    assert abs(sum(logs) / len(logs) + 3) < 0.3, "as many below 1e-3 as above"


def test_lists_and_random_ones_together() -> None:
    space = Space(parameters=(read_parameter("a=1,2"), read_parameter("x=uniform:0..1")), samples=3)
    assert space.size == 6
    assert len({t["x"] for t in space.tasks()}) == 6


def test_lines() -> None:
    space = Space(lines=("--small", "--big 'a b'"))
    assert [fill(("python x.py {line}",), t, n) for n, t in enumerate(space.tasks(), 1)] == [
        ("python", "x.py", "--small"), ("python x.py --big 'a b'",),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "params", "filled"),
    [
        (("run", "--lr", "{lr}"), {"lr": 1e-4}, ("run", "--lr", "0.0001")),
        (("run", "x={a}-{b}"), {"a": 1, "b": "c d"}, ("run", "x=1-c d")),
        (("echo {a} > out",), {"a": "x; rm -rf ~"}, ("echo 'x; rm -rf ~' > out",)),
        (("run", '{{"a": {a}}}'), {"a": 1}, ("run", '{"a": 1}')),
        (("run", '{"a": 1}', "{}", "${HOME}"), {"HOME": 5}, ("run", '{"a": 1}', "{}", "$5")),
        (("run", "{flag}"), {"flag": True}, ("run", "true")),
        (("python train.py --n {task}",), {}, ("python", "train.py", "--n", "7")),
        (("A=1 python x.py",), {}, ("A=1 python x.py",)),
        (("a && b",), {}, ("a && b",)),
    ],
)
def test_commands(words: tuple[str, ...], params: dict[str, object], filled: tuple[str, ...]) -> None:
    assert fill(words, params, 7) == filled  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_whatever_a_value_is_it_is_one_word_of_a_shell_line(value: str) -> None:
    filled = fill(("printf %s {v} | cat",), {"v": value}, 1)
    assert shlex.split(filled[0]) == ["printf", "%s", value, "|", "cat"]


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_read_as_it_is_shown(value: float) -> None:
    assert scalar(shown(value)) == value


@pytest.mark.parametrize(
    ("given_", "words", "what"),
    [
        (["lr=1,2"], ["run"], "lr is not used"),
        (["lr=1,2"], ["run", "{lrr}"], "Nothing fills {lrr}"),
        ([], ["run"], "no task"),
        ([], ["run", "{line}"], "Nothing fills {line}"),
    ],
)
def test_parameters_and_placeholders_have_to_fit(given_: list[str], words: list[str], what: str) -> None:
    with pytest.raises(Usage, match=what) as found:
        check(Space(parameters=tuple(map(read_parameter, given_))), words)
    assert found.value.fix


def test_what_fits() -> None:
    lr = read_parameter("lr=1,2")
    check(Space(parameters=(lr,)), ["run", "{lr}", "{task}"])
    check(Space(parameters=(lr,)), ["run"], tags=["lr"])
    check(Space(lines=("a", "b")), ["run", "{line}"])
    with pytest.raises(Usage, match="no parameter is random"):
        check(Space(parameters=(lr,), samples=3), ["run", "{lr}"])


def test_a_file() -> None:
    told = {
        "command": "python train.py --lr {lr} --depth {depth}",
        "machines": 2,
        "samples": 10,
        "seed": 4,
        "param": {"lr": "log:1e-5..1e-1", "depth": [2, 4]},
    }
    space, rest = read_settings("grid.toml", told)
    assert space.size == 20
    assert space.seed == 4
    assert space.parameters[1] == Parameter(name="depth", values=(2, 4))
    assert rest == {"command": told["command"], "machines": 2}


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"params": {}}, "no setting 'params'"), ({"machines": "two"}, "machines"),
        ({"machines": True}, "machines"), ({"param": 3}, "not a table"),
        ({"samples": 0}, "whole numbers"), ({"param": {"a": []}}, "has no value"),
        ({"param": {"a": [[1]]}}, "not text or a number"), ({"lines": [1]}, "not a list of texts"),
    ],
)  # fmt: skip
def test_a_wrong_file(told: dict[str, object], what: str) -> None:
    with pytest.raises(Usage, match=what):
        read_settings("grid.toml", told)


def test_a_file_may_leave_the_machines_to_the_plan() -> None:
    assert read_settings("grid.toml", {"machines": "auto"})[1] == {"machines": "auto"}


def test_a_table_takes_values_of_any_kind() -> None:
    assert read_table("a", 3).values == (3,)
    assert read_table("a", "0..2").values == (0, 1, 2)
    assert read_table("a", [True, "x", 1.5]).values == (True, "x", 1.5)


def test_a_list_of_tasks_stands_for_itself() -> None:
    space = Space(each=({"a": 1}, {"a": 2, "b": "x"}), samples=5)
    assert (space.size, space.names) == (2, ["a", "b"])
    assert list(space.tasks()) == [{"a": 1}, {"a": 2, "b": "x"}]


def test_a_parameter_is_a_list_or_a_value_and_stands_once() -> None:
    for value in ({"low": 1}, None):
        with pytest.raises(Usage, match="neither a list nor a value"):
            read_table("lr", value)
    assert read_table("lr", 0.1).values == (0.1,)
    twice = Space(parameters=(read_table("lr", [1, 2]), read_table("lr", [3])))
    with pytest.raises(Usage, match="given twice"):
        check(twice, ["train", "{lr}"])
