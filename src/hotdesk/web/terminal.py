"""A desk's terminal in the page: its ssh in a pseudo-terminal here, and a websocket to the browser.

The page asks for a ticket, in a POST that only our own script can send: a websocket brings no header of
ours. A ticket opens one socket to one desk, once, and soon. What was typed and printed comes as binary
frames; the rest is text, from the page: `size COLUMNS ROWS`, and `seen BYTES` for what it has drawn, so that
a program which prints faster than a browser draws is made to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from contextlib import AbstractContextManager
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from hotdesk.api import Hotdesk
from hotdesk.connect import ssh
from hotdesk.connect.pseudo_terminal import PseudoTerminal
from hotdesk.system import ticks
from hotdesk.web.at_desk import Named
from hotdesk.web.numbers import whole
from hotdesk.web.threads import in_thread

TICKET_SECONDS = 30.0
AT_ONCE = 65536  # bytes that are read together
MOST_UNSEEN = 512 * 1024  # bytes that a browser has not drawn yet
MOST_UNREAD = 16 * 1024 * 1024  # bytes that were typed, or pasted, and that the program has not read
#: Why a socket is closed, as the page reads it.
ENDED, NO_TICKET = 4000, 4001


class Login:
    """How a desk is logged into; its lease is renewed while a terminal is open there."""

    def __init__(self, argv: list[str], keeping: AbstractContextManager[None]) -> None:
        self.argv, self.keeping, self.until = argv, keeping, ticks() + TICKET_SECONDS


class Tickets:
    """The tickets that were given, and not used yet."""

    def __init__(self) -> None:
        self._logins: dict[str, Login] = {}

    def new(self, desks: Hotdesk, asked: Named) -> dict[str, Any]:
        """A ticket for a desk's terminal. Raises as `hotdesk ssh` where the desk cannot be reached now."""
        services = desks.services
        desk = services.store.desk(asked.name)
        access = services.views.access(desk)
        return {"ticket": self.of(Login(ssh.terminal(access), services.staying.keeping(desk, access)))}

    def of(self, login: Login) -> str:
        """A ticket for a login."""
        ticket = secrets.token_urlsafe(24)
        kept = {t: old for t, old in self._logins.items() if ticks() < old.until}
        self._logins = kept | {ticket: login}
        return ticket

    def login(self, ticket: str) -> Login | None:
        """What a ticket is for; it is used by this."""
        login = self._logins.pop(ticket, None)
        return login if login and ticks() < login.until else None


async def serve(tickets: Tickets, socket: WebSocket) -> None:
    """A terminal, until either side ends it."""
    login = tickets.login(socket.query_params.get("ticket", ""))
    await socket.accept()
    if login is None:
        await socket.close(NO_TICKET)
        return
    with contextlib.suppress(WebSocketDisconnect), login.keeping:
        columns, rows = _size((await socket.receive()).get("text") or "") or (80, 24)
        opened = PseudoTerminal(login.argv, columns, rows)
        talk = _Talk(socket, opened)
        tasks = [asyncio.create_task(way()) for way in (talk.heard, talk.typed, talk.printed)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            ended: asyncio.Future[int] = in_thread(opened.close)
        await socket.close(ENDED, str(await ended))


def _size(text: str) -> tuple[int, int] | None:
    word, columns, rows = (*text.split(), "", "", "")[:3]
    found = whole(columns), whole(rows)
    return found if word == "size" and found[0] and found[1] else None  # type: ignore[return-value]


class _Talk:
    """Both directions of one terminal. Hearing never waits: a program may read only once it was read."""

    def __init__(self, socket: WebSocket, terminal: PseudoTerminal) -> None:
        self.socket, self.terminal = socket, terminal
        self._unseen = 0
        self._seen = asyncio.Event()
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._unread = 0

    async def heard(self) -> None:
        """What the browser sends, until it goes, or has sent more than a program will ever read."""
        while (message := await self.socket.receive())["type"] == "websocket.receive":
            text = message.get("text") or ""
            if data := message.get("bytes"):
                self._unread += len(data)
                self._typed.put_nowait(data)
                if self._unread > MOST_UNREAD:
                    return
            elif text.startswith("seen "):
                self._unseen -= whole(text[5:]) or 0
                self._seen.set()
            elif size := _size(text):
                self.terminal.resize(*size)

    async def typed(self) -> None:
        """What was typed, to the program, as fast as it reads."""
        while True:
            data = await self._typed.get()
            while data:
                try:
                    written = os.write(self.terminal.fd, data)
                except BlockingIOError:
                    await _ready(self.terminal.fd, write=True)
                    continue
                except OSError:
                    return
                self._unread -= written
                data = data[written:]

    async def printed(self) -> None:
        """What the program prints, until it ends."""
        while True:
            while self._unseen > MOST_UNSEEN:
                self._seen.clear()
                await self._seen.wait()
            await _ready(self.terminal.fd, write=False)
            try:
                data = os.read(self.terminal.fd, AT_ONCE)
            except BlockingIOError:
                continue
            except OSError:  # on Linux, EIO: it has ended
                return
            if not data:
                return
            self._unseen += len(data)
            await self.socket.send_bytes(data)


async def _ready(fd: int, *, write: bool) -> None:
    """Wait until this would not wait."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    (loop.add_writer if write else loop.add_reader)(fd, ready.set)
    try:
        await ready.wait()
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)
