"""Calls that may take long, outside the loop that answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from hotdesk.parallel import aside

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """What a call returns, once it does. Its thread ends with the process: Ctrl-C waits for no cloud."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def give(value: T) -> None:
        if not answer.done():
            answer.set_result(value)

    def run() -> None:
        value = call()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(give, value)

    aside(run)
    return answer
