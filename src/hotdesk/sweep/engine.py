"""What places a sweep's attempts on its machines, in four verbs: `nodes`, `begin`, `wait`, `cancel`.

An engine decides where a batch runs, and tells how it ended. It is trusted with nothing else: what was begun
is known to the machines' own runners, and what counts is in the sweep's own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from hotdesk.core.errors import HotdeskError
from hotdesk.core.sweep.model import Ended, Order


class EngineLost(HotdeskError):
    """The engine has ended, or cannot be reached: what it was asked for is in doubt."""

    exit_code = 7


class Node(msgspec.Struct, frozen=True):
    """A machine as the engine sees it."""

    address: str
    cpus: float
    gpus: float = 0.0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts that run one after another in one place."""

    batch: int
    orders: tuple[Order, ...]
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0  # bytes
    node: str = ""  # where, by address; "" lets the engine choose


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch ended. With `lost`, what is missing in `results` may have begun or not."""

    batch: int
    results: tuple[Ended, ...] = ()
    machine: str = ""
    lost: str = ""


class Engine(Protocol):
    """Every verb may raise `EngineLost`."""

    def nodes(self) -> Sequence[Node]:
        """The machines that can run something now."""
        ...

    def begin(self, batches: Sequence[Batch]) -> None:
        """Place these. Returns at once."""
        ...

    def wait(self, seconds: float) -> Sequence[Told]:
        """The batches that have ended, waiting so long for the first."""
        ...

    def cancel(self, attempts: Mapping[int, int]) -> None:
        """End these tasks' attempts up to a number, and begin none of them: their batches are told of."""
        ...

    def close(self) -> None:
        """Let go of it. What runs goes on."""
        ...
