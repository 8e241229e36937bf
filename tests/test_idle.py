"""Leaving by itself: what counts as work, who is warned, and a real desk that parks itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hotdesk.connect import idleness
from hotdesk.core.idling import Idle
from hotdesk.core.model import Instance
from hotdesk.guest import idle
from hotdesk.guest.idle import Watch
from tests.conftest import Command
from tests.local_rig import LocalRig, one_desk, rig_in, tool, wait_for

pytestmark = [
    tool("ssh"),
    one_desk("idle"),
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    return rig.up("blue")


@pytest.fixture
def watch(rig: LocalRig, desk: Instance) -> Watch:
    disk = rig.disk("blue")
    made = Watch([str(disk / "home")], mark=rig.mark(desk), runtime=str(disk / "jupyter" / "runtime"))
    wait_for(lambda: quiet(made), 60)  # the start itself is work
    return made


def quiet(watch: Watch, seconds: float = 1.5) -> bool:
    return not works(watch, seconds)


def falls_quiet(watch: Watch, seconds: float = 180.0) -> None:
    """Wait until nothing works; what still does is told."""
    until = time.monotonic() + seconds
    while said := works(watch):
        assert time.monotonic() < until, f"after {seconds:.0f} s: {said}"


def works(watch: Watch, seconds: float = 1.5) -> list[str]:
    """What works, looked at over some time."""
    watch.look()
    time.sleep(seconds)
    return [what for what in watch.look() if what != "somebody types"]  # a new terminal is as good as a key


@contextlib.contextmanager
def at_the_desk(rig: LocalRig, desk: Instance, line: str) -> Iterator[None]:
    """A command that goes on at the desk, and is ended afterwards."""
    pid = rig.ssh(desk, f"nohup sh -c {json.dumps(line)} >/dev/null 2>&1 & echo $!").stdout.strip()
    try:
        yield
    finally:
        rig.ssh(desk, f"pkill -P {pid}; kill {pid}", check=False)


RENAMED = """
import ctypes
rest = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = int(rest[45]), int(rest[48])  # arg_start and env_end, proc(5)
ctypes.memset(start, 0, end - start)
ctypes.memmove(start, b"renamed", 7)
while True:
    pass
