"""`hotdesk top`: what desks are doing now, how far their jobs are, and the curves of a job's life."""

from __future__ import annotations

import io
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.core.load import read_curves
from hotdesk.core.progress import progress
from hotdesk.guest import job_files, measure
from hotdesk.guest.runner import last_line
from tests.conftest import Command
from tests.local_rig import tool, wait_for

# ---- how far a job is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("Epoch 3/10: 45%|████▌     | 450/1000 [02:13<02:43, 3.4it/s]", 0.245),
        ("  7%|▋         | 7/100 [00:01<00:12, 7.41it/s]", 0.07),
        ("step 450/1000 loss 0.3", 0.45),
        ("Step 450 of 1000", 0.45),
        ("Iteration 1,200 / 4,000", 0.3),
        ("Epoch 3/10 - loss 0.2", 0.3),
        ("Epoch 0: 12%|█▏ | 3/25", 0.12),
        ("[Epoch 2/5][Step 10/100]", 0.22),
        ("Working... ━━━━━━━━━━━━━━━━━━━━━━  44% 0:00:05", 0.44),
        (" 45% [=========>       ] 100/222", 0.45),
        ("100%|██████████| 5/5", 1.0),
        ("val accuracy 93%", None),
        ("acc: 93 % (best 95 %)", None),
        ("epoch 12/10", None),
        ("saved to out/3/4", None),
        ("2026-11-30 05:06:07 12/31", None),
        ("", None),
    ],
)
def test_progress_is_what_a_line_says(line: str, share: float | None) -> None:
    found = progress(line)
    assert found == pytest.approx(share) if share is not None else found is None


@given(st.text(max_size=200))
def test_progress_is_a_share_of_whatever_is_written(line: str) -> None:
    found = progress(line)
    assert found is None or 0 <= found <= 1


def test_progress_reads_what_tqdm_writes() -> None:
    tqdm = pytest.importorskip("tqdm")
    said = io.StringIO()
    bar = tqdm.tqdm(total=80, file=said, ascii=False, ncols=70, mininterval=0)
    for done in range(1, 81):
        bar.update()
        assert progress(last_line(said.getvalue().encode())) == pytest.approx(done / 80, abs=0.01)


def test_progress_reads_what_rich_writes() -> None:
    pytest.importorskip("rich")
    from rich.console import Console
    from rich.progress import Progress

    said = io.StringIO()
    with Progress(console=Console(file=said, width=70, force_terminal=True, color_system=None)) as shown:
        task = shown.add_task("Training", total=80)
        shown.update(task, advance=36, refresh=True)
        assert progress(last_line(said.getvalue().encode())) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (b"one\ntwo\n", "two"),
        (b"a\n 10%|#\r 20%|##\r 30%|###", "30%|###"),
        (b"half a line\r\n", "half a line"),
        (b"\x1b[32mgreen\x1b[0m\n\x1b[A\x1b[2K", "green"),
        (b"\n\n", ""),
        (b"", ""),
        (b"\xff\xfeok", "\ufffd\ufffdok"),
    ],
)
def test_the_last_line_is_what_a_terminal_shows(end: bytes, line: str) -> None:
    assert last_line(end) == line


# ---- measuring --------------------------------------------------------------------------------------


def test_this_machine_is_measured() -> None:
    meter = measure.Meter()
    busy = sum(n * n for n in range(2_000_000))
    found = meter.look()
    assert busy
    assert found["cpu"] is None or 0 <= found["cpu"] <= 1
    assert found["memory_of"] == pytest.approx(
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), rel=0.05
    )
    assert 0 < found["memory"] < found["memory_of"]
    assert 0 < found["disk"] < found["disk_of"]


MIB = 1 << 20
V100 = "Tesla V100-SXM2-16GB"
#: What nvidia-smi answers to a query for csv without header and units, and what that means.
SMI: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "one": ("NVIDIA L4, 97, 21000, 23034", [("NVIDIA L4", 0.97, 21000 * MIB, 23034 * MIB)]),
    "two": (
        f"{V100}, 0, 3, 16384\n{V100}, 100, 16000, 16384",
        [(V100, 0.0, 3 * MIB, 16384 * MIB), (V100, 1.0, 16000 * MIB, 16384 * MIB)],
    ),
    "a slice": ("H100, [N/A], 80, 81559", [("H100", None, 80 * MIB, 81559 * MIB)]),
    "an old one": (
        "Quadro, [Not Supported], [Not Supported], [Not Supported]",
        [("Quadro", None, None, None)],
    ),
    "no device": ("No devices were found", []),
}


