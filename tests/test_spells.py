"""Lives on spot: drawn from hazards, taken from a trace, and beside the formula in `hotdesk plan`."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
from itertools import islice
from pathlib import Path

import pytest

from hotdesk.core.spot.interruptions import Spot, interrupted, lived
from hotdesk.core.spot.policy import FALLS, RISES, expected_up_seconds
from hotdesk.core.spot.uptimes import as_recorded, at_random, of_trace
from tests.conftest import Command


def test_a_young_zone_falls_as_its_hazards_say() -> None:
    lives = [life for life, _ in islice(as_recorded(random.Random(1).random), 40_000)][1:]
    assert statistics.fmean(lives) == pytest.approx(expected_up_seconds(0.0) / 3600, rel=0.05)
    assert statistics.fmean(life < 1 / 6 for life in lives) == pytest.approx(FALLS[0], abs=0.01)
    waits = [wait for _, wait in islice(as_recorded(random.Random(2).random), 40_000)]
    assert statistics.fmean(wait < 1 / 6 for wait in waits) == pytest.approx(RISES[0], abs=0.01)


def test_the_first_machine_finds_an_old_spell() -> None:
    """At a moment that knows nothing of it a spell is long: what is left is E[L²]/2E[L], not the mean."""
    dice = random.Random(3)
    fresh = [life for life, _ in islice(as_recorded(dice.random), 60_000)][1:]
    first = [next(as_recorded(dice.random))[0] for _ in range(20_000)]
    left = statistics.fmean(x * x for x in fresh) / 2 / statistics.fmean(fresh)
    assert statistics.fmean(first) == pytest.approx(left, rel=0.1)
    assert statistics.fmean(first) > 3 * statistics.fmean(fresh)


def test_spells_of_a_trace_are_its_own_and_go_round() -> None:
    up = [True, True, False, True, False, False]
    assert list(islice(of_trace(up, 0.5, 1), 4)) == [(0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (0.5, 1.0)]
    assert next(of_trace([True, True], 0.5, 0)) == (math.inf, 0.0)


def test_without_memory_the_formula_holds() -> None:
    spot = Spot(interruptions_per_hour=0.5, wait_hours=0.5)
    told = interrupted(10.0, 0.1, 0.5, spot)
    assert told is not None
    spells = at_random(0.5, 0.5, random.Random(4).expovariate)
    lives = [lived(10.0, 0.1, 0.5, spot, spells) for _ in range(6000)]
    assert statistics.fmean(wall for wall, _ in lives) == pytest.approx(told.wall, rel=0.02)
    assert statistics.fmean(billed for _, billed in lives) == pytest.approx(told.billed, rel=0.02)


def test_plan_lives_through_its_answers_beside_the_formula(hotdesk: Command, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    trace = {"metadata": {"gap_seconds": 600}, "data": [1] * 30 + [0] * 6 + [1] * 2 + [0] * 3}
    folder = tmp_path / "traces"
    folder.mkdir()
    (folder / "us-a_v100_1.json").write_text(json.dumps(trace))
    words = ("--work", "10", "--startup", "5", "--machines", "1", "--spot")
    done = hotdesk("plan", *words, "--traces", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["simulated"]["cheapest"]
    assert told["at_random"]["hours"][0] == pytest.approx(told["formula"]["hours"], rel=0.05)
    for kind in ("at_random", "as_in_2022", "over_traces"):
        mean, low, high = told[kind]["hours"]
        assert 10 < low <= mean <= high
        assert low <= told[kind]["median_hours"] <= high
    assert re.search(r"your traces +median [\d.]+ \w+, mean [\d.]+ \w+, .* in 9 of 10", done.stderr)
    assert "your traces" in done.stderr
    missing = hotdesk("plan", *words, "--traces", str(tmp_path / "trace"))
    assert missing.returncode == 4
    assert str(folder) in missing.stderr
