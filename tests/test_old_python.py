"""The programs that are sent to a machine run there with the Python of its image: 3.8 and later.

Amazon Linux 2023 keeps Python 3.9 "for the life of AL2023" (its user guide), Ubuntu 20.04 has 3.8. A program
that does not parse there leaves a machine which nothing ends.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from hotdesk.connect.job_runner import packed_runner
from hotdesk.guest.one_file import source
from hotdesk.services import bench_sent
from hotdesk.sweep.machine import packed as sweep_packed

OLDEST = (3, 8)


#: They run on this side, and write what is sent.
OURS = {"__init__", "jupyter", "cloud_init", "one_file", "plain_user_data"}


#: They are made one file each.
WHOLE = {"agent", "idle", "driver", "ending", "economical", "mirrors"}


def modules() -> dict[str, Path]:
    return {path.stem: path for path in Path(str(files("hotdesk.guest"))).glob("*.py")}


@functools.cache
def sent() -> dict[str, str]:
    """Everything of ours that a machine's own Python reads: modules, and the files they are packed in."""
    programs = {name: path.read_text("utf-8") for name, path in modules().items() if name not in OURS}
    programs |= {name: source(name) for name in WHOLE}
    for packed in (packed_runner()[1], bench_sent.packed(), sweep_packed()[1]):
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            programs |= {name: archive.read(name).decode() for name in archive.namelist()}
    return programs


@pytest.mark.parametrize("name", sorted(modules().keys() - OURS))
def test_what_is_sent_parses_with_the_oldest_python(name: str) -> None:
    ast.parse(sent()[name], name, feature_version=OLDEST)


def test_what_is_packed_parses_with_the_oldest_python() -> None:
    for name in sent().keys() - modules().keys():
        ast.parse(sent()[name], name, feature_version=OLDEST)


# ---- and they run ------------------------------------------------------------------------------------


def _interpreters() -> dict[str, str]:
    """Older Pythons of this computer, by version: on the PATH or below pyenv's folder."""
    found = {}
    for minor in range(OLDEST[1], 11):
        version = f"3.{minor}"
        places = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
        for place in [*map(str, places), shutil.which(f"python{version}")]:
            ask = [place, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if place and version == subprocess.run(ask, capture_output=True, text=True).stdout.strip():
                found[version] = place
                break
    return found


@pytest.fixture(params=["3.8", "3.9", "3.10"])
def python(request: pytest.FixtureRequest) -> str:
    """An older Python, where this computer has it."""
    found = _interpreters().get(request.param)
    if not found:
        pytest.skip(f"there is no Python {request.param} here")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".hotdesk").mkdir(parents=True)
    for name, text in sent().items():
        if "/" not in name:
            (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def _environment(place: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "home"),
        "HOTDESK_HOMES": str(place / "home"),
        "HOTDESK_RUN": str(place / "run"),
        "HOTDESK_LIB": str(place / "lib"),
        "HOTDESK_ROOT": str(place / "root"),
        "HOTDESK_CLOUD": str(place / "no-cloud-init"),
        "HOTDESK_PCI": str(place / "pci"),
        "HOTDESK_IMDS": "http://127.0.0.1:9",
        "HOTDESK_JUPYTER": "http://127.0.0.1:9",
        "HOTDESK_TERMINALS": "/nowhere",
        "HOTDESK_POLL_SECONDS": "0.05",
        "HOTDESK_LOOK_SECONDS": "0.1",
        **more,
    }


def _run(python: str, place: Path, *words: str, given: str = "", **more: str) -> str:
    done = subprocess.run(
        [python, "-I", "-S", *words],
        input=given,
        env=_environment(place, **more),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_agent_runs_there(python: str, place: Path) -> None:
    agent = str(place / "agent.py")
    (place / "home" / "work.txt").write_text("work")
    _run(python, place, agent, "manifest")
    assert json.loads(_run(python, place, agent, "compare"))["same"] is True
    _run(python, place, agent, "warm")
    told = json.loads(_run(python, place, agent, "report"))
    assert told["warm"]["done"]
    watching = subprocess.Popen([python, "-I", "-S", agent, "run"], env=_environment(place))
    try:
        while not _hears_sigterm(watching.pid):
            assert watching.poll() is None
            time.sleep(0.02)
    finally:
        watching.terminate()
    assert watching.wait(60) == 0


def _hears_sigterm(pid: int) -> bool:
    """Whether a process handles SIGTERM by now (proc(5), SigCgt)."""
    told = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in told.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << (signal.SIGTERM - 1))


