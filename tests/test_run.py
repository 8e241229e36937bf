"""Long jobs on a real local desk: interrupted at any moment, they end as if nothing had happened.

HOTDESK_INTERRUPTIONS=10 pytest tests/test_run.py -k bit_for_bit    the full number
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.api import Hotdesk
from hotdesk.providers.local.runtime import locks
from hotdesk.providers.local.runtime.environment import of_desk
from tests.conftest import Command
from tests.light.machine import environment
from tests.local_rig import needs, tool

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
    while step + 1 == steps and len(sys.argv) > 4 and not os.path.exists(sys.argv[4]):
        time.sleep(0.01)  # it does not end before it may
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


class Running(subprocess.Popen[bytes]):
    """A command that ends with the test that began it, however that ends."""

    def __del__(self) -> None:
        if self.poll() is None:
            self.kill()
            self.wait()


class Laptop:
    """`hotdesk run` in a process that can be killed, and the desk's supervisor, which can be killed too."""

    def __init__(self, home: Path) -> None:
        self.state = Path(os.environ["HOTDESK_STATE"])
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        self.log = home / "run.log"

    def begin(self, folder: Path, *words: str) -> Running:
        with self.log.open("ab") as log:
            return Running(
                [sys.executable, "-m", "hotdesk", *words],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self, running: Running, seconds: float = SECONDS) -> int:
        """Its exit status."""
        try:
            return running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {seconds:.0f} s:\n{self.said()}") from None

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

    def attempt(self, desk: str, number: int) -> None:
        """Until that attempt of the desk's only job runs, or a later one."""
        limit = time.monotonic() + SECONDS
        while True:
            for status in self.disk(desk).glob(".hotdesk/jobs/*/status.json"):
                told = json.loads(status.read_text())
                if told["attempt"] >= number and told["phase"] == "running":
                    return
            assert time.monotonic() < limit, self.said()
            time.sleep(0.02)

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


def weights_of(folder: Path, home: Path, *words: str, rented: bool = False) -> str:
    """The digest of the weights after an uninterrupted run without any desk.

    In the very environment of a process at the desk: what picks a kernel of the linear algebra changes bits.
    """
    alone = home / "alone"
    alone.mkdir()
    there = environment(alone, "") if rented else of_desk(alone, "", "", os.environ, gpu=False)
    argv = [sys.executable, str(folder / "train.py"), *words]
    subprocess.run(argv, cwd=alone, env=there, check=True, timeout=120)
    return hashlib.sha256((alone / "out" / "weights.npy").read_bytes()).hexdigest()


