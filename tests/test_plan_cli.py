"""hotdesk plan, as a user types it: with nothing known, with offers, and with what cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hotdesk import Hotdesk
from hotdesk.cli.ui.plan_shown import figure
from hotdesk.services.planning import PlanRequest
from tests.conftest import Command

JOB = ("--items", "25000", "--epochs", "20", "--family", "cnn")
OFFERS = (
    *(
        "--offer",
        "p3.2xlarge:V100:3.06",
        "--offer",
        "p3.2xlarge:V100:0.95:spot",
        "--offer",
        "g6.xlarge:L4:0.805",
    ),
    *("--offer", "p4d.24xlarge:A100x8:32.77", "--offer", "c5.large:-:0.085", "--offer", "odd.large:Foo:1"),
)
RATES = ("--from", "V100=833", "--from", "A100=1396")


def answer(hotdesk: Command, *words: str) -> dict[str, Any]:
    done = hotdesk("plan", *words, "--json")
    assert done.returncode == 0, done.stderr
    got: dict[str, Any] = json.loads(done.stdout)
    return got


def test_with_nothing_known_it_tells_the_truth_about_a_thousand_machines(hotdesk: Command) -> None:
    got = answer(hotdesk, "--work", "1000", "--startup", "5", "--machines", "1,10,100,1000")
    assert [plan["machines"] for plan in got["plans"]] == [1, 10, 100, 1000]
    for plan in got["plans"]:
        n = plan["machines"]
        assert plan["hours"] == pytest.approx(5 / 60 + 1000 / n)
        assert plan["multiplier"] == pytest.approx(1 + n * (5 / 60) / 1000)
        assert plan["usd"] == pytest.approx(1000 * plan["multiplier"]), (
            "a dollar an hour when no price is given"
        )
        low, high = plan["band"]["hours"]
        assert low < plan["hours"] < high
        low, high = plan["band"]["usd"]
        assert low < plan["usd"] < high
    assert got["machines_for_10_percent_dearer"] == 1200
    assert got["machines_where_startup_equals_work"] == pytest.approx(12000)


def test_in_step_is_dearer_and_says_that_it_was_not_measured(hotdesk: Command) -> None:
    words = ("--work", "10", "--startup", "5", "--machines", "1,8", "--usd-per-hour", "2")
    apart, together = answer(hotdesk, *words, "--divisible"), answer(hotdesk, *words, "--synchronous")
    assert together["plans"][0]["usd"] == pytest.approx(apart["plans"][0]["usd"])
    assert together["plans"][1]["usd"] > apart["plans"][1]["usd"] * 1.2
    assert "measure with two machines" in together["plans"][1]["breaks"][0]
    known = answer(hotdesk, *words, "--synchronous", "--efficiency", "0.95")
    assert known["plans"][1]["usd"] < together["plans"][1]["usd"]


def test_hourly_billing_and_quota_and_tasks_are_said(hotdesk: Command) -> None:
    words = ("--work", "2", "--startup", "5", "--machines", "1,4", "--billing", "hour")
    got = answer(hotdesk, *words)
    assert got["plans"][1]["usd"] == pytest.approx(4)
    assert "3600 s paid" in got["plans"][1]["breaks"][0]
    assert [p["machines"] for p in answer(hotdesk, *words, "--quota", "2")["plans"]] == [1]
    assert "nothing to do" in " ".join(answer(hotdesk, *words, "--tasks", "3")["plans"][1]["breaks"])


def test_a_spot_machine_takes_longer_and_has_a_wider_band(hotdesk: Command) -> None:
    words = ("--work", "10", "--startup", "5", "--machines", "1")
    calm, spot = answer(hotdesk, *words)["plans"][0], answer(hotdesk, *words, "--spot")["plans"][0]
    assert spot["hours"] > calm["hours"] * 1.05
    assert spot["band"]["hours"][1] > calm["band"]["hours"][1] * 1.1
    unsaved = answer(hotdesk, *words, "--spot", "--no-checkpoints")
    assert not unsaved["plans"] or unsaved["plans"][0]["hours"] > 3 * spot["hours"]


@pytest.mark.parametrize(
    "words",
    [
        ("--work", "1e9"),
        ("--work", "10", "--interruptions-per-hour", "0"),
        ("--work", "10", "--interruptions-per-hour", "1e9"),
        ("--work", "10", "--checkpoint-time", "0s"),
        ("--work", "10", "--wait", "0"),
    ],
)
def test_extreme_spot_markets_are_answered_at_once(hotdesk: Command, words: tuple[str, ...]) -> None:
    done = hotdesk("plan", *words, "--spot", "--json", timeout=20)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_offers_are_compared_and_each_loser_says_why(hotdesk: Command) -> None:
    got = answer(hotdesk, *JOB, *RATES, *OFFERS, "--machines", "1..16", "--market", "")
    assert got["cheapest"]["usd"] <= got["knee"]["usd"] <= got["fastest"]["usd"]
    assert got["cheapest"]["hours"] >= got["knee"]["hours"] >= got["fastest"]["hours"]
    named = {p["offer"]["instance_type"] for p in got["plans"]} | {
        p["offer"]["instance_type"] for p in got["lost"]
    }
    assert named == {"p3.2xlarge", "g6.xlarge", "p4d.24xlarge", "c5.large", "odd.large"}
    why = {row["offer"]["instance_type"]: row["why"] for row in got["lost"]}
    assert "no speed was measured" in why["c5.large"]
    assert "no facts" in why["odd.large"]
    assert got["considered"] == 6 * len({1, 2, 3, 5, 7, 10, 16})


def test_a_budget_and_a_deadline_are_kept(hotdesk: Command) -> None:
    free = answer(hotdesk, *JOB, *RATES, *OFFERS)
    tight = answer(hotdesk, *JOB, *RATES, *OFFERS, "--budget", "1.0")
    assert tight["fastest"]["usd"] <= 1.0 < free["fastest"]["usd"]
    none = answer(hotdesk, *JOB, *RATES, *OFFERS, "--deadline", "0.01")
    assert none["cheapest"] is None
    assert "by the deadline" in " ".join(row["why"] for row in none["lost"]) or none["plans"]


def test_the_catalogue_answers_without_an_account(hotdesk: Command) -> None:
    got = answer(hotdesk, *JOB, *RATES, "--gpu", "L4", "--gpu", "A10G", "--market", "on-demand")
    assert got["cheapest"]["offer"]["gpu"] in ("L4", "A10G")
    assert {p["offer"]["market"] for p in got["plans"]} == {"on-demand"}


def test_the_table_for_people(hotdesk: Command) -> None:
    done = hotdesk("plan", *JOB, *RATES, *OFFERS, "--desk-rate", "4.2", "--plot", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    for said in (
        "cheapest",
        "knee",
        "fastest",
        "Why the others were rejected",
        "To finish this job: $",
        "hotdesk move",
    ):
        assert said in done.stdout
    bare = hotdesk("plan", "--work", "10", "--startup", "5", "--machines", "1..1000")
    assert "12 machines cost 10 % more" in bare.stdout
    assert "The knee lies at" in bare.stdout


def test_on_spot_the_number_and_its_marker_are_the_median_and_the_mean_stands_beside(
    hotdesk: Command,
) -> None:
    words = ("--work", "10", "--startup", "5", "--machines", "1", "--spot")
    done = hotdesk("plan", *words, COLUMNS="120")
    [row] = [line for line in done.stdout.splitlines() if "cheapest" in line]
    time, usd = re.search(r"([\d.]+ h)  (\$[\d.]+)", row).groups()  # type: ignore[union-attr]
    mean = re.search(r" h to [\d.]+ h, mean ([\d.]+ h)", row)
    assert mean, row
    assert f"median {time}, mean {mean[1]} by the formula" in done.stderr
    told = answer(hotdesk, *words)["cheapest"]
    assert told["mean"]["hours"] > told["hours"]
    request = PlanRequest(work_hours=10, startup_minutes=5, machines="1", as_spot=True)
    with Hotdesk() as desks:
        shape = figure(desks.plan(request).answer)
    [marker] = [series for series in shape.series if series.label.startswith("cheapest")]
    assert (marker.x[0], marker.y[0]) == (told["usd"], told["hours"])
    assert f"{time}, {usd}" in shape.notes[0]


def test_a_picture_and_a_file_of_offers(hotdesk: Command, tmp_path: Path) -> None:
    rows = [
        {"provider": "sim", "region": "r", "zone": "r-a", "instance_type": "t.x", "gpu": "L4", "gpu_count": 1}
        | {"usd_per_hour": 0.7, "latency_ms": None, "price_time": "2026-11-01T00:00:00Z"}
    ]
    (tmp_path / "offers.json").write_text(json.dumps(rows))
    picture = tmp_path / "plan.html"
    words = ("--offers", str(tmp_path / "offers.json"), "--plot", str(picture))
    got = answer(hotdesk, *JOB, *RATES, *words)
    assert got["cheapest"]["offer"]["instance_type"] == "t.x"
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--work", "10", "--deadline", "-2"], 2, "in the past"),
        (["--work", "10", "--deadline", "0"], 2, "deadline"),
        (["--work", "-10"], 2, "impossible"),
        (["--work", "0"], 2, "impossible"),
        (["--work", "nan"], 2, "impossible"),
        (["--work", "10", "--startup", "-5"], 2, "impossible"),
        (["--work", "10", "--data-gib", "-5"], 2, "impossible"),
        (["--work", "10", "--budget", "-5"], 2, "impossible"),
        (["--work", "10", "--machines", "0"], 2, "numbers of machines"),
        (["--work", "10", "--machines", "ten"], 2, "numbers of machines"),
        (["--work", "10", "--machines", "10..1"], 2, "numbers of machines"),
        (["--work", "10", "--synchronous", "--efficiency", "0.2", "--machines", "2"], 2, "impossible"),
        ([], 2, "size is missing"),
        (["--work", "1", "--items", "5"], 2, "twice"),
        (["--items", "5", "--offer", "a.b:L4:1"], 2, "speed is missing"),
        (["--work", "5", "--offer", "a.b:L4:1"], 2, "not said where"),
        (["--work", "5", "--on", "V100", "--offer", "a.b"], 2, "not an offer"),
        (["--work", "5", "--on", "V100", "--offer", "a.b:L4:dear"], 2, "not an offer"),
        (["--work", "5", "--on", "V100", "--offer", "a.b:L4:1:cheap"], 2, "not an offer"),
        (["--work", "5", "--on", "Foo", "--offer", "a.b:L4:1"], 4, "no facts"),
        (["--work", "5", "--on", "V100", "--offers", "/nonexistent.json"], 9, "cannot be read"),
        (["--workload", "gpt2", "--items", "5"], 4, "No usable measurement"),
        (["--work", "5", "--plot", "picture.bmp"], 2, "bmp"),
    ],
)
def test_what_cannot_be_is_refused_in_three_lines(
    hotdesk: Command, words: list[str], status: int, said: str
) -> None:
    done = hotdesk("plan", *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
