"""How long nothing has worked at each desk; what rented ones told over ssh is kept, for every door."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from hotdesk.connect import idleness
from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError
from hotdesk.core.idling import Idle
from hotdesk.core.model import Value
from hotdesk.core.ports import Access, Watched
from hotdesk.parallel import aside
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, ticks

AGAIN_SECONDS = 60.0  # after a connection that was cut


class Known(Value, frozen=True):
    """What was last known of a desk."""

    seconds: float
    at: float  # by this computer's clock


def keep(store: Store, desk: str, idle: Idle, now: float) -> None:
    """A rented desk's watch has told this now."""
    known = Known(seconds=idle.seconds, at=round(now - idle.age_seconds))
    store.keep(f"idle/{desk}", msgspec.json.encode(known), now)


def surveyed(provider: Watched, machine_id: str, now: float) -> Known | None:
    """What the last survey showed."""
    idle = provider.idle(machine_id)
    return Known(seconds=round(idle.seconds), at=round(now - idle.age_seconds)) if idle else None


def heard(store: Store, desk: str, since: float) -> Known | None:
    """What was heard of a rented desk. What is older than `since` was said of another machine."""
    if (found := store.cached(f"idle/{desk}")) is None:
        return None
    with contextlib.suppress(msgspec.DecodeError):  # of another version
        kept = wire.json(found[1], Known)
        return kept if kept.at >= since else None
    return None


class Following:
    """Listens to rented desks, each over one connection, and keeps what they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._heard: dict[str, tuple[Access, subprocess.Popen[bytes]]] = {}
        self._ended: dict[str, float] = {}

    def these(self, reached: Mapping[str, Access]) -> None:
        """From now on, these desks and no others."""
        for name, (access, process) in list(self._heard.items()):
            if process.poll() is not None:
                self._ended[name] = ticks()
            elif reached.get(name) == access:
                continue
            self._end(name)
        for name, access in reached.items():
            again = self._ended.get(name)
            if name not in self._heard and (again is None or ticks() - again >= AGAIN_SECONDS):
                with contextlib.suppress(HotdeskError, OSError):
                    self._begin(name, access)

    def end(self) -> None:
        """Listen to none any more."""
        self.these({})

    def _begin(self, name: str, access: Access) -> None:
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(
            idleness.follow(access), stdin=nothing, stdout=subprocess.PIPE, stderr=nothing
        )
        self._heard[name] = access, process
        aside(partial(self._hear, name, process))

    def _end(self, name: str) -> None:
        _, process = self._heard.pop(name)
        process.terminate()
        process.wait()

    def _hear(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines, contextlib.suppress(HotdeskError):
            for line in lines:
                if idle := idleness.read(line.decode("ascii", "replace")):
                    with Store(self.folder) as store:  # SQLite's connections are of one thread each
                        keep(store, name, idle, SystemClock().now())
