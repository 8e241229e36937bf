"""A job's variables on their way to it: from the order through a pipe to its runner, and in no file.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from typing import Any

from hotdesk.guest.job_files import path

PIPE = "variables"  # a named pipe in the job's folder, for the moment of its beginning
SECONDS = 20.0  # for the other side to come
FIRST = "HOTDESK_GIVEN_"  # before each name, until the shell has read the user's start files
SHORTEST = 8  # bytes of a secret that is looked for in the job's output
_STARS = b"***"


def prepare(id_: str) -> None:
    """Lay the pipe. One that is left over from a runner that was killed has nobody on it."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path(id_, PIPE))
    os.mkfifo(path(id_, PIPE), 0o600)


def hand_over(id_: str, given: dict[str, Any]) -> bool:
    """Write into the pipe as soon as somebody reads, and remove it; return whether somebody did."""
    until = time.monotonic() + SECONDS
    try:
        while True:
            try:
                end = os.open(path(id_, PIPE), os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                if error.errno != errno.ENXIO or time.monotonic() > until:
                    return False
                time.sleep(0.01)
        os.set_blocking(end, True)
        with os.fdopen(end, "wb") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(given).encode())
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path(id_, PIPE))


def take_over(id_: str) -> dict[str, Any]:
    """Read what was handed over; {} if nobody came."""
    said, until = b"", time.monotonic() + SECONDS
    try:
        end = os.open(path(id_, PIPE), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        while time.monotonic() < until:
            try:
                part = os.read(end, 65536)
            except BlockingIOError:  # it is being written
                time.sleep(0.005)
                continue
            said += part
            if part or not said:  # nobody has come yet
                time.sleep(0 if part else 0.005)
                continue
            with contextlib.suppress(ValueError):
                told = json.loads(said)
                return told if isinstance(told, dict) else {}
            return {}
    finally:
        os.close(end)
    return {}


def exports(names: list[str]) -> str:
    """A shell line that gives these variables their names, whatever the user's start files set."""
    return "".join(f'export {name}="${FIRST}{name}"; unset {FIRST}{name}\n' for name in names)


class Mask:
    """Replaces secrets in a stream. What may be the beginning of one is held back until more has come."""

    def __init__(self, secrets: list[str]) -> None:
        found = {secret.encode() for secret in secrets}
        found |= {line.strip() for secret in found for line in secret.splitlines()}  # a key, line by line
        self.secrets = sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True)
        self.held = b""
        self.sought = re.compile(b"|".join(map(re.escape, self.secrets))) if self.secrets else None

    def feed(self, said: bytes) -> bytes:
        if self.sought is None:
            return said
        said = self.held + said
        cut = len(said)
        for found in self.sought.finditer(said):
            tail = said[found.start() :]  # with it, a longer one may begin
            if any(len(s) > len(tail) and s.startswith(tail) for s in self.secrets):
                cut = found.start()
                break
        shown, self.held = self.sought.sub(_STARS, said[:cut]), said[cut:]
        if not self.held:
            self.held = shown[len(shown) - self._begun(shown) :]
            shown = shown[: len(shown) - len(self.held)]
        return shown

    def rest(self) -> bytes:
        """What was held back, at the end."""
        held, self.held = self.held, b""
        return self.sought.sub(_STARS, held) if self.sought else held

    def _begun(self, said: bytes) -> int:
        """The length of the longest end of this text with which a secret begins."""
        for size in range(min(len(said), len(self.secrets[0]) - 1), 0, -1):
            end = said[-size:]
            if any(len(s) > size and s.startswith(end) for s in self.secrets):
                return size
        return 0
