"""Optional interfaces of a cloud whose machines can be reached before a desk is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from hotdesk.core.ports import OnProgress


@runtime_checkable
class Lined(Protocol):
    """Optional: of a cloud whose machines can be reached before a desk is there."""

    def line(self, zone: str) -> list[str]:
        """An ssh command to that machine, to which a shell line is added. Raises `Refused`."""
        ...


@runtime_checkable
class Linked(Protocol):
    """Optional: of a cloud whose machines keep images themselves, and may reach each other."""

    def straight(self, source: str, target: str) -> tuple[float, str]:
        """Bytes a second straight from one to the other, measured now; 0 and why, where there is no way."""
        ...


@runtime_checkable
class Outward(Protocol):
    """Optional: of a cloud whose machines keep images themselves, and may send one to another cloud's."""

    def bring(self, image: str, to: Target, progress: OnProgress) -> list[str] | None:
        """Bring the home folder of an image straight to a machine; the lock of its environment.

        None where it is not kept at a machine. Raises `Refused`; `NotStraight` where there is no such way;
        `OSError` where it was cut: the same again goes on.
        """
        ...


class Target(NamedTuple):
    """A machine that an image goes to."""

    name: str
    ssh: tuple[str, ...]  # an ssh command to it from here, to which a shell line is added
    place: tuple[str, int]  # its address and port
    url: str  # answers with the address of whoever asks; "": nobody may be asked
    admit: Callable[[str], AbstractContextManager[None]]  # lets addresses connect to it


class NotStraight(Exception):
    """There is no way straight from one to the other; everything is as before."""
