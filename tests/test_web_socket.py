"""A terminal's socket: who may open one, and how it carries a program. No browser and no desk is needed."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

import wsproto
from wsproto import events

from hotdesk.core.errors import NeedsDecision
from hotdesk.core.model import Desk, Goal
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from hotdesk.web import guard, server, terminal
from tests.web_served import Served, serving

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state") as page:
        yield page


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Cookie": "hotdesk-{port}=wrong"}, 401),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another port of this computer: for cookies, the same site
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_socket_of_another_page_is_refused(
    served: Served, headers: dict[str, str | None], status: int
) -> None:
    given = {**served.posting, **UPGRADE, **headers}
    said = {k: v.format(port=served.port) for k, v in given.items() if v is not None}
    found, head, _ = served.ask("/terminal?ticket=", said)
    assert found == status
    assert head["content-security-policy"] == guard.POLICY


class Peer:
    """A browser's end of a terminal's socket."""

    def __init__(self, served: Served, ticket: str) -> None:
        self.line = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        self.peer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.closed: tuple[int, str | None] | None = None
        headers = [(name.encode(), served.posting[name].encode()) for name in ("Cookie", "Origin")]
        target = f"/terminal?ticket={ticket}"
        self.send(events.Request(host=served.own["Host"], target=target, extra_headers=headers))
        while not isinstance(next(self.heard(), None), events.AcceptConnection):
            pass

    def send(self, event: events.Event) -> None:
        self.line.sendall(self.peer.send(event))

    def say(self, text: str) -> None:
        self.send(events.TextMessage(data=text))

    def heard(self) -> Iterator[events.Event]:
        """What one packet brings."""
        self.peer.receive_data(self.line.recv(65536) or None)
        for event in self.peer.events():
            if isinstance(event, events.CloseConnection):
                self.closed = event.code, event.reason
            yield event

    def printed(self, until: bytes = b"", seconds: float = 20.0) -> bytes:
        """What the program prints, until it has printed this, is silent for so long, or has ended."""
        self.line.settimeout(seconds)
        found = b""
        with contextlib.suppress(TimeoutError):
            while self.closed is None and not (until and until in found):
                found += b"".join(e.data for e in self.heard() if isinstance(e, events.BytesMessage))
        return found


@contextlib.contextmanager
def opened(served: Served, *argv: str) -> Iterator[Peer]:
    """A program in a terminal of 80 columns and 24 rows."""
    peer = Peer(served, served.page.tickets.of(terminal.Login([*argv], contextlib.nullcontext())))
    with contextlib.closing(peer.line):
        peer.say("size 80 24")
        yield peer


def test_a_ticket_opens_one_socket_once_and_soon(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = served.page.tickets
    ticket = tickets.of(terminal.Login(["sh", "-c", "echo seen; exit 7"], contextlib.nullcontext()))
    peer = Peer(served, ticket)
    peer.say("size 80 24")
    assert peer.printed() == b"seen\r\n"
    assert peer.closed == (terminal.ENDED, "7")
    peer.line.close()
    monkeypatch.setattr(terminal, "TICKET_SECONDS", -1.0)
    old = tickets.of(terminal.Login(["sh"], contextlib.nullcontext()))
    for no_ticket in (ticket, old, "", "x"):
        peer = Peer(served, no_ticket)
        peer.printed()
        assert peer.closed is not None
        assert peer.closed[0] == terminal.NO_TICKET
        peer.line.close()


def test_a_desk_that_cannot_be_reached_gives_no_ticket(served: Served, tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        now = SystemClock().now()
        store.put(Desk(name="blue", goal=Goal.PARKED, since=now, created_at=now))
    status, said = served.post("/api/terminal", {"name": "blue"})
    assert (status, said["error"]["exit_code"]) == (server.FAILED, NeedsDecision.exit_code)
    status, said = served.post("/api/terminal", {"name": "--help"})
    assert status == server.FAILED


def test_a_program_is_told_of_its_size_and_of_the_end(served: Served, tmp_path: Path) -> None:
    """Whoever closes the page hangs up: the program gets SIGHUP, as from a terminal's window."""
    mark = tmp_path / "hung-up"
    traps = f"trap 'stty size' WINCH; trap 'touch {mark}; exit' HUP"
    with opened(served, "sh", "-c", f"{traps}; stty size; while :; do sleep 0.05; done") as peer:
        assert b"24 80" in peer.printed(b"24 80")
        for wrong in ("size 0", "size a b", "size 9999999 2", "seen -3", "seen x", "", "nonsense"):
            peer.say(wrong)
        peer.say("size 132 43")
        assert b"43 132" in peer.printed(b"43 132")
    clock = SystemClock()
    for _ in range(100):
        if mark.exists():
            break
        clock.sleep(0.1)
    assert mark.exists()


def test_what_is_typed_arrives_byte_for_byte(served: Served) -> None:
    """Also more of it at once than the kernel takes, and what is no text."""
    with opened(served, "sh", "-c", "stty raw -echo; echo on; head -c 300000 | sha256sum") as peer:
        peer.printed(b"on")
        data = bytes(range(256)) * 1200
        for at in range(0, 300_000, 100_000):
            peer.send(events.BytesMessage(data=data[at : at + 100_000]))
        assert hashlib.sha256(data[:300_000]).hexdigest().encode() in peer.printed()


def test_what_echoes_more_than_is_read_at_once_does_not_stand_still(served: Served) -> None:
    """A long paste into a program that answers as it reads: both ways are full at the same time."""
    with opened(served, "sh", "-c", "stty raw -echo; echo on; head -c 3000000; echo; echo end") as peer:
        peer.printed(b"on")
        for _ in range(6):
            peer.send(events.BytesMessage(data=b"x" * 500_000))
        total = 0
        while peer.closed is None and (more := peer.printed(seconds=3.0)):
            total += len(more)
            if peer.closed is None:
                peer.say(f"seen {len(more)}")
        assert total >= 3_000_000
        assert peer.closed is not None


def test_a_browser_that_draws_slowly_is_waited_for(served: Served) -> None:
    with opened(served, "sh", "-c", "yes | head -c 3000000; echo; echo the end") as peer:
        first = peer.printed(seconds=2.0)
        assert len(first) <= terminal.MOST_UNSEEN + terminal.AT_ONCE
        assert peer.closed is None
        peer.say(f"seen {len(first)}")
        total = len(first)
        while peer.closed is None and (more := peer.printed(seconds=2.0)):
            total += len(more)
            if peer.closed is None:
                peer.say(f"seen {len(more)}")
        assert total >= 3_000_000 + len("the end")
        assert re.match(r"\d+", str(peer.closed and peer.closed[1]))
