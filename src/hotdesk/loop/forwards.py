"""Keep a desk's forwarded ports open: one background process a desk, while it is wanted running."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hotdesk.connect import forwards
from hotdesk.core.backoff import backoff
from hotdesk.core.errors import HotdeskError
from hotdesk.core.ports import Access, Clock
from hotdesk.system import locked, spawn, write_atomically

_TURN_SECONDS = 0.5  # also how soon a port that is asked for opens
_MOST_SECONDS = 30.0  # between two attempts to connect


def revive(folder: Path, desk: str) -> None:
    """Start the process that keeps a desk's ports open, unless none is wanted or one runs."""
    home = folder / "desks" / desk
    if forwards.wanted(home) and not forwards.kept(home):
        spawn("hotdesk", "forward", desk, "--keep", variables={"HOTDESK_STATE": str(folder)})


@dataclass(kw_only=True, eq=False)
class Keeper:
    """Keeps one desk's ports open, or those of a cluster's machine.

    `stays`: whether it is to run. `reach` says how to reach it, and raises where it does not run.
    """

    folder: Path
    clock: Clock
    name: str
    stays: Callable[[], bool]
    reach: Callable[[], Access]

    def run(self) -> None:
        """Until no port is wanted, or the desk is not wanted running; at once where another process does it.

        A connection that is lost is made again; after an interruption, to the desk's next machine.
        """
        if not self.folder.is_dir():
            return
        with locked(self.folder / forwards.LOCK, wait=False) as mine:
            if not mine:
                return
            failed, why = 0, forwards.CONNECTING
            while self.stays() and forwards.wanted(self.folder):
                self._tell(dict.fromkeys(self._words(), why))
                try:
                    with forwards.Connection(self.reach(), self.folder) as connection:
                        self._stay(connection, why)
                        failed = 0 if connection.open else failed
                        why = connection.last_words
                except HotdeskError as error:  # its machine is away: it may come back at another address
                    why = error.why or error.what
                failed += 1
                self._tell(dict.fromkeys(self._words(), why))
                self.clock.sleep(min(_MOST_SECONDS, backoff(failed, self.name)))

    def _stay(self, connection: forwards.Connection, why: str) -> None:
        """Until the connection is lost, or not wanted any more. `why`: what is told until it is made."""
        told: dict[str, str] = {}
        while self.stays() and (wanted := forwards.wanted(self.folder)) and not connection.lost:
            found = connection.turn(wanted)
            found = {word: why if state == forwards.CONNECTING else state for word, state in found.items()}
            if found != told:
                self._tell(found)
                told = found
            self.clock.sleep(_TURN_SECONDS)

    def _words(self) -> list[str]:
        return [ports.word for ports in forwards.wanted(self.folder)]

    def _tell(self, found: dict[str, str]) -> None:
        if found and self.folder.is_dir():  # it goes with its desk
            write_atomically(self.folder / forwards.STATE, msgspec.json.encode(found))
