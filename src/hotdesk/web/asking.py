"""Who answers what the page asks: a process beside its server, with the clouds' libraries in its memory.

The server starts it when somebody looks, and ends it when nobody has for a while; when either is killed, the
other knows by the line between them. What is known of desks is in the state folder, which both read.

A question is `[number, name, said]`, its answer `[number, status, answer]`, each behind four bytes of length.
What is told of a verb while it goes on comes before its answer, with the status `HEARD`.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import msgspec

from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Value
from hotdesk.parallel import aside
from hotdesk.services.defects import written_down
from hotdesk.services.view import View
from hotdesk.system import reap, spawn, ticks

LINGER_SECONDS = 20.0  # for which it waits for another question, while nobody looks
OK, FAILED, DEFECT, HEARD = 200, 409, 500, 100
LOOK, REST = "look", "rest"
READS = "?"  # before the name of what is only read: `?gc` tells what is left over, `gc` deletes it
#: The prices of all regions take much memory to gather: by a process of their own, which goes at once.
APART = frozenset({READS + "offers"})
DOES = "!"  # before the name of what takes long, and is told about while it goes on
LINE = 3  # the number of the line between both, in the process that answers
Reply = tuple[int, bytes]
Hear = Callable[[bytes], None]  # gets what is told meanwhile, as JSON; from any thread


class Look(Value, frozen=True):
    """A survey of every cloud in use."""

    views: tuple[View, ...]
    others: dict[str, tuple[str, ...]]
    poll_seconds: float  # that the clouds allow


class Asker(Protocol):
    """Who answers: this process, or one of its own."""

    def ask(self, name: str, said: bytes = b"{}", hear: Hear = lambda told: None) -> Reply:
        """The status and the JSON of an answer. From any thread."""

    def rest(self) -> None:
        """Nobody looks now."""


def words(error: HotdeskError) -> dict[str, Any]:
    """An error, as the page shows it."""
    return {"what": error.what, "why": error.why, "fix": error.fix, "exit_code": error.exit_code}


def defect(error: Exception) -> dict[str, Any]:
    """An error that nobody expected, as the page shows it; its details go into a private file."""
    what, why, fix = written_down(error)
    return {"what": what, "why": why, "fix": fix, "exit_code": 1}


# ---- a process of its own ----------------------------------------------------------------------------------


class Beside:
    """Answers by a process of its own, which is there while it is needed, and `linger` seconds more."""

    def __init__(self, state: Path, linger: float = LINGER_SECONDS, *, alone: bool = False) -> None:
        self.state, self.linger = state, linger
        self._apart = None if alone else Beside(state, 0.0, alone=True)
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._numbers = itertools.count()
        self._line: socket.socket | None = None
        self._waiting: dict[int, tuple[SimpleQueue[Reply], Hear]] = {}
        self._needed, self._looked = ticks(), False

    def ask(self, name: str, said: bytes = b"{}", hear: Hear = lambda told: None) -> Reply:
        if self._apart is not None and name in APART:
            try:
                return self._apart.ask(name, said, hear)
            finally:
                self._apart.rest()
        mine: SimpleQueue[Reply] = SimpleQueue()
        with self._lock:
            try:
                line = self._line = self._line or self._started()
            except OSError as error:
                return _ended(f"It could not be started: {error}.")
            number, self._needed = next(self._numbers), ticks()
            self._waiting[number] = (mine, hear)
            self._looked = name == LOOK or (self._looked and name != REST)
        try:
            put(line, self._sending, [number, name, msgspec.Raw(said)])
        except OSError:
            self._cut(line)
        return mine.get()

    def rest(self) -> None:
        if self._looked:
            self.ask(REST)
        with self._lock:
            idle = ticks() - self._needed >= self.linger and not self._waiting
            line, self._line = (self._line, None) if idle else (None, self._line)
        if line is not None:
            line.shutdown(socket.SHUT_RDWR)
        reap()

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            variables = {"MALLOC_ARENA_MAX": "2"}  # glibc keeps what threads have freed, in each of them
            spawn("hotdesk.web.answering", str(self.state), variables=variables, lend={theirs.fileno(): LINE})
        aside(partial(self._hear, ours))
        return ours

    def _hear(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line:
            while (said := got(line)) is not None:
                number, status, answer = msgspec.json.decode(said, type=tuple[int, int, msgspec.Raw])
                with self._lock:
                    asked = self._waiting.get(number) if status == HEARD else self._waiting.pop(number, None)
                    self._needed = ticks()
                if asked is not None:
                    to, hear = asked
                    hear(bytes(answer)) if status == HEARD else to.put((status, bytes(answer)))
        self._cut(line)

    def _cut(self, line: socket.socket) -> None:
        """Whoever waits for it is told; the next question starts another."""
        with self._lock:
            if self._line is not line:
                return
            self._line = None
            left, self._waiting = self._waiting, {}
        for asked, _ in left.values():
            asked.put(_ended("Somebody has killed it, or it had no memory."))


def _ended(why: str) -> Reply:
    error = HotdeskError("The process that asks the clouds for this page has ended.", why, "hotdesk ls")
    return FAILED, msgspec.json.encode({"error": words(error), "notes": []})


def put(line: socket.socket, lock: threading.Lock, what: object) -> None:
    said = msgspec.json.encode(what)
    with lock:
        line.sendall(len(said).to_bytes(4, "big") + said)


def got(line: socket.socket) -> bytes | None:
    """The next message; None at the end."""
    head = _exactly(line, 4)
    return head and _exactly(line, int.from_bytes(head, "big"))


def _exactly(line: socket.socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        if not (part := line.recv(min(size - len(found), 1 << 20))):
            return None
        found += part
    return bytes(found)