@pytest.mark.usefixtures("no_watcher")
def test_an_interrupted_run_ends_with_the_same_weights_bit_for_bit(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. The machine is killed at random, once while a checkpoint is being written. 2. So is this computer's
    `hotdesk run`, with its watcher. 3. The next command goes on. 4. The weights are the same as ever."""
    pytest.importorskip("numpy")
    dice, words = random.Random(6), ("60", "5", "0.02", "go")
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
            time.sleep(dice.uniform(0.0, 0.6))
        assert laptop.interrupt()
        if number == 1:  # the laptop's processes as well
            run.kill()
            run.wait()
            laptop.kill_watcher()
            assert hotdesk("ls").returncode == 0  # any command starts the watcher again
            run = laptop.begin(project, "logs", "blue", "-f")
        laptop.attempt("blue", number + 2)
    laptop.disk("blue", "project", "go").touch()
    assert laptop.wait(run) == 0, laptop.said()
    job = settled(hotdesk, 1)
    assert job["state"] == "done"
    assert int(str(job["attempts"])) > INTERRUPTIONS
    assert hashlib.sha256((project / "out" / "weights.npy").read_bytes()).hexdigest() == expected
    assert "resumed at" in laptop.said()
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] == "parked"


# ---- bad input ---------------------------------------------------------------------------------------


def run(hotdesk: Command, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`hotdesk run` from that folder, at a desk that stays up."""
    os.chdir(folder)
    return hotdesk("run", "blue", "--yes", "--then", "stay", *words)


def only_job(hotdesk: Command) -> dict[str, object]:
    return jobs(hotdesk)[-1]


@pytest.mark.usefixtures("no_watcher")
def test_jobs_that_fail_say_how_and_leave_the_desk_usable(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. A program that is not there. 2. One that exits at once. 3. Words to the letter, and a shell line.
    4. What .gitignore names stays here. 5. A deadline that cannot be kept. One desk serves them all."""
    (project / "key.secret").write_text("mine")
    (project / "big").mkdir()
    (project / "big" / "data").write_text("much")
    (project / "a name.txt").write_text("here")

    missing = run(hotdesk, project, "--", "pyhton", "train.py")
    assert missing.returncode == 4
    assert "no command 'pyhton'" in missing.stderr
    assert jobs(hotdesk) == []

    at_once = run(hotdesk, project, "--", "sh", "-c", "echo gone >&2; exit 7")
    assert (at_once.returncode, at_once.stdout) == (7, "gone\n")
    assert only_job(hotdesk)["state"] == "failed"
    assert only_job(hotdesk)["exit_status"] == 7

    letter = run(hotdesk, project, "--", "printf", "%s|", "a b", "$HOME", "*")
    assert (letter.returncode, letter.stdout) == (0, "a b|$HOME|*|")

    line = run(hotdesk, project, "--", "ls -A | sort | tr '\\n' ','")
    assert line.stdout == ".gitignore,a name.txt,train.py,"

    killed = run(hotdesk, project, "--", "kill -KILL $$")
    assert killed.returncode == 137

    for more in (["--deadline", "0.01"], ["--budget", "1"]):
        unknown = run(hotdesk, project, *more, "--", "sleep", "1")
        assert unknown.returncode == 2
        assert "--work" in unknown.stderr
    late = run(hotdesk, project, "--work", "3", "--deadline", "2", "--", "sleep", "1")
    assert late.returncode == 3
    assert "--deadline 3.00" in late.stderr
    assert len(jobs(hotdesk)) == 4  # nothing was queued


@pytest.mark.usefixtures("no_watcher")
def test_a_job_that_ignores_the_signal_is_cancelled_and_the_next_has_its_turn(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. A job ignores SIGTERM. 2. Two wait behind it, one is cancelled before its turn. 3. The first is
    cancelled: killed when its grace is over. 4. The last runs, in a folder of its own."""
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    deaf = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    first = laptop.begin(project, "run", "blue", "--then", "stay", "--grace", "1", "--", deaf)
    laptop.until("deaf\n")
    (project / "new.txt").write_text("newer")
    assert run(hotdesk, project, "--detach", "--", "echo never > never").returncode == 0
    assert run(hotdesk, project, "--detach", "--", "cat new.txt > read").returncode == 0
    which = hotdesk("cancel", "blue")
    assert which.returncode == 2
    assert "--all" in which.stderr
    assert hotdesk("cancel", "blue", "2").stdout == "Job 2 is cancelled.\n"
    began = time.monotonic()
    assert hotdesk("cancel", "blue", "1").returncode == 0
    assert time.monotonic() - began < 100
    assert first.wait(SECONDS) == 137
    done = settled(hotdesk, 3)
    assert done["exit_status"] == 0
    assert [job["state"] for job in jobs(hotdesk, "blue")] == ["cancelled", "cancelled", "done"]
    assert laptop.disk("blue", "project-3", "read").read_text() == "newer"
    assert not laptop.disk("blue", "project", "new.txt").exists()
    assert not list(laptop.disk("blue").glob("project*/never"))
    assert "deaf" in hotdesk("logs", "blue", "1").stdout.splitlines()


BROKEN = """
import os, sys, time
os.makedirs("ckpt", exist_ok=True)
old = "ckpt/state"
if os.path.exists(old):
    text = open(old).read()
    assert text.startswith("whole"), "torn: " + text
    print("went on from", text, flush=True)
    sys.exit(0)
open(old, "w").write("whole 1")
time.sleep(4)
open(old, "w").write("torn")
print("torn", flush=True)
time.sleep(600)
"""


@pytest.mark.usefixtures("no_watcher")
def test_a_broken_checkpoint_does_not_cost_the_one_before(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. A whole checkpoint is kept aside. 2. It is overwritten by a torn one, and the machine is taken.
    3. The next attempt fails on it. 4. The whole one is put back, and the job ends well."""
    (project / "broken.py").write_text(BROKEN)
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    process = laptop.begin(
        project, "run", "blue", "--then", "stay", "--checkpoint", "ckpt", "--", "python", "broken.py"
    )
    laptop.until("torn\n")
    assert laptop.interrupt()
    assert laptop.wait(process) == 0, laptop.said()
    assert "checkpoint 1 was put back" in laptop.said()
    assert "went on from whole 1" in laptop.said()
    # One more where the torn one was still taken for whole: the job lived on a moment without its machine.
    assert only_job(hotdesk)["attempts"] in {3, 4}


def watcher(hotdesk: Command) -> str:
    """The watcher's process, as `ls` shows it."""
    found = re.search(r"process (\d+) watches over them", hotdesk("ls").stdout)
    return found.group(1) if found else ""


OFF_AND_ON = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda number, frame: open("asked", "w").close())
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # everything at a desk hears of its stop
if os.environ["HOTDESK_ATTEMPT"] != "1":
    sys.exit(0 if os.path.exists("asked") else 3)
print("working", flush=True)
time.sleep(600)
"""


@pytest.mark.usefixtures("no_watcher")
def test_a_machine_that_was_off_goes_on_with_its_job_at_once(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. The machine is turned off: the job is asked for a checkpoint. 2. On again, it is no machine that is
    about to be taken, although it is the same one: the job begins anew."""
    (project / "off.py").write_text(OFF_AND_ON)
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    process = laptop.begin(project, "run", "blue", "--then", "stay", "--", "python", "off.py")
    laptop.until("working\n")
    assert hotdesk("stop", "blue").returncode == 5  # the job is named, and nobody is there to say yes
    assert hotdesk("stop", "blue", "--yes").returncode == 0
    laptop.wait(process)
    assert hotdesk("start", "blue").returncode == 0
    assert laptop.wait(laptop.begin(project, "logs", "blue", "-f")) == 0, laptop.said()
    [job] = jobs(hotdesk)
    assert (job["exit_status"], job["attempts"]) == (0, 2), job


@pytest.mark.usefixtures("no_watcher")
@pytest.mark.parametrize(
    ("leave", "back"),
    [("park", "resume"), pytest.param("park", "up", marks=pytest.mark.long), ("stop", "start"), ("park", "")],
)
def test_a_parked_job_goes_on_whoever_brings_its_desk_back(
    hotdesk: Command, home: Path, project: Path, leave: str, back: str
) -> None:
    """1. A job runs; its desk is parked, and its watcher has nothing more to do. 2. The desk is resumed, by a
    command or from Python. 3. Nobody does anything else: the job goes on, and ends."""
    (project / "off.py").write_text(OFF_AND_ON)
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    process = laptop.begin(project, "run", "blue", "--then", "stay", "--", "python", "off.py")
    laptop.until("working\n")
    assert hotdesk(leave, "blue", "--yes").returncode == 0
    laptop.wait(process)
    hotdesk("watch", "--stop")
    assert jobs(hotdesk)[0]["state"] == "waiting"
    if back:
        assert hotdesk(back, "blue").returncode == 0
    else:
        with Hotdesk() as desks:
            desks.resume("blue")
    job = settled(hotdesk, 1)
    assert (job["exit_status"], job["attempts"]) == (0, 2), job


@pytest.mark.usefixtures("no_watcher")
def test_results_that_were_never_made_keep_no_machine(hotdesk: Command, home: Path, project: Path) -> None:
    """A job that fails has made no results: what there is comes, the rest is named, the desk is parked."""
    assert hotdesk("up", "blue").returncode == 0
    os.chdir(project)
    failed = hotdesk("run", "blue", "--pull", "no/such/", "--pull", "out", "--", "mkdir out; exit 3")
    assert failed.returncode == 3, failed.stderr
    assert "no/such/ not fetched: not found in its folder" in failed.stderr
    assert (project / "out").is_dir()
    assert not list(project.glob(".hotdesk*"))
    assert only_job(hotdesk)["why"].startswith("no/such/ not fetched")
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] == "parked"


ON_NOTICE = """
import os, signal, sys, time
def save(number, frame):
    open("saved", "w").write("saved in time")
    print("saved", flush=True)
signal.signal(signal.SIGUSR1, save)
print("listening", flush=True)
until = time.monotonic() + 60
while not os.path.exists("go") and time.monotonic() < until:
    time.sleep(0.1)
print("left", flush=True)
"""


@pytest.mark.usefixtures("no_watcher")
def test_ctrl_c_ends_the_listening_and_nothing_else(hotdesk: Command, home: Path, project: Path) -> None:
    """1. Ctrl-C. 2. A watcher is there, and `ls` says so; killed, it comes back. 3. The machine is about to
    be taken: the job is asked for a checkpoint. 4. It ends, its results come, the desk is parked."""
    (project / "notice.py").write_text(ON_NOTICE)
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    process = laptop.begin(project, "run", "blue", "--pull", "saved", "--", "python", "notice.py")
    laptop.until("listening\n")
    process.send_signal(signal.SIGINT)
    assert laptop.wait(process) == 130
    assert "hotdesk logs blue 1 -f" in laptop.said()
    before = watcher(hotdesk)
    assert before
    laptop.kill_watcher()
    limit = time.monotonic() + SECONDS
    while watcher(hotdesk) in {"", before}:  # any command starts another one
        assert time.monotonic() < limit
    notice = hotdesk("ssh", "blue", "--", "python3 .hotdesk/runner-*.py notice")
    assert notice.returncode == 0, notice.stderr
    while not laptop.disk("blue", "project", "saved").exists():
        assert time.monotonic() < limit
        time.sleep(0.1)
    running = only_job(hotdesk)
    if needs("tmux"):
        assert f"job-{running['id']}:" in hotdesk("ssh", "blue", "--", "tmux ls").stdout
    assert (running["state"], running["settled"]) == ("running", False)
    laptop.disk("blue", "project", "go").touch()
    assert settled(hotdesk, 1)["state"] == "done"
    assert (project / "saved").read_text() == "saved in time"
    while json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] != "parked":
        assert time.monotonic() < limit + SECONDS
        time.sleep(0.5)
    assert hotdesk("logs", "blue").stdout == "listening\nsaved\nleft\n"  # the desk is away
    assert hotdesk("watch", "--systemd").stdout.startswith("# ~/.config/systemd")


