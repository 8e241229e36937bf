"""This computer: clock, folders, atomic file replacement, locks and detached processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import random
import shlex
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import hotdesk
from hotdesk.core.errors import Missing


class SystemClock:
    """This computer's clock, for deadlines. Never compare it with a cloud's times."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


def ticks() -> float:
    """Seconds on a clock that nobody sets: for time limits inside one process, never stored."""
    return time.monotonic()


def dice(seed: int) -> random.Random:
    """A seeded random generator, so that a seed reproduces a run."""
    return random.Random(seed)


def state_folder() -> Path:
    """The folder of hotdesk's state: $HOTDESK_STATE, else the platform's folder for application state."""
    if named := os.environ.get("HOTDESK_STATE"):
        return _path(named, "HOTDESK_STATE")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "hotdesk"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hotdesk"


def config_files() -> list[Path]:
    """Candidate paths of hotdesk.toml, in order of precedence; only $HOTDESK_CONFIG if it is set."""
    if named := os.environ.get("HOTDESK_CONFIG"):
        return [_path(named, "HOTDESK_CONFIG")]
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    here = []
    with contextlib.suppress(FileNotFoundError):  # the working folder may have been deleted
        here = [Path.cwd() / "hotdesk.toml"]
    return [*here, base / "hotdesk" / "hotdesk.toml"]


def _path(named: str, variable: str) -> Path:
    """The absolute path from an environment variable. Raises `Missing` if it cannot be resolved."""
    try:
        return Path(named).expanduser().absolute()
    except (
        RuntimeError,
        FileNotFoundError,
    ) as error:  # no such ~user; or relative to a deleted working folder
        raise Missing(
            f"{variable} is {named}, which leads nowhere.", str(error), f"unset {variable}"
        ) from None


# ---- files -------------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes | str, *, durable: bool = False, mode: int = 0o600) -> None:
    """Create or replace a private file atomically: readers see the old content or all of the new.

    `durable`: the new content survives a power cut. A killed process leaves NAME.*.new behind, which nothing
    reads.
    """
    new = path.with_name(f"{path.name[:200]}.{os.getpid()}-{threading.get_ident()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            if durable:
                fsync(fd)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def fsync(fd: int) -> None:
    """Flush a file to the disk, past the drive's own cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not ask the drive
    try:
        if full is not None:
            fcntl.fcntl(fd, full)
            return
    except OSError:  # a file system that does not support it
        pass
    os.fsync(fd)


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that they survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# ---- locks -------------------------------------------------------------------------------------------


def flock(fd: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file against all other processes and threads; return whether it was acquired.

    The kernel releases it when its last holder dies, however it dies.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if wait or error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, created if absent; yields whether it was acquired (always, with `wait`)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield flock(fd, shared=shared, wait=wait)
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether the lock file is held. Testing it never makes another process fail to acquire it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not flock(fd, shared=True, wait=False)
    finally:
        os.close(fd)


# ---- processes ---------------------------------------------------------------------------------------

_spawned: set[int] = set()
_withheld: set[str] = set()


def withhold(names: Iterable[str]) -> None:
    """Let no process that is spawned from now on inherit these variables: a job's secrets."""
    _withheld.update(names)


def spawn(
    module: str,
    *args: str,
    log: Path | None = None,
    variables: Mapping[str, str] | None = None,
    lend: Mapping[int, int] | None = None,
) -> int:
    """Run `python -m module args` of this very hotdesk in its own session; return its process id at once.

    It inherits the environment, changed by `variables` and without what is withheld, and the open files of
    `lend` (our number: its number), but no terminal, no other file and no ignored signal (a shell's `&`
    ignores SIGINT). Its output is appended to `log`.
    """
    reap()
    root = str(Path(hotdesk.__file__).parents[1])
    kept = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(p).is_absolute()]
    there = {number: (os.POSIX_SPAWN_DUP2, ours, number) for ours, number in (lend or {}).items()}
    said = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    environment = {name: value for name, value in os.environ.items() if name not in _withheld}
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", module, *args],
        {**environment, **(variables or {}), "PYTHONPATH": os.pathsep.join([root, *kept])},
        file_actions=[
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable() - there.keys()),
            *there.values(),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log or os.devnull), said, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[s for s in signal.valid_signals() if s not in {signal.SIGKILL, signal.SIGSTOP}],
    )
    _spawned.add(pid)
    return pid


def shorten(log: Path, most: int = 2**20) -> None:
    """Keep the end of a log that has more than `most` bytes: half of them. Whoever appends to it goes on."""
    with contextlib.suppress(OSError):
        if log.stat().st_size <= most:
            return
        with log.open("r+b") as file:
            file.seek(-most // 2, os.SEEK_END)
            file.readline()
            end = file.read()
            file.seek(0)
            file.truncate()
            file.write(end)


def reap() -> None:
    """Reap spawned processes that have ended, which would stay zombies of a long-lived caller."""
    for pid in list(_spawned):
        with contextlib.suppress(ChildProcessError):
            if not os.waitpid(pid, os.WNOHANG)[0]:
                continue
        _spawned.discard(pid)


def _inheritable() -> set[int]:
    """Open files that a child would inherit, such as those our parent left open (`9>lock`)."""
    found = set()
    for fd in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the listing's own file is closed by now
            if fd > 2 and os.get_inheritable(fd):
                found.add(fd)
    return found


def space(path: Path) -> int:
    """Bytes that a file, or a folder with all that is in it, takes on the disk; hard links count once."""
    seen: set[tuple[int, int]] = set()
    total, left = 0, [str(path)]
    while left:
        at = left.pop()
        with contextlib.suppress(OSError):
            told = os.lstat(at)
            if (told.st_dev, told.st_ino) not in seen:
                seen.add((told.st_dev, told.st_ino))
                total += told.st_blocks * 512
            if stat.S_ISDIR(told.st_mode):
                left += [entry.path for entry in os.scandir(at)]
    return total


def installed_from() -> tuple[str, bool]:
    """The folder, file or address that this hotdesk was installed from, and whether it runs in place there;
    "": an index of packages, as far as is known."""
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    here = Path(hotdesk.__file__).resolve().parents[2]
    if (here / "pyproject.toml").is_file():
        return str(here), True
    try:
        told = distribution("hotdesk").read_text("direct_url.json")
    except PackageNotFoundError:
        told = None
    url = str(json.loads(told).get("url", "")) if told else ""
    return (unquote(urlsplit(url).path) if url.startswith("file:") else url), False


def install_line(extra: str, *more: str) -> str:
    """The line to paste that adds an extra ("": none), and `more` words, to this very installation.

    PEP 610 tells what it came from.
    """
    source, in_place = installed_from()
    extras = f"[{extra}]" if extra else ""
    what = f"{source or 'hotdesk'}{extras}"
    if "://" in source:
        what = f"hotdesk{extras} @ {source}"
    return shlex.join([*_pip(), *more, *(["-e"] if in_place else []), what])


def upgrade_line(version: str = "") -> str:
    """The line to paste that brings a newer hotdesk, of at least that version."""
    source, in_place = installed_from()
    if in_place:
        return f"cd {shlex.quote(source)} && git pull && ./setup"
    return shlex.join([*_pip(), "--upgrade", source or (f"hotdesk>={version}" if version else "hotdesk")])


def _pip() -> list[str]:
    """pip for this Python; uv's where it has none, as in an environment of `uv tool`."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    return ["uv", "pip", "install", "--python", sys.executable]
