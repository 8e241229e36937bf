"""Ports of desks at this computer's loopback: opened, listed and closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hotdesk.core.errors import NeedsDecision, Unknown, Unreachable, Usage
from hotdesk.core.model import Desk, Goal, Value
from hotdesk.core.ports import Access, Clock
from hotdesk.services.view import Views
from hotdesk.state.store import Store

_OPEN_SECONDS = 90.0  # somebody may have to type a second factor for a jump host


class Forward(Value, frozen=True):
    """A port of a desk that this computer's loopback leads to."""

    desk: str
    here: int
    there: int
    url: str
    why: str = ""  # why it is not open; "": it is
    direct: bool = False  # the desk is on this computer, and this is its own port


def read(text: str | int) -> tuple[int | None, int]:
    """ "8000:80" as 8000 here and 80 there; "6006" or 6006: any here. Raises `Usage`."""
    here, colon, there = str(text).rpartition(":")
    try:
        found = (int(here) if colon else None), int(there)
    except ValueError:
        found = None, 0
    if not all(0 < port < 65536 for port in found if port is not None):
        raise Usage(
            f"{str(text)!r} is no port.",
            "A port is a number from 1 to 65535; HERE:THERE where it has another number on this computer.",
            "hotdesk forward NAME 6006 8000:80",
        )
    return found


class Members(Protocol):
    """Machines of clusters in a cloud, which are no desks."""

    def stays(self, member: str) -> bool: ...

    def reach(self, member: str) -> Access: ...


