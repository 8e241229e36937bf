"""Nobody's work is ended without a word: what a desk says, and what is asked before its machine ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.api import Hotdesk
from hotdesk.connect import at_work, job_runner
from hotdesk.connect.at_work import AtWork
from hotdesk.core.errors import NeedsDecision
from hotdesk.core.jobs import Job, Result
from hotdesk.core.model import Desk, Goal, Instance, Want
from hotdesk.guest.ending import Ending
from hotdesk.guest.idle import Watch
from hotdesk.guest.one_file import source
from hotdesk.guest.working import Work
from hotdesk.jobs.run import Runs
from hotdesk.loop import watcher
from hotdesk.providers.local.runtime import locks
from hotdesk.services.work import go_on_with_jobs
from hotdesk.state.store import Store
from tests.conftest import Command
from tests.local_rig import LocalRig, rig_in, tool, wait_for
from tests.test_idle import at_the_desk, in_a_terminal, ready
from tests.truth import Clock

pytestmark = [tool("ssh"), tool("tmux"), pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")]

WAITS = "import time\ntime.sleep(999)\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    machine = rig.up("blue")
    rig.write(machine, "waits.py", WAITS)
    wait_for(lambda: said(rig, machine) == AtWork(), 60)  # the start itself is work
    return machine


def said(rig: LocalRig, desk: Instance) -> AtWork:
    return at_work.ask(rig.provider.access(desk), source("ending"))


# ---- what a desk says ----------------------------------------------------------------------------------


def test_a_program_in_a_terminal_works_and_a_prompt_is_open(rig: LocalRig, desk: Instance) -> None:
    with in_a_terminal(rig, desk, "python3 waits.py"):
        assert wait_for(lambda: "python3 waits.py runs in a terminal" in said(rig, desk).works, 30)
    with in_a_terminal(rig, desk, "python3 -i"):
        assert wait_for(lambda: said(rig, desk) == AtWork(open=("python3 -i in a terminal",)), 30)
    with in_a_terminal(rig, desk, "bash --norc"):
        assert wait_for(lambda: said(rig, desk) == AtWork(), 30)


def test_a_desk_without_programs_of_its_owner_is_not_watched_for_seconds(
    rig: LocalRig, desk: Instance
) -> None:
    patient, changed = re.subn(r"(?m)^(\w+)=2\.0$", r"\1=999.0", source("ending"))  # ending.SECONDS
    assert changed == 1
    assert wait_for(lambda: said(rig, desk) == AtWork(), 30)
    assert at_work.ask(rig.provider.access(desk), patient) == AtWork()


def test_a_job_is_named_by_its_number_and_not_by_the_runner_in_its_terminal(
    rig: LocalRig, desk: Instance
) -> None:
    access = rig.provider.access(desk)
    job = Job(id="7-a", number=7, desk="blue", command=("exec sleep 999",), created_at=1.0)
    job_runner.begin(access, job, 1)
    assert wait_for(lambda: said(rig, desk).works == ("job 7 runs",), 30)
    job_runner.cancel(access, job.id)
    assert wait_for(lambda: said(rig, desk) == AtWork(), 60)


def test_what_computes_without_a_terminal_works(rig: LocalRig, desk: Instance) -> None:
    with at_the_desk(rig, desk, "while :; do :; done"):
        assert any("cores in use" in work for work in said(rig, desk).works)
    with at_the_desk(rig, desk, "exec dd if=/dev/zero of=big bs=10k count=100000 oflag=dsync"):
        assert any("dd" in work or "kB/s" in work for work in said(rig, desk).works)


@tool("vim")
def test_changes_in_vim_that_are_not_saved(rig: LocalRig, desk: Instance) -> None:
    with in_a_terminal(rig, desk, "vim -u NONE notes.txt", keys="ihello"):
        assert wait_for(lambda: said(rig, desk).unsaved == ("notes.txt in vim: not saved",), 30)
        rig.ssh(desk, "tmux send-keys -t seen Escape :w Enter")
        assert wait_for(lambda: said(rig, desk).unsaved == (), 30)
        assert said(rig, desk).open == ("vim -u NONE notes.txt in a terminal",)


def process(
    proc: Path, pid: int, *, parent: int = 1, seconds: float = 0.0, words: str = "python\0train.py"
) -> None:
    """One of a made-up rented machine's that was begun an hour ago, and has no terminal."""
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    (folder / "cmdline").write_text(words + "\0")
    own = int(seconds * os.sysconf("SC_CLK_TCK"))
    rest = ["S", parent, pid, pid, 0, -1, *[0] * 5, own, 0, 0, 0, *[0] * 4, 0]
    (folder / "stat").write_text(f"{pid} (python) {' '.join(map(str, rest))}\n")


