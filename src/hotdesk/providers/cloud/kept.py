"""Answers of a cloud that are kept on disk for a while, and shared by processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hotdesk.core.ports import Cache
from hotdesk.parallel import side_by_side

DAY = 86400.0


def kept(
    cache: Cache | None, key: str, now: float, of: Any, seconds: float | None = DAY
) -> tuple[float, Any] | None:
    """When it was asked, and the answer; None without one of type `of` that is under `seconds` old.

    `seconds`: None for an answer of any age.
    """
    found = cache.cached(key) if cache else None
    if found and (seconds is None or 0 <= now - found[0] < seconds):
        with contextlib.suppress(msgspec.DecodeError):  # of another version
            return found[0], msgspec.json.decode(found[1], type=of)
    return None


def keep(cache: Cache | None, key: str, answer: Any, now: float) -> None:
    if cache:
        cache.keep(key, msgspec.json.encode(answer), now)


def kept_answers(
    cache: Cache | None,
    now: float,
    of: Any,
    questions: Mapping[str, Callable[[], Any]],
    seconds: float = DAY,
) -> dict[str, Any]:
    """Answers by key: from the cache if under `seconds` old, else requested concurrently and cached.

    A failed request has its exception as answer.
    """
    found = {key: told[1] for key in questions if (told := kept(cache, key, now, of, seconds))}
    missing = [key for key in questions if key not in found]
    for key, reply in zip(missing, side_by_side([questions[key] for key in missing]), strict=True):
        found[key] = reply
        if not isinstance(reply, Exception):
            keep(cache, key, reply, now)
    return found
