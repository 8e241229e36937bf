"""Identify this client in security-group rules: by its host name and a unique id.

Two laptops may share a host name ("MacBook-Pro.local", "localhost"), and would then revoke each other's rules
at every connect. The id is generated once and kept in the state folder.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
from functools import cached_property
from pathlib import Path

from hotdesk.core.ports import Clock
from hotdesk.system import locked, write_atomically

#: How long rules without an id are kept: they may belong to another computer of this name with an older
#: hotdesk. (Counted from when this computer got its id: EC2 does not tell how old a rule is.)
GRACE_SECONDS = 30 * 86400.0


class Computer:
    """This computer's name in security-group rules. Reads and writes nothing before it is used."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._file = state / "computer"
        self._clock = clock

    @property
    def host(self) -> str:
        """Its host name, limited to characters that EC2 allows in a description."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:60] or "computer"

    @property
    def name(self) -> str:
        """The name of its rules, such as `laptop-4f2a`."""
        return f"{self.host}-{self._made[0]}"

    @property
    def now(self) -> float:
        """Its own clock, for the ends that rules name."""
        return self._clock.now()

    @property
    def outlived_the_old(self) -> bool:
        """Whether rules under its bare host name may be revoked: see `GRACE_SECONDS`."""
        return self._clock.now() - self._made[1] >= GRACE_SECONDS

    @cached_property
    def _made(self) -> tuple[str, float]:
        """The id and its creation time; the first of several processes creates it."""
        if known := self._read():
            return known
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._file.with_name(f"{self._file.name}.lock")):
            if known := self._read():
                return known
            made = secrets.token_hex(2), self._clock.now()
            write_atomically(self._file, f"{made[0]} {made[1]:.0f}\n")
        return made

    def _read(self) -> tuple[str, float] | None:
        with contextlib.suppress(OSError, ValueError):
            word, at = self._file.read_text("ascii").split()
            if re.fullmatch(r"[0-9a-f]{4}", word):
                return word, float(at)
        return None