@pytest.mark.usefixtures("no_watcher")
def test_a_long_log_is_whole_or_says_what_is_missing(hotdesk: Command, project: Path) -> None:
    """1. 6 MiB, of which this computer keeps 4. 2. The desk runs: all of it. 3. It is parked: the end, from a
    whole line on, and where the rest is."""
    line = "seq -f 'line %010g of this log, as long as it is' 150000"
    assert run(hotdesk, project, "--", line).returncode == 0
    whole = hotdesk("logs", "blue")
    assert whole.stdout.count("\n") == 150000
    assert hotdesk("park", "blue").returncode == 0
    end = hotdesk("logs", "blue")
    assert end.stdout.startswith("line ")
    assert whole.stdout.endswith(end.stdout)
    assert 3 << 20 < len(end.stdout) <= 4 << 20
    assert f"The first {(len(whole.stdout) - len(end.stdout)) / 2**20:.1f} MiB are on blue" in end.stderr
    assert "hotdesk resume blue" in end.stderr


@pytest.mark.usefixtures("no_watcher")
def test_ctrl_c_while_files_are_copied_leaves_no_half_of_one(
    hotdesk: Command, home: Path, project: Path
) -> None:
    """1. Ctrl-C while the folder is copied: nothing is begun, and no half of a file bears its name. 2. The
    same command goes on. 3. Ctrl-C while the results are fetched. 4. The watcher fetches them."""
    size = 200 << 20
    (project / "big.bin").write_bytes(os.urandom(1 << 20) * (size >> 20))
    laptop = Laptop(home)
    assert hotdesk("up", "blue").returncode == 0
    argv = [
        "run",
        "blue",
        "--then",
        "stay",
        "--pull",
        "out",
        "--",
        "mkdir -p out && cp big.bin out/ && echo made",
    ]
    there = laptop.disk("blue", "project")
    limit = time.monotonic() + SECONDS
    first = laptop.begin(project, *argv)
    while not list(laptop.disk("blue").glob(".hotdesk/copying/*/big.bin.*")):
        assert time.monotonic() < limit, laptop.said()
        time.sleep(0.001)
    first.send_signal(signal.SIGINT)
    assert first.wait(SECONDS) == 130
    assert "no job was started" in laptop.said()
    assert not (there / "big.bin").exists()
    assert jobs(hotdesk) == []
    second = laptop.begin(project, *argv)
    while not list(project.glob(".hotdesk-copying/*/temp/big.bin.*")):
        assert time.monotonic() < limit, laptop.said()
        time.sleep(0.001)
    second.send_signal(signal.SIGINT)
    assert second.wait(SECONDS) == 130
    fetched = project / "out" / "big.bin"
    assert not fetched.exists() or fetched.stat().st_size == size  # the watcher may have been quick
    assert "has ended; a watcher" in laptop.said()
    assert settled(hotdesk, 1)["state"] == "done"
    assert fetched.stat().st_size == size
    assert [p.name for p in (project / "out").iterdir()] == ["big.bin"]
    assert not list(project.glob(".hotdesk*")), "nothing is left of what was on its way"
