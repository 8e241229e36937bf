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
from hotdesk.web.threads import in_thread
from hotdesk.web.verbs import Named

TICKET_SECONDS = 30.0
AT_ONCE = 65536  # bytes that are read together
MOST_UNSEEN = 512 * 1024  # bytes that a browser has not drawn yet
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
        columns, rows = _size(await socket.receive_text()) or (80, 24)
        opened = PseudoTerminal(login.argv, columns, rows)
        talk = _Talk(socket, opened)
        typing = asyncio.create_task(talk.typed())
        printing = asyncio.create_task(talk.printed())
        try:
            await asyncio.wait({typing, printing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            typing.cancel()
            printing.cancel()
            await asyncio.gather(typing, printing, return_exceptions=True)
            ended: asyncio.Future[int] = in_thread(opened.close)
        await socket.close(ENDED, str(await ended))


def _size(text: str) -> tuple[int, int] | None:
    word, *numbers = text.split()
    if word == "size" and len(numbers) == 2 and all(n.isdigit() and len(n) < 6 for n in numbers):
        return int(numbers[0]), int(numbers[1])
    return None


class _Talk:
    """Both directions of one terminal."""

    def __init__(self, socket: WebSocket, terminal: PseudoTerminal) -> None:
        self.socket, self.terminal = socket, terminal
        self._unseen = 0
        self._seen = asyncio.Event()

    async def typed(self) -> None:
        """What the browser sends, until it goes."""
        while (message := await self.socket.receive())["type"] == "websocket.receive":
            if data := message.get("bytes"):
                await self._write(data)
            elif (text := message.get("text") or "").startswith("seen "):
                self._unseen -= int(text[5:]) if text[5:].isdigit() and len(text) < 15 else 0
                self._seen.set()
            elif size := _size(text or "?"):
                self.terminal.resize(*size)

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

    async def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.terminal.fd, data) :]
            except BlockingIOError:
                await _ready(self.terminal.fd, write=True)
            except OSError:
                return


async def _ready(fd: int, *, write: bool) -> None:
    """Wait until this would not wait."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    (loop.add_writer if write else loop.add_reader)(fd, ready.set)
    try:
        await ready.wait()
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)
