"""The page's server: what it answers, on this computer's loopback address only."""

from __future__ import annotations

import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn
import wsproto  # noqa: F401 - uvicorn's websockets: where it is missing, that is told at once
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError, Usage
from hotdesk.system import SystemClock
from hotdesk.web import at_desk, terminal, verbs
from hotdesk.web.answering import Here, answered
from hotdesk.web.asking import FAILED, READS, Asker, Reply, words
from hotdesk.web.changes import ACTS, CHANGES, SHOWN
from hotdesk.web.guard import MOST_BYTES, Guard
from hotdesk.web.links import ENTER, Links
from hotdesk.web.live import Board, Watch
from hotdesk.web.questions import QUESTIONS
from hotdesk.web.threads import in_thread

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
#: A redirect would keep the cookie back where the link was clicked in another page, such as a web terminal.
_WELCOME = (
    '<!doctype html><html lang="en"><title>hotdesk</title><link rel="icon" href="/icon.svg">'
    '<meta http-equiv="refresh" content="0;url=/">'
)
_NO_LONGER = (
    "This address has let a browser in already, or is of an earlier `hotdesk web`.\n"
    "Another one: hotdesk web --url\n"
)


class Page:
    """One page: its links, its board, and the verbs that were clicked. `asker`: who answers what is asked."""

    def __init__(self, state: Path, port: int, asker: Asker | None = None) -> None:
        self.state, self.links, self.board = state, Links(port), Board()
        self.asker = asker or Here(state)
        self.watch = Watch(state, self.board, self.asker)
        self.acts = verbs.Acts(self.board, self.asker, SystemClock(), self.watch.look_now)
        self.tickets = terminal.Tickets()

    def app(self) -> Guard:
        """The application, guarded."""
        files = {f"/{path.name}": _file(path) for path in STATIC.iterdir() if path.suffix in KINDS}
        routes = [
            Route(ENTER, self._enter),
            Route("/api/events", self._events),
            *(
                Route(f"/api/{name}", self._does(name, kind), methods=["POST"])
                for name, (kind, _) in ACTS.items()
            ),
            *(
                Route(f"/api/{name}", self._asked(name, kind), methods=["POST"])
                for name, (kind, _) in CHANGES.items()
            ),
            Route("/api/terminal", self._ticket, methods=["POST"]),
            WebSocketRoute("/terminal", self._terminal),
            Route("/api/{question}", self._question),
            Route("/", files["/index.html"]),
            *(Route(path, answer) for path, answer in files.items() if path != "/index.html"),
        ]
        return Guard(Starlette(routes=routes, lifespan=self._life), self.links)

    @contextlib.asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        self.board.begin()
        with self.watch.running():
            yield

    async def _enter(self, request: Request) -> Response:
        known = request.cookies.get(self.links.cookie_name) == self.links.cookie
        if not known and not self.links.admits(request.query_params.get("token", "")):
            return PlainTextResponse(_NO_LONGER, 401)
        answer = HTMLResponse(_WELCOME)
        answer.set_cookie(self.links.cookie_name, self.links.cookie, httponly=True, samesite="strict")
        return answer

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self.board.stream(), media_type="text/event-stream")

    async def _question(self, request: Request) -> Response:
        question = request.path_params["question"]
        if question not in QUESTIONS:
            return PlainTextResponse("There is no such question.\n", 404)
        said = msgspec.json.encode(dict(request.query_params))
        return await in_thread(lambda: _packed(self.asker.ask(READS + question, said)))

    async def _ticket(self, request: Request) -> Response:
        asked = await _read(request, at_desk.Named)
        if isinstance(asked, Response):
            return asked
        return await in_thread(
            lambda: _packed(answered(self.state, lambda desks: self.tickets.new(desks, asked)))
        )

    async def _terminal(self, socket: WebSocket) -> None:
        await terminal.serve(self.tickets, socket)

    def _does(self, name: str, kind: type[Any]) -> Callable[[Request], Any]:
        """A route that begins what takes long, and answers with its id on the board."""

        async def answer(request: Request) -> Response:
            asked = await _read(request, kind)
            if isinstance(asked, Response):
                return asked
            return _begun(lambda: self.acts.begin(name, asked))

        return answer

    def _asked(self, name: str, kind: type[Any]) -> Callable[[Request], Any]:
        """A route that is sent a value, and answers with what a call makes of it."""

        async def answer(request: Request) -> Response:
            asked = await _read(request, kind)
            if isinstance(asked, Response):
                return asked
            reply = await in_thread(lambda: _packed(self.asker.ask(name, msgspec.json.encode(asked))))
            if name in SHOWN:
                self.watch.look_now()
            return reply

        return answer


async def _read(request: Request, kind: type[T]) -> T | Response:
    """The body of a request as a value; or the answer to one that is none."""
    try:
        return wire.json(await request.body(), kind)
    except msgspec.DecodeError as error:
        return _json({"error": words(Usage("The page asked for something impossible.", str(error)))}, 400)


def _begun(begin: Callable[[], str]) -> Response:
    """The id on the board of what was begun; or why it was not."""
    try:
        return _json({"act": begin()})
    except HotdeskError as error:
        return _json({"error": words(error)}, FAILED)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, None, "application/json")


def _packed(reply: Reply) -> Response:
    (status, body), headers = reply, {}
    if len(body) > 10_000:
        body, headers = gzip.compress(body, 3), {"content-encoding": "gzip"}
    return Response(body, status, headers, "application/json")


def _file(path: Path) -> Callable[[Request], Any]:
    """Answers with a file of the page, which is read and packed once."""
    body = gzip.compress(path.read_bytes(), 9)

    async def answer(request: Request) -> Response:
        return Response(body, media_type=KINDS[path.suffix], headers={"content-encoding": "gzip"})

    return answer


class Serving(uvicorn.Server):  # type: ignore[misc, unused-ignore]  # the extra may be missing here
    """Lets every browser go before it ends: a stream of events never ends by itself."""

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self.board = board

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.board.close()
        await super().shutdown(sockets)


def config(page: Page) -> uvicorn.Config:
    """How it is served: HTTP/1.1 alone, without a log, and without a header that says what serves."""
    return uvicorn.Config(
        page.app(),
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="wsproto",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,
        http="h11",
        loop="asyncio",
        timeout_graceful_shutdown=2,
    )


def serve(page: Page, listening: socket.socket) -> None:
    """Answer until Ctrl-C."""
    Serving(config(page), page.board).run([listening])
