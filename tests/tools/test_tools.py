"""Launchers and frameworks as people use them, on the CPU: asked, cancelled, killed and begun again.

`bash tests/tools/make` makes their environment once. What docs/tools.md says to write is what runs here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.job_rig import JobRig

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
BIN = Path(os.environ.get("HOTDESK_TOOLS", CACHE / "hotdesk-tools")) / "env" / "bin"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc"),
    pytest.mark.skipif(not (BIN / "torchrun").exists(), reason="no tools here: bash tests/tools/make"),
]
SECONDS = 150.0  # torch alone takes ten to be imported on a busy computer

#: What is run, how many processes compute, and what its launcher is called, where it has one.
TOOLS = {
    "plain": ("python plain.py", 1, ""),
    "script": ("bash train.sh", 1, "train.sh"),
    "uv": ("uv run --no-project --offline --python $(which python) plain.py", 1, "uv run"),
    "torchrun": ("torchrun --nproc-per-node 2 ranks.py", 2, "torchrun"),
    "accelerate": ("accelerate launch --multi_gpu --num_processes 2 accelerated.py", 2, "accelerate launch"),
    "lightning": ("python lit.py", 2, ""),
    "transformers": ("python hf.py", 1, ""),
}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(folder: Path) -> JobRig:
    shutil.copytree(Path(__file__).with_name("scripts"), folder, dirs_exist_ok=True)
    (folder / "train.sh").write_text("python plain.py\necho after\n")
    return JobRig(folder, path=str(BIN), OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="0")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobRig]:
    rig = made(tmp_path)
    yield rig
    rig.clear()


def begin(rig: JobRig, tool: str, **more: object) -> None:
    rig.begin(TOOLS[tool][0], checkpoint="ckpt", signal="SIGUSR1", **more)


def digest(rig: JobRig) -> str:
    return re.findall("digest ([0-9a-f]{64})", rig.log())[-1]


def computing(rig: JobRig, tool: str) -> list[int]:
    """The processes that compute: those that run the script, and not who starts them."""
    script = re.findall(r"\w+\.py", TOOLS[tool][0].replace("train.sh", "plain.py"))[0]
    launcher = TOOLS[tool][2]
    return [p for p in rig.named(script) if not launcher or launcher not in rig.left().get(p, "")]


def test_it_is_asked_and_goes_on_in_a_second_attempt_bit_for_bit(
    rig: JobRig, tool: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """1. Undisturbed. 2. Asked for a checkpoint; its machine is gone at once. 3. The next attempt goes on
    from it, and ends with the same weights."""
    quiet = made(tmp_path_factory.mktemp("quiet"))
    begin(quiet, tool)
    quiet.until("digest ", SECONDS)
    assert quiet.ended(SECONDS)["exit_status"] == 0
    begin(rig, tool)
    rig.until("step 5\n", SECONDS)
    rig.ask("notice")
    rig.until("saved ", SECONDS)
    rig.clear()
    begin(rig, tool)
    rig.until("digest ", SECONDS)
    assert rig.ended(SECONDS)["exit_status"] == 0
    assert "resumed at" in rig.log()
    assert "an earlier attempt" not in rig.log()
    assert digest(rig) == digest(quiet)


def test_nothing_is_left_of_it_when_it_is_cancelled(rig: JobRig, tool: str) -> None:
    begin(rig, tool)
    rig.until("step 5\n", SECONDS)
    assert len(computing(rig, tool)) >= TOOLS[tool][1]
    rig.cancel()
    assert rig.ended(SECONDS)["cancelled"]
    rig.nothing_left()
    assert "after" not in rig.log()


def test_nothing_is_left_of_it_when_one_that_computes_is_killed(rig: JobRig, tool: str) -> None:
    begin(rig, tool, grace_seconds=5)
    rig.until("step 5\n", SECONDS)
    os.kill(computing(rig, tool)[-1], signal.SIGKILL)
    told = rig.ended(SECONDS)
    rig.nothing_left()
    assert (told["phase"], told["exit_status"] != 0) == ("ended", tool != "script")


def test_nothing_is_left_of_it_when_its_launcher_is_killed(rig: JobRig, tool: str) -> None:
    """Where it has none, when the process that was begun first is killed."""
    begin(rig, tool, grace_seconds=5)
    rig.until("step 5\n", SECONDS)
    launcher = TOOLS[tool][2]
    os.kill(min(rig.named(launcher)) if launcher else computing(rig, tool)[0], signal.SIGKILL)
    told = rig.ended(SECONDS)
    rig.nothing_left()
    assert told["exit_status"] == 137
