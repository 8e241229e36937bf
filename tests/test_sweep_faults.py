"""Sweeps on this computer through all that a day can bring, with real desks and real Ray: minutes each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import locks
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [tool("ssh"), tool("rsync"), tool("git"), pytest.mark.long]
SECONDS = 900.0  # a limit for a busy computer, not an expectation
#: What each task runs: the ledger knows each run that began, and each that ended.
NOTED = """
import os, sys, time
def note(word):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(f"{os.environ['HOTDESK_TASK_NUMBER']} {word}\\n")
note("began")
time.sleep(float(sys.argv[1]))
note("ended")
"""


def until(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.5)
    return found


@pytest.fixture
def project(hotdesk: Command, home: Path) -> Path:
    """A parked desk, and a folder to sweep from."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    folder = home / "project"
    folder.mkdir()
    os.chdir(folder)
    for verb in ("up", "park"):
        assert hotdesk(verb, "blue").returncode == 0
    return folder


def patient(hotdesk: Command, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that may take minutes."""
    return hotdesk(*words, timeout=SECONDS)


def shown(hotdesk: Command) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hotdesk("sweep", "show", "--json").stdout)
    return found


def over(hotdesk: Command) -> dict[str, Any]:
    """The sweep, once it is over, and no machine of it is left."""
    found: dict[str, Any] = until(lambda: (told := shown(hotdesk))["over_at"] and told)
    assert [desk["name"] for desk in json.loads(hotdesk("ls", "--json").stdout)] == ["blue"]
    return found


def processes(machine: str) -> list[int]:
    """All processes of a machine on this computer: those that live in its home, and its supervisor."""
    state = Path(os.environ["HOTDESK_STATE"])
    [folder] = Folders.of(state).machines.glob(f"*{machine}-g*")
    found = [pid] if (pid := locks.worker_pid(folder / "run.lock")) else []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                homes = [v for v in (entry / "environ").read_bytes().split(b"\0") if v[:5] == b"HOME="]
                if any(f"/{machine}/" in (home := os.fsdecode(v)) or f"{machine}-g" in home for v in homes):
                    found.append(int(entry.name))
    return found


def kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def named(pids: list[int], name: str) -> list[int]:
    found = []
    for pid in pids:
        with suppress(OSError):
            if Path("/proc", str(pid), "comm").read_text().strip() == name:
                found.append(pid)
    return found


def test_nothing_is_lost_and_nothing_counts_twice(hotdesk: Command, project: Path, tmp_path: Path) -> None:
    """180 tasks on three machines. 1. One is killed in mid-task. 2. The raylet of another is, alone. 3. That
    machine falls silent with its sockets open, and comes back. 4. The head is killed. 5. So is the driver."""
    state, ledger = Path(os.environ["HOTDESK_STATE"]), tmp_path / "ledger"
    (project / "task.py").write_text(NOTED)
    words = ["--machines", "3", "--param", "n=1..180", "--tag", "n", "--env", f"LEDGER={ledger}", "--detach"]
    begun = hotdesk("sweep", "start", "blue", *words, "--", "python", "task.py", "2")
    assert begun.returncode == 0, begun.stderr

    def done(count: int) -> None:
        until(lambda: shown(hotdesk)["done"] >= count)

    done(10)
    kill(processes("sweep1-3")[:1], signal.SIGKILL)
    done(30)
    assert named(processes("sweep1-2"), "raylet"), "it runs there"
    kill(named(processes("sweep1-2"), "raylet"), signal.SIGKILL)
    done(60)
    silent = processes("sweep1-2")
    kill(silent, signal.SIGSTOP)
    try:
        until(lambda: any(m["state"] == "lost" for m in shown(hotdesk)["machines"]))
    finally:
        kill(silent, signal.SIGCONT)
    done(90)
    kill(processes("sweep1-1")[:1], signal.SIGKILL)
    time.sleep(3.0)
    kill([int((state / "locks" / "@sweep-1").read_text().split()[0])], signal.SIGKILL)

    last = over(hotdesk)
    assert (last["tasks"], last["done"], last["failed"]) == (180, 180, 0), last
    ran = Counter(tuple(line.split()) for line in ledger.read_text().splitlines())
    ended = Counter({task: count for (task, word), count in ran.items() if word == "ended"})
    assert len(ended) == 180
    # A machine that was silent went on with what it ran, and nobody could know: as many as it had places.
    twice = [task for task, count in ended.items() if count > 1]
    assert len(twice) <= (os.cpu_count() or 2), twice
    rows = json.loads(hotdesk("sweep", "results", "--json").stdout)
    assert Counter(row["state"] for row in rows) == {"done": 180}


def test_a_task_that_eats_all_memory_is_ended_and_the_others_go_on(hotdesk: Command, project: Path) -> None:
    (project / "eat.py").write_text(
        "import sys, time\nn = int(sys.argv[1])\nkept = []\n"
        "while n == 3:\n    kept.append(bytearray(50_000_000))\n    time.sleep(0.1)\ntime.sleep(2)\n"
    )
    words = ["--memory", "0.4", "--retries", "0", "--param", "n=1..8"]
    assert patient(hotdesk, "sweep", "start", "blue", *words, "--", "python", "eat.py", "{n}").returncode == 5
    last = over(hotdesk)
    assert (last["done"], last["failed"]) == (7, 1)
    [failed] = json.loads(hotdesk("sweep", "show", "--failed", "--json").stdout)["each"]
    assert (failed["task"], failed["exit_status"]) == (3, 137)
    assert "GiB of memory" in failed["why"]


def test_a_thousand_that_fail_at_once_stop_early_with_the_reason(hotdesk: Command, project: Path) -> None:
    begun = patient(
        hotdesk, "sweep", "start", "blue", "--retries", "0", "--param", "n=1..1000", "--tag", "n", "--",
        "sh", "-c", "echo no module named torch; exit 3",
    )  # fmt: skip
    assert begun.returncode == 5
    last = over(hotdesk)
    assert last["failed"] + last["cancelled"] == 1000
    assert last["failed"] < 200
    assert "tasks all failed, the last with exit status 3: no module named torch" in last["stopped"]


def test_great_results_and_logs_come_whole(hotdesk: Command, project: Path) -> None:
    """A result of 2 GB, a log of 1 GB, and six tasks that write files of the same name."""
    (project / "big.py").write_text(
        "import sys\nn = int(sys.argv[1])\n"
        "with open('out.bin', 'wb') as file:\n"
        "    for _ in range(2048 if n == 1 else 1):\n        file.write(bytes([n]) * 2**20)\n"
        "for _ in range(2**20 if n == 2 else 1):\n    print('x' * 1023)\n"
        "print('{\"n\": %d}' % n)\n"
    )
    words = ["--pull", "out.bin", "--param", "n=1..6", "--", "python", "big.py", "{n}"]
    assert patient(hotdesk, "sweep", "start", "blue", *words).returncode == 0
    over(hotdesk)
    rows = json.loads(hotdesk("sweep", "results", "--json").stdout)
    assert [row["metric.n"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert patient(hotdesk, "sweep", "results", "--to", "got").returncode == 0
    sizes = [(project / "got" / f"{n:06d}" / "out.bin").stat().st_size for n in range(1, 7)]
    assert sizes == [2**31, *[2**20] * 5]
    assert {(project / "got" / f"{n:06d}" / "out.bin").read_bytes()[0] for n in range(2, 7)} == {
        2,
        3,
        4,
        5,
        6,
    }
    said = patient(hotdesk, "sweep", "logs", "2").stdout
    assert len(said) == 2**30 + len('{"n": 2}\n')
    removed = json.loads(patient(hotdesk, "sweep", "rm", "1", "--yes", "--json").stdout)
    assert removed[0]["bytes"] > 3 * 2**30
