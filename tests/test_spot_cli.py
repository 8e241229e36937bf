"""hotdesk spot as a process: from files, from an account, and with words that make no sense."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.system import install_line
from tests import forked
from tests.test_prices import DAY, REAL, Exact, at, made, points_of, row, write

pytest.importorskip("numpy", reason="price histories need numpy")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FIELDS = {
    "zone",
    "mean_usd_per_hour",
    "min",
    "p05",
    "p50",
    "p95",
    "max",
    "share_under",
    "changes_per_day",
    "pinned",
}


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_"))}
    named = {"NO_COLOR": "1", "HOME": "/nonexistent"}
    return forked.run(["spot", *words], inherited | named | env, cwd=str(ROOT))


@pytest.mark.parametrize("source", ["made", pytest.param("recorded", marks=pytest.mark.recorded(REAL))])
def test_every_field_is_the_exact_one(tmp_path: Path, source: str) -> None:
    folder = REAL if source == "recorded" else made(tmp_path / "history")
    words = ("--since", "2020-01-01", "--until", "2020-03-01", "--under", "0.3", "--json")
    done = run("p2.xlarge", "--history", str(folder), *words)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    points = points_of(folder, "p2.xlarge")
    assert {zone["zone"] for zone in answer["zones"]} == set(points)
    for zone in answer["zones"]:
        assert set(zone) >= FIELDS
        exact = Exact(points[zone["zone"]], at("2020-01-01"), at("2020-03-01"))
        assert zone["mean_usd_per_hour"] == pytest.approx(float(exact.mean()), rel=1e-9)
        assert zone["share_under"] == pytest.approx(float(exact.share_under(Fraction("0.3"))), abs=1e-9)
        assert zone["p50"] == float(exact.quantile(Fraction("0.5")))
        assert zone["p95"] == float(exact.quantile(Fraction("0.95")))
        assert zone["changes_per_day"] == pytest.approx(exact.changes() / (exact.total / DAY))
        assert zone["pinned"] is (zone["zone"] == "us-east-1f")
    assert answer["since"] == "2020-01-01T00:00:00Z"
    assert "us-east-1f" in answer["advice"]


def test_the_terminal_shows_a_plot_a_table_and_a_sentence(tmp_path: Path) -> None:
    done = run("p2.xlarge", "--history", str(made(tmp_path / "h")), "--under", "0.3")
    assert done.returncode == 0
    assert any(0x2800 < ord(c) < 0x2900 for c in done.stdout)
    assert "pinned: no spot market" in done.stdout
    assert re.search(
        r"^Take spot, p2\.xlarge in us-east-1[abc]: \$0\.\d+/h on average", done.stdout, re.MULTILINE
    )
    assert "Not drawn, as spot costs what on-demand does there: us-east-1f." in done.stdout
    assert "Weighted by time" in done.stdout
    assert "p2.xlarge is retired: no region offers it any more; nearest today: g4dn.xlarge" in done.stderr
    assert max(map(len, done.stdout.splitlines()[:20])) <= 110


@pytest.mark.parametrize("name", ["p.png", "p.svg", "p.html"])
def test_a_plot_is_drawn_into_a_file(tmp_path: Path, name: str) -> None:
    if name != "p.html":
        pytest.importorskip("matplotlib", reason="pictures need the extra `plots`")
    done = run("p2.xlarge", "--history", str(made(tmp_path / "h")), "--plot", str(tmp_path / name))
    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / name).read_bytes()
    assert len(drawn) > 2000
    if name != "p.png":
        assert b"us-east-1c" in drawn
        assert b"on-demand $0.9" in drawn


def test_without_a_history_nothing_is_drawn_and_that_is_said(tmp_path: Path) -> None:
    plot = tmp_path / "p.svg"
    done = run("g6.xlarge", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert (plot.exists(), f"{plot} was not drawn" in done.stderr) == (False, True)
    assert re.search(
        r"spot advisor file of [\d-]+, in the table that ships with hotdesk: \d+ d old", done.stdout
    )


def test_an_unknown_suffix_is_said_before_any_work(tmp_path: Path) -> None:
    done = run("p2.xlarge", "--history", "/nowhere", "--plot", "p.pdf")
    assert done.returncode == 2
    assert "--plot p.svg" in done.stderr


def test_regions_zones_days_and_a_given_on_demand_price(tmp_path: Path) -> None:
    t0 = at("2020-01-01")
    rows = [
        row(t0 + n * DAY, 0.2 + 0.01 * n, zone) for zone in ("us-east-1a", "eu-west-1b") for n in range(20)
    ]
    path = str(write(tmp_path / "h.json", [r | {"InstanceType": "x9.large"} for r in rows]))
    answer = json.loads(
        run("x9.large", "--history", path, "--region", "eu-*", "--days", "5", "--json").stdout
    )
    (zone,) = answer["zones"]
    assert zone["zone"] == "eu-west-1b"
    assert zone["covered_hours"] == 120
    assert zone["share_under"] is None
    assert "On-demand is unknown in eu-west-1, us-east-1" in run("x9.large", "--history", path).stderr
    done = run("x9.large", "--history", path, "--on-demand", "0.3", "--json")
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert [share["usd_per_hour"] for share in answer["zones"][0]["shares_under"]] == [
        0.3,
        pytest.approx(0.1),
    ]


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (["--since", "yesterday"], "'yesterday' is not a time.", "--since 2020-01-31"),
        (
            ["--since", "2020-02-01", "--until", "2020-01-01"],
            "The window is empty",
            "hotdesk spot p2.xlarge --since",
        ),
        (
            ["--since", "2018-01-01", "--until", "2018-02-01"],
            "No price is known between",
            "--since 2020-01-01",
        ),
        (["--region", "eu-*"], "No price is known in eu-*.", "--region us-east-1"),
    ],
)
def test_bad_windows_and_places(tmp_path: Path, words: list[str], what: str, fix: str) -> None:
    done = run("p2.xlarge", "--history", str(made(tmp_path / "h")), *words)
    assert done.returncode == 2
    assert what in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr


def test_a_type_that_the_file_does_not_have(tmp_path: Path) -> None:
    done = run("p2.xlrge", "--history", str(made(tmp_path / "h")))
    assert done.returncode == 4
    assert "hotdesk spot p2.xlarge" in done.stderr


def test_what_a_damaged_file_still_has_is_used_and_said(tmp_path: Path) -> None:
    path = made(tmp_path / "h") / "p2.xlarge.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    done = run("p2.xlarge", "--history", str(path))
    assert done.returncode == 0
    assert "is cut short or damaged" in done.stderr
    assert "Left out: 1 rows: cut short or not JSON." in done.stdout


def test_with_neither_account_nor_file_the_published_averages_answer(tmp_path: Path) -> None:
    done = run("g6.xlarge", HOTDESK_STATE=str(tmp_path))
    assert done.returncode == 0
    assert "There is no AWS account here" in done.stderr
    assert "aws ec2 describe-spot-price-history" in done.stderr
    assert "Averages of one month, not a history" in done.stdout
    assert "spot advisor file of 2025-06-28" in done.stdout
    answer = json.loads(run("g6.xlarge", "--region", "us-*", "--json", HOTDESK_STATE=str(tmp_path)).stdout)
    assert answer["zones"] == []
    assert {row["region"] for row in answer["published"]} == {"us-east-1", "us-east-2", "us-west-2"}
    for told in answer["published"]:
        expected = told["on_demand_usd_per_hour"] * (1 - told["saving_percent"] / 100)
        assert told["estimated_usd_per_hour"] == pytest.approx(expected, abs=1e-4)


def test_a_type_that_nobody_speaks_of_says_how_to_get_its_history(tmp_path: Path) -> None:
    done = run("x9.large", HOTDESK_STATE=str(tmp_path))
    assert done.returncode == 7
    assert "aws ec2 describe-spot-price-history" in done.stderr
    assert "--history" in done.stderr


def test_a_gpu_stands_for_the_smallest_type_that_has_it(tmp_path: Path) -> None:
    done = run("T4", HOTDESK_STATE=str(tmp_path))
    assert done.returncode == 0
    assert (
        "T4 stands for g4dn.xlarge (AWS) and ecs.gn6i-c4g1.xlarge (Alibaba Cloud); for others:" in done.stderr
    )
    assert "--instance-types g4dn.xlarge > p.json" in done.stderr, "AWS sells no other of them"
    named = json.loads(run("g4dn.xlarge", "--json", HOTDESK_STATE=str(tmp_path)).stdout)
    meant = json.loads(run("T4", "--json", HOTDESK_STATE=str(tmp_path)).stdout)
    assert meant["published"] == named["published"]
    assert meant["instance_types"] == ["g4dn.xlarge", "ecs.gn6i-c4g1.xlarge"]
    eight = json.loads(run("NVIDIA H100:8", "g6.xlarge", "--json", HOTDESK_STATE=str(tmp_path)).stdout)
    assert eight["instance_types"] == ["p5.48xlarge", "g6.xlarge"]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("g4dn", "hotdesk spot g4dn.xlarge"), ("T44", "hotdesk spot T4"), ("xyz", "hotdesk offers")],
)
def test_a_word_that_is_neither_names_the_nearest(tmp_path: Path, word: str, nearest: str) -> None:
    done = run(word, HOTDESK_STATE=str(tmp_path))
    assert done.returncode == 4
    assert f"{word!r} is neither an instance type nor a GPU" in done.stderr
    assert f"fix: {nearest}" in done.stderr


def test_without_numpy_the_remedy_is_a_line_to_paste(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["numpy"] = None
from hotdesk.cli.main import run
sys.exit(run(["spot", "p2.xlarge", "--history", {str(made(tmp_path / "h"))!r}]))
"""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOTDESK_STATE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 8
    assert install_line("plots") in done.stderr


