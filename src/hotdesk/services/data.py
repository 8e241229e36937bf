"""Folders of data that do not travel with a desk (core/data.py): brought at each place, and told about."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotdesk import system
from hotdesk.core import byte_sizes, wire
from hotdesk.core.data import Data
from hotdesk.core.errors import HotdeskError
from hotdesk.core.findings import Remark
from hotdesk.core.ports import Access

if TYPE_CHECKING:
    from hotdesk.config import Config

_PLAIN = re.compile(r"[\w./ -]*", re.ASCII)
FILE = "data.json"  # in a desk's folder here: what it was last told to bring


class Told(msgspec.Struct, frozen=True):
    """A data folder, as its desk tells of it (guest/data.py)."""

    to: str
    state: str  # waiting, coming, whole, failed, stopped
    origin: str = msgspec.field(name="from", default="")
    why: str = ""
    fix: str = ""
    count: int = 0
    bytes: int = 0
    own: int = 0  # files there that are the desk's own, and travel


def wanted(state: Path, config: Config, name: str) -> tuple[Data, ...] | None:
    """The data folders of a desk; None where it never had any, or nobody can know.

    Where this hotdesk.toml does not describe the desk, they are what they were.
    """
    if {"", f"desks.{name}"} & config.faults.keys():
        return None
    known: tuple[Data, ...] | None = None
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        known = wire.json((state / "desks" / name / FILE).read_bytes(), tuple[Data, ...])
    if name in config.desks:
        return config.desks[name].data or (None if known is None else ())
    return known


def begin(state: Path, config: Config, access: Access) -> None:
    """Have a desk that is up bring its data, in the background; `remarks` says what became of it."""
    folders = wanted(state, config, access.desk)
    if folders is None:
        return
    from hotdesk.connect import job_runner

    said = msgspec.json.encode(folders)
    note = state / "desks" / access.desk / FILE
    with contextlib.suppress(HotdeskError, OSError):
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        system.write_atomically(note, said)
        job_runner.ask(access, "data", given=said)


def forget(state: Path, name: str) -> None:
    (state / "desks" / name / FILE).unlink(missing_ok=True)


def remarks(state: Path, config: Config, name: str, reach: Callable[[], Access]) -> tuple[Remark, ...]:
    """How far the data of a desk that runs are; nothing of one that has none, or that does not answer."""
    if wanted(state, config, name) is None:
        return ()
    from hotdesk.connect import job_runner

    try:
        told = wire.json(job_runner.ask(reach(), "data-told").stdout, tuple[Told, ...])
    except (HotdeskError, msgspec.MsgspecError):
        return ()
    return remarked(name, told)


def remarked(name: str, told: Sequence[Told]) -> tuple[Remark, ...]:
    """The same in words."""
    if not told:
        return ()
    fix = next((one.fix for one in told if one.fix), "")
    if not _PLAIN.fullmatch(fix):  # a desk says it: whoever pastes the line runs nothing of it here
        fix = shlex.quote(fix)
    again = f"hotdesk up {name}   # brings what is missing" if any(_stuck(one) for one in told) else ""
    return (
        Remark(
            topic="data",
            text="; ".join(map(_line, told)),
            fix=f"hotdesk ssh {name} -- {fix}" if fix else again,
        ),
    )


def _stuck(one: Told) -> bool:
    return one.state in {"failed", "stopped"}


def _line(one: Told) -> str:
    states = {
        "waiting": "is to be brought",
        "coming": "is on its way",
        "whole": "is there",
        "failed": "is not whole",
        "stopped": "is not there, or not in full",
    }
    said = f"{one.to} from {one.origin} {states.get(one.state, one.state)}"
    if one.why:
        said += f" ({one.why})"
    elif one.state == "whole" and one.count:
        said += f" ({one.count:,} file{'s' * (one.count != 1)}, {byte_sizes.said(one.bytes)})"
    if one.own:
        said += f"; {one.own:,} file{'s' * (one.own != 1)} in it differ{'s' * (one.own == 1)} from there,"
        said += " and travel with the desk"
    return said