@pytest.mark.parametrize("kind", SMI)
def test_gpus_are_read_from_nvidia_smi(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, expected = SMI[kind]
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'end'\n{said}\nend\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    gpus = measure.Meter().look()["gpus"]
    assert [(g["name"], g["use"], g["memory"], g["memory_of"]) for g in gpus] == expected


def test_a_driver_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(measure, "GPU_SECONDS", 0.1)
    assert measure.Meter().look()["gpus"] == []


def test_a_sample_is_kept_as_shares() -> None:
    gpus = [{"use": 1.0, "memory": 8, "memory_of": 16}, {"use": 0.5, "memory": 12, "memory_of": 16}]
    sample = {"at": 7.04, "cpu": 0.25, "memory": 1, "memory_of": 2, "disk": 1, "disk_of": 4, "gpus": gpus}
    assert measure.shares(sample) == [7.0, 0.25, 0.5, 0.25, 0.75, 0.75]
    nothing = {"at": 7.0, "cpu": None, "memory": None, "memory_of": None, "gpus": []}
    assert measure.shares(nothing) == [7.0, None, None, None, None, None]


# ---- a job's curves -----------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(job_files, "JOBS", str(tmp_path))
    (tmp_path / "1-abc").mkdir()
    return "1-abc"


def sample(n: int, every: float = 5.0) -> list[Any]:
    return [1000.0 + n * every, (n % 10) / 10, 0.5, 0.1, None, None]


def test_however_long_a_job_runs_its_curves_are_whole_and_small(job: str, tmp_path: Path) -> None:
    kept, at = measure.Curves(job), 1000.0
    for n in range(3 * measure.KEPT):
        at += kept.every
        kept.add([at, (n % 10) / 10, 0.5, 0.1, None, None])
    assert at > 50_000, "half a day"
    file = tmp_path / job / "samples"
    assert file.stat().st_size < 64 << 10
    cpu, memory, disk = read_curves(file.read_bytes())
    assert (cpu.name, memory.name, disk.name) == ("CPU", "memory", "disk")
    assert len(cpu.times) <= measure.KEPT
    assert cpu.times[0] <= 1000.0 + kept.every, "the beginning is in it"
    assert cpu.times[-1] == at
    assert {b - a for a, b in pairwise(cpu.times)} <= {kept.every, kept.every / 2}
    assert set(memory.shares) == {0.5}


def test_two_samples_are_one_mean_of_busy_and_most_of_full() -> None:
    one, two = [0.0, 0.2, 0.2, 0.2, 0.0, 0.9], [5.0, 0.4, 0.1, 0.3, 1.0, 0.1]
    assert measure.halved([one, two, [10.0, None, None, None, None, None]]) == [
        [5.0, 0.3, 0.2, 0.3, 0.5, 0.9],
        [10.0, None, None, None, None, None],
    ]
    assert measure.halved([[0.0, None, 0.1], [5.0, 0.5, None]]) == [[5.0, 0.5, 0.1]]


def test_the_next_attempt_goes_on_where_a_machine_was_cut_off(job: str, tmp_path: Path) -> None:
    first = measure.Curves(job, every=40.0)
    for n in range(5):
        first.add(sample(n, 40.0))
    with (tmp_path / job / "samples").open("a") as file:
        file.write("[1200.0, 0.")
    second = measure.Curves(job)
    second.begin()
    assert second.every == 40.0, "as far apart as those before"
    second.add(sample(9, 40.0))
    [cpu, *_] = read_curves((tmp_path / job / "samples").read_bytes())
    assert cpu.times == (1000.0, 1040.0, 1080.0, 1120.0, 1160.0, 1360.0)


@pytest.mark.parametrize("text", [b"", b"[", b"{}\n", b'["a"]\n', b"[1.0]\n", b"[null, 0.5]\n", b"\xff\n"])
def test_damaged_samples_are_no_curves(text: bytes) -> None:
    assert read_curves(text) == ()


# ---- all of it ---------------------------------------------------------------------------------------

PROGRAM = """\
import sys, time
for n in range(1, 41):
    time.sleep(0.4)
    sys.stderr.write(f"\\rEpoch 1/2: {n * 100 // 40}%|##| {n}/40")
"""


@tool("ssh")
@tool("rsync")
def test_a_job_is_seen_at_work_and_its_curves_outlive_the_desk(hotdesk: Command, home: Path) -> None:
    project = home / "project"
    project.mkdir()
    (project / "train.py").write_text(PROGRAM)
    os.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    begun = hotdesk("run", "blue", "--then", "stay", "--detach", "--", "python3", "train.py")
    assert begun.returncode == 0, begun.stderr

    def seen() -> Any:
        [top] = json.loads(hotdesk("top", "blue", "--json").stdout)
        return top["jobs"] and top["jobs"][0]["progress"] and top

    top: Any = wait_for(seen, 30)
    assert 0 < top["jobs"][0]["progress"] <= 0.5, "the first of two epochs"
    assert top["load"]["cpus"] >= 1
    shown = hotdesk("top", "--once").stdout
    assert "Epoch 1/2: " in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "job 1: Epoch 1/2: " in hotdesk("jobs").stdout
    assert hotdesk("logs", "blue", "1", "-f").returncode == 0
    wait_for(lambda: json.loads(hotdesk("jobs", "--json").stdout)[0]["state"] == "done", 30)
    assert json.loads(hotdesk("jobs", "--json").stdout)[0]["last_line"].endswith("40/40")
    assert hotdesk("stop", "blue", "--yes").returncode == 0

    curves = json.loads(hotdesk("top", "blue", "--job", "1", "--json").stdout)[0]["curves"]
    assert {"CPU", "memory", "disk"} <= {curve["name"] for curve in curves}
    drawn = hotdesk("top", "blue", "--job", "1", "--plot", "load.html")
    assert drawn.returncode == 0, drawn.stderr
    assert "memory" in (project / "load.html").read_text()
    assert "% in use" in hotdesk("top", "blue", "--job", "1").stdout
    assert hotdesk("top", "blue", "--plot", "x.svg").returncode == 2
