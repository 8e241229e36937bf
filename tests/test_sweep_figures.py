"""Drawings of a sweep's results: which lines, which axes, and what is said where there is nothing to draw."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotdesk import charts
from hotdesk.core.errors import Usage
from hotdesk.core.sweep.model import State, Sweep, Task
from hotdesk.core.sweep.params import Scalar
from hotdesk.services import sweep_figures

SWEEP = Sweep(
    number=3, desk="blue", image="", provider="local", command=("run", "{lr}"), created_at=0.0, folder=""
)


def tasks(*each: tuple[dict[str, Scalar], Scalar | None]) -> list[Task]:
    return [
        Task(number=n, params=params, state=State.DONE, metrics={} if loss is None else {"loss": loss})
        for n, (params, loss) in enumerate(each, 1)
    ]


GRID = tasks(
    *(
        ({"lr": lr, "opt": opt, "seed": seed}, lr * 10 + seed + (opt == "sgd"))
        for lr in (0.001, 0.01, 0.1) for opt in ("adam", "sgd") for seed in (0, 1)
    )
)  # fmt: skip


def test_a_line_for_each_value_of_another_parameter_and_the_mean_over_the_rest() -> None:
    figure = sweep_figures.lines(SWEEP, GRID)
    assert [s.label for s in figure.series] == ["opt adam", "opt sgd"]
    assert figure.series[0].x == (0.001, 0.01, 0.1)
    assert figure.series[1].y[0] == pytest.approx(0.01 + 0.5 + 1)
    assert figure.x_log
    assert figure.notes == ("each point is the mean over seed",)
    other = sweep_figures.lines(SWEEP, GRID, x="seed", line="lr")
    assert [s.label for s in other.series] == ["lr 0.001", "lr 0.01", "lr 0.1"]


def test_a_task_without_the_metric_and_one_that_is_no_number_are_left_out() -> None:
    some = tasks(({"x": 1}, 1.0), ({"x": 2}, None), ({"x": 3}, "nan"), ({"x": 4}, 4.0))
    [series] = sweep_figures.lines(SWEEP, some).series
    assert (series.x, series.y) == ((1.0, 4.0), (1.0, 4.0))
    assert len(sweep_figures.parallel(SWEEP, some).lines) == 2


def test_parallel_coordinates_have_an_axis_for_all_that_varies() -> None:
    drawn = sweep_figures.parallel(SWEEP, GRID)
    assert [scale.label for scale in drawn.scales] == ["lr", "opt", "seed", "loss"]
    assert drawn.scales[0].axis.log
    assert [label for _, label in drawn.scales[0].ticks(6)] == ["0.001", "0.01", "0.1"]
    assert [label for _, label in drawn.scales[1].ticks(6)] == ["adam", "sgd"]
    lowest = drawn.places()[0]
    assert (lowest[0], lowest[-1]) == ((0, 0.0), (3, 0.0))
    assert [drawn.shade(line) for line in drawn.places()] == sorted(drawn.shade(p) for p in drawn.places())  # type: ignore[type-var]
    for width in (40, 80, 200):
        said = charts.text(drawn, width=width, height=16).splitlines()
        assert max(map(len, said)) <= width
        assert said[1].split() == ["lr", "opt", "seed", "loss"]
        assert "├sgd" in "\n".join(said)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_they_are_drawn_into_files(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"p{suffix}"
    charts.save(sweep_figures.parallel(SWEEP, GRID), file)
    first = file.read_bytes()
    charts.save(sweep_figures.parallel(SWEEP, GRID), file)
    assert file.read_bytes() == first
    assert (b">opt<" in first) == (suffix == ".svg")


def test_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"\.svg or a \.png"):
        charts.save(sweep_figures.parallel(SWEEP, GRID), tmp_path / "p.html")


@pytest.mark.parametrize(
    ("found", "names", "said"),
    [
        (tasks(({"x": 1}, None)), {}, "no task has a metric yet"),
        (tasks(({"x": 1}, "text")), {}, "no task has a metric yet"),
        (GRID, {"y": "los"}, "no metric los.\nThere are: loss"),
        (GRID, {"x": "rate"}, "no parameter rate"),
        (GRID, {"x": "opt"}, "no several numbers"),
        (tasks(({"o": "a"}, 1.0), ({"o": "b"}, 2.0)), {}, "No parameter has several numbers"),
    ],
)
def test_why_nothing_is_drawn(found: list[Task], names: dict[str, str], said: str) -> None:
    with pytest.raises(Usage, match=said):
        sweep_figures.lines(SWEEP, found, **names)