"""


# ---- what is work --------------------------------------------------------------------------------------


def test_an_untouched_desk_with_jupyter_is_idle(watch: Watch) -> None:
    assert quiet(watch)


def test_computing_is_work(rig: LocalRig, desk: Instance, watch: Watch) -> None:
    with at_the_desk(rig, desk, "while :; do :; done"):
        assert any("cores in use" in w for w in works(watch))


def test_a_program_that_renames_itself_and_leaves_its_parent_is_work(
    rig: LocalRig, desk: Instance, watch: Watch
) -> None:
    """setproctitle writes over the environment by which a process of the desk is known."""
    rig.write(desk, "renamed.py", RENAMED)
    pid = rig.ssh(desk, "nohup setsid python3 renamed.py >/dev/null 2>&1 & sleep 1; echo $!").stdout.strip()
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"HOTDESK_MACHINE" not in environment
        assert any("cores in use" in w for w in works(watch))
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_a_script_in_a_folder_of_jupyterlab_s_name_is_work(
    rig: LocalRig, desk: Instance, watch: Watch
) -> None:
    rig.ssh(desk, "mkdir -p my-jupyterlab")
    with at_the_desk(rig, desk, "while :; do :; done # my-jupyterlab/jupyter_server.py"):
        assert any("cores in use" in w for w in works(watch))


def test_a_job_is_work_for_as_long_as_its_runner_holds_its_lock(
    rig: LocalRig, desk: Instance, watch: Watch
) -> None:
    """Also where its runner has no terminal, and no name by which it is known."""
    folder = rig.disk("blue") / "home/.hotdesk/jobs/7-abc"
    folder.mkdir(parents=True)
    with (folder / "run.lock").open("w") as lock:
        assert quiet(watch)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert works(watch) == ["job 7 runs"]
    assert quiet(watch)


def test_a_slow_download_that_hardly_computes_is_work(rig: LocalRig, desk: Instance, watch: Watch) -> None:
    line = "while :; do head -c 20000 /dev/zero >> big; sleep 0.2; done"
    with at_the_desk(rig, desk, line):
        assert any("written" in w for w in works(watch))


@tool("tmux")
def test_a_silent_job_in_tmux_is_work_and_an_open_shell_is_not(
    rig: LocalRig, desk: Instance, watch: Watch
) -> None:
    rig.ssh(desk, "tmux new-session -d -s shell")
    try:
        falls_quiet(watch)
        rig.ssh(desk, "tmux new-session -d -s job 'sleep 1000'")
        assert any("sleep 1000 runs in a terminal" in w for w in works(watch))
        rig.ssh(desk, "tmux kill-session -t job; tmux new-session -d -s shown 'less /etc/hostname'")
        falls_quiet(watch)
    finally:
        rig.ssh(desk, "tmux kill-server", check=False)


@contextlib.contextmanager
def in_a_terminal(rig: LocalRig, desk: Instance, line: str, keys: str = "") -> Iterator[None]:
    """A command in the foreground of a terminal at the desk; and what is typed there."""
    rig.ssh(desk, f"tmux new-session -d -s seen -x 80 -y 24 {shlex.quote(line)}")
    pane = rig.ssh(desk, "tmux list-panes -t seen -F '#{pane_pid}'").stdout
    if keys:
        rig.ssh(desk, f"sleep 1; tmux send-keys -t seen {shlex.quote(keys)} Enter")
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [(first := psutil.Process(int(pane))), *first.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


#: They read keys: by leaving line mode or echo, or in a read of their terminal.
PROMPTS = {
    "python": "python3 -i",
    "python, of a script": "python3 -q -X dev -i x.py",
    "pdb": "python3 -m pdb x.py",
    "a breakpoint in a script": "python3 stops.py",
    "ipython": "python3 -m IPython --simple-prompt",
    "ipython, with colours": "python3 -m IPython",
    "a password": "python3 -c 'import getpass; getpass.getpass()'",
    "read": "bash -c 'read x'",
    "sh": "sh",
    "bash": "bash --norc",
    "cat": "cat",
    "su": "su",
    "sudo": "sudo -s",
    "a terminal in a terminal": "script -qc 'bash --norc' /dev/null",
    "psql's kind": "python3 -c 'import readline; input(1)'",
    "less": "less /etc/hostname",
    "a pager of something that is over": "seq 100000 | less",
    "vim": "vim",
    "top": "top -d 0.5",
    "watch": "watch -n 0.5 date",
    "tail": "tail -f /etc/hostname",
    "vmstat": "vmstat 1",
}


@tool("tmux")
@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_that_nobody_types_at_is_no_work(
    rig: LocalRig, desk: Instance, watch: Watch, name: str
) -> None:
    line = PROMPTS[name]
    program = next(word for word in line.split() if word != "seq" and not word.isdigit() and word != "|")
    if rig.ssh(desk, f"command -v {program}", check=False).returncode:
        pytest.skip(f"no {program} here")
    rig.write(desk, "x.py", "print(1)\n")
    rig.write(desk, "stops.py", "breakpoint()\nprint(1)\n")
    with in_a_terminal(rig, desk, line):
        time.sleep(1.0)
        assert rig.ssh(desk, "tmux has-session -t seen", check=False).returncode == 0, "it has ended"
        falls_quiet(watch)


#: They wait, use nothing, and work.
WORKING = {
    "a script": ("python3 waits.py", "", "python3 waits.py runs in a terminal"),
    "a cell": ("python3 -m IPython", "%run waits.py", "python3 -m IPython runs in a terminal"),
    "a pipe whose first end is gone": ("bash --norc", "true | sleep 999", "sleep 999 runs in a terminal"),
    "as another user": ("su -c 'sleep 999'", "", "sleep 999"),
    "a terminal in a terminal": ("script -qc 'sleep 999' /dev/null", "", "sleep 999 runs in a terminal"),
}


@tool("tmux")
@pytest.mark.parametrize("name", WORKING)
def test_what_waits_in_a_terminal_and_reads_no_keys_is_work(
    rig: LocalRig, desk: Instance, watch: Watch, name: str
) -> None:
    line, keys, said = WORKING[name]
    if rig.ssh(desk, f"command -v {line.split()[0]}", check=False).returncode:
        pytest.skip(f"no {line.split()[0]} here")
    rig.write(desk, "waits.py", "import time\ntime.sleep(999)\n")
    with in_a_terminal(rig, desk, line, keys):
        wait_for(lambda: [w for w in works(watch) if said in w], 30)
        time.sleep(2.0)  # it is past its start
        assert [w for w in works(watch) if said in w]


def test_an_upload_that_hardly_computes_is_work(rig: LocalRig, desk: Instance, watch: Watch) -> None:
    """It writes to no file, and what it reads is in memory already."""
    rig.ssh(desk, "head -c 300000 /dev/zero > big")
    sends = (
        "import socket, time\n"
        "a, b = socket.socketpair()\n"
        "while True:\n"
        "    with open('big', 'rb', buffering=0) as file:\n"
        "        while part := file.read(10000):\n"
        "            a.send(part), b.recv(10000), time.sleep(0.2)\n"
    )
    rig.write(desk, "sends.py", sends)
    with at_the_desk(rig, desk, "exec python3 sends.py"):
        assert wait_for(lambda: [w for w in works(watch) if "written or read" in w], 30)
        time.sleep(2.0)
        assert any("written or read" in w for w in works(watch))


def process(proc: Path, pid: int, *, parent: int = 1, own: int = 0, reaped: int = 0) -> None:
    """One of a made-up rented machine's, with processor time in ticks."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    (folder / "cmdline").write_text(f"worker{pid}\0")
    rest = ["S", parent, pid, pid, 0, -1, *[0] * 5, own, 0, reaped, 0, *[0] * 4, 77]
    (folder / "stat").write_text(f"{pid} (worker) {' '.join(map(str, rest))}\n")


