#!/usr/bin/env python3
"""The resident runner of a sweep on one machine; all state is on the machine's disk.

sweep_runner.py serve ID < ORDER   make sure that it runs; the same order again changes nothing
sweep_runner.py look ID            what runs here, as JSON
sweep_runner.py known ID < TASKS   what became of these tasks; what an earlier epoch asked for is refused
sweep_runner.py begin ID < ORDERS   begin a cluster's run here, and return
sweep_runner.py notice             the machine is about to go: ask the tasks of all sweeps for a checkpoint
sweep_runner.py cancel ID < TASKS  end these tasks' attempts up to a number
sweep_runner.py log ID TASK OFFSET what a task has said from this byte on
sweep_runner.py ray < LOCK         where Python with Ray is here, as JSON; it is installed if it is missing
sweep_runner.py stop ID            end everything here, and wait until it has ended
sweep_runner.py engine ID          the engine, over standard input and output (ray_engine.py)
sweep_runner.py work ID            (inside) be it

Everything is in ~/.hotdesk/sweeps/ID: `order.json`, `begun.jsonl`, `project/` (as it was pushed), `work/` (a
folder for each task), `out/` (logs and results), `saved/` (copies of checkpoints, to be fetched), `given/`
(those from which attempts go on), `runner.lock`, which the runner holds as long as it lives.
It answers on a socket: one line of JSON asks, and lines answer; a request to run a batch is answered as each
attempt ends, and where the asker has gone, the rest of the batch is not begun.

The standard library only, for Python 3.8 and later, from a zip file with its imports (sweep/machine.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from hotdesk.guest.ray_node import RayNode, has_dashboard
from hotdesk.guest.sweep_attempts import Attempts, label
from hotdesk.guest.sweep_checkpoints import LOOK_SECONDS as KEEP_SECONDS
from hotdesk.guest.sweep_processes import available_bytes

HOME = os.path.expanduser("~")
START_SECONDS = 20.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 1.0  # between two looks at memory and at what tasks have left behind
NOTICE_SECONDS = 300.0  # within which a machine goes after its notice
LOW_SHARE = 0.04  # of the machine's memory: with less left, the greatest task is ended


def path(id_: str, *names: str) -> str:
    return os.path.join(HOME, ".hotdesk", "sweeps", id_, *names)


# ---- as a command ------------------------------------------------------------------------------------


def serve(id_: str) -> int:
    """Write the order down, and start the runner unless it runs."""
    order = json.load(sys.stdin)
    os.makedirs(path(id_, "project"), mode=0o700, exist_ok=True)
    token = os.open(path(id_, "token"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(token, "w") as file:
        file.write(order.pop("token"))
    secrets = json.dumps(order.pop("secrets", {})).encode()  # to the runner's memory, through a pipe
    with open(path(id_, "order.new"), "w", encoding="utf-8") as file:
        json.dump(order, file, sort_keys=True)
    os.replace(path(id_, "order.new"), path(id_, "order.json"))
    until = time.monotonic() + START_SECONDS
    while not held(id_):
        argv = [sys.executable, os.path.abspath(sys.argv[0]), "work", id_]
        log = os.open(path(id_, "runner.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        runner = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip
        os.close(log)
        assert runner.stdin is not None
        with contextlib.suppress(BrokenPipeError), runner.stdin:  # another was faster
            runner.stdin.write(secrets)
        while time.monotonic() < until and not held(id_):
            time.sleep(0.02)
        break
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps(ask(id_, {"verb": "look"})))
            return 0
        time.sleep(0.05)
    with contextlib.suppress(OSError), open(path(id_, "runner.log"), encoding="utf-8") as file:
        sys.stderr.write((file.read().strip().splitlines() or ["it does not start"])[-1])
    return 75


def held(id_: str) -> bool:
    """Whether the runner lives."""
    try:
        with open(path(id_, "runner.lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def ask(id_: str, request: dict[str, Any]) -> Any:
    """One answer of the runner. Raises `OSError` where there is none."""
    with open(path(id_, "socket"), encoding="utf-8") as file:
        where = file.read()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(STOP_SECONDS)
        client.connect(where)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as answer:
            return json.loads(answer.readline())


def notice() -> int:
    sweeps = path("")
    for id_ in os.listdir(sweeps) if os.path.isdir(sweeps) else ():
        if held(id_):
            with contextlib.suppress(OSError, ValueError):
                ask(id_, {"verb": "notice"})
    return 0


def stop(id_: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        ask(id_, {"verb": "stop"})
    until = time.monotonic() + STOP_SECONDS
    while held(id_) and time.monotonic() < until:
        time.sleep(0.05)
    return 75 if held(id_) else 0


def log(id_: str, task: int, offset: int) -> int:
    with contextlib.suppress(FileNotFoundError), open(path(id_, "out", label(task) + ".log"), "rb") as file:
        file.seek(offset)
        while chunk := file.read(65536):
            os.write(1, chunk)
    return 0


# ---- as a process ------------------------------------------------------------------------------------


class Runner:
    def __init__(self, id_: str, secrets: dict[str, str]) -> None:
        self.id = id_
        with open(path(id_, "order.json"), encoding="utf-8") as file:
            self.order = json.load(file)
        self.order["environment"] = {**self.order.get("environment", {}), **secrets}
        self.environment = _login_environment()
        self.attempts = Attempts(path(id_), self.order, self.environment)
        self.over = threading.Event()
        self.noticed_at = float("-inf")
        # A short folder of its own: a socket's path has at most 107 bytes, and a desk's home may have more.
        with contextlib.suppress(OSError), open(path(id_, "socket"), encoding="utf-8") as file:
            before = os.path.dirname(file.read())  # of a runner that was killed
            if before.startswith("/tmp/hd-"):
                shutil.rmtree(before, ignore_errors=True)
        self.temp = tempfile.mkdtemp(prefix="hd-", dir="/tmp")
        self.socket = os.path.join(self.temp, "runner")
        if self.order.get("own"):  # the desk's own Ray, if it has one
            self.order["python"] = shutil.which("ray", path=self.environment.get("PATH")) or ""
        told = dict(
            self.environment, HOTDESK_SWEEP_SOCKET=self.socket, HOTDESK_SWEEP_MACHINE=self.order["machine"]
        )
        self.ray = RayNode(path(id_), self.order, told, 1)

    def live(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda got, frame: self.over.set())
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.socket)
            server.listen(512)
            with open(path(self.id, "socket.new"), "w", encoding="utf-8") as file:
                file.write(self.socket)
            os.replace(path(self.id, "socket.new"), path(self.id, "socket"))
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            threading.Thread(target=self._keep, daemon=True).start()
            if self.order.get("python"):
                self.ray.start()
            low = LOW_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            # Whoever deletes the folder wants none of it: Ray would be started for ever.
            while not self.over.wait(LOOK_SECONDS) and os.path.exists(path(self.id, "order.json")):
                self.attempts.tidy()
                self.attempts.relieve(available_bytes(), int(low))
        self._leave()

    def _keep(self) -> None:
        while not self.over.wait(KEEP_SECONDS):
            self.attempts.keep()

    def _leave(self) -> None:
        going = {item["task"]: item["attempt"] for item in self.attempts.look()}
        self.attempts.cancel(going)
        self.ray.stop()
        until = time.monotonic() + STOP_SECONDS / 2
        while self.attempts.look() and time.monotonic() < until:
            time.sleep(0.05)
        shutil.rmtree(self.temp, ignore_errors=True)

    def _accept(self, server: socket.socket) -> None:
        while True:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as said, contextlib.suppress(OSError, ValueError):
            request = json.loads(said.readline())
            verb = request["verb"]
            if verb == "run":
                for order in request["orders"]:
                    found = self.attempts.run(order)
                    client.sendall(json.dumps(found).encode() + b"\n")
                    if _has_left(client):
                        return
                return
            answer: Any = {"ok": True}
            if verb == "look":
                answer = {"machine": self.order["machine"], "running": self.attempts.look()}
                answer["engine_failures"], answer["engine_why"] = self.ray.failures, self.ray.why
                answer["engine"] = bool(self.order.get("python"))
                answer["dashboard"] = bool(self.order.get("own")) and has_dashboard(self.order["python"])
                answer["ready"] = not answer["engine"] or self.ray.ready()
                answer["going"] = time.monotonic() - self.noticed_at < NOTICE_SECONDS
                answer.update(self.attempts.kept())
            elif verb == "known":
                tasks = {int(task): number for task, number in request["tasks"].items()}
                answer = {"machine": self.order["machine"], **self.attempts.known(request["epoch"], tasks)}
            elif verb == "begin":
                for order in request["orders"]:
                    order["environment"] = {**self.ray.address(), **order["environment"]}
                    threading.Thread(target=self.attempts.run, args=(order,), daemon=True).start()
            elif verb == "cancel":
                self.attempts.cancel({int(task): number for task, number in request["tasks"].items()})
            elif verb == "notice":
                self.noticed_at = time.monotonic()
                self.attempts.notice(signal.SIGUSR1, NOTICE_SECONDS)
            elif verb == "stop":
                self.over.set()
            client.sendall(json.dumps(answer).encode() + b"\n")


def _has_left(client: socket.socket) -> bool:
    """Whether the asker has closed its end."""
    try:
        return client.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def _login_environment() -> dict[str, str]:
    """The environment of a login shell at this desk, as `hotdesk run` gives it to a job."""
    line = '[ -r "${HOTDESK_START:=/etc/profile.d/hotdesk.sh}" ] && . "$HOTDESK_START"; env -0 >&3'
    shell = shutil.which("bash") or "/bin/sh"
    read, write = os.pipe()
    os.set_inheritable(write, True)
    null = subprocess.DEVNULL
    argv = [shell, "-lc", f"exec 3>&{write}; {line}"]
    with subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, pass_fds=[write]):
        os.close(write)
        with os.fdopen(read, "rb") as file:
            items = [item.partition(b"=") for item in file.read().split(b"\0") if b"=" in item]
    found = {os.fsdecode(name): os.fsdecode(value) for name, _, value in items}
    return found or dict(os.environ)


def work(id_: str) -> int:
    lock = os.open(path(id_, "runner.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another was faster
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what tasks leave comes to us
    Runner(id_, json.loads(sys.stdin.read() or "{}")).live()
    return 0


def main(words: list[str]) -> int:
    verb, given = (words[0] if words else ""), words[1:]
    if verb == "serve":
        return serve(given[0])
    if verb == "look":
        print(json.dumps(ask(given[0], {"verb": "look"})))
        return 0
    if verb in {"begin", "cancel", "known"}:
        print(json.dumps(ask(given[0], {"verb": verb, **json.load(sys.stdin)})))
        return 0
    if verb == "ray":
        from hotdesk.guest import ray_install

        print(json.dumps(ray_install.find(sys.stdin.read(), _login_environment())))
        return 0
    if verb == "notice":
        return notice()
    if verb == "log":
        return log(given[0], int(given[1]), int(given[2]))
    if verb == "stop":
        return stop(given[0])
    if verb == "work":
        return work(given[0])
    if verb == "engine":
        from hotdesk.guest import ray_engine

        return ray_engine.main(path(given[0]))
    print(__doc__)
    return 2
