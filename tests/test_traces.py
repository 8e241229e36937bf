"""The files that people have, and `hotdesk simulate` as they run it: an answer, or three lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import HotdeskError
from hotdesk.core.spot.policy import Terms
from tests.conftest import Command
from tests.recorded import made, write

np = pytest.importorskip("numpy", reason="the simulator needs numpy")

from hotdesk import Hotdesk  # noqa: E402
from hotdesk.simulate.budget import within_budget  # noqa: E402
from hotdesk.simulate.study import pools, study  # noqa: E402
from hotdesk.simulate.traces import read_trace, read_traces, windows  # noqa: E402

HOUR = 3600.0
SHORT = Terms(
    work_seconds=10 * HOUR,
    deadline_seconds=13 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.0,
    usd_spot=1.0,
)


# ---- files that people have ----------------------------------------------------------------------------


def _text(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "a_v100_1.json").write_text(text)


def _trace(gap: str = "600", data: str = "1,0,1") -> Callable[[Path], object]:
    return _text(f'{{"metadata": {{"gap_seconds": {gap}}}, "data": [{data}]}}')


BROKEN = {
    "empty folder": (lambda folder: None, "no trace", 4),
    "truncated": (_text('{"metadata": {"gap_seconds": 600}, "data": [1, 0, 1'), "truncated", 9),
    "no JSON": (_text("hello }"), "not JSON", 9),
    "something else": (_text('{"a": 1}'), "not a trace", 9),
    "no ticks": (_trace(data=""), "holds no tick", 9),
    "NaN": (_trace(data="1, NaN, 0"), "NaN", 9),
    "a gap": (_trace(data="1, null, 0"), "missing", 9),
    "fractions": (_trace(data="1, 0.5, 0"), "0.5", 9),
    "negative": (_trace(data="1, -1, 0"), "-1", 9),
    "words": (_trace(data='1, "up"'), "up", 9),
    "too big a number": (_trace(data="1, 1e999"), "a_v100_1", 9),
    "hours": (_trace(gap="0.1667"), "hours", 9),
    "milliseconds": (_trace(gap="600000"), "milliseconds", 9),
    "no time": (_trace(gap="0"), "cannot be right", 9),
    "a word for a gap": (_trace(gap='"600"'), "not a trace", 9),
    "too short": (_trace(), "too short", 2),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_trace_that_cannot_be_trusted_is_refused_in_three_lines(tmp_path: Path, case: str) -> None:
    build, said, code = BROKEN[case]
    build(tmp_path)
    with pytest.raises(HotdeskError) as complaint:
        pools(read_traces(tmp_path), SHORT, together=False, asked="3")
    error = complaint.value
    assert said in error.what
    assert error.exit_code == code
    assert error.fix
    assert "\n" not in error.what + error.why + error.fix


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_no_file_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "zone_gpu_1.json"
    file.write_bytes(content)
    with pytest.raises(HotdeskError):
        read_trace(file)


def test_the_mended_file_that_is_proposed_can_be_read(tmp_path: Path) -> None:
    import subprocess

    for build in (_trace(gap="0.1667"), _trace(data="1, NaN, 0"), _trace(data="1, null, 0")):
        build(tmp_path)
        with pytest.raises(HotdeskError) as complaint:
            read_traces(tmp_path)
        subprocess.run(complaint.value.fix[complaint.value.fix.index("sed") :], shell=True, check=True)
        assert len(read_traces(tmp_path)) == 1


def test_windows_beyond_the_trace_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    for content, said in (
        ("[0, 90]", "1 of 2"),
        ('{"starts": [-1]}', "beyond"),
        ("[]", "no window"),
        ('["a"]', "not a list"),
    ):
        file.write_text(content)
        with pytest.raises(HotdeskError, match=said):
            windows(str(file), 100, 20, 600.0, "it")
    file.write_text('{"comment": "x", "starts": [0, 80]}')
    assert windows(str(file), 100, 20, 600.0, "it") == [0, 80]
    assert windows("3", 100, 20, 600.0, "it") == [0, 40, 80]
    assert windows("50", 22, 20, 600.0, "it") == [0, 1, 2]
    with pytest.raises(HotdeskError, match="neither a number nor a file"):
        windows("many", 100, 20, 600.0, "it")


def test_traces_of_other_clocks_stay_apart(tmp_path: Path) -> None:
    write(tmp_path, "b_h100_8", made(1, 300)[0], 300)
    write(tmp_path, "a_h100_8", made(2, 300)[0], 600)
    found = pools(read_traces(tmp_path), SHORT, together=False, asked="2")
    assert [(p.name, p.tick_seconds) for p in found] == [("a_h100_8", 600.0), ("b_h100_8", 300.0)]
    with pytest.raises(HotdeskError, match="differ in ticks"):
        pools(read_traces(tmp_path), SHORT, together=True, asked="2")


# ---- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    up = made(4, 900, 3, 5.0)
    for n, row in enumerate(up):
        write(tmp_path / "traces", f"zone-{n}_h100_8", row * 4, 300)
    return tmp_path / "traces"


WORDS = ("--work", "10", "--deadline", "13", "--changeover", "0.1", "--on-demand", "30", "--spot", "9")


@pytest.mark.parametrize("zones", ["apart", "together"])
@pytest.mark.parametrize("policy", ["semi-markov", "uniform-progress", "greedy", "on-demand", "optimum"])
def test_the_json_document(hotdesk: Command, folder: Path, policy: str, zones: str) -> None:
    done = hotdesk(
        "simulate",
        "--traces",
        str(folder),
        "--policy",
        policy,
        "--zones",
        zones,
        "--windows",
        "7",
        "--json",
        *WORDS,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["runs"] == (21 if zones == "apart" else 7)
    assert answer["late"] == 0
    assert 0.3 <= answer["mean_cost_ratio"] <= 1.2
    assert answer["cost_over_optimum"] >= 1 - 1e-9
    low, high = answer["mean_cost_ratio_ci"]
    assert low <= answer["mean_cost_ratio"] <= high
    assert answer["p75"] <= answer["p99"]
    assert len(answer["per_trace"]) == (3 if zones == "apart" else 1)
    assert {"gap_closed", "decision_us"} <= answer.keys()
    if policy == "optimum":
        assert answer["cost_over_optimum"] == pytest.approx(1)
        assert answer["gap_closed"] == pytest.approx(1)


def test_the_table_and_the_plot(hotdesk: Command, folder: Path) -> None:
    done = hotdesk("simulate", "--traces", str(folder), "--windows", "5", "--plot", "run.html", *WORDS)
    assert done.returncode == 0, done.stderr
    assert "zone-1_h100_8" in done.stdout
    assert "times the optimum" in done.stdout
    assert "straight line to the deadline" in done.stdout
    assert "0 of 15 late" in done.stdout
    page = (folder.parent / "home" / "run.html").read_text()
    assert "hours of work done" in page


def test_a_budget_buys_python_the_deadline_that_it_buys_the_command(folder: Path, tmp_path: Path) -> None:
    tick = read_traces(folder)[0].tick_seconds
    terms, _ = within_budget(msgspec.structs.replace(SHORT, tick_seconds=tick), 24.0)
    assert terms.deadline_seconds != SHORT.deadline_seconds
    with Hotdesk(tmp_path) as desks:
        bought = desks.simulate(folder, SHORT, windows="5", budget_usd=24.0)
        named = desks.simulate(folder, terms, windows="5")
        other = desks.simulate(folder, SHORT, windows="5")
    assert bought.mean_usd == named.mean_usd != other.mean_usd


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--deadline", "10.05"), 3, "--deadline 10.17"),
        (("--budget", "50"), 3, "--budget"),
        (("--policy", "magic"), 2, "magic"),
        (("--work", "0"), 2, "work"),
        (("--work", "nan"), 2, "work"),
        (("--window", "99"), 2, "--window 4"),
        (("--plot", "x.gif"), 2, ".svg"),
        (("--windows", "nothing.json"), 2, "--windows 100"),
    ],
)
def test_what_cannot_be_is_said(
    hotdesk: Command, folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = hotdesk("simulate", "--traces", str(folder), "--windows", "5", *WORDS, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_names_its_neighbour(hotdesk: Command, folder: Path) -> None:
    done = hotdesk("simulate", "--traces", str(folder.parent / "trace"))
    assert done.returncode == 4
    assert str(folder) in done.stderr


def test_intervals_and_rows_of_a_study(home: Path, folder: Path) -> None:
    terms = msgspec.structs.replace(SHORT, tick_seconds=300.0)
    found = study("semi-markov", terms, pools(read_traces(folder), terms, together=False, asked="20"))
    means = [row.mean_cost_ratio for row in found.per_trace]
    assert found.mean_cost_ratio == pytest.approx(sum(means) / 3)
    assert found.gap_closed is not None
    assert found.gap_closed <= 1
    low, high = found.cost_over_optimum_ci
    assert 1 <= low <= found.cost_over_optimum <= high