def test_what_has_computed_for_long_may_only_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that waits for its data uses nothing for some seconds. A prompt and a kernel say themselves
    whether they work; what those have begun belongs to them."""
    monkeypatch.setattr("hotdesk.guest.ending.SECONDS", 0.01)
    (tmp_path / "uptime").write_text("3600.0 7200.0\n")
    process(tmp_path, 10, seconds=1800)
    process(tmp_path, 11, seconds=60, words="python\0served.py")  # a minute of an hour
    process(tmp_path, 12, seconds=3000, words="python\0-m\0ipykernel_launcher\0-f\0/run/kernel-7-a.json")
    process(tmp_path, 13, parent=12, seconds=3000, words="python\0worker.py")
    found = Ending([], proc=str(tmp_path)).report()
    assert found["works"] == ["python train.py has computed for 30 min"]
    assert found["open"] == ["python served.py"]


def test_who_is_a_prompt() -> None:
    """Programs in a terminal that leave line mode or echo, or read a line, are prompts; one that
    sleeps works. A kernel that nobody joined works for some minutes after its start."""
    for code, reads in (
        ("import tty; tty.setraw(0); print('ready'); time.sleep(60)", True),
        ("print('ready'); sys.stdin.readline()", True),
        ("import getpass; print('ready'); getpass.getpass('')", True),
        ("print('ready'); time.sleep(60)", False),
    ):
        pid, leader = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", f"import sys, time; {code}"])
        try:
            while b"ready" not in os.read(leader, 4000):
                pass
            time.sleep(0.3)  # from the word to the read
            work = Work([], mark="nobody")
            work._mine[(pid, work._stat(str(pid))[1][19])] = True
            found = work._processes(0.0)
            assert [pid in work.prompts, not found] == [reads, reads], (code, found)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(leader)
    work = Work([], mark="nobody")
    kernel = {"id": "k", "execution_state": "starting", "last_activity": "1970-01-01T00:10:00.5Z"}
    work._servers = lambda: [("server", [kernel])]  # type: ignore[method-assign]
    assert work._kernels_at_work(600.0 + 170) == ["a notebook's kernel is starting"]
    assert work._kernels_at_work(600.0 + 190) == []


def test_nothing_ends_without_a_warning() -> None:
    with tempfile.TemporaryDirectory() as home:
        watch = Watch([home], mark="nobody", idle_minutes=10.0, now=1000.0)
        assert [watch.turn(2000.0), watch.turn(2030.0)] == ["", "idle for 10 minutes"]


def test_a_desk_with_a_job_that_runs_again_gets_a_watcher() -> None:
    """Whoever wants the desk running: the command line, Python, or a plan."""
    with tempfile.TemporaryDirectory() as folder, Hotdesk(Path(folder)) as desks:
        begun: list[bool] = []
        real, watcher.ask_for = watcher.ask_for, lambda store, forever: begun.append(forever) or ""
        try:
            desk = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0)
            desks.services.store.put(desk)
            go_on_with_jobs(desks.services.store, desk)
            assert begun == []
            desks.services.store.queue(Job(id="", number=0, desk="blue", command=("true",), created_at=2.0))
            go_on_with_jobs(desks.services.store, replace(desk, goal=Goal.PARKED))
            assert begun == []
            go_on_with_jobs(desks.services.store, desk)
            assert begun == [False]
        finally:
            watcher.ask_for = real


# ---- Jupyter -------------------------------------------------------------------------------------------


class Jupyter:
    """The desk's, as a browser uses it."""

    def __init__(self, rig: LocalRig) -> None:
        self.runtime = rig.disk("blue") / "jupyter" / "runtime"
        [file] = self.runtime.glob("jpserver-*.json")
        server = json.loads(file.read_text())
        self.url, self.token = f"http://127.0.0.1:{server['port']}/api", server["token"]

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return dict(json.loads(text)) if text else {}


