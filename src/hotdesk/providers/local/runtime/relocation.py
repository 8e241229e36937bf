"""A desk's disk in another place, or with another interpreter: what names the old one is told the new.

Virtual environments, what uv and pipx keep, editable installs, kernels and absolute links all name the folder
that they were made in, and a venv links to the Python that it was made of. On a disk that stayed where it was
nothing is looked at.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_PLACE = Path("jupyter", "place")  # below the disk: where it was at its last start, and of which Python
#: Below the top of an environment, what names where it is. (uv and pipx note what they have installed.)
_NAMING = (
    "pyvenv.cfg", "uv-receipt.toml", "pipx_metadata.json", "bin/*", "share/jupyter/kernels/*/kernel.json",
    "lib/python3*/site-packages/*.pth", "lib/python3*/site-packages/*.egg-link",
    "lib/python3*/site-packages/__editable__*.py", "lib/python3*/site-packages/*.dist-info/direct_url.json",
    "lib/python3*/_sysconfigdata_*.py",
)  # fmt: skip
_LONGEST = 1_000_000  # bytes of a text that is changed: a script or a note, no data


def settle(disk: Path) -> None:
    """Make the environments on this disk work where it is now. To be done before anything there runs."""
    base = getattr(sys, "_base_executable", sys.executable)
    here = [str(disk), base]
    place = disk / _PLACE
    try:
        there = place.read_text("utf-8").splitlines()
    except OSError:
        there = [_before_places(disk) or str(disk), base]
    if there != here and len(there) == 2:
        for found in _named_by(disk):
            if found.is_symlink():
                _point(found, there, here)
            elif there[0] != here[0]:
                _rename(found, there[0], here[0])
    place.write_text("\n".join(here), "utf-8")


def _before_places(disk: Path) -> str:
    """Where the disk of an earlier version was: its pip says so."""
    try:
        first = (disk / "env" / "bin" / "pip").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"(/[^\n']*)/env/bin/python", first)
    return found[1] if found else ""


def _named_by(disk: Path) -> Iterator[Path]:
    """Every absolute link, and every file that may name where it is."""
    yield from (disk / "jupyter" / "data" / "kernels").glob("*/kernel.json")
    for top in ("env", "home"):
        for at, folders, files in os.walk(disk / top):
            here = Path(at)
            yield from (here / n for n in (*folders, *files) if (here / n).is_symlink())
            # A venv; and a Python that uv has installed.
            if "pyvenv.cfg" in files or (here.parent.name == "python" and "bin" in folders):
                for pattern in _NAMING:
                    yield from (p for p in here.glob(pattern) if p.is_file() and not p.is_symlink())


def _point(link: Path, there: list[str], here: list[str]) -> None:
    """Lead an absolute link to the new place; a Python that is gone, to this one of the same version."""
    to = str(link.readlink())
    new = to
    if to.startswith(f"{there[0]}/"):
        new = here[0] + to.removeprefix(there[0])
    elif to.startswith("/") and not Path(to).exists() and _same_python(link):
        new = here[1]
    if new != to:
        link.unlink()
        link.symlink_to(new)


def _same_python(link: Path) -> bool:
    """Whether that is the interpreter of an environment of this Python's version."""
    cfg = link.parent.parent / "pyvenv.cfg"
    return link.name.startswith("python") and cfg.is_file() and version(cfg) == version()


def version(cfg: Path | None = None) -> str:
    """Major and minor version of an environment's Python, by its pyvenv.cfg; without one, of this one."""
    if cfg is None:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        text = cfg.read_text("utf-8")
    except OSError:
        return "unknown version"
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    return found[1] if found else "unknown version"


def _rename(file: Path, there: str, here: str) -> None:
    """The new place's name for the old one's, in a text."""
    try:
        if file.stat().st_size > _LONGEST:
            return
        text = file.read_bytes()
        new = re.sub(re.escape(os.fsencode(there)) + rb"(?=/|\W|$)", lambda _: os.fsencode(here), text)
        if new != text and b"\0" not in text:
            file.write_bytes(launchable(new) if new.startswith(b"#!") else new)
    except OSError:
        return  # nobody may read or write it: so it was before


def launchable(script: bytes) -> bytes:
    """The script itself; by way of /bin/sh where its first line would be too long or has a space in it."""
    first, _, rest = script.partition(b"\n")
    interpreter, option = re.fullmatch(rb"#!(.*?)( -\w+)?", first).groups(b"")  # type: ignore[union-attr]
    if len(first) <= 120 and b" " not in interpreter:  # Linux reads 127 bytes of it
        return script
    return b"#!/bin/sh\n'''exec' '" + interpreter + b"'" + option + b" \"$0\" \"$@\"\n' '''\n" + rest