def test_the_time_of_a_child_that_has_ended_is_counted_once(tmp_path: Path) -> None:
    """1. A child has computed for an hour. 2. It waits. 3. It ends: its time is its parent's now."""
    hour = 3600 * os.sysconf("SC_CLK_TCK")
    process(tmp_path, 10)
    process(tmp_path, 11, parent=10, own=hour)
    watch = Watch([], now=1000.0, proc=str(tmp_path))
    watch.look(1000.0)
    assert watch.look(1030.0) == []
    shutil.rmtree(tmp_path / "11")
    process(tmp_path, 10, reaped=hour)
    assert watch.look(1060.0) == []
    process(tmp_path, 10, reaped=hour * 2)  # and of children that came and went between two looks, it is
    assert watch.look(1090.0) == ["120.00 cores in use, most by worker10"]


def test_a_clock_that_was_set_back_keeps_no_desk_up(tmp_path: Path) -> None:
    """1. The clock is a day ahead at boot. 2. It is set right. 3. Idle for an hour from then."""
    watch = Watch([], now=86400.0, idle_minutes=60.0, proc=str(tmp_path))
    watch.look(86400.0)
    watch.look(1000.0)
    assert watch.due(1030.0) == (1000.0 + 3600.0, "idle for 60 minutes")


def test_a_kernel_that_nobody_joined_is_work_for_some_minutes(watch: Watch) -> None:
    """It was begun over REST: Jupyter calls it "starting" until somebody speaks with it."""
    [(server, _)] = watch._servers()
    at = json.loads(Path(server).read_text())
    url, who = f"http://127.0.0.1:{at['port']}/api/kernels", {"Authorization": f"token {at['token']}"}
    made = urllib.request.Request(url, data=b"{}", headers=who)
    with urllib.request.urlopen(made, timeout=60) as answer:
        kernel = json.loads(answer.read())["id"]
    now = time.time()
    try:
        [(_, [told])] = watch._servers()
        assert told["execution_state"] == "starting"
        assert "a notebook's kernel is starting" in watch._kernels_at_work(now)
        assert "a notebook's kernel is starting" in watch._kernels_at_work(now + 170)
        assert watch._kernels_at_work(now + 200) == []
    finally:
        gone = urllib.request.Request(f"{url}/{kernel}", method="DELETE", headers=who)
        urllib.request.urlopen(gone, timeout=60).close()