def test_notebooks_are_named_and_those_not_saved_as_far_as_jupyter_tells(
    rig: LocalRig, desk: Instance
) -> None:
    """1. A notebook is opened: nothing. 2. A cell runs for long: its kernel is busy. 3. It has run: not saved
    since. 4. It is saved: open, and nothing else."""
    from jupyter_client.blocking.client import BlockingKernelClient

    jupyter = Jupyter(rig)
    cells = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook = {"type": "notebook", "format": "json", "content": cells}
    jupyter.ask("PUT", "contents/train.ipynb", notebook)
    session = jupyter.ask(
        "POST",
        "sessions",
        {"path": "train.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}},
    )
    kernel = str(session["kernel"]["id"])  # type: ignore[index]
    client = BlockingKernelClient(connection_file=str(jupyter.runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        wait_for(lambda: ready(client), 120)
        opened = ("the kernel of train.ipynb",)
        # Jupyter may have missed the kernel's first words, and call it "starting" for minutes.
        wait_for(lambda: client.kernel_info() and said(rig, desk) == AtWork(open=opened), 60)
        client.execute("import time; time.sleep(600)")
        assert wait_for(lambda: said(rig, desk).works == ("train.ipynb's kernel is busy",), 60)
        began = time.time()
        jupyter.ask("POST", f"kernels/{kernel}/interrupt", {})
        time.sleep(max(0.0, 22 - (time.time() - began)))  # past the opening
        client.execute("1 + 1")
        ran = ("train.ipynb: something ran in it after it was last saved",)
        assert wait_for(lambda: said(rig, desk) == AtWork(unsaved=ran, open=opened), 60)
        jupyter.ask("PUT", "contents/train.ipynb", notebook)
        assert wait_for(lambda: said(rig, desk) == AtWork(open=opened), 60)
    finally:
        client.stop_channels()
        jupyter.ask("DELETE", f"sessions/{session['id']}")


def test_a_jupyter_that_does_not_answer_is_no_proof_of_rest(tmp_path: Path) -> None:
    """1. A server has written down where it listens. 2. It lives, and does not answer. 3. It has ended."""
    proc, file = tmp_path / "proc", tmp_path / "jpserver-7.json"
    (proc / "7").mkdir(parents=True)
    (proc / "uptime").write_text("3600.0 7200.0\n")
    file.write_text(json.dumps({"port": 9, "token": "t", "base_url": "/", "pid": 7}))
    look = Ending([], mark="nobody", runtime=str(tmp_path), proc=str(proc))
    assert look._servers() == []
    assert look.silent == ["Jupyter at port 9 does not answer"]
    (proc / "7").rmdir()
    assert look._servers() == []
    assert look.silent == []


# ---- what the verbs ask --------------------------------------------------------------------------------


@pytest.fixture
def working(hotdesk: Command) -> Command:
    """A desk at which a program waits in a terminal."""
    assert hotdesk("up", "blue").returncode == 0
    script = f"echo '{WAITS}' > waits.py; tmux new-session -d -s seen 'python3 waits.py'; sleep 2"
    done = hotdesk("ssh", "blue", "--", script)
    assert done.returncode == 0, done.stderr
    return hotdesk


def phase(hotdesk: Command) -> str:
    return str(json.loads(hotdesk("ls", "--json").stdout)[0]["phase"])


def test_whoever_would_end_it_is_asked_first(working: Command) -> None:
    for words in (
        ["park", "blue"],
        ["stop", "blue"],
        ["move", "blue", "--type", "local.cpu"],
        ["down", "blue"],
    ):
        done = working(*words)
        assert done.returncode == 5, (words, done.stderr)
        assert "python3 waits.py runs in a terminal" in done.stderr
        assert f"hotdesk {' '.join(words)} --yes" in done.stderr
        plan = working(*words, "--dry-run")
        assert plan.returncode == 0, plan.stderr
        assert "running there (asks first): python3 waits.py runs in a terminal" in plan.stdout
    with Hotdesk() as desks:
        for call in (
            lambda: desks.park("blue"),
            lambda: desks.stop("blue"),
            lambda: desks.move("blue", Want(instance_type="local.cpu")),
            lambda: desks.down("blue"),
        ):
            with pytest.raises(NeedsDecision, match=r"python3 waits\.py runs in a terminal"):
                call()
        assert desks.services.work.at_work(desks.services.store.desk("blue")).works == (
            "python3 waits.py runs in a terminal",
        )
    assert phase(working) == "ready"
    assert working("park", "blue", "--yes").returncode == 0
    assert phase(working) == "parked"
    assert working("stop", "blue").returncode == 0  # nothing is on: nothing is asked
    assert working("resume", "blue").returncode == 0
    assert working("park", "blue").returncode == 0  # an idle desk is left without a word


@pytest.mark.parametrize(("answer", "then"), [("n", "ready"), ("y", "stopped")])
def test_at_a_terminal_it_is_a_question(working: Command, answer: str, then: str) -> None:
    source = str(Path(__file__).parents[1] / "src")
    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hotdesk", "stop", "blue"],
        env={**os.environ, "PYTHONPATH": source, "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as command:
        os.close(terminal)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(leader, 4000)
        assert b"python3 waits.py runs in a terminal" in shown
        os.write(leader, answer.encode() + b"\n")
        with contextlib.suppress(OSError):  # the terminal closes with the command
            while more := os.read(leader, 4000):
                shown += more
        command.wait(60)
    os.close(leader)
    assert phase(working) == then
    assert (b"Nothing was done." in shown) == (answer == "n")


def test_a_machine_that_cannot_be_asked_is_said_to_be_so(working: Command, tmp_path: Path) -> None:
    """Its ssh server hangs: nobody waits for it for ever, and nobody takes silence for rest."""
    [lock] = (tmp_path / "state").glob("local/machines/*/run.lock")
    pid = locks.worker_pid(lock)
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = working("park", "blue")
        assert done.returncode == 5, done.stderr
        assert "it cannot be asked" in done.stderr
        assert time.monotonic() - began < 75
    finally:
        os.kill(pid, signal.SIGCONT)


# ---- the end of a run ----------------------------------------------------------------------------------


def over(store: Store, works: tuple[str, ...], *, more: bool = False) -> Runs:
    """A desk whose job is over, with another behind it or not; and its loop."""
    store.put(Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0))
    result = Result(exit_status=0, why="", at=5.0)
    for done in (True, *([False] if more else [])):
        store.queue(
            Job(
                id="",
                number=0,
                desk="blue",
                command=("true",),
                created_at=2.0,
                result=result if done else None,
            )
        )
    return Runs(
        store=store,
        clock=Clock(),
        access=lambda desk: None,
        settle=lambda name: None,
        works=lambda desk: works,
    )


def test_the_end_of_a_job_ends_nothing_else() -> None:
    """1. A job is over. 2. A notebook works at its desk: the desk stays, and the job says why. 3. None does:
    the desk is wanted parked."""
    with Store(None) as store:
        assert over(store, ("train.ipynb's kernel is busy",)).round(["blue"])
        [job] = store.jobs()
        assert (job.settled, job.stayed) == (True, "train.ipynb's kernel is busy")
        assert store.desk("blue").goal is Goal.RUNNING
        assert "stays up: train.ipynb's kernel is busy" in store.rows("blue")[-1].step.why
    with Store(None) as store:
        assert over(store, ()).round(["blue"])
        [job] = store.jobs()
        assert (job.settled, job.stayed) == (True, "")
        assert store.desk("blue").goal is Goal.PARKED


def test_nobody_looks_where_the_desk_is_not_left() -> None:
    with Store(None) as store:
        assert over(store, ("never asked",), more=True).round(["blue"])
        assert [job.stayed for job in store.jobs()] == ["", ""]


@tool("rsync")
def test_a_job_that_ends_leaves_a_desk_up_at_which_something_else_works(working: Command, home: Path) -> None:
    """The job's own status is what the command ends with; why the desk stays is said, and written down."""
    project = home / "project"
    project.mkdir()
    (project / "notes").touch()
    os.chdir(project)
    done = working("run", "blue", "--", "exit 3")
    assert done.returncode == 3, done.stderr
    assert "blue stays up, and is paid for: python3 waits.py runs in a terminal" in done.stderr
    assert "hotdesk park blue" in done.stderr
    assert phase(working) == "ready"
    assert "job 1 has ended, and blue stays up: python3 waits.py" in working("log", "blue").stdout
    assert working("ssh", "blue", "--", "tmux kill-session -t seen").returncode == 0
    done = working("run", "blue", "--", "exit 4")
    assert done.returncode == 4, done.stderr
    assert phase(working) == "parked"
    assert "blue is parked; to come back: hotdesk resume blue" in done.stderr