def test_the_idle_watch_ends_a_machine_there(python: str, place: Path) -> None:
    """The last line of defence for money: with a limit that is over, it says `shutdown`."""
    (place / "bin").mkdir()
    (place / "bin" / "shutdown").write_text(f'#!/bin/sh\necho "$@" > {place}/shut\n')
    (place / "bin" / "shutdown").chmod(0o755)
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import idle;"
        f"idle.homes = lambda: [{str(place / 'home')!r}]; idle.CPU_SHARE = 1e9;"
        "sys.exit(idle.main(['run']))"
    )
    (place / "home" / ".hotdesk" / "leave").write_text('{"stop_seconds": 1}')
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    assert "deadline" in _run(python, place, "-c", code, PATH=path)
    assert "-h now" in (place / "shut").read_text()
    assert set(json.loads(_run(python, place, str(place / "idle.py"), "look"))) == {"works", "due"}


def test_the_drivers_program_and_the_look_at_scratch_disks_run_there(python: str, place: Path) -> None:
    for folder in ("run/hotdesk", "var/lib/hotdesk"):
        (place / "root" / folder).mkdir(parents=True)
    _run(python, place, str(place / "driver.py"), "run")
    assert json.loads((place / "root/run/hotdesk/driver.json").read_text())["state"] == "none"
    assert isinstance(json.loads(_run(python, place, "-", given=sent()["scratch"])), list)


def test_a_job_runs_there(python: str, place: Path) -> None:
    name, packed = packed_runner()
    (place / name).write_bytes(packed)
    (place / "home" / "kept").mkdir()
    id_ = f"job-{uuid.uuid4().hex[:8]}"  # a job's processes are found by it, on the whole computer
    order = {
        "id": id_,
        "attempt": 1,
        "command": ["echo half > kept/state; sleep 1.5; echo done"],
        "folder": ".",
        "checkpoint": "kept",
    }
    # A session of its own, and no tmux: a server of the person's who tests would run it in its own world.
    without = {"PATH": _without_tmux(place)}
    _run(python, place, str(place / name), "begin", given=json.dumps(order), **without)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        [job] = json.loads(_run(python, place, str(place / name), "look"))["jobs"]
        if job["phase"] == "ended" and not job["alive"]:
            break
        time.sleep(0.1)
    assert (job["phase"], job["exit_status"], job["last_line"]) == ("ended", 0, "done")
    assert job["checkpoints"] >= 1
    assert _run(python, place, str(place / name), "log", id_, "0").endswith("done\n")


def _without_tmux(place: Path) -> str:
    (place / "bin").mkdir(exist_ok=True)
    for word in ("sh", "sleep", "echo"):
        (place / "bin" / word).symlink_to(str(shutil.which(word)))
    return str(place / "bin")


@pytest.fixture
def behind() -> Iterator[int]:
    """Something that listens, and answers one line with another."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as caller:
                caller.sendall(b"heard " + caller.recv(100))

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def test_what_serves_jupyter_in_public_runs_there(python: str, place: Path, behind: int) -> None:
    import ssl

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        f"import sys, asyncio; sys.path.insert(0, {str(place)!r}); import tls_proxy;"
        f"tls_proxy._become_nobody = lambda: None; tls_proxy.certificate('name', {str(place / 'tls')!r});"
        f"asyncio.run(tls_proxy.serve('127.0.0.1', {port}, ('127.0.0.1', {behind}), {str(place / 'tls')!r}))"
    )
    server = subprocess.Popen([python, "-I", "-S", "-c", code], env=_environment(place))
    try:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        until = time.monotonic() + 30
        while True:
            try:
                with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as caller:
                    caller.sendall(b"hello")
                    assert caller.recv(100) == b"heard hello"
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        server.terminate()
        server.wait(10)


def test_the_measuring_program_runs_there(python: str, place: Path) -> None:
    job = "sh -c 'for i in $(seq 20); do echo step $i; sleep 0.05; done'"
    done = subprocess.run(
        [python, "-c", bench_sent.LOADER, "--json", "--cmd", job, "--step-regex", r"step (\d+)"],
        input=bench_sent.packed(),
        env=_environment(place),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["problems"] == []


def test_the_python_of_this_project_is_no_older_one() -> None:
    assert sys.version_info[:2] > OLDEST