def ready(client: Any) -> bool:
    """Whether a kernel answers. On a busy computer its heart may miss a beat before it does."""
    with contextlib.suppress(RuntimeError):
        client.wait_for_ready(timeout=60)
        return True
    return False


def test_an_executing_kernel_is_work_and_a_waiting_one_is_not(
    rig: LocalRig, desk: Instance, watch: Watch
) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    runtime = rig.disk("blue") / "jupyter" / "runtime"
    [server] = [json.loads(p.read_text()) for p in runtime.glob("jpserver-*.json")]
    made = urllib.request.Request(
        f"http://127.0.0.1:{server['port']}/api/kernels",
        data=b"{}",
        headers={"Authorization": f"token {server['token']}"},
    )
    with urllib.request.urlopen(made, timeout=60) as answer:
        kernel = json.loads(answer.read())["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        wait_for(lambda: ready(client), 120)
        client.kernel_info()  # Jupyter may have missed the first words, and call it "starting" for minutes
        falls_quiet(watch)  # a kernel that waits for a person is no work
        client.execute("import time; time.sleep(600)")
        assert wait_for(lambda: [w for w in works(watch, 1.0) if "kernel is busy" in w], 30)
    finally:
        client.stop_channels()
        url, words = f"{made.full_url}/{kernel}/interrupt", dict(made.header_items())
        urllib.request.urlopen(urllib.request.Request(url, b"{}", words), timeout=60).close()


def test_nobody_elses_processes_count(watch: Watch) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            assert quiet(watch)
        finally:
            busy.kill()


@pytest.mark.parametrize(
    ("group", "uid", "words", "mine"),
    [
        ("/user.slice/user-1000.slice/session-3.scope", 1000, "python train.py", True),
        ("/system.slice/docker-1f2e.scope", 0, "python train.py", True),
        ("/system.slice/ssh.service", 1000, "tmux new-session", True),  # an image without pam_systemd
        ("/system.slice/ssh.service", 0, "python train.py", True),  # the same, with sudo
        ("/system.slice/cron.service", 1000, "python train.py", True),
        ("/system.slice/ssh.service", 0, "sshd: /usr/sbin/sshd -D", False),
        ("/system.slice/cron.service", 0, "/usr/sbin/cron -f", False),
        ("/system.slice/systemd-timesyncd.service", 100, "systemd-timesyncd", False),
        ("/system.slice/hotdesk-jupyter.service", 1000, "python -m ipykernel_launcher", True),
        ("/system.slice/hotdesk-jupyter.service", 1000, "python -m jupyterlab", False),
        ("/init.scope", 0, "/sbin/init", False),
        ("/", 0, "", False),
    ],
)
def test_whose_processes_count_on_a_rented_machine(
    tmp_path: Path, group: str, uid: int, words: str, mine: bool
) -> None:
    process = tmp_path / "77"
    process.mkdir()
    (process / "cgroup").write_text(f"0::{group}\n")
    (process / "status").write_text(f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (process / "cmdline").write_text("\0".join([*words.split(), ""]))
    (process / "stat").write_text("77 (x) S 1 77 77 0 -1" + " 0" * 40)
    runtime = tmp_path / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True)  # a server writes down its own number; a later process may have that too
    (runtime / "jpserver-77.json").write_text('{"pid": 77}')
    watch = Watch([str(tmp_path)], now=1000.0, proc=str(tmp_path))
    watch._processes(0.0)
    assert bool(watch.there) is mine


# ---- when it is due ------------------------------------------------------------------------------------


def told(home: Path, name: str, words: str, at: float) -> None:
    (home / ".hotdesk").mkdir(exist_ok=True)
    (home / ".hotdesk" / name).write_text(words)
    os.utime(home / ".hotdesk" / name, (at, at))


def test_limits_by_the_files_own_time(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)], mark="nobody", now=1000.0)
    assert watch.due(1e9) is None
    told(tmp_path, "leave", '{"idle_minutes": 45}', 1000)
    assert watch.due(1001) == (1000 + 45 * 60, "idle for 45 minutes")
    told(tmp_path, "leave", '{"idle_minutes": 45, "lease_seconds": 600}', 2000)
    assert watch.due(2001)[0] == 2600  # type: ignore[index]
    told(tmp_path, "leave", '{"idle_minutes": 45, "lease_seconds": 600}', 3000)  # renewed
    assert watch.due(3001)[0] == 3600  # type: ignore[index]
    told(tmp_path, "stay", "7200", 3100)
    assert watch.due(3200)[0] == 3100 + 7200  # type: ignore[index]
    told(tmp_path, "leave", '{"idle_minutes": 0, "stop_seconds": 900}', 3000)  # the hard end stands
    assert watch.due(3200) == (3900, "deadline: it was to end now, whatever it does")