# ---- from an account -----------------------------------------------------------------------------------


@pytest.fixture
def cloud(fake_ec2: FakeEc2) -> FakeEc2:
    fake_ec2.post("reset", seed=3)
    return fake_ec2


def test_an_account_gives_the_history_that_a_file_would(tmp_path: Path, cloud: Any) -> None:
    raw = cloud.client("ec2", "us-west-2").describe_spot_price_history(
        InstanceTypes=["g6.xlarge"],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime(2000, 1, 1, tzinfo=UTC),
    )["SpotPriceHistory"]
    rows = [r | {"Timestamp": r["Timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")} for r in raw]
    path = str(write(tmp_path / "h.json", rows))
    env = cloud.environment() | {"HOTDESK_STATE": str(tmp_path)}
    live = run("g6.xlarge", "--region", "us-west-2", "--days", "3", "--json", **env)
    assert live.returncode == 0, live.stderr
    answer = json.loads(live.stdout)
    window = ("--since", answer["since"], "--until", answer["until"])
    again = json.loads(run("g6.xlarge", "--history", path, *window, "--json").stdout)
    assert {zone["zone"] for zone in answer["zones"]} == {r["AvailabilityZone"] for r in raw}
    for one, other in zip(answer["zones"], again["zones"], strict=True):
        assert one["zone"] == other["zone"]
        assert one["mean_usd_per_hour"] == pytest.approx(other["mean_usd_per_hour"], rel=1e-3)
        assert one["on_demand_usd_per_hour"] == 0.8048


