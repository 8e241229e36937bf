"""A job is all of its processes: who is asked for a checkpoint, and that none outlives it.

Twins of what launchers do, that need nothing but Python: ranks in sessions of their own with closed
descriptors (torch elastic), a process that renames itself over its environment (setproctitle), helpers that
inherit their parent's handlers (a DataLoader's), a shell script, `python … | tee`. The tools themselves:
tests/tools.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.job_rig import JobRig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")

RANK = """
import ctypes, os, signal, sys, time
kind = sys.argv[1:]
if "renamed" in kind:  # as setproctitle does: over its words and its environment (proc(5), stat)
    rest = open("/proc/self/stat").read().rpartition(")")[2].split()
    start, end = int(rest[45]), int(rest[48])
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, b"renamed", 7)
    ctypes.CDLL(None).prctl(15, b"renamed", 0, 0, 0)
asked = []
def on(number, frame):
    os.write(1, f"{os.getpid()} heard {signal.Signals(number).name}\\n".encode())
    asked.append(number)
if "catches" in kind:
    signal.signal(signal.SIGUSR1, on)
if "saves" in kind:
    signal.signal(signal.SIGTERM, on)
if "deaf" in kind:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent = os.getpid()
if "helper" in kind and os.fork() == 0:  # it inherits the handlers
    print("helper", os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.05)
    os._exit(0)
os.write(1, f"ready {os.getpid()}\\n".encode())
while not os.path.exists("go") and signal.SIGTERM not in asked:
    time.sleep(0.05)
if signal.SIGTERM in asked:
    for part in range(5):
        time.sleep(0.2)
        print("saving", part, flush=True)
    open("saved", "a").write("whole\\n")
"""

LAUNCHER = """
import signal, subprocess, sys
ranks = [
    subprocess.Popen([sys.executable, "-u", "rank.py", *sys.argv[1:]], start_new_session=True, close_fds=True)
    for _ in range(2)
]
if any(rank.wait() for rank in ranks):
    sys.exit(1)
"""


#: `uv run` catches signals and passes them on to its child, whether that waits for them or dies of them.
UV = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, *sys.argv[1:]])
signal.signal(signal.SIGUSR1, lambda number, frame: child.send_signal(number))
sys.exit(child.wait())
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobRig]:
    (tmp_path / "rank.py").write_text(RANK)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "uv").write_text(f"#!{sys.executable}{UV}")
    (tmp_path / "uv").chmod(0o755)
    (tmp_path / "train.sh").write_text("python rank.py catches saves helper\necho next >> next\n")
    made = JobRig(tmp_path, path=str(Path(sys.executable).parent), HOTDESK_HEARD_SECONDS="1")
    yield made
    made.clear()


def ready(rig: JobRig, count: int = 1) -> list[int]:
    """The processes that have said that they are ready."""
    rig.until(lambda: rig.log().count("ready") >= count)
    return [int(line.split()[1]) for line in rig.log().splitlines() if line.startswith("ready")]


# ---- who is asked for a checkpoint -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "count"),
    {
        "a program": (["python", "rank.py", "catches", "helper"], 1),
        "a shell script": (["bash", "train.sh"], 1),
        "a pipe": (["python rank.py catches helper | tee said"], 1),
        "a launcher of ranks": (["python", "launcher.py", "catches", "helper"], 2),
        "renamed ranks": (["python", "launcher.py", "catches", "renamed"], 2),
        "uv": (["./uv", "rank.py", "catches"], 1),
        "a shell that waits": (["python rank.py catches; echo $? > status"], 1),
    }.values(),
)
def test_the_notice_reaches_the_topmost_that_catch_it(rig: JobRig, command: list[str], count: int) -> None:
    """And nobody dies of it: neither who starts them, nor the helpers that they start."""
    rig.begin(*command, signal="SIGUSR1")
    asked = ready(rig, count)
    if "helper" in (*command, "".join(command)) or "train.sh" in command:
        rig.until(lambda: rig.log().count("helper") >= count)
    before = rig.left()
    rig.ask("notice")
    rig.until(lambda: rig.log().count("heard SIGUSR1") >= count)
    (rig.home / "go").touch()
    heard = sorted(int(line.split()[0]) for line in rig.log().splitlines() if "heard" in line)
    assert heard == sorted(asked[:count])
    assert len(before) > count
    assert rig.ended()["exit_status"] == 0
    rig.nothing_left()


@pytest.mark.parametrize("line", ["python rank.py helper; true", "./uv rank.py helper"])
def test_a_job_in_which_nobody_waits_for_the_notice_is_left_alone(rig: JobRig, line: str) -> None:
    rig.begin("bash", "-c", line, signal="SIGUSR1")
    rig.until("signal.signal(signal.SIGUSR1, save)")
    before = rig.left()
    rig.ask("notice")
    rig.until(lambda: rig.look().get("asked_at"))
    assert rig.left() == before
    (rig.home / "go").touch()
    assert rig.ended()["exit_status"] == 0
    assert rig.log().count("hotdesk: nothing in this job catches SIGUSR1") == 1


WATCHING = """
import io, subprocess, sys, time
from hotdesk.guest.attempt import Attempt
from hotdesk.guest.checkpoints import Checkpoints
from hotdesk.guest.process_tree import catches
kind = sys.argv[1]
line = {"deaf": "exec sleep 60", "ended": "true", "heard": "trap : USR1; while :; do sleep 0.05; done"}[kind]
attempt = Attempt("none")
attempt.order, attempt.log = {"signal": "SIGUSR1"}, io.BytesIO()
attempt.child = subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.DEVNULL)
attempt.tree.first = attempt.child.pid
places = Checkpoints(attempt)
if kind == "heard":
    while not catches(attempt.child.pid, 10):
        time.sleep(0.05)
    places.ask(announced=False)