def test_what_an_image_brought_along_ends_nothing_at_once(tmp_path: Path) -> None:
    told(tmp_path, "leave", '{"lease_seconds": 600, "stop_seconds": 900, "idle_minutes": 30}', 1000)
    watch = Watch([str(tmp_path)], mark="nobody", now=90_000.0)
    assert watch.due(90_001) == (90_000 + 1800, "idle for 30 minutes")


@pytest.mark.parametrize(
    "words", ["", "[]", "nan", '{"idle_minutes": "x"}', '{"idle_minutes": -5}', "\0\xff"]
)
def test_a_damaged_file_ends_nothing(tmp_path: Path, words: str) -> None:
    told(tmp_path, "leave", words, 1000)
    told(tmp_path, "stay", words, 1000)
    assert Watch([str(tmp_path)], mark="nobody", now=1000.0).due(1e9) is None


def test_it_warns_first_and_takes_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every terminal hears of it, and the folder that Jupyter shows; work takes it back."""
    leader, terminal = pty.openpty()
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(os.read(leader, 4000)), daemon=True)
    told(tmp_path, "leave", '{"idle_minutes": 10}', 1000)
    watch = Watch([str(tmp_path)], mark="nobody", now=1000.0)
    monkeypatch.setattr(watch, "_terminals", lambda: {os.ttyname(terminal)})
    assert watch.turn(1200) == ""
    assert not list(tmp_path.glob("THIS-DESK*"))
    reader.start()
    assert watch.turn(1301) == ""
    reader.join(10)
    assert b"stops at" in heard[0]
    assert b"hotdesk stay 2h" in heard[0]
    assert len(list(tmp_path.glob("THIS-DESK*"))) == 1
    told(tmp_path, "stay", "3600", 1302)
    assert watch.turn(1303) == ""
    assert not list(tmp_path.glob("THIS-DESK*"))
    assert watch.turn(1302 + 3601) == ""  # nobody has looked, and so nobody has warned: that comes first
    assert len(list(tmp_path.glob("THIS-DESK*"))) == 1
    assert watch.turn(1302 + 3631) == "idle for 10 minutes"
    os.close(leader)
    os.close(terminal)


@pytest.mark.parametrize(
    ("limit", "postpones"),
    [("lease_seconds", "hotdesk stay 2h"), ("stop_seconds", "hotdesk up NAME --until 2h")],
)
def test_what_ends_work_warns_first_and_says_what_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, postpones: str
) -> None:
    """1. Something works. 2. Five minutes before a lease or the hard end everybody is told how that is
    postponed. 3. Nobody does: it ends, and the reason names what was at work."""
    watch = Watch([str(tmp_path)], mark="nobody", now=1000.0)
    monkeypatch.setattr(watch, "_processes", lambda seconds: ["python train.py runs in a terminal"])
    told(tmp_path, "leave", json.dumps({"idle_minutes": 10, limit: 3600}), 1000)
    assert watch.turn(1000 + 3299) == ""
    assert not list(tmp_path.glob("THIS-DESK*"))
    assert watch.turn(1000 + 3301) == ""
    [note] = tmp_path.glob("THIS-DESK*")
    assert postpones in note.read_text()
    assert watch.turn(1000 + 3599) == ""
    assert watch.turn(1000 + 3601).endswith("; python train.py runs in a terminal")


def test_what_it_sees_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "RUN", str(tmp_path / "run"))
    watch = Watch([str(tmp_path)], now=1000.0, proc=str(tmp_path))
    assert watch.turn(1060.0) == "", "no limit applies"
    idle._keep(watch)
    line = subprocess.run(
        ["sh", "-c", idleness.ASK],
        env={**os.environ, "HOTDESK_RUN": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    told = idleness.read(line)
    assert told is not None
    assert told.seconds == 60.0
    assert told.age_seconds > 1e9, "by the clock of who is asked"


@pytest.mark.parametrize("line", ["", "worked  1700000000", "worked 1 2", "worked x 2 3", "worked 1 2 3 4"])
def test_what_no_watch_has_said_is_not_known(line: str) -> None:
    assert idleness.read(line) is None
    assert idleness.read("worked 40 100 130") == Idle(seconds=60, age_seconds=30)
    assert idleness.read("worked 100 40 30") == Idle(seconds=0), "a clock that was set back"
    assert Idle.read(5, 0, 9) is None


def test_a_machine_that_slept_past_its_end_warns_before_it_acts(tmp_path: Path) -> None:
    told(tmp_path, "leave", '{"lease_seconds": 3600}', 1000)
    watch = Watch([str(tmp_path)], mark="nobody", now=1000.0)
    assert watch.turn(1030) == ""
    assert watch.turn(90_000) == ""  # it woke up just now
    assert list(tmp_path.glob("THIS-DESK*"))
    assert watch.turn(90_030).startswith("its lease has ended")


def test_it_costs_next_to_nothing() -> None:
    """Under 0.5 % of one core at two looks a minute, and under 30 MB, as a process of its own."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import idle as i, http.client\n"
        "w = i.Watch([], mark='nobody'); w.look()\n"
        "t = time.process_time()\nfor _ in range(5): w.look()\n"
        "high = [s for s in open('/proc/self/status') if s.startswith('VmHWM')][0].split()[1]\n"
        "print((time.process_time() - t) / 5, int(high) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(idle.__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes = map(float, done.stdout.split())
    print(seconds / idle.LOOK_SECONDS, megabytes)
    assert seconds / idle.LOOK_SECONDS < 0.005
    assert megabytes < 30


