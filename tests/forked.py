"""hotdesk's command line in forks of a process that has loaded it, and the libraries of the clouds.

Loading takes most of the processor time of a short command, and the tests type thousands. A fork is a process
with its own environment, folder and streams, and it ends as any other. What depends on how Python was started
(its encoding, its path, what is loaded and what is not) is tested with a start of it: by what calls
`subprocess` itself, and by everything with HOTDESK_STARTS=1.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

SOURCE = Path(__file__).parents[1] / "src"
#: Read by Python when it starts, or when it is loaded.
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "SSL_", "OPENSSL_")


# ---- who types ---------------------------------------------------------------------------------------------


def run(
    words: Sequence[str], environment: Mapping[str, str], cwd: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """`python -m hotdesk WORDS` with nothing to read, its output captured, as `subprocess.run` does it."""
    if environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):  # else it is the test's own
        environment = {**environment, "PYTHONPATH": str(SOURCE)}
    argv = [sys.executable, "-m", "hotdesk", *words]
    if "HOTDESK_STARTS" in os.environ or _at_start(environment) != _ours():
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
            cwd=cwd,
        )  # fmt: skip
    request = json.dumps([list(words), dict(environment), str(cwd or Path.cwd())]).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(_server())
        out, err = _Read(), _Read()
        socket.send_fds(line, [len(request).to_bytes(4, "big")], [out.end, err.end])
        out.begin()
        err.begin()
        line.sendall(request)
        pid = int.from_bytes(_exactly(line, 4), "big")
        line.settimeout(timeout)
        try:
            status = int.from_bytes(_exactly(line, 4), "big", signed=True)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(argv, timeout, out.text(), err.text()) from None
    return subprocess.CompletedProcess(argv, status, out.text(), err.text())


class _Read:
    """What is written into a pipe, read as it comes until nobody has its other end."""

    def __init__(self) -> None:
        self._ours, self.end = os.pipe()
        self._said: list[bytes] = []
        self._thread = threading.Thread(target=self._all, daemon=True)

    def begin(self) -> None:
        os.close(self.end)
        self._thread.start()

    def _all(self) -> None:
        while part := os.read(self._ours, 1 << 16):
            self._said.append(part)
        os.close(self._ours)

    def text(self) -> str:
        self._thread.join()
        return b"".join(self._said).decode().replace("\r\n", "\n")


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


@functools.cache
def _ours() -> dict[str, str]:
    """What the server is started with; nothing of a test, which may look for its secrets in processes."""
    return _at_start({**os.environ, "PYTHONPATH": str(SOURCE)})


@functools.cache
def _server() -> bytes:
    """The address of this process's own server, which ends with it."""
    ours, theirs = socket.socketpair()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(b"\0hotdesk-tests-%d" % os.getpid())
    listening.listen(16)
    with theirs, listening:
        served = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(listening.fileno()), str(theirs.fileno())],
            env={**_ours(), "PATH": os.environ["PATH"]}, cwd=Path(__file__).parents[1],
            pass_fds=[listening.fileno(), theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        atexit.register(lambda: (ours.close(), served.wait()))
        address: bytes = listening.getsockname()
        return address


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = line.recv(size - len(found))
        if not part:
            raise ConnectionError("the server of forks has ended")
        found += part
    return found


# ---- who is forked -----------------------------------------------------------------------------------------


def serve(listening: socket.socket, owner: socket.socket) -> None:
    """Fork for whoever connects, and tell how each ended, until the owner has gone. Returns in a fork."""
    _load()
    ends: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that is readable when it has ended
    with selectors.DefaultSelector() as ready:
        ready.register(listening, select.POLLIN)
        ready.register(owner, select.POLLIN)
        while True:
            for key, _ in ready.select():
                if key.fileobj is owner:
                    os._exit(0)
                if key.fileobj is listening:
                    line = listening.accept()[0]
                    head, streams, _, _ = socket.recv_fds(line, 4, 2)
                    words, environment, cwd = json.loads(_exactly(line, int.from_bytes(head, "big")))
                    if not (pid := os.fork()):
                        ready.close()
                        for one in (listening, owner, line, *(waiting for _, waiting in ends.values())):
                            one.close()
                        for end in ends:
                            os.close(end)
                        return _become(words, environment, cwd, streams)
                    for stream in streams:
                        os.close(stream)
                    line.sendall(pid.to_bytes(4, "big"))
                    end = os.pidfd_open(pid)
                    ends[end] = pid, line
                    ready.register(end, select.POLLIN)
                    continue
                end = key.fd
                pid, line = ends.pop(end)
                ready.unregister(end)
                os.close(end)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), line:
                    line.sendall(code.to_bytes(4, "big", signed=True))


def _load() -> None:
    """What commands load, so far as it is installed, and what botocore reads for each client."""
    import hotdesk

    for module in pkgutil.walk_packages(hotdesk.__path__, "hotdesk."):
        if not {"guest", "__main__"}.intersection(module.name.split(".")):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    with contextlib.suppress(ImportError):
        from botocore.session import Session  # type: ignore[import-untyped]

        from hotdesk.providers.aws.session import share_models

        session = Session()
        session.set_credentials("none", "none")
        share_models(session)
        for service in ("ec2", "sts", "ssm", "pricing", "service-quotas", "iam"):
            session.create_client(service, region_name="us-east-1")
    gc.collect()
    gc.freeze()


def _become(words: list[str], environment: dict[str, str], cwd: str, streams: Sequence[int]) -> None:
    """This process as if it had been started with these."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout = sys.__stdout__ = _text(1, sys.stdout)
    sys.stderr = sys.__stderr__ = _text(2, sys.stderr)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = ["", *words]


def _text(number: int, like: TextIO) -> TextIO:
    """The stream as Python opens it, which knows a pipe from what the server had."""
    return open(
        number,
        "w",
        buffering=1 if number == 2 else -1,
        encoding=like.encoding,
        errors=like.errors,
        closefd=False,
    )


def _end(status: int) -> None:
    """As Python ends, but for what it tears down, which takes longer than a short command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
    try:
        runpy.run_module("hotdesk", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _end(ended.code)
        raise
    _end(0)