else:
    places.heard_at = 0.0  # it had its time to start
if kind == "ended":
    attempt.child.wait()
places.look(time.monotonic())
print(places.heard_at, attempt.log.getvalue().decode())
attempt.child.kill()
"""


@pytest.mark.parametrize(("kind", "said"), [("deaf", 1), ("ended", 0), ("heard", 0)])
def test_only_a_job_that_works_and_hears_nothing_is_said_to_catch_nothing(
    kind: str, said: int, tmp_path: Path
) -> None:
    """Once wrong: a job that ended half a minute after its start was said to catch nothing."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WATCHING, kind], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing in this job catches SIGUSR1") == said
    assert done.stdout.startswith("inf") == (kind == "heard"), "who was asked is not looked for again"


def test_a_job_that_waits_for_it_or_shall_not_be_asked_hears_nothing_of_it(rig: JobRig) -> None:
    rig.begin("python", "rank.py", "catches", signal="SIGUSR1")
    rig.begin("python", "rank.py", id_=rig.id + "b", signal="")
    [asked] = ready(rig)
    rig.until(lambda: rig.look(rig.id + "b")["seconds"] > 0, 30)  # five seconds on
    rig.ask("notice")
    rig.until("heard")
    (rig.home / "go").touch()
    assert rig.ended()["exit_status"] == 0
    assert rig.log() == f"ready {asked}\n{asked} heard SIGUSR1\n"
    assert "hotdesk" not in rig.log(rig.id + "b")


# ---- how it ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "renamed"])
def test_a_cancelled_job_is_over_when_none_of_its_processes_is_left(rig: JobRig, kind: str) -> None:
    """Ranks that ignore SIGTERM live until the grace is over, and the job with them."""
    rig.begin("python", "launcher.py", "deaf", "helper", kind, grace_seconds=2)
    ready(rig, 2)
    rig.cancel()
    told = rig.look()
    assert (told["alive"], told["cancelled"], told["phase"]) == (True, True, "running")
    told = rig.ended()
    rig.nothing_left()
    assert (told["phase"], told["cancelled"]) == ("ended", True)


def test_who_saves_at_the_end_has_helpers_and_a_reader_until_then(rig: JobRig) -> None:
    """SIGTERM goes to the program that waits for it: its helper and `tee` live until it has saved, and the
    next line of the script does not begin."""
    rig.begin("bash train.sh | tee said; echo next >> next", grace_seconds=30)
    ready(rig)
    rig.cancel()
    told = rig.ended()
    assert told["cancelled"]
    rig.nothing_left()
    assert (rig.home / "saved").read_text() == "whole\n"
    assert "saving 4" in (rig.home / "said").read_text()
    assert not (rig.home / "next").exists()


@pytest.mark.parametrize("kind", ["", "renamed", "deaf"])
def test_ranks_end_with_their_launcher_that_was_killed(rig: JobRig, kind: str) -> None:
    rig.begin("python", "launcher.py", kind, grace_seconds=1)
    ready(rig, 2)
    [launcher] = rig.named("launcher.py")
    os.kill(launcher, signal.SIGKILL)
    told = rig.ended()
    rig.nothing_left()
    assert (told["phase"], told["exit_status"]) == ("ended", 137)
    assert "the command has ended, and this is ended too" in rig.log()


def test_a_launcher_tells_of_its_rank_that_was_killed(rig: JobRig) -> None:
    rig.begin("python", "launcher.py", grace_seconds=1)
    first = ready(rig, 2)[0]
    os.kill(first, signal.SIGKILL)
    (rig.home / "go").touch()
    assert rig.ended()["exit_status"] == 1
    rig.nothing_left()


