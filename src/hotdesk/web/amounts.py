"""Money as a cloud told it, in the page's answers: with the words in which the command line says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import convert, to_builtins

from hotdesk.core.money import Amount, sums


def spoken(answer: Any) -> Any:
    """The answer, in which each amount has its words: {"value": 9.53, "currency": "CNY", "text": "9.53 CNY"}.

    Nothing else of it is changed. Columns of numbers or text are passed on as they are.
    """
    if isinstance(answer, Amount):
        return {**to_builtins(answer), "text": str(answer)}
    if isinstance(answer, Mapping):
        return {name: spoken(_amount(name, value)) for name, value in answer.items()}
    if isinstance(answer, list | tuple) and answer and not isinstance(answer[0], int | float | str):
        return [spoken(one) for one in answer]
    return answer


def _amount(name: object, value: Any) -> Any:
    """A field's value as an `Amount`, if it is one: somebody's parameters may be called anything."""
    is_one = isinstance(name, str) and "told" in name and isinstance(value, Mapping) and "currency" in value
    return convert(value, Amount) if is_one else value


def together(paid: Iterable[tuple[float, Amount | None]]) -> dict[str, Any]:
    """A sum in US dollars, and what cannot be added to it in words."""
    usd, besides = sums(paid)
    return {"usd": usd, "besides": [str(amount) for amount in besides]}
