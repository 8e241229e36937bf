"""What the page asks, answered: in this process, or, run as a program, for the server that has started it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from hotdesk.api import Hotdesk
from hotdesk.core.errors import HotdeskError
from hotdesk.core.steps import Row, Wait
from hotdesk.parallel import aside
from hotdesk.services.idle_times import Following
from hotdesk.web import amounts
from hotdesk.web.asking import (
    DEFECT,
    DOES,
    FAILED,
    HEARD,
    LINE,
    LOOK,
    OK,
    READS,
    REST,
    Hear,
    Look,
    Reply,
    defect,
    got,
    put,
    words,
)
from hotdesk.web.changes import ACTS, CHANGES
from hotdesk.web.questions import QUESTIONS


def answered(
    state: Path,
    call: Callable[[Hotdesk], Any],
    on_note: Callable[[str], None] = lambda note: None,
    **options: Any,
) -> Reply:
    """What a method of `Hotdesk` gives; or its error, in three lines. `options` are its own."""
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    try:
        with Hotdesk(state, on_note=note, **options) as desks:
            return OK, msgspec.json.encode({"answer": amounts.spoken(call(desks)), "notes": notes})
    except HotdeskError as error:
        return FAILED, msgspec.json.encode({"error": words(error), "notes": notes})
    except Exception as error:
        return DEFECT, msgspec.json.encode({"error": defect(error), "notes": notes})


class Here:
    """Answers in this process. All looks have one `Hotdesk`: a cloud's client is made once."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._desks: Hotdesk | None = None
        self.idle = Following(state)

    def ask(self, name: str, said: bytes = b"{}", hear: Hear = lambda told: None) -> Reply:
        if name == LOOK:
            return self._look()
        if name == REST:
            self.rest()
            return OK, b"{}"
        if name.startswith(READS):
            question = QUESTIONS[name.removeprefix(READS)]
            told = msgspec.json.decode(said, type=dict[str, str])
            return answered(self.state, lambda desks: question(desks, told))
        if name.startswith(DOES):
            return self._done(name.removeprefix(DOES), said, hear)
        kind, change = CHANGES[name]
        asked = msgspec.json.decode(said, type=kind)
        return answered(self.state, lambda desks: change(desks, asked))

    def _done(self, name: str, said: bytes, hear: Hear) -> Reply:
        """Do what a click asks for, and tell of it in the fields that the page shows of it."""
        kind, act = ACTS[name]
        asked = msgspec.json.decode(said, type=kind)
        notes: list[str] = []

        def tell(**fields: Any) -> None:
            hear(msgspec.json.encode(fields))

        def wait(desk: str, wait: Wait) -> None:
            tell(wait={"why": wait.why, "progress": wait.progress})

        def row(row: Row) -> None:
            tell(wait=None)

        def busy(desk: str, holder: str) -> None:
            tell(wait={"why": f"waiting for process {holder} to release {desk}", "progress": None})

        def note(text: str) -> None:
            notes.append(text)
            tell(notes=notes)

        return answered(
            self.state,
            lambda desks: act(desks, asked),
            note,
            on_row=row,
            on_wait=wait,
            on_busy=busy,
            over_budget=asked.over_budget,
        )

    def rest(self) -> None:
        self.idle.end()
        if self._desks is not None:
            self._desks.close()
            self._desks = None

    def _look(self) -> Reply:
        try:
            self._desks = self._desks or Hotdesk(self.state)
            views, clouds = self._desks.ls(), self._desks.services.clouds
            self.idle.these(self._desks.services.views.reached())
            polls = [look.poll_seconds for look in clouds.looks.values()]
            look = Look(views=tuple(views), others=clouds.others(), poll_seconds=max(polls, default=0.0))
            return OK, msgspec.json.encode({"answer": look})
        except HotdeskError as error:
            return FAILED, msgspec.json.encode({"error": words(error)})
        except Exception as error:
            return DEFECT, msgspec.json.encode({"error": defect(error)})


def main(state: Path, line: socket.socket) -> None:
    """Answer until the other side of the line is gone."""
    here, sending = Here(state), threading.Lock()
    looks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def reply(number: int, name: str, said: bytes) -> None:
        def hear(told: bytes) -> None:
            with contextlib.suppress(OSError):
                put(line, sending, [number, HEARD, msgspec.Raw(told)])

        try:
            status, answer = here.ask(name, said, hear)
        except Exception as error:
            status, answer = DEFECT, msgspec.json.encode({"error": defect(error), "notes": []})
        with contextlib.suppress(OSError):
            put(line, sending, [number, status, msgspec.Raw(answer)])

    def look() -> None:
        while True:
            looks.get()()

    aside(look)  # in one thread: what looks have in common is not made for several
    with contextlib.suppress(OSError):
        while (asked := got(line)) is not None:
            number, name, said = msgspec.json.decode(asked, type=tuple[int, str, msgspec.Raw])
            one = partial(reply, number, name, bytes(said))
            looks.put(one) if name in {LOOK, REST} else aside(one)
    here.idle.end()
    os._exit(0)  # as the server itself does: nothing is waited for, and what was begun is in the journal


if __name__ == "__main__":
    main(Path(sys.argv[1]), socket.socket(fileno=LINE))
