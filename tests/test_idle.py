"""Leaving by itself: what counts as work, who is warned, and a real desk that parks itself."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.core.model import Instance
from hotdesk.machine import idle
from hotdesk.machine.idle import Watch
from tests.conftest import Command
from tests.local_rig import LocalRig, rig_in, tool, wait_for

pytestmark = [tool("ssh"), pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")]


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


# ---- what is work --------------------------------------------------------------------------------------


def test_an_untouched_desk_with_jupyter_is_idle(watch: Watch) -> None:
    assert quiet(watch)


def test_computing_is_work(rig: LocalRig, desk: Instance, watch: Watch) -> None:
    with at_the_desk(rig, desk, "while :; do :; done"):
        assert any("cores in use" in w for w in works(watch))


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
        wait_for(lambda: quiet(watch), 30)
        rig.ssh(desk, "tmux new-session -d -s job 'sleep 1000'")
        assert any("sleep runs in a terminal" in w for w in works(watch))
        rig.ssh(desk, "tmux kill-session -t job; tmux new-session -d -s shown 'less /etc/hostname'")
        wait_for(lambda: quiet(watch), 30)
    finally:
        rig.ssh(desk, "tmux kill-server", check=False)


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
        client.wait_for_ready(timeout=60)
        wait_for(lambda: quiet(watch), 60)  # a kernel that waits for a person is no work
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
    assert Watch([], now=1000.0, proc=str(tmp_path))._is_mine("77") is mine


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
    assert watch.turn(1302 + 3601) == "idle for 10 minutes"
    os.close(leader)
    os.close(terminal)


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
    up = hotdesk("up", "blue", "--idle", "0.1", HOTDESK_LOOK_SECONDS="0.5")
    assert up.returncode == 0, up.stderr
    assert hotdesk("ssh", "blue", "--", "echo precious > work.txt; sync").returncode == 0
    assert hotdesk("stay", "blue", "1h").returncode == 0
    time.sleep(9)
    [row] = json.loads(hotdesk("ls", "--json").stdout)
    assert (row["phase"], row["idle"]) == ("ready", "0.1 min")
    assert hotdesk("stay", "blue", "--off").returncode == 0

    def phase() -> str:
        return str(json.loads(hotdesk("ls", "--json").stdout)[0]["phase"])

    wait_for(lambda: phase() == "parked", 90)  # `ls` itself, the next command, has begun the parking
    log = json.loads(hotdesk("log", "blue", "--json").stdout)
    [left] = [r for r in log if r["step"] == "leave"]
    assert left["why"] == "idle for 0.1 minutes"
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat work.txt").stdout == "precious\n"
