"""What a cloud answers is of a form that hotdesk knows, or it is told that it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hotdesk.core.errors import Unreachable


@contextmanager
def legible(label: str) -> Iterator[None]:
    """Raises `Unreachable` where an answer lacks what it should have: nothing is concluded then."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreachable(
            f"{label} answers in a form that hotdesk does not know.",
            f"{type(error).__name__}: {error}",
            "hotdesk doctor",
        ) from error
