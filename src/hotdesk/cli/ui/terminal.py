"""The streams that a command was given, and what this computer itself refuses: neither is hotdesk's fault."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.errors import Missing

#: For a terminal or a file that takes ASCII alone: what else would all be "?", which `ls` has a meaning for.
_ASCII = {
    "●": "*", "◐": "~", "◑": "~", "○": "o", "◍": "=", "·": ".", "✓": "+", "✗": "x", "—": "-", "–": "-",
    "…": "...", "█": "#", "░": ".", "×": "x", "’": "'",
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}
_LACKS = _FULL | _LOCKED | {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG}


class _Door:
    speaks_json = False
    has_answered = False


def speak_json(on: bool) -> None:
    """Whether the answer is to be JSON, for a program: an error is JSON too, and nobody is asked anything."""
    _Door.speaks_json = on
    _Door.has_answered = False


def answered() -> bool:
    """Note that the document is printed: there is one. Whether there was none before."""
    first, _Door.has_answered = not _Door.has_answered, True
    return first


def speaks_json() -> bool:
    return _Door.speaks_json


def can_ask() -> bool:
    """Whether somebody at a terminal can answer a question."""
    return sys.stdin.isatty() and not _Door.speaks_json


class ReaderLeft(Exception):
    """Who read what we write has gone. For click, which would end with 1 at a `BrokenPipeError`."""


@contextlib.contextmanager
def readers() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeft from error


def prepare() -> None:
    """Make the standard streams such that writing fails for their own reasons only.

    A closed one leads nowhere, and a character that the encoding lacks is replaced.
    """
    codecs.register_error("hotdesk", _replaced)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="hotdesk")


def silence() -> None:
    """Standard output leads nowhere from now on: what it led to is gone, and Python flushes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def lack(error: Exception) -> Missing | None:
    """What this computer refused, in words; None where the error is of another kind."""
    if not isinstance(error, OSError) or error.errno not in _LACKS:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    said = (error.strerror or "").lower()
    what = f"{path} cannot be used: {said}." if path else f"This computer does not go on: {said}."
    fix = "df -h   # make room, then run the same command again"
    if error.errno not in _FULL:
        fix = f"ls -ld {shlex.quote(path)}" if path else "hotdesk doctor"
    return Missing(what, "Nothing was deleted, and what was written down before stays.", fix)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(c, "?") for c in text), error.end
