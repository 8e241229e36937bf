"""hotdesk's command line in forks of a process that has loaded it, and the libraries of the clouds.

Loading takes most of the processor time of a short command, and the tests type thousands. A fork is a process
with its own environment, folder and streams, and it ends as any other. So are the processes that hotdesk
starts beside itself: supervisors of local desks, with their Jupyter, what saves and deletes, watchers.
What depends on how Python was started (its encoding, its path, what is loaded and what is not) is tested
with a start of it: by what calls `subprocess` itself, and by everything with HOTDESK_STARTS=1.
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
import re
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
from typing import Any, TextIO

from tests.forked_as import end, fork_jupyter, lay_out, load_jupyter, show

SOURCE = Path(__file__).parents[1] / "src"
#: Read by Python when it starts, or when it is loaded.
ADDRESS = "HOTDESK_TESTS_FORK"  # in the environment of a process that uses our server
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
            late = subprocess.TimeoutExpired(argv, timeout, out.text(), err.text())
            late.add_note(f"It said until then:\n{out.text()[-2000:]}{err.text()[-2000:]}")
            raise late from None
    return subprocess.CompletedProcess(argv, status, out.text(), err.text())


def begin(words: Sequence[str]) -> subprocess.Popen[str] | Begun:
    """`python -m hotdesk WORDS`, whose output is a pipe, in our environment; it runs on."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    if "HOTDESK_STARTS" in os.environ or _at_start(environment) != _ours():
        argv = [sys.executable, "-m", "hotdesk", *words]
        return subprocess.Popen(
            argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    ours, theirs = os.pipe()
    nothing = os.open(os.devnull, os.O_WRONLY)
    return Begun([list(words), environment, str(Path.cwd())], [theirs, nothing], ours)


def lent() -> dict[str, str]:
    """What a process needs in its environment so that it starts the tests' own modules as forks, too."""
    if "HOTDESK_STARTS" in os.environ or not show(sys.orig_argv, os.environ):
        return {}
    return {ADDRESS: _server()[1:].decode()}


def begin_module(argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str] | Begun:
    """`python -m MODULE ...` of the tests' own, with pipes for its input and its output."""
    if ADDRESS not in os.environ:
        return subprocess.Popen(
            argv, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    (reads, stdin), (ours, theirs) = os.pipe(), os.pipe()
    words = [argv[0], "-P", *argv[1:]]
    request = [words, dict(environment), str(Path.cwd()), 0o22, [0, 1]]
    return Begun(request, [2, reads, theirs], ours, os.fdopen(stdin, "w"))


class Begun:
    """A fork that runs, with what tests use of a `subprocess.Popen`."""

    def __init__(
        self, request: list[Any], files: Sequence[int], stdout: int, stdin: TextIO | None = None
    ) -> None:
        body = json.dumps(request).encode()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(_server())
            socket.send_fds(line, [len(body).to_bytes(4, "big")], files)
            for file in files:
                if file > 2:
                    os.close(file)
            line.sendall(body)
            self.stdin, self.stdout = stdin, os.fdopen(stdout)
            self.pid = int.from_bytes(_exactly(line, 4), "big")
            self.returncode: int | None = None
            self._line = line.detach()  # a number: a test may forget the process, and nobody is warned of it

    def __del__(self) -> None:
        if "_line" in vars(self) and self.returncode is None:
            os.close(self._line)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._line, select.POLLIN)
            if not ended.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("hotdesk", timeout or 0.0)
            with socket.socket(fileno=os.dup(self._line)) as line:
                code = int.from_bytes(_exactly(line, 4), "big", signed=True)
            os.close(self._line)
            self.returncode = code
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        with self.stdout:
            return self.stdout.read(), ""


_posix_spawn = os.posix_spawn
_OUR_MASK = re.compile(r"^Umask:\s*(\d+)$", re.MULTILINE)  # os.umask() tells it by changing it
_SUPERVISOR = "hotdesk.providers.local.runtime.supervisor"
_served: list[bytes] = []  # in a server and its forks: its address


def spawn(path: str, argv: Sequence[str], environment: Mapping[str, str], **more: Any) -> int:
    """`os.posix_spawn`, by a fork where a module of hotdesk's is started with our own source."""
    own = list(argv[:3]) == [sys.executable, "-P", "-m"] and argv[3].partition(".")[0] == "hotdesk"
    if own and set(environment["PYTHONPATH"].split(os.pathsep)) == {str(SOURCE)}:
        with contextlib.suppress(OSError, TimeoutError):
            if pid := _forked(list(argv), dict(environment), more["file_actions"]):
                return pid
    return _posix_spawn(path, argv, environment, **more)


def _forked(argv: list[str], environment: dict[str, str], actions: Sequence[tuple[Any, ...]]) -> int:
    """The process's id; 0 where the server makes none."""
    if "HOTDESK_STARTS" in os.environ or _at_start({**environment, "PYTHONPATH": str(SOURCE)}) != _ours():
        return 0
    lent = {do[2]: do[1] for do in actions if do[0] == os.POSIX_SPAWN_DUP2 and do[2] != 2}
    [said] = [do[2:] for do in actions if do[0] == os.POSIX_SPAWN_OPEN and do[1] == 1]
    log = os.open(*said)
    try:
        mask = int(_OUR_MASK.findall(Path("/proc/self/status").read_text())[0], 8)
        request = json.dumps([argv, environment, str(Path.cwd()), mask, list(lent)]).encode()
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(_server())
            socket.send_fds(line, [len(request).to_bytes(4, "big")], [log, *lent.values()])
            line.sendall(request)
            return int.from_bytes(_exactly(line, 4), "big")
    finally:
        os.close(log)


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
    """The address of this process's own server, which ends with it; in a fork, of that which made it."""
    if _served:
        return _served[0]
    if address := os.environ.get(ADDRESS):
        return b"\0" + address.encode()
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


def serve(listening: socket.socket, owner: socket.socket) -> str:
    """Fork for whoever connects, and tell how each ended, until the owner has gone.

    Returns in a fork, with the module that it is to run.
    """
    _load()
    _served.append(listening.getsockname())
    _ours()  # before there is another environment
    shown = show(
        sys.orig_argv, os.environ
    )  # else processes beside hotdesk's own would not be known by their words
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
                    head, streams, _, _ = socket.recv_fds(line, 4, 16)
                    asked = json.loads(_exactly(line, int.from_bytes(head, "big")))
                    if len(asked) > 3 and not shown:
                        pid = 0
                    elif not (pid := os.fork()):
                        ready.close()
                        for one in (listening, owner, line, *(waiting for _, waiting in ends.values())):
                            one.close()
                        for ending in ends:
                            os.close(ending)
                        return _become_worker(*asked, streams) if len(asked) > 3 else _become(*asked, streams)
                    for stream in streams:
                        os.close(stream)
                    line.sendall(pid.to_bytes(4, "big"))
                    if not pid:
                        line.close()
                        continue
                    ending = os.pidfd_open(pid)
                    ends[ending] = pid, line
                    ready.register(ending, select.POLLIN)
                    continue
                ending = key.fd
                pid, line = ends.pop(ending)
                ready.unregister(ending)
                os.close(ending)
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
    from hotdesk.guest.one_file import source

    for program in ("idle", "driver", "agent"):  # of user data: a fifth of a second of a processor
        source(program)
    load_jupyter()
    for name in ("uvicorn", "uvicorn.protocols.http.h11_impl", "uvicorn.protocols.websockets.wsproto_impl"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _become(words: list[str], environment: dict[str, str], cwd: str, streams: Sequence[int]) -> str:
    """This process as if it had been started with these."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    _begin(environment, cwd)
    sys.path[0] = cwd
    sys.argv = ["", *words]
    return "hotdesk"


def _become_worker(  # noqa: PLR0917
    argv: list[str],
    environment: dict[str, str],
    cwd: str,
    mask: int,
    numbers: list[int],
    files: Sequence[int],
) -> str:
    """... and as `hotdesk.system.spawn` starts it: without a terminal, and with no file but what is lent."""
    os.setsid()
    os.umask(mask)
    nothing = os.open(os.devnull, os.O_RDONLY)
    lay_out({0: nothing, 1: files[0], 2: files[0], **dict(zip(numbers, files[1:], strict=True))})
    show(argv, environment)
    _begin(environment, cwd)
    if argv[3].partition(".")[0] == "hotdesk":
        del sys.path[0]  # -P
    sys.argv = ["", *argv[4:]]
    if argv[3] == _SUPERVISOR:
        fork_jupyter()
    return argv[3]


def _begin(environment: dict[str, str], cwd: str) -> None:
    sys.stdout = sys.__stdout__ = _text(1, sys.stdout)
    sys.stderr = sys.__stderr__ = _text(2, sys.stderr)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    os.posix_spawn = spawn


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


if __name__ == "__main__":
    sys.modules["tests.forked"] = sys.modules["__main__"]
    module = serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            end(ended.code or 0)
        raise
    end(0)
