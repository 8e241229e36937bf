"""Rewrite paths on a desk's disk that has moved, or whose Python interpreter has.

Virtual environments, records of uv and pipx, editable installs, kernels and absolute links all name the
folder they were made in, and a venv links to the Python it was made with. Nothing is scanned if the disk is
where it was.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_PLACE = Path("jupyter", "place")  # on the disk: its path and its Python at its last start
#: Files of an environment that may contain its path. (uv and pipx record what they have installed.)
_NAMING = (
    "pyvenv.cfg", "uv-receipt.toml", "pipx_metadata.json", "bin/*", "share/jupyter/kernels/*/kernel.json",
    "lib/python3*/site-packages/*.pth", "lib/python3*/site-packages/*.egg-link",
    "lib/python3*/site-packages/__editable__*.py", "lib/python3*/site-packages/*.dist-info/direct_url.json",
    "lib/python3*/_sysconfigdata_*.py",
)  # fmt: skip
_LONGEST = 1_000_000  # bytes; larger files are data, and no script or record


def settle(disk: Path) -> None:
    """Make the environments on this disk work at its present path. Call it before anything there runs."""
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
    """The old path of a disk of an earlier version, read from its pip; "" if unknown."""
    try:
        first = (disk / "env" / "bin" / "pip").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"(/[^\n']*)/env/bin/python", first)
    return found[1] if found else ""


def _named_by(disk: Path) -> Iterator[Path]:
    """All symbolic links, and all files that may contain the disk's path."""
    yield from (disk / "jupyter" / "data" / "kernels").glob("*/kernel.json")
    for top in ("env", "home"):
        for at, folders, files in os.walk(disk / top):
            here = Path(at)
            yield from (here / n for n in (*folders, *files) if (here / n).is_symlink())
            # A venv, or a Python installed by uv.
            if "pyvenv.cfg" in files or (here.parent.name == "python" and "bin" in folders):
                for pattern in _NAMING:
                    yield from (p for p in here.glob(pattern) if p.is_file() and not p.is_symlink())


def _point(link: Path, there: list[str], here: list[str]) -> None:
    """Point an absolute link to the new path; a missing Python, to this one of the same version."""
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
    """Whether the link is the interpreter of a venv with this Python's version."""
    cfg = link.parent.parent / "pyvenv.cfg"
    return link.name.startswith("python") and cfg.is_file() and version(cfg) == version()


def version(cfg: Path | None = None) -> str:
    """Major and minor version of the Python in a pyvenv.cfg, or of this one."""
    if cfg is None:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        text = cfg.read_text("utf-8")
    except OSError:
        return "unknown version"
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    return found[1] if found else "unknown version"


def _rename(file: Path, there: str, here: str) -> None:
    """Replace the old path with the new one in a text file."""
    try:
        if file.stat().st_size > _LONGEST:
            return
        text = file.read_bytes()
        new = re.sub(re.escape(os.fsencode(there)) + rb"(?=/|\W|$)", lambda _: os.fsencode(here), text)
        if new != text and b"\0" not in text:
            file.write_bytes(launchable(new) if new.startswith(b"#!") else new)
    except OSError:
        return  # not readable or writable, as before


def launchable(script: bytes) -> bytes:
    """The script, started through /bin/sh if its #! line is too long or contains a space."""
    first, _, rest = script.partition(b"\n")
    interpreter, option = re.fullmatch(rb"#!(.*?)( -\w+)?", first).groups(b"")  # type: ignore[union-attr]
    if len(first) <= 120 and b" " not in interpreter:  # Linux reads 127 bytes of it
        return script
    return b"#!/bin/sh\n'''exec' '" + interpreter + b"'" + option + b" \"$0\" \"$@\"\n' '''\n" + rest
