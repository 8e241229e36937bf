"""Decode what others have written: clouds, desks, browsers, files of other versions, people.

msgspec reports most of what can be wrong as a `DecodeError`, but text that is not UTF-8 as a
`UnicodeDecodeError`, values nested thousands deep as a `RecursionError`, and a number of thousands of digits
in TOML as a plain `ValueError`. Here everything wrong is a `DecodeError`, so that a caller needs one clause.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")


@overload
def json(data: bytes | str, kind: type[T]) -> T: ...
@overload
def json(data: bytes | str, kind: Any = Any) -> Any: ...
def json(data: bytes | str, kind: Any = Any) -> Any:
    """A value of this type from JSON. Raises `msgspec.DecodeError`, and nothing else."""
    return _told(lambda: msgspec.json.decode(data, type=kind))


@overload
def msgpack(data: bytes | memoryview, kind: type[T]) -> T: ...
@overload
def msgpack(data: bytes | memoryview, kind: Any = Any) -> Any: ...
def msgpack(data: bytes | memoryview, kind: Any = Any) -> Any:
    """The same from MessagePack."""
    return _told(lambda: msgspec.msgpack.decode(data, type=kind))


_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text(body: bytes) -> str:
    """A file as text: PowerShell writes UTF-16, and many an editor on Windows marks UTF-8."""
    form = next((form for mark, form in _MARKS.items() if body.startswith(mark)), "utf-8")
    return body.decode(form, "replace")


def toml(text: str) -> dict[str, Any]:
    """The same from TOML: a file's tables."""
    return _told(lambda: msgspec.toml.decode(text, type=dict[str, Any]))


def _told(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except msgspec.DecodeError:
        raise
    except RecursionError as error:
        raise msgspec.DecodeError("values are nested too deep") from error
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
