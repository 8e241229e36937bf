"""What is known now, told to every browser that looks: all of it at first, then what has changed.

Three parts change: `desks` (the views of a survey, by name), `acts` (verbs that were clicked here, by id) and
`look` (when the last survey was, and what is wrong with it). The journal's rows only grow; what a terminal or
another program does is in it too. Clouds are asked only while somebody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.api import Hotdesk
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Desk
from hotdesk.loop import autopark
from hotdesk.parallel import every
from hotdesk.services import Services, forms
from hotdesk.services.forwarding import Forward
from hotdesk.services.view import View
from hotdesk.state.store import Store
from hotdesk.system import ticks
from hotdesk.web import amounts, asking
from hotdesk.web.asking import Asker, Look, defect, words

Things = dict[str, dict[str, Any]]

ROWS = 200  # of the journal, for a browser that has just come
JOURNAL_SECONDS = 0.25  # between two looks at the journal
STEADY = 3.0  # where nothing moves, clouds are asked so many times more rarely than they allow
LEAST_SECONDS = 1.0  # between two surveys
BEHIND = 500  # messages that a browser may be late; then it is sent away, and begins anew
MOVING = {"pending", "stopping", "saving", "verifying", "ending"}


def changes(old: Things, new: Things) -> Things:
    """The fields that differ, by name; what is new is there as a whole."""
    found: Things = {}
    for name, fields in new.items():
        before = old.get(name, {})
        differing = {key: value for key, value in fields.items() if key not in before or before[key] != value}
        if differing or name not in old:
            found[name] = differing
    return found


def limits(desk: Desk) -> dict[str, float]:
    """When a desk ends itself; 0: never."""
    idle = cloud(desk.provider).idle_minutes if desk.idle_minutes is None else desk.idle_minutes
    return {"idle_minutes": idle, "lease_hours": desk.lease_hours, "stop_at": desk.stop_at}


class Board:
    """What is known now, and who is told. Of the event loop's thread, but for what ends in `_soon`."""

    def __init__(self) -> None:
        self.parts: dict[str, Things] = {"desks": {}, "acts": {}, "look": {"last": {}}}
        self.rows: list[Mapping[str, Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._browsers: set[asyncio.Queue[bytes | None]] = set()

    def begin(self) -> None:
        """Belong to the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._browsers)

    def tell_soon(self, part: str, things: Things, *, whole: bool = False) -> None:
        """As `tell`, from any thread."""
        self._soon(self.tell, part, things, whole)

    def tell(self, part: str, things: Things, whole: bool = False) -> None:
        """These things are so now; `whole`: and there are no others."""
        known = self.parts[part]
        changed = changes(known, things)
        gone = [name for name in known if name not in things] if whole else []
        for name, fields in changed.items():
            known[name] = {**known.get(name, {}), **fields}
        for name in gone:
            del known[name]
        if changed or gone:
            self._send({part: changed, **({"gone": {part: gone}} if gone else {})})

    def add_soon(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the journal that began or ended, from any thread."""
        self._soon(self._add, rows)

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        ids = {row["id"] for row in rows}
        self.rows = [*(row for row in self.rows if row["id"] not in ids), *rows]
        self.rows = sorted(self.rows, key=lambda row: row["id"])[-ROWS:]
        self._send({"rows": rows})

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events for one browser: all that is known, then what changes."""
        mine: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND)
        self._browsers.add(mine)
        try:
            yield b"retry: 1000\n\n" + _event("all", {**self.parts, "rows": self.rows})
            while (message := await mine.get()) is not None:
                yield message
        finally:
            self._browsers.discard(mine)

    def close(self) -> None:
        """Let every browser go."""
        for browser in list(self._browsers):
            _last(browser)

    def _send(self, what: dict[str, Any]) -> None:
        message = _event("change", what)
        for browser in list(self._browsers):
            if browser.full():
                self._browsers.discard(browser)
                _last(browser)
            else:
                browser.put_nowait(message)

    def _soon(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call, *args)


def _last(browser: asyncio.Queue[bytes | None]) -> None:
    while not browser.empty():
        browser.get_nowait()
    browser.put_nowait(None)


def _event(name: str, what: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(what))


class Watch:
    """Reads the journal and has the clouds surveyed, each in a thread of its own, while somebody looks."""

    def __init__(self, state: Path, board: Board, asker: Asker) -> None:
        self.state, self.board, self.asker = state, board, asker
        self._journal: Store | None = None
        self._change = 0
        self._desks: Hotdesk | None = None
        self._due = -math.inf
        self._known: dict[str, float] = {}  # by desk: when it was last seen
        self._last: dict[str, View] = {}  # as what

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Watch while the body runs."""
        with every(JOURNAL_SECONDS, self._read), every(JOURNAL_SECONDS, self._look):
            yield

    def look_now(self) -> None:
        """Something was done: the next survey need not wait."""
        self._due = -math.inf

    def _read(self) -> None:
        if not self.board.watched:
            return
        with contextlib.suppress(HotdeskError):  # the survey says what is wrong with the state
            if self._journal is None:
                self._journal = Store(self.state)
                self._change, _ = self._journal.changed(0)
                rows = self._journal.rows(limit=ROWS)
            else:
                self._change, rows = self._journal.changed(self._change)
            if rows:
                self.board.add_soon([forms.row(row) for row in rows])
                self.look_now()

    def _look(self) -> None:
        if not self.board.watched:
            self.asker.rest()  # what asks the clouds goes when nobody looks
            if self._desks is not None:
                self._desks.close()
                self._desks = None
            self.look_now()
            return
        self._desks = self._desks or Hotdesk(self.state)
        services = self._desks.services
        if ticks() < self._due:  # not by the clock on the wall, which may be set back by hours
            return
        now = services.clock.now()
        self._due = math.inf  # unless something calls for another look meanwhile
        pause = STEADY * LEAST_SECONDS
        try:
            if not self.board.parts["desks"]:  # a survey may take long: their names are known at once
                self._show(services, self._unseen(services, ""), now)
            pause = self._survey(services, now)
        except HotdeskError as error:
            self._blind(services, words(error), now)
        except Exception as error:
            self._blind(services, defect(error), now)
        if self._due == math.inf:
            self._due = ticks() + pause

    def _survey(self, services: Services, now: float) -> float:
        """Show what is; seconds until the next look."""
        status, said = self.asker.ask(asking.LOOK)
        if status != asking.OK:
            self._blind(services, msgspec.json.decode(said)["error"], now)
            return STEADY * LEAST_SECONDS
        seen = msgspec.json.decode(said, type=dict[str, Look])["answer"]
        views = seen.views
        self._show(services, views, now)
        look = {
            "at": now,
            "error": None,
            "others": {name: list(owners) for name, owners in seen.others.items()},
            "watcher": services.store.holder("@watch").partition(" ")[0],
            "frozen": services.store.frozen,
        }
        self.board.tell_soon("look", {"last": look})
        if any(view.left for view in views):
            autopark.begin(self.state)
        moving = any(view.phase in MOVING or view.holder for view in views)
        return max(LEAST_SECONDS, seen.poll_seconds) * (1.0 if moving else STEADY)

    def _blind(self, services: Services, error: dict[str, Any], now: float) -> None:
        """No cloud could be asked: what was seen stands, and is said to be old."""
        with contextlib.suppress(HotdeskError):
            self._show(services, self._unseen(services, error["why"] or error["what"]), now)
        self.board.tell_soon("look", {"last": {"at": now, "error": error}})

    def _unseen(self, services: Services, why: str) -> list[View]:
        return [
            View(name=desk.name, goal=desk.goal, phase="unknown", provider=desk.provider, why=why)
            for desk in services.store.desks()
        ]

    def _show(self, services: Services, views: Sequence[View], now: float) -> None:
        ports = services.forwarding
        rows = {row.name: row for row in services.store.desks()}
        desks = {
            view.name: self._seen(view, now, ports.listed(view.name), rows.get(view.name)) for view in views
        }
        self.board.tell_soon("desks", desks, whole=True)
        last = [self._last.get(view.name, view) for view in views]
        sums = {
            "per_hour": amounts.together((view.usd_per_hour, view.told_per_hour) for view in last),
            "per_month": amounts.together((view.usd_per_month, view.told_per_month) for view in last),
        }
        self.board.tell_soon("look", {"last": sums})

    def _seen(self, view: View, now: float, ports: Sequence[Forward], row: Desk | None) -> dict[str, Any]:
        """A desk; where it is not known now, as it was when it last was, and when that was."""
        fields = {
            **amounts.spoken(forms.desk(view)),
            "left": view.left,
            "known_at": None,
            "forwards": [forms.forward(port) for port in ports],
            "limits": row and limits(row),
        }
        if view.phase != "unknown":
            self._known[view.name], self._last[view.name] = now, view
            return fields
        before = self.board.parts["desks"].get(view.name, fields)
        lost = {name: fields[name] for name in ("phase", "goal", "why")}
        return {**fields, **before, **lost, "known_at": self._known.get(view.name)}