@dataclass(kw_only=True, eq=False)
class Forwarding:
    """Opens and closes ports. One background process a desk keeps its connection (`loop/forwards.py`)."""

    state: Path
    store: Store
    clock: Clock
    views: Views
    members: Callable[[], Members] | None = None

    def listed(self, desk: str) -> tuple[Forward, ...]:
        """The ports of a desk that are forwarded, open or not."""
        from hotdesk.connect import forwards

        folder = self._folder(desk)
        states = forwards.states(folder)
        row = self.store.find(desk)
        runs = row is not None and row.goal is Goal.RUNNING
        nobody = f"nothing keeps it open: hotdesk forward {desk}" if runs else "open again once the desk runs"
        return tuple(
            Forward(desk=desk, here=p.here, there=p.there, url=_url(p.here), why=states.get(p.word, nobody))
            for p in forwards.wanted(folder)
        )

    def planned(self, desk: Desk, ports: Sequence[str | int]) -> tuple[Forward, ...]:
        """What `open` would open. Raises as it does."""
        from hotdesk.connect import forwards

        local = self.views.access(desk).notebook_here
        known = {p.there: p.here for p in forwards.wanted(self._folder(desk.name))}
        found: list[Forward] = []
        for asked, there in map(read, ports):
            direct = local and asked in {None, there}
            taken = {forward.here for forward in found}
            other = known.get(there) or forwards.choose(there, taken, desk.name)
            here = there if direct else asked or other
            if not direct and here != known.get(there) and (here in taken or not forwards.free(here)):
                raise Usage(
                    f"Port {here} of this computer is in use, or only root may listen there.",
                    f"The desk's port {there} can have any other here.",
                    f"hotdesk forward {desk.name} {other}:{there}",
                )
            found.append(Forward(desk=desk.name, here=here, there=there, url=_url(here), direct=direct))
        return tuple(found)

    def open(self, desk: Desk, ports: Sequence[str | int]) -> tuple[Forward, ...]:
        """Open these ports, and keep all of the desk's open; all of them. Without ports: those that were.

        Raises `NeedsDecision` where the desk does not run, `Unreachable` where its ssh opens none, `Usage`.
        """
        from hotdesk.connect import forwards

        if not ports and desk.goal is not Goal.RUNNING:
            return self.listed(desk.name)
        new = self.planned(desk, ports) if ports else ()
        if desk.goal is not Goal.RUNNING:
            raise NeedsDecision(
                f"{desk.name} is wanted {desk.goal}.",
                "Ports lead to a desk that stays.",
                f"hotdesk up {desk.name}",
            )
        folder = self._folder(desk.name)
        asked = {forwards.Ports(here=f.here, there=f.there) for f in new if not f.direct}
        before = forwards.wanted(folder)
        if asked:
            again = {p.there for p in asked}
            forwards.want(folder, [*asked, *(p for p in before if p.there not in again)])
        if failed := self._failed(desk.name):
            forwards.want(folder, before)
            raise _closed(failed, f"hotdesk doctor {desk.name}")
        return (*(f for f in new if f.direct), *self.listed(desk.name))

    def open_member(self, name: str, there: int, fix: str) -> Forward:
        """Open a port of a cluster's machine in a cloud. Raises `Unreachable`; `fix`: what to do then."""
        from hotdesk.connect import forwards

        folder = self._folder(name)
        known = {p.there: p.here for p in forwards.wanted(folder)}
        here = known.get(there) or forwards.choose(there, set(), name)
        forwards.want(folder, [forwards.Ports(here=here, there=there)])
        if failed := self._failed(name):
            forwards.want(folder, [])
            raise _closed(failed, fix)
        return self.listed(name)[0]

    def _failed(self, name: str) -> Forward | None:
        """Once all ports that are wanted are open, None; else, after a while, one that is not."""
        from hotdesk.loop.forwards import revive

        failed: list[Forward] = []
        until = self.clock.now() + _OPEN_SECONDS
        while self.clock.now() < until:
            revive(self.state, name)  # also where the one before is just about to end
            failed = [f for f in self.listed(name) if f.why]
            if not failed:
                return None
            self.clock.sleep(0.1)
        return failed[0]

    def close(self, desk: str, ports: Sequence[str | int] = ()) -> tuple[Forward, ...]:
        """Close these ports of a desk, or all; those that were closed. Raises `Unknown` for one not open."""
        from hotdesk.connect import forwards

        folder, listed = self._folder(desk), self.listed(desk)
        asked = [read(port) for port in ports]
        closed = [f for f in listed if not asked or any(_means(f, *one) for one in asked)]
        for here, there in asked:
            if not any(_means(f, here, there) for f in listed):
                raise Unknown(
                    f"Port {there} of {desk} is not forwarded.",
                    f"These are: {', '.join(f'{f.here}:{f.there}' for f in listed) or 'none'}.",
                    f"hotdesk forward {desk}",
                )
        if closed:
            left = [forwards.Ports(here=f.here, there=f.there) for f in listed if f not in closed]
            forwards.want(folder, left)
        return tuple(closed)

    def keep(self, name: str) -> None:
        """Keep the ports of a desk, or of a cluster's machine, open, as a background process does."""
        from hotdesk.connect import forwards
        from hotdesk.loop.forwards import Keeper

        folder, members = self._folder(name), self.members

        def stays() -> bool:
            desk = self.store.find(name)
            if desk is None and members is not None:
                return members().stays(name)
            return desk is not None and desk.goal is Goal.RUNNING

        def reach() -> Access:
            if self.store.find(name) is None and members is not None:
                return members().reach(name)
            return self.views.access(self.store.desk(name))

        Keeper(folder=folder, clock=self.clock, name=name, stays=stays, reach=reach).run()
        if self.store.find(name) is None and not stays() and not forwards.kept(folder):
            forwards.forget(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()  # a desk's has other files still

    def _folder(self, desk: str) -> Path:
        return self.state / "desks" / desk


def _closed(forward: Forward, fix: str) -> Unreachable:
    what = f"Port {forward.there} of {forward.desk} could not be forwarded."
    return Unreachable(what, f"{forward.why.rstrip('.')}.", fix)


def _means(forward: Forward, here: int | None, there: int) -> bool:
    return forward.there == there and here in {None, forward.here}


def _url(here: int) -> str:
    return f"http://127.0.0.1:{here}"