@pytest.mark.parametrize("kind", ["", "renamed", "deaf renamed"])
def test_the_next_attempt_begins_when_nothing_is_left_of_the_last(rig: JobRig, kind: str) -> None:
    """The runner itself is killed: by the kernel, for want of memory."""
    rig.begin("python", "launcher.py", *kind.split(), grace_seconds=1)
    old = ready(rig, 2)
    noted = rig.folder() / "processes.json"
    rig.until(lambda: noted.exists() and len(noted.read_text().split("]")) > 3)
    [runner] = [pid for pid in rig.named(" work ") if pid not in old]
    os.kill(runner, signal.SIGKILL)
    rig.until(lambda: not rig.look()["alive"])
    rig.begin("python", "rank.py", grace_seconds=1)
    new = ready(rig, 3)[2]
    assert not set(old) & set(rig.left())
    text = rig.log()
    assert text.index("an earlier attempt's processes are ended first") < text.index(f"ready {new}")
    (rig.home / "go").touch()
    assert rig.ended()["exit_status"] == 0
    rig.nothing_left()


def test_a_job_that_is_killed_with_its_runner_again_and_again_is_given_up(rig: JobRig) -> None:
    """1. A new start of the machine, or a checkpoint, begins the count anew. 2. Three in succession."""
    kills = "sleep 0.3; kill -9 $PPID; exec python rank.py"

    def killed(line: str = kills) -> bool:
        rig.begin(line, grace_seconds=1, checkpoint="ckpt")
        rig.until(lambda: not rig.look()["alive"])
        return bool(rig.look()["killed"])

    assert killed()
    assert killed()
    rig.environment["HOTDESK_STARTED_AT"] = "2"
    assert not rig.look()["killed"], "its machine has ended"
    assert killed()
    assert killed("mkdir -p ckpt; echo 1 > ckpt/1; sleep 3; kill -9 $PPID")
    assert killed()
    assert killed()
    assert killed()
    rig.begin(kills, grace_seconds=1)
    told = rig.ended()
    assert (told["phase"], told["exit_status"]) == ("ended", None)
    assert told["trouble"].startswith("its runner was killed 3 times on one machine")
    assert told["trouble"] in rig.log()
    rig.nothing_left()


def test_a_job_goes_on_without_the_terminal_that_it_was_shown_in(rig: JobRig) -> None:
    """It ends its tmux server, as `tmux kill-server` in a script does: its runner hears SIGHUP of it."""
    rig.begin("kill -HUP $PPID; python rank.py")
    ready(rig, 1)
    (rig.home / "go").touch()
    assert rig.ended()["exit_status"] == 0
    assert rig.look()["attempt"] == 1


def test_a_job_whose_runner_was_killed_can_be_cancelled(rig: JobRig) -> None:
    rig.begin("python", "launcher.py", "renamed", grace_seconds=1)
    ready(rig, 2)
    noted = rig.folder() / "processes.json"
    rig.until(lambda: noted.exists() and len(noted.read_text().split("]")) > 3)
    os.kill(rig.look()["pid"], signal.SIGKILL)
    rig.until(lambda: not rig.look()["alive"])
    rig.cancel()
    rig.until(lambda: rig.look()["phase"] == "ended")
    rig.nothing_left()
    assert rig.look()["exit_status"] == 143


def test_how_long_a_job_runs_is_told_as_of_the_look(rig: JobRig) -> None:
    """Its runner writes that down every few seconds only."""
    rig.begin("sleep 60")
    rig.until(lambda: rig.look().get("seconds", 0.0) > 0.0)
    first, at = rig.look()["seconds"], time.monotonic()
    rig.until(lambda: rig.look()["seconds"] > first + 0.5, seconds=3.0)
    assert rig.look()["seconds"] - first < time.monotonic() - at + 0.5


def test_what_a_command_leaves_behind_ends_with_it_and_is_named(rig: JobRig) -> None:
    rig.begin("setsid sleep 600 & echo done")
    assert rig.ended()["exit_status"] == 0
    rig.nothing_left()
    assert "this is ended too: sleep 600" in rig.log()


PRINTS = """
import sys
try:
    import sitecustomize
    own = sitecustomize.OWN
except (ImportError, AttributeError):
    own = ""
assert not any(p.endswith("/lines") for p in sys.path), sys.path
for n in range(300):
    print("rank", sys.argv[1], "step", n, "loss", n / 7, own)
    print("rank", sys.argv[1], "warns", n, own, file=sys.stderr)
"""


@pytest.mark.parametrize("own", ["", "own"])
def test_lines_of_several_ranks_arrive_whole(rig: JobRig, own: str) -> None:
    """`print` of several words, unbuffered, is several writes: ranks once wrote into each other's lines. A
    sitecustomize of the person's own still counts."""
    (rig.home / "prints.py").write_text(PRINTS)
    if own:
        (rig.home / "mine").mkdir()
        (rig.home / "mine/sitecustomize.py").write_text("OWN = 'own'\n")
    where = 'export PYTHONPATH="$PYTHONPATH:$HOME/mine"; ' if own else ""
    rig.begin(where + "for n in 1 2 3; do python prints.py $n & done; wait")
    assert rig.ended()["exit_status"] == 0
    lines = rig.log().splitlines()
    assert len(lines) == 1800, lines[:5]
    end = f" {own}" if own else " ?"
    assert all(re.fullmatch(rf"rank \d (step \d+ loss [\d.e-]+|warns \d+){end}", line) for line in lines)