def test_a_gpu_asks_the_clouds_with_an_account_alone(tmp_path: Path, cloud: Any) -> None:
    env = cloud.environment() | {"HOTDESK_STATE": str(tmp_path)}
    done = run("L4", "--region", "us-west-2", "--days", "3", "--json", **env)
    assert done.returncode == 0, done.stderr
    assert "L4 stands for g6.xlarge (AWS); for others" in done.stderr
    assert json.loads(done.stdout)["zones"]


def test_what_the_account_said_is_kept_for_when_it_is_silent(tmp_path: Path, cloud: Any) -> None:
    env = cloud.environment() | {"HOTDESK_STATE": str(tmp_path)}
    live = json.loads(run("g6.xlarge", "--region", "us-west-2", "--days", "3", "--json", **env).stdout)
    window = ("--since", live["since"], "--until", live["until"], "--json")
    for silent in ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {"HOTDESK_OFFLINE": "1"}):
        done = run("g6.xlarge", *window, **(env | silent))
        assert done.returncode == 0
        assert "These prices were kept" in done.stderr
        kept = json.loads(done.stdout)
        assert kept["zones"] == live["zones"]


def test_an_account_that_does_not_answer_is_said(tmp_path: Path, cloud: Any) -> None:
    env = cloud.environment() | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HOTDESK_STATE": str(tmp_path)}
    done = run("x9.large", **env)
    assert done.returncode == 7
    assert "AWS does not answer DescribeRegions" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("g6.xlarge", **env)
    assert done.returncode == 0
    assert "AWS does not answer DescribeRegions" in done.stderr
