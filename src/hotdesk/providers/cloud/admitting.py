"""Let the machine at the other end of a way (direct.py) connect to a machine of a cloud, for an hour at most.

    with admitted(state, guarded, "aws", machine, "203.0.113.7/32"):
        ...

The rule names its end. It is written down here before it is made (ways/ID.rule), so that the next command
that looks at that cloud takes away what a killed one has left; `is_over` lets any other computer do so too.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from hotdesk import system
from hotdesk.core import wire
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.model import Value
from hotdesk.providers.cloud.direct import KEY_SECONDS

_NOTE = re.compile(r"hotdesk: way [0-9a-f]+ until (\d+)", re.ASCII)


@runtime_checkable
class Guarded(Protocol):
    """Optional: of a cloud with rules of who may connect to its machines."""

    @property
    def address_url(self) -> str:
        """Answers with the address of whoever asks; "": nobody may be asked."""
        ...

    def let_in(self, machine_id: str, cidr: str, note: str) -> None:
        """Let these addresses connect to a machine by ssh, by a rule with that note. Raises `Refused`."""
        ...

    def shut_out(self, machine_id: str, note: str) -> None:
        """Take the rules with that note away; absent is success, and so is a machine that is gone."""
        ...


class Rule(Value, frozen=True):
    """A rule that may be there: state/ways/ID.rule."""

    provider: str
    machine: str
    note: str


def is_over(note: str, now: float) -> bool:
    """Whether a rule with this note is one of a way whose time is over."""
    found = _NOTE.fullmatch(note)
    return found is not None and float(found[1]) < now


@contextlib.contextmanager
def admitted(state: Path, cloud: Guarded, provider: str, machine: str, cidr: str) -> Iterator[None]:
    """Let these addresses in as long as this lasts. Raises `Refused`."""
    folder, id_ = state / "ways", secrets.token_hex(8)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = system.SystemClock().now() + KEY_SECONDS
    rule = Rule(provider=provider, machine=machine, note=f"hotdesk: way {id_} until {until:.0f}")
    path = folder / f"{id_}.rule"
    with system.locked(path.with_suffix(".lock")):
        system.write_atomically(path, msgspec.json.encode(rule), durable=True)
        try:
            cloud.let_in(machine, cidr, rule.note)
            yield
        finally:
            with contextlib.suppress(Refused, HotdeskError, OSError):  # then the next command does it
                cloud.shut_out(machine, rule.note)
                _forget(path)


def sweep(state: Path, cloud: Guarded, provider: str) -> None:
    """Take away the rules at this cloud that a killed process has left. Costs a look at a folder."""
    try:
        paths = sorted((state / "ways").glob("*.rule"))
    except OSError:
        return
    for path in paths:
        if system.is_locked(path.with_suffix(".lock")):
            continue
        try:
            rule = wire.json(path.read_bytes(), Rule)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.MsgspecError):
            _forget(path)
            continue
        if rule.provider != provider:
            continue
        with contextlib.suppress(Refused, HotdeskError, OSError):
            cloud.shut_out(rule.machine, rule.note)
            _forget(path)


def _forget(path: Path) -> None:
    for one in (path, path.with_suffix(".lock")):
        one.unlink(missing_ok=True)
