"""Long jobs on a real local desk: interrupted at any moment, they end as if nothing had happened.

HOTDESK_INTERRUPTIONS=10 pytest tests/test_run.py -k bit_for_bit    the full number
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.providers.local import locks
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [tool("ssh"), tool("rsync"), tool("git")]

INTERRUPTIONS = int(os.environ.get("HOTDESK_INTERRUPTIONS", "3"))
SECONDS = 90.0  # a limit for a busy computer, not an expectation

#: Linear regression by stochastic gradient descent: every step draws from a generator whose state is part of
#: the checkpoint, so that one step left out, or done twice, changes the weights. Checkpoints are written
#: slowly, to be hit in the middle; the last line of each is a digest, so that a torn one is known.
TRAIN = """
import hashlib, json, os, pickle, sys, time
import numpy as np

steps, every, pause = (float(w) for w in sys.argv[1:4])
os.makedirs("ckpt", exist_ok=True)
rng = np.random.default_rng(7)
weights, velocity, step = rng.normal(size=64), np.zeros(64), 0

def load(path):
    body, _, digest = open(path, "rb").read().rpartition(b"\\n")
    assert hashlib.sha256(body).hexdigest() == digest.decode(), f"{path} is torn"
    return pickle.loads(body)

for name in sorted((n for n in os.listdir("ckpt") if n.endswith(".ok")), reverse=True):
    step, weights, velocity, state = load("ckpt/" + name)
    rng.bit_generator.state = state
    print("resumed at", step, flush=True)
    break

truth = np.linspace(-1, 1, 64)
while step < steps:
    x = rng.normal(size=(32, 64))
    error = x @ weights - x @ truth
    velocity = 0.9 * velocity - 0.01 * (x.T @ error) / 32
    weights = weights + velocity
    step += 1
    time.sleep(pause)
    if step % every == 0:
        body = pickle.dumps((step, weights, velocity, rng.bit_generator.state))
        file = f"ckpt/{step:06}"
        with open(file + ".part", "wb") as out:
            for n in range(0, len(body), 256):
                out.write(body[n:n + 256])
                out.flush()
                time.sleep(0.02)
            out.write(b"\\n" + hashlib.sha256(body).hexdigest().encode())
            out.flush()
            os.fsync(out.fileno())
        os.replace(file + ".part", file + ".ok")
        print("checkpoint", step, float(error @ error), flush=True)
os.makedirs("out", exist_ok=True)
np.save("out/weights.npy", weights)
print("done", step, flush=True)
"""


@pytest.fixture
def project(home: Path) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / ".gitignore").write_text("*.secret\nbig/\n")
    return folder


@pytest.fixture
def no_watcher(hotdesk: Command) -> Iterator[None]:
    """Whatever watcher a test has begun ends with it."""
    yield
    hotdesk("watch", "--stop")


class Laptop:
    """`hotdesk run` in a process that can be killed, and the desk's supervisor, which can be killed too."""

    def __init__(self, home: Path) -> None:
        self.state = Path(os.environ["HOTDESK_STATE"])
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        self.log = home / "run.log"

    def begin(self, folder: Path, *words: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "hotdesk", *words],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def interrupt(self) -> bool:
        """What a cloud does to a spot machine, without a word; whether there was one."""
        for lock in self.state.glob("local/machines/*/run.lock"):
            with contextlib.suppress(ProcessLookupError):
                if (pid := locks.worker_pid(lock)) is not None:
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def kill_watcher(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.state / "locks" / "@watch").read_text().split()[0]), signal.SIGKILL)

    def disk(self, desk: str, *names: str) -> Path:
        return self.state.joinpath("local", "disks", desk, "home", *names)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def until(self, what: str, seconds: float = SECONDS) -> None:
        """Until the run's output has this."""
        limit = time.monotonic() + seconds
        while what not in self.said():
            assert time.monotonic() < limit, f"never said {what!r}:\n{self.said()}"
            time.sleep(0.02)


def jobs(hotdesk: Command, *names: str) -> list[dict[str, object]]:
    listed = hotdesk("jobs", *names, "--json")
    assert listed.returncode == 0, listed.stderr
    found: list[dict[str, object]] = json.loads(listed.stdout)
    return found


def settled(hotdesk: Command, number: int, seconds: float = SECONDS) -> dict[str, object]:
    limit = time.monotonic() + seconds
    while True:
        job = next(j for j in jobs(hotdesk) if j["job"] == number)
        if job["settled"]:
            return job
        assert time.monotonic() < limit, job
        time.sleep(0.5)


def weights_of(folder: Path, home: Path, *words: str) -> str:
    """The digest of the weights after an uninterrupted run, here, without any desk."""
    alone = home / "alone"
    alone.mkdir()
    subprocess.run([sys.executable, str(folder / "train.py"), *words], cwd=alone, check=True, timeout=120)
    return hashlib.sha256((alone / "out" / "weights.npy").read_bytes()).hexdigest()


@pytest.mark.usefixtures("no_watcher")
def test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. The machine is killed at random, once while a checkpoint is being written. 2. So is this computer's
    `hotdesk run`, with its watcher. 3. The next command goes on. 4. The weights are the same as ever."""
    pytest.importorskip("numpy")
    dice, words = random.Random(6), ("60", "5", "0.05")
    expected = weights_of(project, home, "60", "5", "0")
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    argv = ["run", "blue", "--then", "park", "--pull", "out", "--checkpoint", "ckpt", "--"]
    run = laptop.begin(project, *argv, sys.executable, "train.py", *words)
    laptop.until("checkpoint 5 ")
    for number in range(INTERRUPTIONS):
        if number == 0:  # in mid-checkpoint
            limit = time.monotonic() + SECONDS
            while not list(laptop.disk("blue", "project", "ckpt").glob("*.part")):
                assert time.monotonic() < limit
                time.sleep(0.002)
        else:
            time.sleep(dice.uniform(0.2, 2.5))
        said = laptop.said().count("attempt ")
        if not laptop.interrupt():
            break
        if number == 1:  # the laptop's processes as well
            run.kill()
            run.wait()
            laptop.kill_watcher()
            assert hotdesk("ls").returncode == 0  # any command starts the watcher again
            run = laptop.begin(project, "logs", "blue", "-f")
        limit = time.monotonic() + SECONDS
        while laptop.said().count("attempt ") == said and run.poll() is None and number != 1:
            assert time.monotonic() < limit, laptop.said()
            time.sleep(0.05)
    assert run.wait(SECONDS) == 0, laptop.said()
    job = settled(hotdesk, 1)
    assert job["state"] == "done"
    assert int(str(job["attempts"])) > 2
    assert hashlib.sha256((project / "out" / "weights.npy").read_bytes()).hexdigest() == expected
    assert "resumed at" in laptop.said()
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] == "parked"
