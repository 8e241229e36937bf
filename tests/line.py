"""The line between this computer and a cloud: it can be cut, go silent, and come back."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit


class Line:
    """`with Line(url) as line`: the same server at `line.url`, as long as the line holds.

    `line.state` is "up", "hole" (requests vanish, nothing comes back) or "cut" (nobody takes a call).
    `line.fail(state, at="StopInstances", after=False)`: from that request on it is in that state; `after`:
    the request still arrives, and its answer is what is lost.
    """

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self.there = (there.hostname or "127.0.0.1", there.port or 80)
        self.state = "up"
        self.trap: tuple[str, str, bool] | None = None
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.door: socket.socket | None = None

    def __enter__(self) -> Line:
        self.port = 0
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.mend("closed")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, state: str, at: str, *, after: bool = False) -> None:
        self.trap = (at, state, after)

    def mend(self, state: str = "up") -> None:
        """As it was before; what hung is closed."""
        with self.lock:
            self.trap, self.state = None, state
            for one in self.open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self.open.clear()
            if self.door is not None and state != "up":
                self.door.close()
                self.door = None
            if self.door is None and state == "up":
                self._listen()

    def _listen(self) -> None:
        self.door = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._take, args=(self.door,), daemon=True).start()

    def _take(self, door: socket.socket) -> None:
        while True:
            try:
                here, _ = door.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(here)
            threading.Thread(target=self._carry, args=(here,), daemon=True).start()

    def _carry(self, here: socket.socket) -> None:
        """One connection: requests go there one by one, so that it is known which one is in the way."""
        try:
            there = socket.create_connection(self.there)
        except OSError:  # the cloud has ended before its last caller
            here.close()
            return
        with here, there, contextlib.suppress(OSError):
            threading.Thread(target=self._back, args=(there, here), daemon=True).start()
            while request := here.recv(65536):
                action, state, after = self.trap or ("", "", False)
                met = action and re.search(rb"Action=" + action.encode() + rb"\b", request)
                if met and not after:
                    self._fall(state, here)
                if self.state == "up":
                    there.sendall(request)
                if met and after:
                    self._fall(state, here)
        with self.lock:
            self.open.discard(here)

    def _back(self, there: socket.socket, here: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answer := there.recv(65536):
                if self.state == "up":
                    here.sendall(answer)
            if self.state == "up":
                here.shutdown(socket.SHUT_RDWR)

    def _fall(self, state: str, here: socket.socket) -> None:
        self.state = state
        if state == "cut":
            self.mend("cut")
