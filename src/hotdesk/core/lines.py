"""Optional interfaces of a cloud whose machines can be reached before a desk is there."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


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