# ---- the whole way -------------------------------------------------------------------------------------


def test_an_idle_desk_parks_itself_and_comes_back(hotdesk: Command, tmp_path: Path) -> None:
    up = hotdesk("up", "blue", "--idle", "never", HOTDESK_LOOK_SECONDS="0.5")
    assert up.returncode == 0, up.stderr
    assert hotdesk("ssh", "blue", "--", "echo precious > work.txt; sync").returncode == 0

    def idle_seconds(*words: str) -> float:
        found = json.loads(hotdesk(*words, "--json").stdout)
        one = found if isinstance(found, dict) else found[0]
        assert one["idle_at"] is None or abs(time.time() - one["idle_at"]) < 60
        return float(one["idle_seconds"] or 0)

    wait_for(lambda: idle_seconds("ls") > 0, 60)  # that is known where no limit ends it, too
    assert "never parks by itself" in hotdesk("show", "blue").stdout
    assert hotdesk("stay", "blue", "1h").returncode == 0
    assert hotdesk("up", "blue", "--idle", "0.1").returncode == 0
    time.sleep(9)
    [row] = json.loads(hotdesk("ls", "--json").stdout)
    assert (row["phase"], row["idle"]) == ("ready", "0.1 min")
    wait_for(lambda: idle_seconds("ls") > 4, 60)
    assert re.search(r"idle +(for \d+ s|no), parks after 0.1 min", hotdesk("show", "blue").stdout)
    assert re.search(r"(\d+ s|no) \(0.1 min\)", hotdesk("ls").stdout)  # at half a second, a login is work
    assert hotdesk("stay", "blue", "--off").returncode == 0

    def phase() -> str:
        return str(json.loads(hotdesk("ls", "--json").stdout)[0]["phase"])

    wait_for(lambda: phase() == "parked", 90)  # `ls` itself, the next command, has begun the parking
    log = json.loads(hotdesk("log", "blue", "--json").stdout)
    [left] = [r for r in log if r["step"] == "leave"]
    assert left["why"] == "idle for 0.1 minutes"
    assert hotdesk("up", "blue", "--idle", "never").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat work.txt").stdout == "precious\n"
