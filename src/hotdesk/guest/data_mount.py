"""Mount a bucket or a remote at a desk, to be read: by FUSE, with the tool that the desk's owner has there.

What is mounted is kept elsewhere, so nothing of it is saved (guest/mounts.py). The program behind a mount is
a process of the desk and ends with it; a mount that was left without one is unmounted, and made again. The
standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

from hotdesk.guest import mounts
from hotdesk.guest.data_source import environment, failed, last, named

SECONDS = 60.0  # in which a mount is there, or is given up
_PAUSE = 0.1


class Missing(failed):
    """Nothing can be mounted at this machine."""


def made(origin: str, path: str) -> str:
    """Mount what is kept there, unless it is mounted already; by what. Raises `failed`, `Missing`."""
    words = _words(origin)
    name = os.path.basename(words[0])
    if is_mounted(path):
        if _answers(path) == "" and _mounts(origin, path):
            return name
        ended(path)
    if os.path.islink(path) or (os.path.lexists(path) and not os.path.isdir(path)):
        raise failed(f"{path} is there, and no folder")
    if os.path.isdir(path) and os.listdir(path):
        raise failed("it holds files, which a mount would hide", f"mv {path} {path}.before")
    own = dict(environment(), AWS_SDK_LOAD_CONFIG="1")  # rclone reads the region there only if told so
    _look(words[0], origin, own)
    os.makedirs(path, exist_ok=True)
    with tempfile.TemporaryFile() as said:
        null = subprocess.DEVNULL
        process = subprocess.Popen(
            [*words, path], stdin=null, stdout=null, stderr=said, start_new_session=True, env=own
        )
        until = time.monotonic() + SECONDS
        while not is_mounted(path) and process.poll() is None and time.monotonic() < until:
            time.sleep(_PAUSE)
        why = "" if is_mounted(path) else f"{name} has mounted nothing"
        why = why or _answers(path)
        if why:
            ended(path)
            with contextlib.suppress(OSError):
                process.terminate()
            said.seek(0)
            raise failed(last(said.read()) or why)
    return name


def _look(rclone: str, origin: str, own: dict[str, str]) -> None:
    """Raise `failed` if nothing is there: what does not exist would be mounted as an empty folder."""
    few = ["--max-depth", "1", "--retries", "1", "--low-level-retries", "2", "--contimeout", "15s"]
    with contextlib.suppress(subprocess.TimeoutExpired):  # it is long, but there
        done = subprocess.run(
            [rclone, "lsf", *few, "--", named(origin)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=own, timeout=SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise failed(last(done.stderr) or f"{origin} cannot be listed")


def ended(path: str) -> None:
    """Unmount what is mounted at a path by FUSE, whether or not it answers."""
    if is_mounted(path) and not mounts.unmount(_real(path)):
        raise failed(f"{path} cannot be unmounted", f"fusermount3 -uz {path}")


def is_mounted(path: str) -> bool:
    """Whether something by FUSE is mounted at this path itself."""
    real = _real(path)
    above = mounts.mounted(os.path.dirname(real))
    return any(at == real and mounts.is_elsewhere(kind) for at, kind in above)


def _real(path: str) -> bytes:
    """The path as the kernel lists it: a mount that has died cannot be resolved itself."""
    return os.path.join(
        os.path.realpath(os.fsencode(os.path.dirname(path))), os.fsencode(os.path.basename(path))
    )


def _mounts(origin: str, path: str) -> bool:
    """Whether a living process of this user mounts that origin at that path."""
    wanted = [os.fsencode(named(origin)), os.fsencode(path)]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as line:
            if line.read().split(b"\0")[-3:-1] == wanted:
                return True
    return False


def _answers(path: str) -> str:
    """Why a folder cannot be listed; "" if it can."""
    try:
        os.listdir(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _words(origin: str) -> list[str]:
    """The command that mounts an origin, but for the folder. Raises `Missing`."""
    search = environment()["PATH"]

    def tool(*names: str) -> str:
        return next(filter(None, (shutil.which(name, path=search) for name in names)), "")

    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Missing("this machine has no FUSE (/dev/fuse)", "ls -l /dev/fuse")
    if not tool("fusermount3", "fusermount"):
        raise Missing("fuse3 is not installed here", "sudo apt-get install -y fuse3")
    rclone = tool("rclone")
    if not rclone:
        raise Missing("rclone is not installed here", "sudo apt-get install -y rclone fuse3")
    return [rclone, "mount", "--read-only", "--dir-cache-time", "1m", named(origin)]
