"""Measuring: the program as it runs at a desk (a process of its own), what it makes of times, what is kept.

What needs torch is skipped where torch is not installed; the timing of one's own command runs everywhere.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hotdesk.core.errors import Unknown
from hotdesk.guest.bench import machine, networks, timing, workloads
from hotdesk.market import benchmarks
from hotdesk.services.bench_sent import LOADER, packed
from tests.conftest import Command

_SECONDS = itertools.count()
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def run(*words: str, **more: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", LOADER, "--json", *words],
        input=packed(),
        capture_output=True,
        timeout=120,
        env={**os.environ, **more},
    )
    return done.returncode, json.loads(done.stdout)


def script(folder: Path, text: str) -> str:
    path = folder / "train.py"
    path.write_text(text)
    return f"{sys.executable} {path}"


# --- the user's own job -------------------------------------------------------


def test_ones_own_command_is_timed_by_its_lines_and_ended(tmp_path: Path) -> None:
    """1. A job prints a line every 10 steps of 10 ms. 2. It is timed. 3. It would go on: it is ended."""
    command = script(
        tmp_path,
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "for n in range(0, 100_000, 10):\n    time.sleep(0.1)\n    print(f'epoch 1 step {n} loss 0.5')\n",
    )
    mark = time.monotonic()
    status, got = run(
        "--cmd", command, "--step-regex", r"step (\d+)", "--items-per-step", "64", "--seconds-max", "20"
    )
    assert status == 0
    assert time.monotonic() - mark < 120
    one = got["results"][0]
    assert one["result"]["items_per_s"] == pytest.approx(6400, rel=0.25)
    assert one["result"]["ci95_low"] <= one["result"]["items_per_s"] <= one["result"]["ci95_high"]
    assert one["result"]["unit"] == "items"
    assert one["workload"]["name"] == "command"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_progress_bars_that_rewrite_their_line_are_read(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import sys, time\n"
        "for n in range(200):\n    time.sleep(0.02)\n    sys.stdout.write(f'\\r{n}/200 it')\n",
    )
    status, got = run("--cmd", command, "--step-regex", r"\d+/200", "--seconds-max", "15")
    assert status == 0
    assert got["results"][0]["result"]["unit"] == "steps"
    assert got["results"][0]["result"]["items_per_s"] == pytest.approx(50, rel=0.4)


def test_a_pattern_that_never_comes_says_what_came(tmp_path: Path) -> None:
    status, got = run("--cmd", script(tmp_path, "print('loss 0.7')\n"), "--step-regex", "iter")
    assert status == 1
    assert "printed 0 lines" in got["problems"][0]["what"]
    assert "loss 0.7" in got["problems"][0]["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cmd", "/nonexistent/python x"], "cannot be started"),
        (["--cmd", "true", "--step-regex", "("], "cannot be read"),
        (["--cmd", "'"], "cannot be read"),
    ],
)
def test_what_cannot_run_is_said(words: list[str], said: str) -> None:
    status, got = run(*words)
    assert status == 1
    assert said in got["problems"][0]["what"]


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch')\n")
    status, got = run("--workload", "matmul", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert got["problems"][0] == {
        "what": "torch is not installed here.",
        "why": "The networks are built with it.",
        "fix": "python -m pip install torch",
    }


# --- what is made of times ----------------------------------------------------


@given(some.integers(0, 10_000))
def test_the_interval_holds_the_median(seed: int) -> None:
    dice = random.Random(seed)
    times = [dice.lognormvariate(0, 0.3) for _ in range(dice.randrange(1, 60))]
    low, high = timing.interval(times)
    assert low <= statistics.median(times) <= high


def test_the_interval_covers_the_true_median_in_19_of_20() -> None:
    dice = random.Random(4)
    held = 0
    for _ in range(500):
        low, high = timing.interval([dice.lognormvariate(0, 0.3) for _ in range(25)])
        held += low <= 1 <= high
    assert held / 500 >= 0.93


def times(**changes: Any) -> dict[str, Any]:
    base = {
        "median_step_s": 0.1,
        "ci95_step_s": (0.098, 0.102),
        "p10_step_s": 0.09,
        "p90_step_s": 0.11,
        "first_step_s": 0.3,
        "warmup_steps": 3,
        "steps": 20,
        "blocks": 20,
        "cpu_s_per_step": 0.2,
        "drift": 0.0,
        "foreign": 0.0,
        "steal": 0.0,
        "contended": False,
        "sure": True,
        "power_w_mean": None,
        "temp_c_max": None,
    }
    return base | changes


def test_a_quiet_run_is_valid() -> None:
    got = timing.report(times(), 8, "images", False, 30e9)
    assert got["conditions"]["valid"]
    assert got["result"]["items_per_s"] == pytest.approx(80)
    assert got["result"]["ci95_low"] == pytest.approx(8 / 0.102)
    assert got["result"]["achieved_tflops"] == pytest.approx(2.4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"foreign": 0.2, "contended": True}, "contended"),
        ({"drift": 0.12}, "throttled"),
        ({"sure": False}, "unsure"),
    ],
)
def test_a_run_that_cannot_be_trusted_says_why(change: dict[str, Any], reason: str) -> None:
    got = timing.report(times(**change), 8, "images", False, 0.0)
    assert not got["conditions"]["valid"]
    assert got["conditions"]["reasons"][0].startswith(reason)


def test_others_do_harm_only_where_room_is_short() -> None:
    none = machine.Processor(0, 0, 0, 0)
    cores = 1 / machine.siblings()
    full = machine.shared(none, machine.Processor(busy=cores * 100, own=cores * 80, stolen=0, total=100))
    assert full["contended"]
    assert full["foreign"] == pytest.approx(0.2 * cores)
    assert not machine.shared(none, machine.Processor(busy=cores * 60, own=cores * 5, stolen=0, total=100))[
        "contended"
    ]
    assert not machine.shared(none, machine.Processor(busy=cores * 99, own=cores * 96, stolen=0, total=100))[
        "contended"
    ]


def test_a_run_gets_faster_is_not_throttled() -> None:
    assert timing.report(times(drift=-0.2), 8, "images", True, 0.0)["conditions"]["valid"]


@pytest.mark.parametrize(
    ("fits", "gain", "start", "best"),
    [
        (10_000, 1.5, 32, 1024),  # grows until told enough
        (100, 1.5, 32, 64),  # 128 does not fit: 64 stands
        (5, 1.5, 32, 4),  # halved until it fits
        (10_000, 1.01, 32, 64),  # hardly gains: one doubling, the better of the two
        (0, 1.5, 4, 4),  # not even one
    ],
)
def test_the_batch_size_is_searched(fits: int, gain: float, start: int, best: int) -> None:
    def rate(size: int) -> float:
        return gain ** math.log2(size) * 10 if size <= fits else 0.0

    found, found_rate, curve = workloads.search(rate, start, lambda size, rate: size >= 1024)
    assert (found_rate == 0) == (fits == 0)
    if fits:
        assert found == best
    assert curve[0]["batch"] == start


def test_seconds_run_out_before_certainty_does() -> None:
    dice = random.Random(1)
    mark = time.monotonic()
    got = timing.measure(lambda: time.sleep(dice.choice((0.01, 0.05))), timing.nothing, False, 1.0, 0.0)
    assert time.monotonic() - mark < 20
    assert got["blocks"] >= 3


def test_the_disk_is_read(tmp_path: Path) -> None:
    assert workloads.disk_speed(tmp_path / "block", mib=2) > 1


# --- with torch ---------------------------------------------------------------


@needs_torch
def test_the_networks_are_what_they_are_called() -> None:
    import torch

    def count(*nets: Any) -> int:
        return sum(p.numel() for net in nets for p in net.parameters())

    with torch.device("meta"):
        assert count(*networks.vgg16(torch)) == 138_357_544 - 4097 * 1000 + 4097 * 2
        assert count(networks.resnet50(torch)) == 25_557_032
        assert count(networks.gpt2(torch, 1024)) == 124_439_808


@needs_torch
def test_a_matrix_product_is_measured_whole() -> None:
    about = json.dumps({"provider": "local", "instance_type": "t9.test"})
    status, got = run(
        "--workload",
        "matmul",
        "--device",
        "cpu",
        "--seconds-max",
        "6",
        "--usd-per-hour",
        "3.6",
        "--about",
        about,
    )
    assert status == 0
    one = got["results"][0]
    assert one["schema_version"] == 1
    assert one["workload"]["precision"] == "fp32"
    assert one["machine"]["instance_type"] == "t9.test"
    assert one["machine"]["cores"] >= 1
    assert one["software"]["torch"]
    assert one["startup"]["first_import_torch_s"] > 0
    assert one["result"]["achieved_tflops"] > 0.001
    assert one["cost_usd_est"] == pytest.approx(one["duration_s"] * 0.001)
    assert one["duration_s"] < 20


@needs_torch
def test_a_network_trains_and_is_counted() -> None:
    status, got = run("--workload", "resnet50", "--device", "cpu", "--batch", "1", "--seconds-max", "8")
    assert status == 0, got
    one = got["results"][0]
    assert one["workload"]["batch"] == 1
    assert one["workload"]["flops_per_item"] == pytest.approx(3 * 8.18e9, rel=0.03), (
        "3 times the forward pass"
    )
    assert one["result"]["rss_gb"] > 0.1


# --- kept ---------------------------------------------------------------------


def kept(rate: float, gpu: str = "Tesla T4", precision: str = "fp16", **conditions: Any) -> dict[str, Any]:
    return {
        "started_at": 1e9 + next(_SECONDS),
        "machine": {"device": "cuda", "gpu_name": gpu, "instance_type": "g4dn.xlarge"},
        "workload": {"name": "resnet50", "precision": precision, "flops_per_item": 24.3e9},
        "result": {"items_per_s": rate, "unit": "images", "ci95_low": rate * 0.99, "ci95_high": rate * 1.01},
        "conditions": {"valid": True, "reasons": [], **conditions},
    }


def keep(*runs: dict[str, Any]) -> None:
    for one in runs:
        benchmarks.keep(one)


def test_runs_are_kept_compared_and_used(home: Path) -> None:
    keep(kept(400.0), kept(410.0), kept(390.0), kept(1600.0, "NVIDIA A100-SXM4-40GB"))
    keep(kept(100.0, valid=False, reasons=["contended"]))
    found = {c.machine: c for c in benchmarks.compare(benchmarks.load())}
    assert found["T4"].rate == 400
    assert (found["T4"].runs, found["T4"].left_out) == (3, 1)
    assert found["T4"].low < 400 < found["T4"].high
    assert found["A100 SXM4 40GB"].rate == 1600
    assert benchmarks.rates("resnet50", "fp16") == {"T4": 400, "A100 SXM4 40GB": 1600}
    with pytest.raises(Unknown, match="gpt2"):
        benchmarks.rates("gpt2")


def test_more_than_a_gpus_rate_is_kept_and_not_used(home: Path) -> None:
    run = kept(9000.0)  # 219 TFLOP/s on a GPU of 65
    benchmarks.keep(run)
    assert not run["conditions"]["valid"]
    assert "impossible" in run["conditions"]["reasons"][0]
    assert benchmarks.compare(benchmarks.load()) == []
    fine = kept(400.0)
    benchmarks.check(fine)
    assert fine["result"]["mfu"] == pytest.approx(400 * 24.3e9 / 65e12)


def test_files_that_are_no_runs_are_passed_over(home: Path) -> None:
    benchmarks.folder().mkdir(parents=True)
    for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", '{"result": {}}')):
        (benchmarks.folder() / name).write_text(text)
    assert benchmarks.load() == []


# --- the command --------------------------------------------------------------


def test_bench_list_and_compare_from_the_command_line(hotdesk: Command, tmp_path: Path) -> None:
    assert "Nothing was measured" in hotdesk("bench", "list").stdout
    command = script(
        tmp_path, "import time\nfor n in range(999):\n    time.sleep(0.02)\n    print('step', n)\n"
    )
    done = hotdesk("bench", "--cmd", command, "--time-limit", "10s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["where"] == "here"
    listed = hotdesk("bench", "list")
    assert listed.returncode == 0
    assert "command" in listed.stdout
    assert len(json.loads(hotdesk("bench", "list", "--json").stdout)["runs"]) == 1
    assert hotdesk("bench", "compare", "--json").returncode == 0


def test_a_desk_is_measured_through_its_connection(hotdesk: Command, tmp_path: Path) -> None:
    """1. A desk is opened. 2. A job there is timed. 3. It is kept with the desk's name and type."""
    opened = hotdesk("up", "blue")
    assert opened.returncode == 0, opened.stderr
    command = script(
        tmp_path, "import time\nfor n in range(999):\n    time.sleep(0.02)\n    print('step', n)\n"
    )
    done = hotdesk("bench", "blue", "--cmd", command, "--time-limit", "10s", "--json")
    assert done.returncode == 0, done.stderr
    one = json.loads(done.stdout)["results"][0]
    assert one["where"] == "blue"
    assert one["machine"]["instance_type"].startswith("local")
    assert one["result"]["items_per_s"] == pytest.approx(50, rel=0.5)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["bench", "--workload", "resnet5"], 2, "resnet50"),
        (["bench", "--time-limit", "-3"], 2, "impossible"),
        (["bench", "blue", "red"], 2, "one desk"),
        (["bench", "nodesk", "--workload", "copy"], 4, "nodesk"),
        (["bench", "--python", "/nonexistent/python"], 8, "cannot be started"),
    ],
)
def test_bad_words_are_answered_in_three_lines(
    hotdesk: Command, words: list[str], status: int, said: str
) -> None:
    done = hotdesk(*words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_travels_in_one_piece_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert packed() == packed(), "the same whenever its files are"
    status, document = run(
        "--cmd", script(tmp_path, "print('no step')"), "--seconds-max", "5", TMPDIR=str(tmp_path)
    )
    assert status == 1
    assert document["problems"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]
