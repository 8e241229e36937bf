"""Answers of a cloud that are kept on disk for a while, and shared by processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.ports import Cache, Clock
from hotdesk.parallel import side_by_side

HOUR, DAY = 3600.0, 86400.0


def kept(
    cache: Cache | None, key: str, now: float, of: Any, seconds: float | None = DAY
) -> tuple[float, Any] | None:
    """When it was asked, and the answer; None without one of type `of` that is under `seconds` old.

    `seconds`: None for an answer of any age.
    """
    found = cache.cached(key) if cache else None
    if found and (seconds is None or 0 <= now - found[0] < seconds):
        with contextlib.suppress(msgspec.DecodeError):  # of another version
            return found[0], wire.json(found[1], of)
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


class Recalled:
    """Answers kept for a while. Any thread may look one up; `sync`, in the cache's own, writes them."""

    def __init__(self, cache: Cache | None, key: str, clock: Clock) -> None:
        self._cache, self._key, self._clock = cache, key, clock
        told = kept(cache, key, 0.0, dict[str, tuple[float, Any]], None)
        self._told: dict[str, tuple[float, Any]] = told[1] if told else {}
        self._written = dict(self._told)

    def of(self, key: str, seconds: float, of: Any, ask: Callable[[], Any], *, fresh: bool = False) -> Any:
        """The answer of type `of`, if it is under `seconds` old, else that of `ask`. `fresh`: ask."""
        at, told = self._told.get(key, (0.0, None))
        now = self._clock.now()
        if told is not None and not fresh and 0 <= now - at < seconds:
            with contextlib.suppress(msgspec.ValidationError):  # of another version
                return msgspec.convert(told, of)
        answer = ask()
        self._told[key] = now, msgspec.to_builtins(answer)
        return answer

    def has(self, word: str) -> bool:
        """Whether an answer is kept that has this word in its key, however old it is."""
        return any(word in key for key in self._told)

    def drop(self, word: str) -> None:
        """Forget what has this word in its key."""
        self._told = {key: told for key, told in self._told.items() if word not in key}

    def sync(self) -> None:
        if self._told != self._written:
            self._written = dict(self._told)
            keep(self._cache, self._key, self._written, self._clock.now())
