"""On-demand prices of an account's cloud, from the Price List API: asked at its pace, kept for a day.

A region's whole list is about ten pages. Of a type that is named, one page tells the price everywhere: that
is asked instead where somebody wants to know no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hotdesk.core.errors import HotdeskError

if TYPE_CHECKING:
    from hotdesk.core.ports import Cache
    from hotdesk.market.sources import Aws

KEPT_SECONDS = 86400.0
NAMED_MAX = 40  # types; for more of them whole regions are the shorter way
_LACKS = "offers-lacks-1"
_ANSWER = msgspec.json.Decoder(dict[str, float])


class Listed(NamedTuple):
    """One answer: $/h by type (of a region) or by region (of a type), and when it was given."""

    time: float
    usd: dict[str, float]


class Lacks(msgspec.Struct):
    """What the last gathering did not get: regions whose prices are not today's, and why."""

    listed: list[str] = []  # no on-demand price list: the shipped table stands in
    silent: dict[str, str] = {}  # no spot prices, or nothing at all

    def notes(self, shipped: str, *, listed: bool) -> tuple[str, ...]:
        """A line for each kind; of price lists only where they matter to what was asked."""
        found = [f"{region}: {why}" for region, why in list(self.silent.items())[:3]]
        if len(self.silent) > 3:
            found.append(f"and {len(self.silent) - 3} more regions gave nothing")
        if listed and self.listed:
            where = ", ".join(self.listed[:3]) + (" …" if len(self.listed) > 3 else "")
            found.append(
                f"on-demand prices of {len(self.listed)} regions ({where}) are older, or from {shipped}:"
                " AWS's price list answers slowly, and the next `hotdesk offers` goes on asking"
            )
        return tuple(found)


def region_key(region: str) -> str:
    return f"aws-listed/{region}"


def type_key(name: str) -> str:
    """Where the provider keeps the same answer too."""
    return f"aws-price/{name}"


def kept(cache: Cache, key: str, now: float) -> Listed | None:
    """An answer of less than a day ago."""
    found = cache.cached(key)
    if found and 0 <= now - found[0] < KEPT_SECONDS:
        with contextlib.suppress(msgspec.DecodeError):  # of another version
            return Listed(found[0], _ANSWER.decode(found[1]))
    return None


def ask(
    account: Aws,
    known: Collection[str],
    regions: Iterable[str],
    names: Collection[str],
    *,
    told: Callable[[str, dict[str, float]], None],
    until: float,
) -> None:
    """Ask for what is not `known` (by key): of the types named, else of whole regions; until that moment.

    `told` hears each answer with its key, from several threads. A question that fails costs its own prices.
    """
    from hotdesk.market.sources import side_by_side

    asked: dict[str, tuple[Callable[[str], dict[str, float]], str]]
    if 0 < len(names) <= NAMED_MAX:
        asked = {type_key(name): (account.on_demand_of, name) for name in sorted(names)}
    else:
        asked = {region_key(region): (account.on_demand, region) for region in regions}

    def one(key: str) -> None:
        question, subject = asked[key]
        if perf_counter() < until:
            with contextlib.suppress(HotdeskError):
                told(key, question(subject))

    # A region's pages come one after the other: few at once, so that some are whole when time is up.
    side_by_side(one, [key for key in asked if key not in known], at_once=3)


def read_lacks(cache: Cache) -> Lacks:
    found = cache.cached(_LACKS)
    if found:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(found[1], type=Lacks)
    return Lacks()


def keep_lacks(cache: Cache, lacks: Lacks, now: float) -> None:
    cache.keep(_LACKS, msgspec.json.encode(lacks), now)
