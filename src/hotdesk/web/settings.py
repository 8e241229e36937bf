"""hotdesk.toml in the page: read, checked as hotdesk itself checks it, and written only as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotdesk.api import Hotdesk
from hotdesk.config import parse
from hotdesk.core.errors import Busy, Damaged, HotdeskError, Usage
from hotdesk.core.model import Value
from hotdesk.system import config_files, write_atomically


class Edited(Value, frozen=True):
    """A text for hotdesk.toml, and what it was when it was read."""

    text: str
    was: str
    check_only: bool = False


def _file() -> Path:
    """The one that counts: the first that there is, else where the first one would be of all folders."""
    files = config_files()
    return next((file for file in files if file.is_file()), files[-1])


def _now(file: Path) -> str:
    try:
        return file.read_text("utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{file} cannot be read.", str(error), f"ls -l {file}") from error


def read(desks: Hotdesk, said: Mapping[str, str]) -> dict[str, Any]:
    """The file as it is, and what of it cannot be used."""
    file = _file()
    text = _now(file)
    return {"path": str(file), "text": text, "faults": _faults(text, file)}


def _faults(text: str, file: Path) -> list[dict[str, str]]:
    found: list[HotdeskError] = list(parse(text, file).faults.values())
    return [{"what": fault.what, "why": fault.why} for fault in found]


def write(desks: Hotdesk, edited: Edited) -> dict[str, Any]:
    """Write it, if hotdesk can use all of it. Raises `Usage` if not, `Busy` if it was changed meanwhile."""
    file = _file()
    faults = _faults(edited.text, file)
    if edited.check_only:
        return {"faults": faults}
    if faults:
        raise Usage(f"{file} was not written.", " ".join(fault["why"] for fault in faults), "hotdesk config")
    if _now(file) != edited.was:
        raise Busy(f"{file} was changed meanwhile.", "Another program has written it.", f"cat {file}")
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = file.resolve()  # of a link, as people have to their dotfiles, the file that it names
    write_atomically(kept, edited.text, mode=kept.stat().st_mode & 0o777 if kept.exists() else 0o600)
    return read(desks, {})
